// `node bench/relays.ts`: the account that the design names, in the core, when all of its shared relays change: what the longest turn
// costs, since nothing else of the account is decided meanwhile.
import { performance } from 'node:perf_hooks';
import { Driven, rowsOf } from './support/account.ts';
import { percentiles, report } from './support/report.ts';
import type { Effects } from '../core/effect.ts';
import type { RelayEntry } from '../protocol/relays.ts';

const size = { clients: 10_000, groups: 100, groupsOfClient: 2, policies: 100, resources: 50, conditions: [] };
const driven = new Driven();
driven.snapshot(rowsOf(size));
driven.connectAll(size.clients);
const relaysOf = (version: number): RelayEntry[] =>
  Array.from({ length: 20 }, (_, n) => ({
    id: `${String(version).padStart(8, '0')}-0000-4000-8000-${String(n).padStart(12, '0')}`,
    stampSecret: `secret-${version}-${n}`,
    ipv4: `198.51.100.${n}`,
    ipv6: `2001:db8::${n}`,
    port: 3478,
    latitude: n * 2,
    longitude: n * 5,
  }));
const turns: number[] = [];
for (let version = 2; version < 7; version += 1) {
  const set = { version, relays: relaysOf(version) };
  let told = turn(() => driven.take({ type: 'shared-relays', set, leaseMs: null }));
  while (driven.state.relaysNextAt < Infinity) {
    driven.now = driven.state.relaysNextAt;
    told += turn(() => driven.take({ type: 'tick' }));
  }
  if (told !== driven.state.sessions.size) throw new Error(`${told} of ${driven.state.sessions.size} were told`);
}
report(
  `20 shared relays changed for ${driven.state.sessions.size.toLocaleString('en')} sessions: the turns in which they are told`,
  `${turns.length / 5} a change; ${percentiles(turns, 'ms')}, longest ${Math.max(...turns).toFixed(0)} ms`,
);

/** Takes the time of a turn; returns how many it told. */
function turn(take: () => Effects): number {
  const began = performance.now();
  const { sends } = take();
  turns.push(performance.now() - began);
  return sends.length;
}
