// The core against the oracle, over random accounts, random edits and random clocks. The run counts only if it has met every line
// of docs/consequences.md often enough, neither grants nor refuses nearly everything, and moves.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { allLines, emptyTally, Run, shortfalls } from './run.ts';
import { startOracleDatabase } from './database.ts';

const seed = 11;
const accounts = 24;
/** Within which this seed meets every line often enough, with room to spare. */
const stepsMax = 200;

let database: Awaited<ReturnType<typeof startOracleDatabase>>;
beforeAll(async () => {
  database = await startOracleDatabase();
});
afterAll(async () => await database.stop());

// The ledger of flows and the relays decide nothing, so the oracle has no say in what is told of them.
test('[P5.39] a run against the oracle counts the lines of the page of consequences, all of them and no others', () => {
  const page = readFileSync(fileURLToPath(new URL('../../docs/consequences.md', import.meta.url)), 'utf8');
  const [access = ''] = page.split('\n## Relays\n');
  const lines = [...access.matchAll(/^\| ([a-z-]+) +\|/gm)].map(([, name = '']) => name);
  const ofAccess = lines.filter((name) => name !== 'id' && !name.startsWith('-') && !name.startsWith('flow'));
  expect(allLines.toSorted()).toEqual(ofAccess.toSorted());
});

test('[P5.32] after every edit and at every time the core decides as the oracle does, and every line of the page was met', async () => {
  const tally = emptyTally();
  const run = await Run.start(database.db, seed, accounts, tally);
  while (shortfalls(tally).length > 0 && tally.steps < stepsMax * accounts) await run.step();
  expect(shortfalls(tally)).toEqual([]);
  expect(tally.ends).toBeGreaterThan(100);
}, 900_000);
