// Rows on the wire: the check by hand against the same rule as a schema.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import * as v from 'valibot';
import { wireRow, type WireValue } from '../../protocol/commit.ts';

const value: v.GenericSchema<WireValue> = v.lazy(() =>
  v.union([v.null(), v.boolean(), v.number(), v.string(), v.array(value)]),
);
const slow = v.record(v.string(), value);

const anything = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom(null, true, 0, -1.5, 'text', ''),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom('a', 'b'), tie('value'), { maxKeys: 2 }),
  ),
})).value;

test('[P5.89] what is a row on the wire is one by the schema too, and nothing else is', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom('a', 'b', 'c'), anything), (row) => {
      expect(v.is(wireRow, row)).toBe(v.is(slow, row));
    }),
    { seed: 20, numRuns: 2_000 },
  );
  fc.assert(
    fc.property(anything, (row) => {
      expect(v.is(wireRow, row)).toBe(v.is(slow, row) && !Array.isArray(row));
    }),
    { seed: 21, numRuns: 2_000 },
  );
});

test('[P15.95] lists in a row are as deep as those of Postgres can be, and a deeper one is refused', () => {
  const nested = (depth: number): unknown => JSON.parse('['.repeat(depth) + ']'.repeat(depth));
  expect(v.is(wireRow, { a: nested(7) })).toBe(true);
  expect(v.is(wireRow, { a: nested(8) })).toBe(false);
  expect(v.is(wireRow, { a: nested(100_000) })).toBe(false);
});
