// The account's rows, with the indexes that decisions and fan-out need. One copy of each row; indexes hold ids, or the
// row itself where every decision reads it. All but the
// memberships are in memory; see memberships.ts for those.
//
// `put` and `remove` keep rows and indexes together; nothing else writes here. Rows that could not be read are remembered
// by key alone, so they grant nothing.
import * as v from 'valibot';
import { clearMemberships, emptyMemberships, heldMembership, membershipKeys, setMembership } from './memberships.ts';
import { rowSchemas } from '../protocol/rows.ts';
import { keyColumns } from '../protocol/tables.ts';
import { unreachable } from '../protocol/assert.ts';
import { isUnreadableValue } from '../protocol/commit.ts';
import type { Registration } from '../protocol/write-back.ts';
import type { WireRow } from '../protocol/commit.ts';
import type { Memberships, StoredMemberships } from './memberships.ts';
import type { PolicyRow, RowOf } from '../protocol/rows.ts';
import type { TableName } from '../protocol/tables.ts';
import type {
  ActorId,
  ClientId,
  GatewayId,
  GroupId,
  IdentityId,
  ResourceId,
  SiteId,
  TokenId,
} from '../protocol/ids.ts';

/** A row together with its table. */
export type TypedRow = { [T in TableName]: { readonly table: T; readonly row: RowOf<T> } }[TableName];

/** Tables whose rows are all in memory. */
export type HeldTable = Exclude<TableName, 'actor_group_memberships'>;

/** What belongs together; each pair comes from one row. */
export type Pairs<A, B> = Map<A, B[]>;

export type Tables = {
  readonly rows: { readonly [T in HeldTable]: Map<string, RowOf<T>> };
  readonly memberships: Memberships;
  /** `table/key` of rows that do not fit their schema; of memberships only those that came since the state was made. */
  readonly unreadable: Set<string>;
  readonly policiesOfResource: Pairs<ResourceId, PolicyRow>;
  readonly policiesOfGroup: Pairs<GroupId, PolicyRow>;
  readonly sitesOfResource: Pairs<ResourceId, SiteId>;
  readonly resourcesOfSite: Pairs<SiteId, ResourceId>;
  readonly clientsOfActor: Pairs<ActorId, ClientId>;
  readonly gatewaysOfSite: Pairs<SiteId, GatewayId>;
  readonly tokensOfIdentity: Pairs<IdentityId, TokenId>;
  /** By `actor/external_id`. */
  readonly clientByExternalId: Map<string, ClientId>;
  /** By `site/external_id`. */
  readonly gatewayByExternalId: Map<string, GatewayId>;
  /** Tunnel addresses in use. */
  readonly deviceByAddress: Map<string, ClientId | GatewayId>;
  /**
   * Devices of which something was noted here that the stream has not shown yet, by id; the rows of those registered here are
   * among the others.
   */
  readonly registrations: Map<string, Registration>;
  /** Those that the present step takes back because another row has their key or address. */
  readonly evicted: Set<string>;
};

export function emptyTables(stored: StoredMemberships): Tables {
  return {
    rows: {
      accounts: new Map(),
      actors: new Map(),
      actor_groups: new Map(),
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
    memberships: emptyMemberships(stored),
    unreadable: new Set(),
    policiesOfResource: new Map(),
    policiesOfGroup: new Map(),
    sitesOfResource: new Map(),
    resourcesOfSite: new Map(),
    clientsOfActor: new Map(),
    gatewaysOfSite: new Map(),
    tokensOfIdentity: new Map(),
    clientByExternalId: new Map(),
    gatewayByExternalId: new Map(),
    deviceByAddress: new Map(),
    registrations: new Map(),
    evicted: new Set(),
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

/** The typed row, or null when a column that decisions read does not fit, or any could not be decoded. */
export function readRow(table: TableName, row: unknown): TypedRow | null {
  if (typeof row === 'object' && row !== null && Object.values(row).some(isUnreadableValue)) return null;
  const parsed = v.safeParse(rowSchemas[table], row);
  return parsed.success ? typed(table, parsed.output) : null;
}

/** Adds `entry` under `key`, replacing the row held there. */
export function put(tables: Tables, key: string, entry: TypedRow): void {
  if (entry.table === 'actor_group_memberships') {
    tables.unreadable.delete(`${entry.table}/${key}`);
    setMembership(tables.memberships, key, entry.row);
    return;
  }
  remove(tables, entry.table, key);
  const rows: { set(key: string, row: TypedRow['row']): unknown } = tables.rows[entry.table];
  rows.set(key, entry.row);
  index(tables, entry, true);
}

/** Puts a row that does not fit its schema under `key`: it is known to be there, and grants nothing. */
export function putUnreadable(tables: Tables, table: TableName, key: string): void {
  remove(tables, table, key);
  tables.unreadable.add(`${table}/${key}`);
  if (table === 'actor_group_memberships') setMembership(tables.memberships, key, 'unreadable');
}

/** Removes the row under `key`; returns it, or null when none was held that can be read. */
export function remove(tables: Tables, table: TableName, key: string): TypedRow | null {
  tables.unreadable.delete(`${table}/${key}`);
  const entry = held(tables, table, key);
  if (table === 'actor_group_memberships') {
    setMembership(tables.memberships, key, null);
    return entry;
  }
  if (entry === null) return null;
  tables.rows[table].delete(key);
  index(tables, entry, false);
  return entry;
}

/** Removes every row of `table`; returns them, but of the memberships none: the actors whom that may concern instead. */
export function clear(tables: Tables, table: TableName): { readonly rows: TypedRow[]; readonly actors: ActorId[] } {
  if (table === 'actor_group_memberships') {
    for (const name of tables.unreadable) if (name.startsWith(`${table}/`)) tables.unreadable.delete(name);
    return { rows: [], actors: clearMemberships(tables.memberships) };
  }
  const rows = keysHeld(tables, table).flatMap((key) => remove(tables, table, key) ?? []);
  return { rows, actors: [] };
}

/** The row held under `key` with its table, or null. */
export function held(tables: Tables, table: TableName, key: string): TypedRow | null {
  if (table === 'actor_group_memberships') {
    const membership = heldMembership(tables.memberships, key);
    return membership === null || membership === 'unreadable' ? null : typed(table, membership);
  }
  const row = tables.rows[table].get(key);
  return row === undefined ? null : typed(table, row);
}

/** Whether a row is held under `key` that does not fit its schema. */
export function isUnreadable(tables: Tables, table: TableName, key: string): boolean {
  if (table === 'actor_group_memberships') return heldMembership(tables.memberships, key) === 'unreadable';
  return tables.unreadable.has(`${table}/${key}`);
}

/** The keys of every row of `table`, unreadable ones included. */
export function keysHeld(tables: Tables, table: TableName): string[] {
  if (table === 'actor_group_memberships') return [...membershipKeys(tables.memberships)];
  const unreadable = [...tables.unreadable].filter((name) => name.startsWith(`${table}/`));
  return [...tables.rows[table].keys(), ...unreadable.map((name) => name.slice(table.length + 1))];
}

/** What stands on the other side of `a`, in no particular order. */
export function partners<A, B>(pairs: Pairs<A, B>, a: A): readonly B[] {
  return pairs.get(a) ?? [];
}

export function isPair<A, B>(pairs: Pairs<A, B>, a: A, b: B): boolean {
  return pairs.get(a)?.includes(b) ?? false;
}

/** Pairs a table with a row of that table: the compiler cannot see that they belong together, the callers can. */
function typed(table: TableName, row: TypedRow['row']): TypedRow {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return { table, row } as TypedRow;
}

function index(tables: Tables, entry: TypedRow, isThere: boolean): void {
  switch (entry.table) {
    case 'policies':
      pair(tables.policiesOfResource, entry.row.resource_id, entry.row, isThere);
      pair(tables.policiesOfGroup, entry.row.actor_group_id, entry.row, isThere);
      return;
    case 'resource_connections':
      pair(tables.sitesOfResource, entry.row.resource_id, entry.row.gateway_group_id, isThere);
      pair(tables.resourcesOfSite, entry.row.gateway_group_id, entry.row.resource_id, isThere);
      return;
    case 'tokens':
      if (entry.row.identity_id !== null) {
        pair(tables.tokensOfIdentity, entry.row.identity_id, entry.row.id, isThere);
      }
      return;
    case 'clients':
      pair(tables.clientsOfActor, entry.row.actor_id, entry.row.id, isThere);
      // Joined, the key is one flat string; from a template it would keep the ropes that it was made of.
      name(tables.clientByExternalId, [entry.row.actor_id, entry.row.external_id].join('/'), entry.row.id, isThere);
      nameAddresses(tables, entry.row, isThere);
      return;
    case 'gateways':
      pair(tables.gatewaysOfSite, entry.row.group_id, entry.row.id, isThere);
      name(tables.gatewayByExternalId, `${entry.row.group_id}/${entry.row.external_id}`, entry.row.id, isThere);
      nameAddresses(tables, entry.row, isThere);
      return;
    case 'accounts':
    case 'actors':
    case 'actor_groups':
    case 'actor_group_memberships':
    case 'auth_providers':
    case 'auth_identities':
    case 'gateway_groups':
    case 'resources':
      return;
  }
  unreachable(entry);
}

function nameAddresses(tables: Tables, row: RowOf<'clients'> | RowOf<'gateways'>, isThere: boolean): void {
  for (const address of [row.ipv4, row.ipv6]) name(tables.deviceByAddress, address, row.id, isThere);
}

function pair<A, B>(pairs: Pairs<A, B>, a: A, b: B, isThere: boolean): void {
  const others = pairs.get(a);
  if (isThere) {
    if (others === undefined) pairs.set(a, [b]);
    else others.push(b);
    return;
  }
  const at = others?.indexOf(b) ?? -1;
  if (at !== -1) others?.splice(at, 1);
  if (others?.length === 0) pairs.delete(a);
}

function name<Id>(names: Map<string, Id>, key: string, id: Id, isThere: boolean): void {
  if (isThere) names.set(key, id);
  else if (names.get(key) === id) names.delete(key);
}
