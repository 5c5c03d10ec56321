// Random edits of an account by SQL: what an administrator, a directory sync or a script may do in one transaction. Each
// statement is made from the rows as they are after those before it, and tried; what the constraints refuse is replaced
// by another. The trial is rolled back: the caller carries the edit out.
import { DatabaseError, type ClientBase } from 'pg';
import { must } from '../../protocol/assert.ts';
import { editKinds, weightOf, type EditKind } from './edit-kinds.ts';
import { integer, type Random } from './random.ts';
import { deleteSql, insertSql, parentsFirst, readSqlRows, type SqlRows } from './sql-rows.ts';
import type { World } from './world.ts';

const statementsMin = 1;
const statementsMax = 6;
const attemptsMax = 50;

/**
 * Statements of one transaction. A last edit may bring more of them than the six that are aimed at, where it deletes and
 * inserts again. `db` must not be in a transaction, and the account must have its row.
 */
export async function randomEdit(db: ClientBase, random: Random, account: string, atMs: number): Promise<string[]> {
  const wanted = integer(random, statementsMin, statementsMax);
  const statements: string[] = [];
  await db.query('begin');
  try {
    let rows = await readSqlRows(db, account);
    for (let attempt = 1; statements.length < wanted; attempt += 1) {
      if (attempt > attemptsMax) throw new Error(`no valid edit in ${attemptsMax} attempts`);
      const world: World = { random, account, atMs, rows };
      const kind = pickKind(world);
      const made = await makeStatements(db, world, kind);
      const accepted = await isAccepted(db, made).catch((cause: unknown) => {
        throw new Error(`an edit that is to ${kind.name} is no valid SQL: ${made.join('; ')}`, { cause });
      });
      if (!accepted || made.length === 0) continue;
      statements.push(...made);
      if (statements.length < wanted) rows = await readSqlRows(db, account);
    }
  } finally {
    await db.query('rollback');
  }
  return statements;
}

/** Carries an edit out, as one transaction. */
export async function applyEdit(db: ClientBase, statements: readonly string[]): Promise<void> {
  await db.query('begin');
  try {
    for (const statement of statements) await db.query(statement);
    await db.query('commit');
  } catch (error) {
    await db.query('rollback');
    throw error;
  }
}

/** By weight, among those that have something to do. */
function pickKind(world: World): EditKind {
  const weighted = editKinds.map((kind) => ({ kind, weight: weightOf(world, kind) }));
  const total = weighted.reduce((sum, { weight }) => sum + weight, 0);
  let rest = world.random() * total;
  const found = weighted.find(({ weight }) => {
    rest -= weight;
    return rest < 0;
  });
  return must(found, 'a kind of edit with weight').kind;
}

async function makeStatements(db: ClientBase, world: World, kind: EditKind): Promise<readonly string[]> {
  const made = kind.make(world);
  if (made === null) return [];
  if (!('rebirth' in made)) return made;
  const { table, row } = made.rebirth;
  const deletion = deleteSql(table, row);
  await db.query('savepoint before');
  await db.query(deletion);
  const left = await readSqlRows(db, world.account);
  await db.query('rollback to before');
  return [deletion, ...insertionsOf(world.rows, left)];
}

/** Inserts, as they were, all rows of `before` whose keys `after` lacks. */
function insertionsOf(before: SqlRows, after: SqlRows): string[] {
  return parentsFirst.flatMap((table) => {
    const keys = new Set((after.get(table) ?? []).map(keyOf));
    const gone = (before.get(table) ?? []).filter((row) => !keys.has(keyOf(row)));
    return gone.length === 0 ? [] : [insertSql(table, gone)];
  });
}

function keyOf(row: Readonly<Record<string, string | null>>): string {
  return row['id'] ?? `${row['resource_id']} ${row['gateway_group_id']}`;
}

/** Leaves the statements' effects when all are accepted, else none. */
async function isAccepted(db: ClientBase, statements: readonly string[]): Promise<boolean> {
  await db.query('savepoint before');
  try {
    for (const statement of statements) await db.query(statement);
    return true;
  } catch (error) {
    // Class 23 is integrity constraints, which a random statement may well offend; anything else is a mistake of ours.
    if (!(error instanceof DatabaseError) || error.code?.startsWith('23') !== true) throw error;
    await db.query('rollback to before');
    return false;
  }
}
