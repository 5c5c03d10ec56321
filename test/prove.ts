// `npm run prove -- --minutes N` (default 1): random histories with fresh seeds, half of the time against what the core promises by
// itself, half of it against the oracle in SQL. Prints the seed of every round, and stops at the first violation: a history is
// shrunk to the smallest that shows it and becomes a test, a difference to the oracle names its step. At the end it tells how
// often every line of docs/consequences.md was met; minutes that were too few to count make it fail.
import fc from 'fast-check';
import { emptyTally, Run, shortfalls } from './oracle/run.ts';
import { history } from './support/history.ts';
import { readProofOptions, refuse } from './support/proof-options.ts';
import { RandomAccount } from './support/random-core.ts';
import { startOracleDatabase } from './oracle/database.ts';
import type { Tally } from './oracle/run.ts';

const runsOfRound = 500;
const accountsOfRun = 24;
const stepsOfRun = 150;

const takes = 'it takes --minutes, a number above 0';
const minutes = Number(readProofOptions('prove', { minutes: '1' }, takes).minutes);
if (!(minutes > 0)) refuse('prove', takes);
const start = Date.now();
const half = start + minutes * 30_000;
const end = start + minutes * 60_000;

proveHistories();
const tally = emptyTally();
while (Date.now() < end) await proveAgreement(tally);
process.exitCode = report(tally);

function proveHistories(): void {
  let rounds = 0;
  while (Date.now() < half) {
    const seed = freshSeed();
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
}

async function proveAgreement(counted: Tally): Promise<void> {
  const seed = freshSeed();
  const database = await startOracleDatabase();
  try {
    const run = await Run.start(database.db, seed, accountsOfRun, counted);
    for (let step = 0; step < stepsOfRun && Date.now() < end; step += 1) await run.step();
  } finally {
    await database.stop();
  }
  process.stdout.write(`seed ${seed}: the core and the oracle agree, after ${counted.steps} steps in all\n`);
}

function report({ hits, steps, changed, asked, granted, ends }: Tally): 0 | 1 {
  const lines = [...hits]
    .toSorted(([, a], [, b]) => a - b)
    .map(([line, times]) => `${String(times).padStart(8)}  ${line}`);
  const share = (part: number, whole: number) => `${Math.round((100 * part) / Math.max(1, whole))} %`;
  process.stdout.write(
    `${lines.join('\n')}\n${steps} steps of an account, ${share(changed, steps)} changed a verdict; ` +
      `${asked} verdicts, ${share(granted, asked)} allow; ${ends} ends compared\n`,
  );
  const missing = shortfalls(tally);
  for (const sentence of missing) process.stderr.write(`prove: this does not count: ${sentence}\n`);
  return missing.length === 0 ? 0 : 1;
}

function freshSeed(): number {
  return Date.now() % 2_147_483_647;
}
