import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isVisible, parsePgSnapshot, widenXid } from '../../protocol/visibility.ts';

test('[P1.23] a snapshot sees what is below xmin, and of the rest what is below xmax and not in progress', () => {
  const snapshot = parsePgSnapshot('10:20:12,15');

  expect([9n, 10n, 12n, 15n, 16n, 19n, 20n, 21n].filter((xid) => isVisible(snapshot, xid))).toEqual([
    9n,
    10n,
    16n,
    19n,
  ]);
  expect(parsePgSnapshot('10:10:')).toEqual({ xmin: 10n, xmax: 10n, inProgress: new Set() });
  expect(() => parsePgSnapshot('10:20')).toThrow(SyntaxError);
});

test('[P1.24] [LAB-2] the stream names transactions by 32 bits: they are widened to the nearest 64-bit id, across a wrap too', () => {
  expect(widenXid(196_072, 12_885_097_961n)).toBe(3n * 2n ** 32n + 196_072n);
  expect(widenXid(0xffff_fff0, 2n ** 32n + 5n)).toBe(2n ** 32n - 16n);
  expect(widenXid(3, 2n ** 32n - 5n)).toBe(2n ** 32n + 3n);
  fc.assert(
    fc.property(fc.bigInt(2n ** 32n, 2n ** 50n), fc.bigInt(-(2n ** 31n) + 1n, 2n ** 31n - 1n), (near, distance) => {
      const xid = near + distance;
      return widenXid(Number(BigInt.asUintN(32, xid)), near) === xid;
    }),
    { seed: 42 },
  );
});
