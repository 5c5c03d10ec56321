// An account's durable half in the object's SQLite: rows as they came, grants, holds, the position in the change stream, and
// what of the ledger Postgres does not have yet.
//
// The schema grows by appending to `migrations`, never by editing an applied one. What is read back is parsed by schema; a
// grant that does not fit becomes a reject that is owed.
import * as v from 'valibot';
import { grant as grantSchema, grantPair } from '../../core/state.ts';
import { noEffects } from '../../core/effect.ts';
import { hold, holdTarget } from '../../protocol/holds.ts';
import { keepHold } from '../../core/holds.ts';
import { keepTombstone } from '../../core/tombstones.ts';
import { holdGrant, owe } from '../../core/grants.ts';
import { put, putUnreadable, readRow } from '../../core/tables.ts';
import { position as positionSchema } from '../../protocol/commit.ts';
import { heldRelay, sharedRelays } from '../../protocol/relays.ts';
import { rowShape } from '../../protocol/rows.ts';
import { tokenId } from '../../protocol/ids.ts';
import { tableNames } from '../../protocol/tables.ts';
import { unreachable } from '../../protocol/assert.ts';
import {
  holdRecordsTable,
  ledgerTables,
  loadLedger,
  registrationsTable,
  saveLedger,
  sessionRecordsTable,
} from './ledger-storage.ts';
import * as log from '../log.ts';
import type { Position } from '../../protocol/commit.ts';
import type { Save } from '../../core/effect.ts';
import type { State } from '../../core/state.ts';
import type { StoredMemberships } from '../../core/memberships.ts';
import type { TableName } from '../../protocol/tables.ts';

const migrations = [
  `create table meta (name text primary key, value text not null) without rowid, strict;
   create table rows (tbl text not null, key text not null, row text not null, primary key (tbl, key)) without rowid, strict;
   create table grants (flow_id text primary key, data text not null) without rowid, strict;`,
  `create index memberships_by_actor on rows (json_extract(row, '$.actor_id')) where tbl = 'actor_group_memberships';`,
  `create table staged (part integer not null, piece integer not null, data blob not null, primary key (part, piece)) strict;`,
  'create table holds (kind text not null, id text not null, data text not null, primary key (kind, id)) without rowid, strict;',
  ledgerTables,
  'create table tombstones (laid integer primary key autoincrement, token_id text not null unique, expires_at integer) strict;',
  registrationsTable,
  holdRecordsTable,
  sessionRecordsTable,
];

/** Brings the schema up to date; throws when the storage was written by a later version than this code. */
export function migrate(storage: DurableObjectStorage): void {
  storage.transactionSync(() => {
    storage.sql.exec('create table if not exists schema_migrations (version integer primary key) strict');
    const applied = storage.sql.exec<{ n: number }>('select count(*) as n from schema_migrations').one().n;
    if (applied > migrations.length)
      throw new Error(`storage is at version ${applied}, this code knows ${migrations.length}`);
    for (const [index, statements] of migrations.entries()) {
      if (index < applied) continue;
      storage.sql.exec(statements);
      storage.sql.exec('insert into schema_migrations (version) values (?)', index + 1);
    }
  });
}

const memberships = "from rows where tbl = 'actor_group_memberships'";

export const membershipsOfActorSql = `select key, row ${memberships} and json_extract(row, '$.actor_id') = ?`;

/** The memberships as stored, for the core to read when it needs them. */
export function storedMemberships(sql: SqlStorage): StoredMemberships {
  const select = (query: string, value: string) =>
    sql
      .exec<{ key: string; row: string }>(query, value)
      .toArray()
      .map(({ key, row }) => ({ key, row: parseJson(row) }));
  return {
    row: (key) => select(`select key, row ${memberships} and key = ?`, key)[0]?.row,
    keys: () =>
      sql
        .exec<{ key: string }>(`select key ${memberships}`)
        .toArray()
        .map(({ key }) => key),
    ofActor: (actorId) => select(membershipsOfActorSql, actorId),
    ofGroup: (groupId) => select(`select key, row ${memberships} and json_extract(row, '$.group_id') = ?`, groupId),
  };
}

/** Reads all other rows, grants, holds and position into an empty `state`. */
export function load(storage: DurableObjectStorage, state: State): void {
  const meta = new Map<string, string>();
  for (const { name, value } of storage.sql.exec<{ name: string; value: string }>('select name, value from meta')) {
    meta.set(name, value);
  }
  state.term = Number(meta.get('term') ?? 0);
  state.stale = meta.get('stale') === 'true';
  const position = meta.get('position');
  state.position = position === undefined ? null : parsePosition(position);
  loadRelays(meta, state);
  for (const table of tableNames) if (table !== 'actor_group_memberships') loadTable(storage.sql, table, state);
  loadHolds(storage.sql, state);
  loadTombstones(storage.sql, state);
  const texts = new Map<string, string>();
  for (const { flow_id: flowId, data } of storage.sql.exec<{ flow_id: string; data: string }>('select * from grants')) {
    const stored: unknown = JSON.parse(data);
    const grant = v.safeParse(grantSchema, stored);
    if (grant.success) holdGrant(state, shareTexts(grant.output, texts));
    else takeBack(storage, state, flowId, stored);
  }
  const resync = v.safeParse(storedResync, parseJson(meta.get('resync') ?? 'null'));
  if (resync.success) state.resync.mark = resync.output;
  loadLedger(storage.sql, state, meta.get('ledger'));
}

/** One text for each that stands in many grants, as the ids of devices and policies do: half of what they take together. */
function shareTexts<Held extends object>(held: Held, texts: Map<string, string>): Held {
  for (const [name, value] of Object.entries(held)) {
    if (typeof value === 'string') {
      const text = texts.get(value) ?? value;
      texts.set(text, text);
      Object.assign(held, { [name]: text });
    } else if (typeof value === 'object' && value !== null) shareTexts(value, texts);
  }
  return held;
}

/** Those that would have expired by now are dropped. */
function loadTombstones(sql: SqlStorage, state: State): void {
  sql.exec('delete from tombstones where expires_at <= ?', Date.now());
  const stones = sql.exec<{ token_id: string; expires_at: number | null }>('select * from tombstones order by laid');
  for (const { token_id: id, expires_at: expiresAt } of stones) {
    keepTombstone(state, { tokenId: v.parse(tokenId, id), expiresAt });
  }
}

/** A hold whose particulars this code cannot read denies all the same. */
function loadHolds(sql: SqlStorage, state: State): void {
  for (const { kind, id, data } of sql.exec<{ kind: string; id: string; data: string }>('select * from holds')) {
    const read = v.safeParse(hold, parseJson(data));
    const bare = { ...v.parse(holdTarget, { kind, id }), at: 0, by: 'unknown', reason: null };
    keepHold(state, read.success ? read.output : bare);
  }
}

/** What cannot be read is as if it had never been there: relays come back by themselves, the shared ones are asked for. */
function loadRelays(meta: ReadonlyMap<string, string>, state: State): void {
  const own = v.safeParse(storedRelays, parseJson(meta.get('relays') ?? 'null'));
  if (own.success) {
    state.relaysVersion = own.output.version;
    for (const held of own.output.relays) state.relays.set(held.entry.id, held);
  }
  const shared = v.safeParse(storedSharedRelays, parseJson(meta.get('shared_relays') ?? 'null'));
  if (!shared.success) return;
  state.shared = shared.output.set;
  state.leaseDueAt = shared.output.leaseDueAt;
}

const storedResync = v.object({
  times: v.number(),
  notBefore: v.number(),
  aloneAt: v.optional(v.nullable(v.number()), null),
});
const storedRelays = v.object({ version: v.number(), relays: v.array(heldRelay) });
const storedSharedRelays = v.object({ set: sharedRelays, leaseDueAt: v.number() });

function saveTombstone(sql: SqlStorage, action: Extract<Save, { type: 'put-tombstone' | 'delete-tombstone' }>): void {
  if (action.type === 'delete-tombstone') sql.exec('delete from tombstones where token_id = ?', action.tokenId);
  else {
    const { tokenId: id, expiresAt } = action.tombstone;
    sql.exec('insert or replace into tombstones (token_id, expires_at) values (?, ?)', id, expiresAt);
  }
}

function loadTable(sql: SqlStorage, table: TableName, state: State): void {
  for (const { key, row } of sql.exec<{ key: string; row: string }>('select key, row from rows where tbl = ?', table)) {
    const entry = readRow(table, parseJson(row));
    if (entry === null) putUnreadable(state.tables, table, key);
    else put(state.tables, key, entry);
  }
}

const putGrant = 'insert into grants (flow_id, data) values (?, ?) on conflict do update set data = excluded.data';

/** Writes one save; the caller wraps those of one step in a transaction. Unchanged rows cost no write. */
export function save(sql: SqlStorage, action: Exclude<Save, { type: 'put-session' }>): void {
  switch (action.type) {
    case 'put-row':
      sql.exec(
        'insert into rows (tbl, key, row) values (?, ?, ?) on conflict do update set row = excluded.row where row <> excluded.row',
        action.table,
        action.key,
        JSON.stringify(action.row),
      );
      return;
    case 'delete-row':
      sql.exec('delete from rows where tbl = ? and key = ?', action.table, action.key);
      return;
    case 'delete-rows':
      sql.exec('delete from rows where tbl = ?', action.table);
      return;
    case 'put-grant':
      sql.exec(putGrant, action.grant.flowId, JSON.stringify(action.grant));
      return;
    case 'delete-grant':
      sql.exec('delete from grants where flow_id = ?', action.flowId);
      return;
    case 'put-record':
    case 'delete-records':
    case 'put-refused':
    case 'delete-refused':
    case 'put-registration':
    case 'delete-registration':
    case 'put-denial':
    case 'delete-denial':
    case 'put-session-record':
    case 'delete-session-record':
    case 'put-hold-record':
    case 'delete-hold-record':
    case 'put-ledger':
      saveLedger(sql, action, (text) => saveMeta(sql, 'ledger', text));
      return;
    case 'put-stale':
      saveMeta(sql, 'stale', String(action.isStale));
      return;
    case 'put-resync':
      saveMeta(sql, 'resync', JSON.stringify(action.mark));
      return;
    case 'put-hold': {
      const { kind, id } = action.hold;
      const put = 'insert into holds (kind, id, data) values (?, ?, ?) on conflict do update set data = excluded.data';
      sql.exec(put, kind, id, JSON.stringify(action.hold));
      return;
    }
    case 'delete-hold':
      sql.exec('delete from holds where kind = ? and id = ?', action.kind, action.id);
      return;
    case 'put-relays':
    case 'put-shared-relays':
      saveRelays(sql, action);
      return;
    case 'put-tombstone':
    case 'delete-tombstone':
      saveTombstone(sql, action);
      return;
    case 'put-position':
      saveMeta(sql, 'position', JSON.stringify(action.position));
      return;
  }
  unreachable(action);
}

function saveRelays(sql: SqlStorage, action: Extract<Save, { type: 'put-relays' | 'put-shared-relays' }>): void {
  if (action.type === 'put-relays') {
    saveMeta(sql, 'relays', JSON.stringify({ version: action.version, relays: action.relays }));
  } else {
    saveMeta(sql, 'shared_relays', JSON.stringify({ set: action.set, leaseDueAt: action.leaseDueAt }));
  }
}

/** When objects of this link version first ran here, milliseconds since 1970-01-01 UTC; notes `now` when that is from now on. */
export function linkVersionSince(sql: SqlStorage, version: number, now: number): number {
  const [row] = sql.exec<{ value: string }>("select value from meta where name = 'link'").toArray();
  const [noted, since] = (row?.value ?? '').split(' ');
  if (noted === String(version)) return Number(since);
  saveMeta(sql, 'link', `${version} ${now}`);
  return now;
}

type MetaName =
  | 'position'
  | 'term'
  | 'stale'
  | 'link'
  | 'stage'
  | 'ledger'
  | 'relays'
  | 'shared_relays'
  | 'shape'
  | 'resync';

/** Whether the rows stored are of an older shape than this code reads; those without a note are of the first. */
export function isOutdated(sql: SqlStorage): boolean {
  const [row] = sql.exec<{ value: string }>("select value from meta where name = 'shape'").toArray();
  return Number(row?.value ?? 1) < rowShape;
}

/** All rows are of the shape that this code reads. */
export function saveShape(sql: SqlStorage): void {
  saveMeta(sql, 'shape', String(rowShape));
}

export function saveMeta(sql: SqlStorage, name: MetaName, value: string): void {
  sql.exec(
    'insert into meta (name, value) values (?, ?) on conflict do update set value = excluded.value where value <> excluded.value',
    name,
    value,
  );
}

/** A grant that this code cannot read grants nothing, and its gateway and client are owed the news. */
function takeBack(storage: DurableObjectStorage, state: State, flowId: string, stored: unknown): void {
  log.warn('grant_unreadable', { flow_id: flowId });
  const pair = v.safeParse(grantPair, stored);
  if (!pair.success) return;
  const effects = noEffects();
  state.now = Date.now();
  owe(state, pair.output, undefined, effects);
  for (const action of effects.saves) if (action.type !== 'put-session') save(storage.sql, action);
}

function parsePosition(text: string): Position {
  return v.parse(positionSchema, JSON.parse(text));
}

function parseJson(text: string): unknown {
  return JSON.parse(text);
}
