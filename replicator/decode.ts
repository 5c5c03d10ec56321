// Messages of pgoutput, protocol version 1, from bytes to values
// (https://www.postgresql.org/docs/18/protocol-logicalrep-message-formats.html).
//
// Pure. Nothing of the buffer is kept: every text is copied out before `decode` returns. A decoder belongs to one
// connection, because the server describes each relation once per connection. Object ids and transaction ids are
// unsigned. An unchanged TOAST value is filled from the old row. A value that
// cannot be decoded is marked as such; a message that cannot throws StreamStopError.
import type { WireRow, WireValue } from '../protocol/commit.ts';
import type { Lsn } from '../protocol/lsn.ts';
import { bounded, readable, textBytesMax, tooLarge } from './quarantine.ts';
import { StreamStopError } from './stop.ts';
import { decoderOf } from './value.ts';

export type Relation = {
  readonly id: number;
  readonly schema: string;
  readonly name: string;
  readonly columns: readonly Column[];
};
type Column = { readonly name: string; readonly decode: (text: string) => WireValue };

export type Message =
  /** `start` is where the commit record begins. */
  | { readonly type: 'begin'; readonly xid32: number; readonly committedAtUs: number; readonly start: Lsn }
  | { readonly type: 'commit'; readonly endLsn: Lsn; readonly committedAtUs: number }
  | { readonly type: 'relation'; readonly relation: Relation }
  | { readonly type: 'insert'; readonly relation: Relation; readonly new: WireRow }
  /** `old` is null where the table does not log full old rows. */
  | { readonly type: 'update'; readonly relation: Relation; readonly old: WireRow | null; readonly new: WireRow }
  | { readonly type: 'delete'; readonly relation: Relation; readonly old: WireRow | null }
  | { readonly type: 'truncate'; readonly relations: readonly Relation[] }
  | { readonly type: 'message'; readonly transactional: boolean; readonly prefix: string; readonly content: string }
  | { readonly type: 'origin' }
  | { readonly type: 'type' };

export type Decoder = { readonly decode: (bytes: Buffer) => Message };

type Cursor = { readonly bytes: Buffer; at: number };

const tag = (char: string): number => char.charCodeAt(0);
const BEGIN = tag('B');
const COMMIT = tag('C');
const RELATION = tag('R');
const INSERT = tag('I');
const UPDATE = tag('U');
const DELETE = tag('D');
const TRUNCATE = tag('T');
const MESSAGE = tag('M');
const ORIGIN = tag('O');
const TYPE = tag('Y');
const OLD_ROW = tag('O');
const OLD_KEY = tag('K');
const NEW_ROW = tag('N');
const NULL_VALUE = tag('n');
const UNCHANGED_TOAST = tag('u');
const TEXT_VALUE = tag('t');

export function createDecoder(): Decoder {
  const relationsById = new Map<number, Relation>();
  return {
    decode(bytes) {
      const cursor = { bytes, at: 1 };
      switch (bytes[0] ?? 0) {
        case BEGIN:
          return readBegin(cursor);
        case COMMIT:
          return readCommit(cursor);
        case RELATION: {
          const relation = readRelation(cursor);
          relationsById.set(relation.id, relation);
          return { type: 'relation', relation };
        }
        case INSERT:
          return readInsert(cursor, relationsById);
        case UPDATE:
          return readUpdate(cursor, relationsById);
        case DELETE:
          return readDelete(cursor, relationsById);
        case TRUNCATE:
          return readTruncate(cursor, relationsById);
        case MESSAGE:
          return readMessage(cursor);
        case ORIGIN:
          return { type: 'origin' };
        case TYPE:
          return { type: 'type' };
        default:
          throw new StreamStopError(
            `the server sent a message of unknown kind ${JSON.stringify(String.fromCharCode(bytes[0] ?? 0))}: this replicator reads pgoutput protocol 1 only; upgrade it to match the server`,
          );
      }
    },
  };
}

function readBegin(cursor: Cursor): Message {
  const start = readUint64(cursor);
  const committedAtUs = readTimeUs(cursor);
  return { type: 'begin', start, committedAtUs, xid32: readUint32(cursor) };
}

function readCommit(cursor: Cursor): Message {
  cursor.at += 1 + 8;
  const endLsn = readUint64(cursor);
  return { type: 'commit', endLsn, committedAtUs: readTimeUs(cursor) };
}

function readRelation(cursor: Cursor): Relation {
  const id = readUint32(cursor);
  const schema = readCString(cursor);
  const name = readCString(cursor);
  cursor.at += 1;
  const columns = readTimes(readUint16(cursor), () => {
    cursor.at += 1;
    const columnName = readCString(cursor);
    const typeOid = readUint32(cursor);
    cursor.at += 4;
    return { name: columnName, decode: decoderOf(typeOid) };
  });
  return { id, schema, name, columns };
}

function readInsert(cursor: Cursor, relationsById: ReadonlyMap<number, Relation>): Message {
  const relation = readRelationRef(cursor, relationsById);
  cursor.at += 1;
  return { type: 'insert', relation, new: bounded(readRow(cursor, relation, null), cursor.bytes.length) };
}

function readUpdate(cursor: Cursor, relationsById: ReadonlyMap<number, Relation>): Message {
  const relation = readRelationRef(cursor, relationsById);
  const kind = readUint8(cursor);
  const old = kind === NEW_ROW ? null : readRow(cursor, relation, null);
  if (old !== null) cursor.at += 1;
  const full = kind === OLD_ROW ? old : null;
  const row = bounded(readRow(cursor, relation, full), cursor.bytes.length);
  return { type: 'update', relation, old: full === null ? null : bounded(full, cursor.bytes.length), new: row };
}

function readDelete(cursor: Cursor, relationsById: ReadonlyMap<number, Relation>): Message {
  const relation = readRelationRef(cursor, relationsById);
  if (readUint8(cursor) === OLD_KEY) return { type: 'delete', relation, old: null };
  return { type: 'delete', relation, old: bounded(readRow(cursor, relation, null), cursor.bytes.length) };
}

function readTruncate(cursor: Cursor, relationsById: ReadonlyMap<number, Relation>): Message {
  const count = readUint32(cursor);
  cursor.at += 1;
  return { type: 'truncate', relations: readTimes(count, () => readRelationRef(cursor, relationsById)) };
}

function readMessage(cursor: Cursor): Message {
  const transactional = (readUint8(cursor) & 1) === 1;
  cursor.at += 8;
  const prefix = readCString(cursor);
  const length = readUint32(cursor);
  // Any role may emit one, of any length; none of ours is so long.
  if (length <= textBytesMax) return { type: 'message', transactional, prefix, content: readText(cursor, length) };
  skip(cursor, length);
  return { type: 'message', transactional, prefix, content: '' };
}

function readRelationRef(cursor: Cursor, relationsById: ReadonlyMap<number, Relation>): Relation {
  const id = readUint32(cursor);
  const relation = relationsById.get(id);
  if (relation === undefined)
    throw new StreamStopError(`a change names relation ${id}, which the server never described`);
  return relation;
}

/** `old` fills what the server did not repeat: an unchanged value stored out of line arrives as a marker only. */
function readRow(cursor: Cursor, relation: Relation, old: WireRow | null): WireRow {
  const count = readUint16(cursor);
  if (count !== relation.columns.length) {
    throw new StreamStopError(
      `a row of ${relation.name} has ${count} columns where its description has ${relation.columns.length}`,
    );
  }
  const row: Record<string, WireValue> = {};
  for (const column of relation.columns) row[column.name] = readValue(cursor, relation, column, old);
  return row;
}

function readValue(cursor: Cursor, relation: Relation, column: Column, old: WireRow | null): WireValue {
  const kind = readUint8(cursor);
  if (kind === NULL_VALUE) return null;
  if (kind === TEXT_VALUE) {
    const length = readUint32(cursor);
    if (length <= textBytesMax) return readable(column.decode, readText(cursor, length));
    skip(cursor, length);
    return tooLarge();
  }
  const unchanged = kind === UNCHANGED_TOAST ? old?.[column.name] : undefined;
  if (unchanged === undefined) {
    throw new StreamStopError(
      `the value of ${relation.name}.${column.name} is not in the stream: run \`alter table ${relation.schema}.${relation.name} replica identity full\`, after which every account is resynchronized`,
      { isPassable: true },
    );
  }
  return unchanged;
}

const unixToPostgresEpochUs = 946_684_800_000_000n;

function readTimeUs(cursor: Cursor): number {
  const value = cursor.bytes.readBigInt64BE(cursor.at);
  cursor.at += 8;
  return Number(value + unixToPostgresEpochUs);
}

function readUint8(cursor: Cursor): number {
  const value = cursor.bytes.readUInt8(cursor.at);
  cursor.at += 1;
  return value;
}

function readUint16(cursor: Cursor): number {
  const value = cursor.bytes.readUInt16BE(cursor.at);
  cursor.at += 2;
  return value;
}

function readUint32(cursor: Cursor): number {
  const value = cursor.bytes.readUInt32BE(cursor.at);
  cursor.at += 4;
  return value;
}

function readUint64(cursor: Cursor): bigint {
  const value = cursor.bytes.readBigUInt64BE(cursor.at);
  cursor.at += 8;
  return value;
}

function readCString(cursor: Cursor): string {
  const end = cursor.bytes.indexOf(0, cursor.at);
  if (end === -1) throw new StreamStopError('a message of the stream ends inside a name');
  const text = cursor.bytes.toString('utf8', cursor.at, end);
  cursor.at = end + 1;
  return text;
}

function readText(cursor: Cursor, length: number): string {
  const start = cursor.at;
  skip(cursor, length);
  return cursor.bytes.toString('utf8', start, cursor.at);
}

function skip(cursor: Cursor, length: number): void {
  cursor.at += length;
  if (cursor.at > cursor.bytes.length) throw new StreamStopError('a message of the stream ends inside a value');
}

function readTimes<T>(count: number, read: () => T): readonly T[] {
  const list: T[] = [];
  for (let index = 0; index < count; index += 1) list.push(read());
  return list;
}
