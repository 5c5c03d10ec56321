// Equality of rows against the slow way, which prints both.
import { expect, test } from 'vitest';
import { isEqual } from '../../core/equal.ts';

const values: readonly unknown[] = [
  null,
  true,
  false,
  0,
  1,
  '',
  '0',
  'a',
  [],
  {},
  [null],
  [[]],
  ['a', 'b'],
  ['b', 'a'],
  { 0: 'a', 1: 'b' },
  { a: null },
  { b: null },
  { a: null, b: null },
  { a: { b: [{ protocol: 'tcp', ports: ['80'] }] } },
  { a: { b: [{ protocol: 'tcp', ports: ['81'] }] } },
];

test('[P1.95] two values are the same exactly where they print the same', () => {
  for (const a of values) {
    for (const b of values) expect(isEqual(a, structuredClone(b))).toBe(JSON.stringify(a) === JSON.stringify(b));
  }
});

test('[P1.95] a time without end is no time that has no value', () => {
  expect(isEqual({ at: Infinity }, { at: Infinity })).toBe(true);
  expect(isEqual({ at: Infinity }, { at: null })).toBe(false);
  expect(isEqual({ at: Infinity }, { at: -Infinity })).toBe(false);
});
