// What of the ledger Postgres does not have yet, in the object's SQLite: records whose grants are gone, those that Postgres
// refuses, counts of refused requests, connections that have ended, holds placed and lifted, and how far Postgres has the rest.
import * as v from 'valibot';
import { batchRecordsMax } from '../../core/batch-sizes.ts';
import { resumeLedger } from '../../core/ledger.ts';
import { holdRefused } from '../../core/refused-records.ts';
import {
  denial as denialSchema,
  flowRecord,
  holdRecord,
  registration,
  sessionRecord,
} from '../../protocol/write-back.ts';
import { unreachable } from '../../protocol/assert.ts';
import type { FlowRecord } from '../../protocol/write-back.ts';
import type { LedgerSave } from '../../core/effect.ts';
import type { State } from '../../core/state.ts';

/** Its tables, as one migration of the object's storage. */
export const ledgerTables = `create table records (revision integer primary key, data text not null) strict;
   create table refused_records (revision integer primary key, data text not null, reason text not null) strict;
   create table denials (key text primary key, data text not null) without rowid, strict;`;

/** Devices that the stream has not shown yet; a migration of its own. */
export const registrationsTable =
  'create table registrations (id text primary key, data text not null) without rowid, strict;';

/** Holds placed and lifted, until Postgres has them; a migration of its own. */
export const holdRecordsTable = 'create table hold_records (revision integer primary key, data text not null) strict;';

const ledgerMarks = v.object({
  revision: v.optional(v.number(), 0),
  through: v.number(),
  flushes: v.array(v.object({ through: v.number(), xid: v.string() })),
  sessions: v.object({ through: v.number(), alive: v.number() }),
});

const refusedRecord = v.union([flowRecord, holdRecord]);
const refusedMark = v.object({ isKnown: v.optional(v.boolean(), false) });

/** Connections that ended before Postgres was told of them; a migration of its own. */
export const sessionRecordsTable =
  'create table session_records (id text primary key, data text not null) without rowid, strict;';

/** Completes a state that has its grants. `stored`: the text of the last `put-ledger`. */
export function loadLedger(sql: SqlStorage, state: State, stored: string | undefined): void {
  const none = { revision: 0, through: 0, flushes: [], sessions: { through: 0, alive: 0 } };
  const marks = stored === undefined ? none : v.parse(ledgerMarks, JSON.parse(stored));
  const { count, last } = sql
    .exec<{ count: number; last: number }>('select count(*) as count, coalesce(max(revision), 0) as last from records')
    .one();
  for (const { data } of sql.exec<{ data: string }>('select data from refused_records order by revision')) {
    const stored: unknown = JSON.parse(data);
    holdRefused(state.ledger.refused, { ...v.parse(refusedMark, stored), record: v.parse(refusedRecord, stored) });
  }
  for (const { key, data } of sql.exec<{ key: string; data: string }>('select key, data from denials')) {
    state.ledger.denials.set(key, v.parse(denialSchema, JSON.parse(data)));
  }
  for (const { data } of sql.exec<{ data: string }>('select data from registrations')) {
    const device = v.parse(registration, JSON.parse(data));
    state.tables.registrations.set(device.id, device);
  }
  for (const { data } of sql.exec<{ data: string }>('select data from hold_records order by revision')) {
    const record = v.parse(holdRecord, JSON.parse(data));
    state.ledger.holds.set(record.revision, record);
  }
  for (const { data } of sql.exec<{ data: string }>('select data from session_records')) {
    const record = v.parse(sessionRecord, JSON.parse(data));
    state.ledger.ended.set(record.id, record);
  }
  resumeLedger(state, marks, { count, lastRevision: last });
}

/** The first records that wait for Postgres and whose grants are gone, by revision. */
export function readRecords(sql: SqlStorage): FlowRecord[] {
  const rows = sql.exec<{ data: string }>('select data from records order by revision limit ?', batchRecordsMax);
  return [...rows].map(({ data }) => v.parse(flowRecord, JSON.parse(data)));
}

/** Writes one save; `putMarks` writes the text that `loadLedger` is given. */
export function saveLedger(sql: SqlStorage, action: LedgerSave, putMarks: (text: string) => void): void {
  switch (action.type) {
    case 'put-record': {
      const { record } = action;
      sql.exec('insert into records (revision, data) values (?, ?)', record.revision, JSON.stringify(record));
      return;
    }
    case 'delete-records':
      sql.exec('delete from records where revision <= ?', action.through);
      return;
    case 'put-refused': {
      const { isKnown, record, reason } = action;
      const values = [record.revision, JSON.stringify({ ...record, isKnown }), reason];
      sql.exec('insert or replace into refused_records (revision, data, reason) values (?, ?, ?)', ...values);
      return;
    }
    case 'delete-refused':
      sql.exec('delete from refused_records where revision = ?', action.revision);
      return;
    case 'put-registration': {
      const { registration: device } = action;
      const put = 'insert into registrations (id, data) values (?, ?) on conflict do update set data = excluded.data';
      sql.exec(put, device.id, JSON.stringify(device));
      return;
    }
    case 'delete-registration':
      sql.exec('delete from registrations where id = ?', action.id);
      return;
    case 'put-denial': {
      const put = 'insert into denials (key, data) values (?, ?) on conflict do update set data = excluded.data';
      sql.exec(put, action.key, JSON.stringify(action.denial));
      return;
    }
    case 'delete-denial':
      sql.exec('delete from denials where key = ?', action.key);
      return;
    case 'put-session-record': {
      const { record } = action;
      sql.exec('insert or replace into session_records (id, data) values (?, ?)', record.id, JSON.stringify(record));
      return;
    }
    case 'delete-session-record':
      sql.exec('delete from session_records where id = ?', action.id);
      return;
    case 'put-hold-record': {
      const { record } = action;
      sql.exec('insert into hold_records (revision, data) values (?, ?)', record.revision, JSON.stringify(record));
      return;
    }
    case 'delete-hold-record':
      sql.exec('delete from hold_records where revision = ?', action.revision);
      return;
    case 'put-ledger':
      putMarks(JSON.stringify(action.marks));
      return;
  }
  unreachable(action);
}
