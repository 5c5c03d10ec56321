// Random accounts under random commits, connections, requests and clocks: what devices believe from their frames alone is
// what a fresh evaluation gives, and nothing passes a gateway that no policy justifies.
import { expect, test } from 'vitest';
import fc from 'fast-check';
import { RandomAccount, opKinds } from '../support/random-core.ts';
import type { Op } from '../support/random-core.ts';

const op: fc.Arbitrary<Op> = fc.record({
  kind: fc.constantFrom(...opKinds),
  a: fc.nat(40),
  b: fc.nat(40),
  c: fc.nat(40),
});
const history = fc.array(fc.array(op, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 60, size: 'max' });

test.each([1, 2, 3, 4])(
  '[P9.7] after every step of a random history nothing is other than promised: seed %i',
  (seed) => {
    fc.assert(
      fc.property(history, (steps) => {
        const account = new RandomAccount();
        for (const ops of steps) {
          account.happen(ops);
          expect(account.violations()).toEqual([]);
        }
      }),
      { seed, numRuns: 200 },
    );
  },
);
