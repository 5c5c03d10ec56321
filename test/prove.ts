// `npm run prove -- --minutes N` (default 1): random histories with fresh seeds until the time is over. Prints the seed of every
// round, and stops at the first violation with the smallest history that shows it; that history becomes a test.
import { parseArgs } from 'node:util';
import fc from 'fast-check';
import { RandomAccount } from './support/random-core.ts';
import { history } from './support/history.ts';

const runsOfRound = 500;

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '1' } } });
const minutes = Number(values.minutes);
if (!(minutes > 0)) {
  process.stderr.write(`prove: --minutes takes a number above 0, got ${JSON.stringify(values.minutes)}\n`);
  process.exit(2);
}
const end = Date.now() + minutes * 60_000;
let rounds = 0;
while (Date.now() < end) {
  const seed = Date.now() % 2_147_483_647;
  fc.assert(
    fc.property(history, (steps) => {
      const account = new RandomAccount();
      for (const ops of steps) {
        account.happen(ops);
        const violations = account.violations();
        if (violations.length > 0) throw new Error(violations.join('\n'));
      }
    }),
    { seed, numRuns: runsOfRound },
  );
  rounds += 1;
  process.stdout.write(`seed ${seed}: ${runsOfRound} histories, nothing found\n`);
}
process.stdout.write(`${rounds * runsOfRound} histories, nothing found\n`);
