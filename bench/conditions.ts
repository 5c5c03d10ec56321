// Nanoseconds to judge a policy's conditions: `node bench/conditions.ts`. Three conditions, one of them a list of 200
// networks; each kind alone; a week asked again in the same window and one asked anew each time; and compiling them.
import { performance } from 'node:perf_hooks';
import { compilePrefixes, contains, parseAddress } from '../core/cidr.ts';
import { compileConditions, evaluate } from '../core/condition.ts';
import { compileWeek, evaluateWeek } from '../core/week.ts';
import { report } from './support/report.ts';
import type { Condition, Facts } from '../core/condition.ts';

const roundMs = 200;
const rounds = 7;
const now = Date.parse('2026-01-07T10:00:00Z');

const providerId = '0a1b2c3d-0000-4000-8000-000000000001';
const networks = Array.from({ length: 200 }, (_, i) => (i % 2 === 0 ? `10.${i}.0.0/16` : `2001:db8:${i}::/48`));
const days = ['M', 'T', 'W', 'R', 'F'].map((day) => `${day}/08:00-12:00,13:00-18:00/Europe/Berlin`);
const region: Condition = { property: 'remote_ip_location_region', operator: 'is_in', values: ['DE', 'FR', 'IT'] };
const provider: Condition = { property: 'provider_id', operator: 'is_in', values: [providerId] };
const address: Condition = { property: 'remote_ip', operator: 'is_in_cidr', values: networks };
const week: Condition = { property: 'current_utc_datetime', operator: 'is_in_day_of_week_time_ranges', values: days };

const v4: Facts = { region: 'DE', remoteIp: '10.198.3.4', providerId, isVerified: true };
const v6: Facts = { ...v4, remoteIp: '2001:db8:199::abcd:1' };

const three = compileConditions([region, provider, address]);
const withWeek = compileConditions([region, address, week]);
const weekOf = (values: readonly string[]) => compileWeek(values) ?? fail();
const prefixes = compilePrefixes(networks) ?? fail();
const onlyWeek = weekOf(days);
let at = now;

time('3 conditions, 200 networks, v4', () => evaluate(three, v4, now).until);
time('3 conditions, 200 networks, v6', () => evaluate(three, v6, now).until);
time('3 conditions, 200 networks and a week, v4', () => evaluate(withWeek, v4, now).until);
time('address parsed, v4', () => Number(parseAddress('10.198.3.4')?.value));
time('address parsed, v6', () => Number(parseAddress('2001:db8:199::abcd:1')?.family));
const parsed = [parseAddress('10.198.3.4'), parseAddress('2001:db8:199::abcd:1')];
time('200 networks searched, v4', () => Number(contains(prefixes, parsed[0] ?? null)));
time('200 networks searched, v6', () => Number(contains(prefixes, parsed[1] ?? null)));
time('week, same window', () => evaluateWeek(onlyWeek, now).until);
time('week, another window each time', () => evaluateWeek(onlyWeek, (at += 86_400_000 / 2) % (4 * now)).until);
time('compile 200 networks', () => compilePrefixes(networks)?.v4.firsts.length ?? 0);
time('compile a week of 5 values', () => weekOf(days).windows.length);

function fail(): never {
  throw new Error('an input of this bench cannot be read');
}

/** Runs `work` for some rounds: the best and the median, since other programs only ever add. */
function time(name: string, work: () => number): void {
  const results = Array.from({ length: rounds }, () => nanoseconds(work)).toSorted((a, b) => a - b);
  const [best = 0, , , median = 0] = results;
  report(name, `best ${best.toFixed(0)} ns, median ${median.toFixed(0)} ns`);
}

function nanoseconds(work: () => number): number {
  let sum = 0;
  let count = 0;
  const start = performance.now();
  let end = start;
  while (end - start < roundMs) {
    for (let i = 0; i < 100; i += 1) sum += work();
    count += 100;
    end = performance.now();
  }
  if (Number.isNaN(sum)) fail();
  return ((end - start) * 1e6) / count;
}
