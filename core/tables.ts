// The account's rows in memory, with the indexes that decisions and fan-out need. One copy of each row; indexes hold ids.
//
// `put` and `remove` keep rows and indexes together; nothing else writes here. Rows that could not be read are remembered
// by key alone, so they grant nothing.
import * as v from 'valibot';
import { rowSchemas } from '../protocol/rows.ts';
import { keyColumns } from '../protocol/tables.ts';
import { unreachable } from '../protocol/assert.ts';
import type { WireRow } from '../protocol/commit.ts';
import type { RowOf } from '../protocol/rows.ts';
import type { TableName } from '../protocol/tables.ts';
import type { ActorId, ClientId, GatewayId, GroupId, PolicyId, ResourceId, SiteId } from '../protocol/ids.ts';

/** A row together with its table. */
export type TypedRow = { [T in TableName]: { readonly table: T; readonly row: RowOf<T> } }[TableName];

/** How often each pair was put: a pair is gone when it was removed as often. */
export type Pairs<A, B> = Map<A, Map<B, number>>;

export type Tables = {
  readonly rows: { readonly [T in TableName]: Map<string, RowOf<T>> };
  /** `table/key` of rows that do not fit their schema. */
  readonly unreadable: Set<string>;
  readonly groupsOfActor: Pairs<ActorId, GroupId>;
  readonly actorsOfGroup: Pairs<GroupId, ActorId>;
  readonly policiesOfResource: Pairs<ResourceId, PolicyId>;
  readonly policiesOfGroup: Pairs<GroupId, PolicyId>;
  readonly sitesOfResource: Pairs<ResourceId, SiteId>;
  readonly resourcesOfSite: Pairs<SiteId, ResourceId>;
  readonly clientsOfActor: Pairs<ActorId, ClientId>;
  readonly gatewaysOfSite: Pairs<SiteId, GatewayId>;
  /** By `actor/external_id`. */
  readonly clientByExternalId: Map<string, ClientId>;
  /** By `site/external_id`. */
  readonly gatewayByExternalId: Map<string, GatewayId>;
};

export function emptyTables(): Tables {
  return {
    rows: {
      accounts: new Map(),
      actors: new Map(),
      actor_groups: new Map(),
      actor_group_memberships: new Map(),
      auth_providers: new Map(),
      auth_identities: new Map(),
      gateway_groups: new Map(),
      tokens: new Map(),
      clients: new Map(),
      gateways: new Map(),
      resources: new Map(),
      resource_connections: new Map(),
      policies: new Map(),
    },
    unreadable: new Set(),
    groupsOfActor: new Map(),
    actorsOfGroup: new Map(),
    policiesOfResource: new Map(),
    policiesOfGroup: new Map(),
    sitesOfResource: new Map(),
    resourcesOfSite: new Map(),
    clientsOfActor: new Map(),
    gatewaysOfSite: new Map(),
    clientByExternalId: new Map(),
    gatewayByExternalId: new Map(),
  };
}

/** The row's key within its table; null when a key column is missing, so that the row cannot be placed at all. */
export function rowKey(table: TableName, row: WireRow): string | null {
  const parts: string[] = [];
  for (const column of keyColumns[table]) {
    const value = row[column];
    if (typeof value !== 'string') return null;
    parts.push(value);
  }
  return parts.join('/');
}

/** The typed row, or null when a column that decisions read does not fit. */
export function readRow(table: TableName, row: WireRow): TypedRow | null {
  const parsed = v.safeParse(rowSchemas[table], row);
  return parsed.success ? typed(table, parsed.output) : null;
}

/** Adds `entry` under `key`, replacing the row held there. */
export function put(tables: Tables, key: string, entry: TypedRow): void {
  remove(tables, entry.table, key);
  const rows: { set(key: string, row: TypedRow['row']): unknown } = tables.rows[entry.table];
  rows.set(key, entry.row);
  index(tables, entry, 1);
}

/** Removes the row under `key`; returns it, or null when none was held. */
export function remove(tables: Tables, table: TableName, key: string): TypedRow | null {
  tables.unreadable.delete(`${table}/${key}`);
  const row = tables.rows[table].get(key);
  if (row === undefined) return null;
  const entry = typed(table, row);
  tables.rows[table].delete(key);
  index(tables, entry, -1);
  return entry;
}

/** The row held under `key` with its table, or null. */
export function held(tables: Tables, table: TableName, key: string): TypedRow | null {
  const row = tables.rows[table].get(key);
  return row === undefined ? null : typed(table, row);
}

/** The keys of every row of `table`, unreadable ones included. */
export function keysHeld(tables: Tables, table: TableName): string[] {
  const unreadable = [...tables.unreadable].filter((name) => name.startsWith(`${table}/`));
  return [...tables.rows[table].keys(), ...unreadable.map((name) => name.slice(table.length + 1))];
}

/** What stands on the other side of `a`, in no particular order. */
export function partners<A, B>(pairs: Pairs<A, B>, a: A): Iterable<B> {
  return pairs.get(a)?.keys() ?? [];
}

export function isPair<A, B>(pairs: Pairs<A, B>, a: A, b: B): boolean {
  return pairs.get(a)?.has(b) ?? false;
}

/** Pairs a table with a row of that table: the compiler cannot see that they belong together, the callers can. */
function typed(table: TableName, row: TypedRow['row']): TypedRow {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return { table, row } as TypedRow;
}

function index(tables: Tables, entry: TypedRow, sign: 1 | -1): void {
  switch (entry.table) {
    case 'actor_group_memberships':
      count(tables.groupsOfActor, entry.row.actor_id, entry.row.group_id, sign);
      count(tables.actorsOfGroup, entry.row.group_id, entry.row.actor_id, sign);
      return;
    case 'policies':
      count(tables.policiesOfResource, entry.row.resource_id, entry.row.id, sign);
      count(tables.policiesOfGroup, entry.row.actor_group_id, entry.row.id, sign);
      return;
    case 'resource_connections':
      count(tables.sitesOfResource, entry.row.resource_id, entry.row.gateway_group_id, sign);
      count(tables.resourcesOfSite, entry.row.gateway_group_id, entry.row.resource_id, sign);
      return;
    case 'clients':
      count(tables.clientsOfActor, entry.row.actor_id, entry.row.id, sign);
      name(tables.clientByExternalId, `${entry.row.actor_id}/${entry.row.external_id}`, entry.row.id, sign);
      return;
    case 'gateways':
      count(tables.gatewaysOfSite, entry.row.group_id, entry.row.id, sign);
      name(tables.gatewayByExternalId, `${entry.row.group_id}/${entry.row.external_id}`, entry.row.id, sign);
      return;
    case 'accounts':
    case 'actors':
    case 'actor_groups':
    case 'auth_providers':
    case 'auth_identities':
    case 'gateway_groups':
    case 'tokens':
    case 'resources':
      return;
  }
  unreachable(entry);
}

function count<A, B>(pairs: Pairs<A, B>, a: A, b: B, sign: 1 | -1): void {
  const counts = pairs.get(a) ?? new Map<B, number>();
  const times = (counts.get(b) ?? 0) + sign;
  if (times > 0) counts.set(b, times);
  else counts.delete(b);
  if (counts.size > 0) pairs.set(a, counts);
  else pairs.delete(a);
}

function name<Id>(names: Map<string, Id>, key: string, id: Id, sign: 1 | -1): void {
  if (sign === 1) names.set(key, id);
  else if (names.get(key) === id) names.delete(key);
}
