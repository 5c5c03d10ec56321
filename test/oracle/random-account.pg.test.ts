// The random accounts and edits that the product is compared on: that they are valid, reproducible and neither all
// granted nor all refused, and that changes between two states lead from one to the other past every constraint.
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Change, WireRow } from '../../protocol/commit.ts';
import { keyColumns } from '../../protocol/tables.ts';
import { startOracleDatabase } from './database.ts';
import type { Database } from '../support/database.ts';
import { askAccess } from './oracle.ts';
import { createRandomAccount, randomSubjects } from './random-account.ts';
import { randomClock, randomStart } from './random-clock.ts';
import { applyEdit, randomEdit } from './random-edit.ts';
import { seededRandom } from './random.ts';
import { changesBetween, readRows } from './rows.ts';

let database: Database;
beforeAll(async () => {
  database = await startOracleDatabase();
});
afterAll(() => database.stop());

test('a seed makes the same account, clock and edits in every run', async () => {
  const { db } = database;
  const runs: unknown[] = [];

  for (const run of [1, 2]) {
    const random = seededRandom(7);
    const atMs = randomStart(random);
    const account = await createRandomAccount(db, random, atMs);
    const rows = await readRows(db, account);
    const laterMs = await randomClock(db, random, account, atMs);
    const edits = [];
    for (let step = 0; step < 10; step += 1) {
      const edit = await randomEdit(db, random, account, laterMs);
      await applyEdit(db, edit);
      edits.push(edit);
    }
    runs[run] = { atMs, rows, laterMs, edits, end: await readRows(db, account) };
    await db.query('delete from accounts where id = $1', [account]);
  }

  expect(runs[1]).toEqual(runs[2]);
});

test('between a fifth and four fifths of what is asked is granted, some is forbidden and some is not found', async () => {
  const { db } = database;
  const counts = { granted: 0, forbidden: 0, not_found: 0 };
  for (let seed = 1; seed <= 8; seed += 1) {
    const random = seededRandom(seed);
    const atMs = randomStart(random);
    const account = await createRandomAccount(db, random, atMs);
    const answers = await askAccess(db, account, atMs, await randomSubjects(db, random, account, 'each'));
    for (const { verdict } of answers) counts[verdict] += 1;
  }

  const total = counts.granted + counts.forbidden + counts.not_found;

  expect(counts.granted / total).toBeGreaterThan(0.2);
  expect(counts.granted / total).toBeLessThan(0.8);
  expect(counts.forbidden / total).toBeGreaterThan(0.05);
  expect(counts.not_found / total).toBeGreaterThan(0.05);
});

test.each([1, 2, 3])(
  'over 200 edits every edit is valid, and its changes lead there and back past every constraint (seed %i)',
  async (seed) => {
    const { db } = database;
    const random = seededRandom(seed);
    let atMs = randomStart(random);
    const account = await createRandomAccount(db, random, atMs);
    let rows = await readRows(db, account);
    const granted: number[] = [];

    for (let step = 0; step < 200; step += 1) {
      const nextMs = await randomClock(db, random, account, atMs);
      expect(nextMs - atMs).toBeGreaterThanOrEqual(1000);
      expect(nextMs - atMs).toBeLessThanOrEqual(4 * 86_400_000);
      atMs = nextMs;

      await applyEdit(db, await randomEdit(db, random, account, atMs));
      if (step % 8 !== 0) continue;
      const edited = await readRows(db, account);
      await applyChanges(changesBetween(edited, rows));
      expect(await readRows(db, account)).toEqual(rows);
      await applyChanges(changesBetween(rows, edited));
      expect(await readRows(db, account)).toEqual(edited);
      rows = edited;

      if (step % 40 !== 0) continue;
      const answers = await askAccess(db, account, atMs, await randomSubjects(db, random, account, 'one'));
      granted.push(answers.filter(({ verdict }) => verdict === 'granted').length / Math.max(1, answers.length));
    }

    const mean = granted.reduce((sum, share) => sum + share, 0) / granted.length;
    expect(mean).toBeGreaterThan(0.1);
    expect(mean).toBeLessThan(0.85);
    expect(rows.clients.length).toBeGreaterThan(1);
    expect(rows.policies.length).toBeGreaterThan(3);
  },
);

async function applyChanges(changes: readonly Change[]): Promise<void> {
  const { db } = database;
  await db.query('begin');
  for (const [seq, change] of changes.entries()) {
    expect(change.seq).toBe(seq);
    switch (change.op) {
      case 'insert':
        await run(
          `insert into ${change.table} (${columnsOf(change.new)}) values (${placesOf(change.new)})`,
          change.new,
        );
        break;
      case 'update':
        await run(
          `update ${change.table} set (${columnsOf(change.new)}) = row(${placesOf(change.new)}) where ${isRow(change)}`,
          change.new,
        );
        break;
      case 'delete':
        await run(`delete from ${change.table} where ${isRow(change)}`, {});
        break;
      case 'truncate':
        throw new Error('changes between states truncate nothing');
    }
  }
  await db.query('commit');
}

/** Affects one row: a deletion that a cascade has done already is out of order. */
async function run(sql: string, row: WireRow): Promise<void> {
  const { rowCount } = await database.db.query(sql, Object.values(row));
  expect({ sql, rowCount }).toEqual({ sql, rowCount: 1 });
}

function isRow(change: Exclude<Change, { op: 'insert' | 'truncate' }>): string {
  return keyColumns[change.table].map((column) => `${column} = '${String(change.old[column])}'`).join(' and ');
}

function columnsOf(row: WireRow): string {
  return Object.keys(row).join(', ');
}

function placesOf(row: WireRow): string {
  return Object.keys(row)
    .map((_, index) => `$${index + 1}`)
    .join(', ');
}
