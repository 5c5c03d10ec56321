// Chance from a seed, so that whatever a test makes of it can be made again. Fit for tests only.
import { must } from '../../protocol/assert.ts';

/** A number from 0 up to but without 1. */
export type Random = () => number;

/** The same numbers for the same seed, any integer (mulberry32). */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

/** An integer from `min` to `max`, both included. */
export function integer(random: Random, min: number, max: number): number {
  return min + Math.floor(random() * (max - min + 1));
}

export function chance(random: Random, probability: number): boolean {
  return random() < probability;
}

/** One of the items, of which there must be one; none of them null. */
export function pick<T>(random: Random, items: readonly T[]): T {
  return must(items[integer(random, 0, items.length - 1)], 'an item to choose');
}

/** One of the items, or null when there is none. */
export function pickOrNull<T>(random: Random, items: readonly T[]): T | null {
  return items.length === 0 ? null : pick(random, items);
}

/** `count` of the items, each at most once, in any order; all of them when there are fewer. */
export function sample<T>(random: Random, items: readonly T[], count: number): T[] {
  return items
    .map((item) => ({ item, order: random() }))
    .sort((a, b) => a.order - b.order)
    .slice(0, count)
    .map(({ item }) => item);
}

/** `length` lower-case hex digits. */
export function hex(random: Random, length: number): string {
  return Array.from({ length }, () => integer(random, 0, 15).toString(16)).join('');
}

/** A lower-case UUID of version 4. */
export function uuid(random: Random): string {
  return `${hex(random, 8)}-${hex(random, 4)}-4${hex(random, 3)}-${pick(random, ['8', '9', 'a', 'b'])}${hex(random, 3)}-${hex(random, 12)}`;
}
