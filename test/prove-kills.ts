// `npm run prove:kills -- --rounds N` (default 200) `--seed S` (default: the time): in each round parts of a whole system are killed
// at random points under load and started again; then the rows at the edge must equal the tables, the change log an independent
// record, and what devices hold and let pass what the oracle says. Prints every round, and stops at the first difference, whose
// seed shows it again.
import { killRound, startChaos } from './support/chaos.ts';
import { readProofOptions, refuse } from './support/proof-options.ts';

const accounts = 6;

const takes = 'it takes --rounds, a whole number above 0, and --seed, a whole number';
const values = readProofOptions('prove:kills', { rounds: '200', seed: `${Date.now() % 1_000_000_000}` }, takes);
const [rounds, seed] = [Number(values.rounds), Number(values.seed)];
if (!Number.isInteger(rounds) || rounds < 1 || !Number.isInteger(seed)) refuse('prove:kills', takes);
const chaos = await startChaos({ accounts });
try {
  for (let round = 0; round < rounds; round += 1) {
    const { what, differences } = await killRound(chaos, seed + round);
    const found = [...differences, ...chaos.healing()];
    process.stdout.write(`${round + 1} of ${rounds}, ${what}: ${found.length === 0 ? 'equal' : 'DIFFERENT'}\n`);
    if (found.length === 0) continue;
    process.stdout.write(`${[...found, ...chaos.lines.slice(-100)].join('\n')}\n`);
    process.exitCode = 1;
    break;
  }
} finally {
  await chaos.stop();
}
