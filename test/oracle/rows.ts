// An account's rows as the replicator delivers them, and the changes that turn one state of them into another: what a
// transaction between the two might have done, with no row that refers to one that is missing at any point.
import { isDeepStrictEqual } from 'node:util';
import type { ClientBase } from 'pg';
import * as v from 'valibot';
import { must } from '../../protocol/assert.ts';
import type { Change, WireRow, WireValue } from '../../protocol/commit.ts';
import { accountId } from '../../protocol/ids.ts';
import { keyColumns, type TableName } from '../../protocol/tables.ts';
import { readAccount } from '../../replicator/snapshot.ts';
import { parentsFirst } from './sql-rows.ts';

/** Each published table's rows of one account, in order of their keys; a table without rows has an empty list. */
export type Rows = Readonly<Record<TableName, readonly WireRow[]>>;

/** Decoded as the stream and snapshots decode them. `db` must not be in a transaction. */
export async function readRows(db: ClientBase, account: string): Promise<Rows> {
  const { rows } = await readAccount(db, v.parse(accountId, account), [], () => 0);
  const sorted = (table: TableName): readonly WireRow[] =>
    (rows[table] ?? []).toSorted((a, b) => (keyOf(table, a) < keyOf(table, b) ? -1 : 1));
  return {
    accounts: sorted('accounts'),
    actors: sorted('actors'),
    actor_groups: sorted('actor_groups'),
    actor_group_memberships: sorted('actor_group_memberships'),
    auth_providers: sorted('auth_providers'),
    auth_identities: sorted('auth_identities'),
    gateway_groups: sorted('gateway_groups'),
    tokens: sorted('tokens'),
    clients: sorted('clients'),
    gateways: sorted('gateways'),
    resources: sorted('resources'),
    resource_connections: sorted('resource_connections'),
    policies: sorted('policies'),
  };
}

/** By table, the columns that refer to a row and the table it is in. A row's account_id is understood. */
const references: Readonly<Partial<Record<TableName, Readonly<Record<string, TableName>>>>> = {
  auth_identities: { actor_id: 'actors', provider_id: 'auth_providers' },
  actor_groups: { provider_id: 'auth_providers' },
  actor_group_memberships: { actor_id: 'actors', group_id: 'actor_groups' },
  tokens: { actor_id: 'actors', identity_id: 'auth_identities', gateway_group_id: 'gateway_groups' },
  clients: { actor_id: 'actors', identity_id: 'auth_identities' },
  gateways: { group_id: 'gateway_groups' },
  resource_connections: { resource_id: 'resources', gateway_group_id: 'gateway_groups' },
  policies: { actor_group_id: 'actor_groups', resource_id: 'resources' },
};

/**
 * Changes in an order that foreign keys allow. Deletions come first, children before parents; then updates and insertions,
 * parents before children; and last, children before parents, the deletions that had to wait for an update, since a row
 * that stays referred to theirs. Two rows never hold the same
 * of what is unique, unless one of them is deleted last.
 */
export function changesBetween(before: Rows, after: Rows): Change[] {
  const { early, late } = deletionsOf(before, after);
  const additions = parentsFirst.flatMap((table) => [
    ...updatesOf(table, before[table], after[table]),
    ...missingFrom(table, before[table], after[table]).map((row) => ({ op: 'insert', table, new: row }) as const),
  ]);
  return [...early, ...additions, ...late].map((change, seq) => ({ ...change, seq }));
}

interface Deletion {
  readonly op: 'delete';
  readonly table: TableName;
  readonly old: WireRow;
}

function deletionsOf(before: Rows, after: Rows): { early: Deletion[]; late: Deletion[] } {
  const early: Deletion[] = [];
  const late: Deletion[] = [];
  // What rows refer to that stay until the updates are made, as `table id`.
  const held = new Set<string>();
  for (const table of parentsFirst.toReversed()) {
    const going = new Set(missingFrom(table, after[table], before[table]));
    for (const row of before[table]) {
      const mustWait = held.has(`${table} ${keyOf(table, row)}`);
      if (going.has(row)) (mustWait ? late : early).push({ op: 'delete', table, old: row });
      if (going.has(row) && !mustWait) continue;
      for (const [column, parent] of Object.entries(references[table] ?? {})) {
        held.add(`${parent} ${textOf(row[column])}`);
      }
    }
  }
  return { early, late };
}

/** By table, columns that are unique together and that edits change. */
const uniqueColumns: Readonly<Partial<Record<TableName, readonly string[]>>> = {
  auth_identities: ['provider_id', 'provider_identifier'],
  actor_groups: ['provider_id', 'name'],
  actor_group_memberships: ['actor_id', 'group_id'],
  gateway_groups: ['name', 'managed_by'],
  clients: ['actor_id', 'external_id'],
  gateways: ['group_id', 'external_id'],
  policies: ['resource_id', 'actor_group_id'],
};

/** An update waits for the one that frees what is unique; in a circle one of them is made a deletion and an insertion. */
function updatesOf(table: TableName, before: readonly WireRow[], after: readonly WireRow[]) {
  const uniqueOf = (row: WireRow): string => textsOf(row, uniqueColumns[table] ?? keyColumns[table]);
  const oldByKey = new Map(before.map((row) => [keyOf(table, row), row]));
  let waiting = after.flatMap((row) => {
    const old = oldByKey.get(keyOf(table, row));
    return old === undefined || isDeepStrictEqual(old, row) ? [] : [{ op: 'update', table, old, new: row } as const];
  });
  const taken = new Set(waiting.map((update) => uniqueOf(update.old)));
  const first: (Deletion | (typeof waiting)[number])[] = [];
  const last: { readonly op: 'insert'; readonly table: TableName; readonly new: WireRow }[] = [];
  while (waiting.length > 0) {
    const ready = waiting.find(
      (update) => uniqueOf(update.old) === uniqueOf(update.new) || !taken.has(uniqueOf(update.new)),
    );
    const chosen = ready ?? must(waiting[0], 'an update that waits');
    waiting = waiting.filter((update) => update !== chosen);
    taken.delete(uniqueOf(chosen.old));
    if (ready === undefined) {
      first.push({ op: 'delete', table, old: chosen.old });
      last.push({ op: 'insert', table, new: chosen.new });
    } else {
      first.push(chosen);
      taken.add(uniqueOf(chosen.new));
    }
  }
  return [...first, ...last];
}

/** The rows of `wanted` whose keys none of `present` has. */
function missingFrom(table: TableName, present: readonly WireRow[], wanted: readonly WireRow[]): readonly WireRow[] {
  const keys = new Set(present.map((row) => keyOf(table, row)));
  return wanted.filter((row) => !keys.has(keyOf(table, row)));
}

function keyOf(table: TableName, row: WireRow): string {
  return textsOf(row, keyColumns[table]);
}

function textsOf(row: WireRow, columns: readonly string[]): string {
  return columns.map((column) => textOf(row[column])).join(' ');
}

function textOf(value: WireValue | undefined): string {
  return typeof value === 'string' ? value : '';
}
