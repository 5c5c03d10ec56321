// Random conditions of policies, and random facts that they are judged by: addresses, regions, windows of time. Both are
// drawn from the same few values, so that conditions hold about as often as not.
import { chance, integer, pick, pickOrNull, sample, type Random } from './random.ts';
import { arrayText } from './sql-rows.ts';

const zones = [
  'UTC',
  'America/New_York',
  'America/Havana',
  'Australia/Lord_Howe',
  'Pacific/Apia',
  'Europe/Berlin',
  'Asia/Kathmandu',
] as const;

const regions = ['DE', 'US', 'AU', 'WS'] as const;

/** Some IPv4 addresses are spelled as a socket for both families reports them. */
const addresses = [
  '203.0.113.7',
  '198.51.100.20',
  '10.1.2.3',
  '2001:db8::7',
  '::ffff:203.0.113.7',
  '::ffff:c633:6414',
] as const;

const networks = [
  '203.0.113.0/24',
  '203.0.113.7',
  '198.51.100.77/24',
  '10.0.0.0/8',
  '2001:db8::/32',
  '2001:db8::7',
  '0.0.0.0/0',
  '::/0',
] as const;

/** Whole days, hours of work, overnight, and times that clock changes skip or repeat in some of the zones. */
const ranges = [
  'true',
  'true',
  '9-17',
  '09:00-17:00',
  '08:30:00-12:00:00, 13:00-18:30',
  '22:00-06:00',
  '20:00-08:00',
  '0-23:59:59',
  '00:00-12:00',
  '12:00-23:59:59',
  '01:30-02:30',
  '02:15-02:45',
  '02:30-01:30',
  '23:30-0:30:0',
  '12-12',
  '',
] as const;

const weekdays = ['M', 'T', 'W', 'R', 'F', 'S', 'U'] as const;

/** The connection's half of a subject; null is unknown. */
export interface ConnectionFacts {
  readonly remote_ip: string | null;
  readonly region: string | null;
}

export function randomConnectionFacts(random: Random): ConnectionFacts {
  return {
    remote_ip: chance(random, 0.1) ? null : pick(random, addresses),
    region: chance(random, 0.1) ? null : pick(random, regions),
  };
}

/** None, one or several conditions, as the text of a jsonb[]. */
export function randomConditions(random: Random, providerIds: readonly string[]): string {
  const share = random();
  const count = share < 0.35 ? 0 : share < 0.7 ? 1 : integer(random, 2, 3);
  const conditions = Array.from({ length: count }, () => randomCondition(random, providerIds));
  return arrayText(conditions.map((condition) => JSON.stringify(condition)));
}

interface Condition {
  readonly property: string;
  readonly operator: string;
  readonly values: readonly string[];
}

function randomCondition(random: Random, providerIds: readonly string[]): Condition {
  const excludes = chance(random, 0.4);
  const property = pick(random, [
    'current_utc_datetime',
    'current_utc_datetime',
    'remote_ip_location_region',
    'remote_ip',
    'provider_id',
    'client_verified',
  ] as const);
  switch (property) {
    case 'current_utc_datetime':
      return { property, operator: 'is_in_day_of_week_time_ranges', values: randomWindows(random) };
    case 'remote_ip_location_region':
      return {
        property,
        operator: excludes ? 'is_not_in' : 'is_in',
        values: sample(random, regions, excludes ? integer(random, 0, 1) : integer(random, 2, 4)),
      };
    case 'remote_ip':
      return {
        property,
        operator: excludes ? 'is_not_in_cidr' : 'is_in_cidr',
        values: sample(random, networks, excludes ? integer(random, 0, 2) : integer(random, 2, 6)),
      };
    case 'provider_id': {
      const provider = pickOrNull(random, providerIds);
      return {
        property,
        operator: excludes ? 'is_not_in' : 'is_in',
        values: provider === null || chance(random, 0.1) ? [] : [provider],
      };
    }
    case 'client_verified':
      return { property, operator: 'is', values: [pick(random, ['true', 'true', 'false'])] };
  }
}

function randomWindows(random: Random): string[] {
  const zone = pick(random, zones);
  const range = pick(random, ranges);
  const days = chance(random, 0.6) ? weekdays : sample(random, weekdays, integer(random, 1, 5));
  const windows = days.map((day) => `${day}/${range}/${zone}`);
  if (chance(random, 0.2)) windows.push(`${pick(random, weekdays)}/${pick(random, ranges)}/${pick(random, zones)}`);
  return windows;
}
