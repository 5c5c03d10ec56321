// One change of the stream into the tables. The old row that Postgres sent must be the row held: any difference means that
// something was lost on the way, and the caller must throw this state away and ask for a snapshot.
import * as v from 'valibot';
import { isEqual } from './equal.ts';
import { clear, held, isUnreadable, keysHeld, put, putUnreadable, readRow, remove, rowKey } from './tables.ts';
import { touch } from './touched.ts';
import { evictColliding, forgetRegistration, forgetRegistrations, showRegistration } from './registration.ts';
import { ledgerTable, tableNames } from '../protocol/tables.ts';
import { flowId } from '../protocol/ids.ts';
import { unreachable } from '../protocol/assert.ts';
import type { Change, WireRow } from '../protocol/commit.ts';
import type { Effects } from './effect.ts';
import type { ResourceRow, RowOf } from '../protocol/rows.ts';
import type { StreamedTable, TableName } from '../protocol/tables.ts';
import type { Tables, TypedRow } from './tables.ts';
import type { Touched } from './touched.ts';

/** The rows held are not the ones the stream speaks of; the message says which table and how, never the contents. */
export class Divergence extends Error {
  override readonly name = 'Divergence';
}

/** Applies `changes` in order; adds their saves to `effects`, and what they touch to `touched`. Throws {@link Divergence}. */
export function applyChanges(tables: Tables, changes: readonly Change[], touched: Touched, effects: Effects): void {
  for (const change of changes) applyChange(tables, change, touched, effects);
}

/** Puts `rows` of a snapshot and notes them in `keys` as `table/key`; adds saves for what differs, and what that touches. */
export function applyRows(
  tables: Tables,
  rows: Readonly<Partial<Record<StreamedTable, readonly WireRow[]>>>,
  keys: Set<string>,
  touched: Touched,
  effects: Effects,
): void {
  for (const table of tableNames) {
    for (const row of rows[table] ?? []) {
      const key = keyOf(table, row);
      keys.add(`${table}/${key}`);
      showRegistration(tables, key, row, touched, effects);
      putWireRow(tables, table, key, row, touched, effects);
    }
  }
}

/** Removes every row that is not among `keys`; adds saves for them, and what that touches. */
export function removeOthers(tables: Tables, keys: ReadonlySet<string>, touched: Touched, effects: Effects): void {
  for (const table of tableNames) {
    for (const key of keysHeld(tables, table)) {
      if (!keys.has(`${table}/${key}`)) removeRow(tables, table, key, touched, effects);
    }
  }
}

function applyChange(tables: Tables, change: Change, touched: Touched, effects: Effects): void {
  const { table } = change;
  if (table === ledgerTable) {
    touchFlow(change, touched);
    return;
  }
  switch (change.op) {
    case 'insert': {
      const key = keyOf(table, change.new);
      const isAwaited = showRegistration(tables, key, change.new, touched, effects);
      if (!isAwaited && held(tables, table, key) !== null)
        throw new Divergence(`${table}: an inserted row was held already`);
      putWireRow(tables, table, key, change.new, touched, effects);
      return;
    }
    case 'update': {
      const key = keyOf(table, change.old);
      expectHeld(tables, table, key, change.old);
      showRegistration(tables, key, change.new, touched, effects);
      putWireRow(tables, table, key, change.new, touched, effects);
      return;
    }
    case 'delete': {
      const key = keyOf(table, change.old);
      expectHeld(tables, table, key, change.old);
      removeRow(tables, table, key, touched, effects);
      return;
    }
    case 'truncate': {
      const { rows, actors } = clear(tables, table);
      forgetRegistrations(tables, table, effects);
      for (const removed of rows) touchBefore(touched, removed);
      for (const actorId of actors) touched.actors.add(actorId);
      effects.saves.push({ type: 'delete-rows', table });
      return;
    }
  }
  unreachable(change);
}

/** Of the ledger the stream has only what ends: a row that is inserted, or changed and still live, opens nothing. */
function touchFlow(change: Change, touched: Touched): void {
  if (change.op === 'truncate') touched.everyFlow = true;
  if (change.op !== 'delete') return;
  const id = v.safeParse(flowId, change.old['id']);
  if (id.success) touched.flows.add(id.output);
}

function putWireRow(
  tables: Tables,
  table: TableName,
  key: string,
  row: WireRow,
  touched: Touched,
  effects: Effects,
): void {
  const before = held(tables, table, key);
  const after = readRow(table, row);
  effects.saves.push({ type: 'put-row', table, key, row });
  if (after !== null && before !== null && isSame(before, after)) return;
  if (before !== null) touchBefore(touched, before);
  if (after === null) {
    putUnreadable(tables, table, key);
    effects.notes.push({ event: 'row_unreadable', table, key });
    return;
  }
  evictColliding(tables, after, touched, effects);
  put(tables, key, after);
  touch(touched, after);
}

function removeRow(tables: Tables, table: TableName, key: string, touched: Touched, effects: Effects): void {
  forgetRegistration(tables, key, effects);
  const removed = remove(tables, table, key);
  if (removed !== null) touchBefore(touched, removed);
  effects.saves.push({ type: 'delete-row', table, key });
}

function expectHeld(tables: Tables, table: TableName, key: string, old: WireRow): void {
  if (isUnreadable(tables, table, key)) return;
  const before = held(tables, table, key);
  if (before === null) throw new Divergence(`${table}: a changed row was not held`);
  const expected = readRow(table, old);
  if (expected === null || !isSame(before, expected))
    throw new Divergence(`${table}: a changed row was held differently`);
}

function keyOf(table: TableName, row: WireRow): string {
  const key = rowKey(table, row);
  if (key === null) throw new Divergence(`${table}: a row came without its key`);
  return key;
}

function isSame(a: TypedRow, b: TypedRow): boolean {
  return isEqual(a.row, b.row);
}

/** Compares what was touched with what it was at first, so that a row replaced in one transaction counts as changed. */
export function compareWithBefore(tables: Tables, touched: Touched): void {
  for (const before of touched.before.values()) {
    if (before.table === 'resources') compareResource(tables, before.row, touched);
    else if (before.table === 'clients') compareDevice(before.row, tables.rows.clients.get(before.row.id), touched);
    else if (before.table === 'gateways') compareDevice(before.row, tables.rows.gateways.get(before.row.id), touched);
  }
}

function compareResource(tables: Tables, before: ResourceRow, touched: Touched): void {
  const after = tables.rows.resources.get(before.id);
  if (after === undefined) return;
  const isMoved = before.address !== after.address || before.type !== after.type || before.ip_stack !== after.ip_stack;
  if (isMoved) touched.readdressed.add(before.id);
  else if (!isEqual(before.filters, after.filters)) touched.refiltered.add(before.id);
}

type Device = Pick<RowOf<'clients'> | RowOf<'gateways'>, 'id' | 'ipv4' | 'ipv6' | 'psk_base'>;

function compareDevice(before: Device, after: Device | undefined, touched: Touched): void {
  const isSame =
    after === undefined ||
    (before.ipv4 === after.ipv4 && before.ipv6 === after.ipv6 && before.psk_base === after.psk_base);
  if (!isSame) touched.rekeyed.add(before.id);
}

/** Notes a row that is about to change or go. */
function touchBefore(touched: Touched, before: TypedRow): void {
  touch(touched, before);
  const { table } = before;
  if (table !== 'resources' && table !== 'clients' && table !== 'gateways' && table !== 'tokens') return;
  const name = `${table}/${before.row.id}`;
  if (!touched.before.has(name)) touched.before.set(name, before);
}
