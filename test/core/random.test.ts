// Random accounts under random commits, connections, requests and clocks: what devices believe from their frames alone is
// what a fresh evaluation gives, and nothing passes a gateway that no policy justifies. `npm run prove` does the same for as
// long as it is given.
import { expect, test } from 'vitest';
import fc from 'fast-check';
import { RandomAccount } from '../support/random-core.ts';
import { history } from '../support/history.ts';

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
      { seed, numRuns: 400 },
    );
  },
  30_000,
);
