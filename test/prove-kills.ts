// `npm run prove:kills -- --rounds N` (default 200) `--seed S` (default: the time): in each round parts of a whole system are killed
// at random points under load and started again; then the rows at the edge must equal the tables, the change log an independent
// record, and what devices hold and let pass what the oracle says. Prints every round, and stops at the first difference, whose
// seed shows it again.
import { parseArgs } from 'node:util';
import { killRound, startChaos } from './support/chaos.ts';

const accounts = 6;

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '200' }, seed: { type: 'string' } } });
const rounds = Number(values.rounds);
const seed = Number(values.seed ?? Date.now() % 1_000_000_000);
if (!Number.isInteger(rounds) || rounds < 1 || !Number.isInteger(seed)) {
  process.stderr.write('prove:kills: --rounds takes a whole number above 0, and --seed a whole number\n');
  process.exit(2);
}
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
