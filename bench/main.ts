// `npm run bench`: every measurement of bench/, one after the other, each in a process of its own, as one table. Names given
// after `--` choose among them: `npm run bench -- authorize account`. Ends with 1 when one of them failed; a budget that is
// missed is in the table and fails nothing, since a busy machine misses it too.
import { cpus } from 'node:os';
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { readdirSync } from 'node:fs';
import type { Row } from './support/report.ts';

const all = readdirSync(new URL('.', import.meta.url))
  .filter((name) => name.endsWith('.ts') && name !== 'main.ts')
  .map((name) => name.slice(0, -'.ts'.length));
const chosen = process.argv.slice(2);
const unknown = chosen.filter((name) => !all.includes(name));
if (unknown.length > 0) {
  process.stderr.write(`bench: there is no ${unknown.join(', ')}; there are ${all.join(', ')}\n`);
  process.exit(2);
}

const rows: Row[] = [];
const failed: string[] = [];
for (const name of all) {
  if (chosen.length > 0 && !chosen.includes(name)) continue;
  process.stderr.write(`bench: ${name} …\n`);
  if (!(await run(name))) failed.push(name);
}
const date = new Date().toISOString().slice(0, 10);
process.stdout.write(
  `${cpus().length} cores (${cpus()[0]?.model ?? 'unknown'}), Node ${process.version.slice(1)}, ${date}\n\n`,
);
process.stdout.write('| what | measured | beside it in the same run | budget |\n| --- | --- | --- | --- |\n');
for (const { what, measured, beside, budget } of rows) {
  process.stdout.write(`| ${what} | ${measured} | ${beside} | ${budget} |\n`);
}
for (const name of failed) process.stderr.write(`bench: ${name} failed\n`);
process.exitCode = failed.length === 0 ? 0 : 1;

async function run(name: string): Promise<boolean> {
  const child = fork(fileURLToPath(new URL(`${name}.ts`, import.meta.url)), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  child.on('message', (row: Row) => rows.push(row));
  return await new Promise((resolve) => child.on('exit', (code) => resolve(code === 0)));
}
