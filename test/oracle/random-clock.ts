// A random clock: where it starts, and how it goes on. It favours the instants at which something ends or begins, to the
// millisecond, and days on which clocks are changed. It never goes back. The oracle must be loaded.
import type { ClientBase } from 'pg';
import { readEdges } from './oracle.ts';
import { chance, integer, pick, pickOrNull, type Random } from './random.ts';

const secondMs = 1000;
const dayMs = 86_400_000;
const stepMsMax = 4 * dayMs;

/** Within the three days after each but the last, clocks are changed in a zone that the random windows use. */
const starts = [
  '2026-03-06T12:00:00Z', // New York and Havana, on to summer time
  '2026-10-30T18:00:00Z', // New York and Havana, back
  '2026-03-27T12:00:00Z', // Berlin, on
  '2026-10-23T12:00:00Z', // Berlin, back
  '2026-10-02T12:00:00Z', // Lord Howe, on by half an hour
  '2026-04-03T12:00:00Z', // Lord Howe, back
  '2020-09-25T12:00:00Z', // Apia, on
  '2021-04-02T12:00:00Z', // Apia, back
  '2026-07-15T12:00:00Z', // none
] as const;

/** An instant to begin with, in milliseconds since 1970. */
export function randomStart(random: Random): number {
  return Date.parse(pick(random, starts)) + integer(random, 0, dayMs);
}

/** The next instant: 1 s to 4 days after `atMs`, half of the time at an edge of the account's or within a second of it. */
export async function randomClock(db: ClientBase, random: Random, account: string, atMs: number): Promise<number> {
  return randomTime(random, atMs, (await readEdges(db, [{ account, atMs }])).get(account) ?? []);
}

/** The same from `edges`, which are 2 s to 4 days after `atMs`. */
export function randomTime(random: Random, atMs: number, edges: readonly number[]): number {
  const edge = chance(random, 0.5) ? pickOrNull(random, edges) : null;
  if (edge !== null) return edge + pick(random, [-secondMs, -1, -1, 0, 0, 0, 1, secondMs]);
  // Evenly over the orders of magnitude from seconds to days.
  return atMs + Math.floor(secondMs * (stepMsMax / secondMs) ** random());
}
