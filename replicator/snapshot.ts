// All rows of one account as of one database snapshot S.
//
// The published tables are locked in ACCESS SHARE mode before S is taken, so that no rewrite or truncate can fall between
// S and the reading. S is taken on the primary and must see every transaction given as `mustSee`: the stream runs ahead
// of visibility, and without this a row could go back to an earlier state. Rows are decoded as the stream decodes them, and
// handed over in parts where they are many, so that memory does not grow with the account.
import { setTimeout as delay } from 'node:timers/promises';
import { escapeIdentifier, escapeLiteral, type ClientBase, type CustomTypesConfig } from 'pg';
import { must } from '../protocol/assert.ts';
import type { WireRow, WireValue } from '../protocol/commit.ts';
import { sharedAccountId, type AccountId } from '../protocol/ids.ts';
import { messagePrefix } from '../protocol/steering.ts';
import {
  accountColumn,
  ledgerTable,
  mayBeShared,
  tableNames,
  type StreamedTable,
  type TableName,
} from '../protocol/tables.ts';
import { composeSteering } from './steering.ts';
import { bounded, readable, textBytesMax, tooLarge } from './quarantine.ts';
import { decoderOf, parseArray } from './value.ts';
import { isVisible, parsePgSnapshot, type PgSnapshot, type Xid } from '../protocol/visibility.ts';

/** Whole rows of every table, but of flows the ids of those that have not ended. */
export type RowsByTable = Readonly<Partial<Record<StreamedTable, readonly WireRow[]>>>;
/** `rows` but for those that were handed over as parts. */
export type AccountRows = { readonly seen: PgSnapshot; readonly rows: RowsByTable };

/** Bytes of rows held before they are handed over as a part. */
export const snapshotPartBytesMax = 2 * 1024 * 1024;
const fetchRowsMax = 1_000;

const attemptsMax = 200;

/** The primary does not come to see what the stream has delivered. */
export class UnseenError extends Error {
  override readonly name = 'UnseenError';
}

/**
 * Throws UnseenError when S does not come to see `mustSee` within about ten seconds, as behind a synchronous standby that is
 * gone.
 */
export async function readAccount(
  client: ClientBase,
  account: AccountId,
  mustSee: readonly Xid[],
  random: () => number,
  /**
   * Takes the rows of a part; nothing more is read before it resolves, and its rejection ends the reading. Without it all are
   * returned.
   */
  onPart?: (rows: RowsByTable) => Promise<void>,
): Promise<AccountRows> {
  for (let attempt = 1; attempt <= attemptsMax; attempt += 1) {
    await client.query('begin isolation level repeatable read read only');
    try {
      // Must stay the first statement: the next one fixes S.
      await client.query(
        `lock table ${[...tableNames, ledgerTable].map((table) => `public.${table}`).join(', ')} in access share mode`,
      );
      const seen = await currentSnapshot(client);
      if (mustSee.every((xid) => isVisible(seen, xid)))
        return { seen, rows: await readTables(client, account, onPart) };
    } finally {
      await client.query('rollback').catch(() => {
        // The session is gone, and with it its transaction; what ended it is thrown already.
      });
    }
    await delay(5 + random() * Math.min(95, attempt * 5));
  }
  throw new UnseenError(
    `a snapshot did not see transactions that the stream had delivered after ${attemptsMax} attempts: does a synchronous standby not answer?`,
  );
}

/** Emits the marker that closes a snapshot. `client` is another session than the one that read the rows. */
export async function emitMarker(client: ClientBase, id: string, key: string): Promise<void> {
  const content = composeSteering({ type: 'marker', id }, key);
  await client.query('select pg_logical_emit_message(true, $1, $2)', [messagePrefix, content]);
}

async function currentSnapshot(client: ClientBase): Promise<PgSnapshot> {
  const result = await client.query<{ snapshot: string }>('select pg_current_snapshot()::text as snapshot');
  return parsePgSnapshot(must(result.rows[0], 'the present snapshot').snapshot);
}

async function readTables(
  client: ClientBase,
  account: AccountId,
  onPart: ((rows: RowsByTable) => Promise<void>) | undefined,
): Promise<RowsByTable> {
  const columns = await readColumns(client);
  let rows: Partial<Record<StreamedTable, WireRow[]>> = {};
  let bytes = 0;
  for (const table of account === sharedAccountId ? tableNames.filter(mayBeShared) : tableNames) {
    const byColumn = must(columns.get(table), `the columns of ${table}`);
    for await (const batch of fetchBatches(client, table, byColumn, account)) {
      const held = (rows[table] ??= []);
      for (const row of batch.rows) held.push(decodeRow(row, byColumn));
      bytes += batch.bytes;
      if (onPart === undefined || bytes <= snapshotPartBytesMax) continue;
      await onPart(rows);
      rows = {};
      bytes = 0;
    }
  }
  const live = await client.query<{ id: string }>(
    'select id::text from only public.flows where account_id = $1 and ended_at is null',
    [account],
  );
  rows[ledgerTable] = live.rows;
  return rows;
}

type TextRow = Readonly<Record<string, string | null>>;

/** By cursor, so that memory is bounded by a batch: of one row at first, then of as many as fill a quarter of a part. */
async function* fetchBatches(client: ClientBase, table: TableName, columns: Columns, account: AccountId) {
  await client.query(
    `declare account_rows no scroll cursor for
       select ${selectList(columns)} from only public.${table} where ${accountColumn(table)} ${account === sharedAccountId ? 'is null' : '= $1'}`,
    account === sharedAccountId ? [] : [account],
  );
  for (let count = 1; ;) {
    const { rows } = await client.query<TextRow>({ text: `fetch ${count} from account_rows`, types: textOnly });
    const bytes = rows.reduce((sum, row) => sum + bytesOf(row), 0);
    if (rows.length > 0) yield { rows, bytes };
    if (rows.length < count) break;
    count = Math.min(fetchRowsMax, count * 4, Math.max(1, Math.floor((snapshotPartBytesMax / 4 / bytes) * count)));
  }
  await client.query('close account_rows');
}

function bytesOf(row: TextRow): number {
  let bytes = 0;
  for (const [column, text] of Object.entries(row)) bytes += column.length + Buffer.byteLength(text ?? '') + 8;
  return bytes;
}

type Column = {
  readonly decode: (text: string) => WireValue;
  /** A text of it has no bound. */
  readonly isLong: boolean;
};
type Columns = ReadonlyMap<string, Column>;

/** No value stored in fewer bytes, compressed or not, has a text of `textBytesMax`. */
const storedBytesMin = 500;
/** Names, as an array, the columns of a row that are left out. */
const leftOut = 'drawbridge: left out';

/** Every column, those left out whose text is too long to be read: as the stream does, so that they are marked alike. */
function selectList(columns: Columns): string {
  const isTooLong = (name: string) =>
    `pg_column_size(${name}) > ${storedBytesMin} and octet_length(${name}::text) > ${textBytesMax}`;
  const long = [...columns].filter(([, { isLong }]) => isLong).map(([column]) => column);
  const names = long.map(
    (column) => `case when ${isTooLong(escapeIdentifier(column))} then ${escapeLiteral(column)} end`,
  );
  const values = [...columns].map(([column, { isLong }]) => {
    const name = escapeIdentifier(column);
    return isLong ? `case when ${isTooLong(name)} then null else ${name} end as ${name}` : name;
  });
  return `${values.join(', ')}, array_remove(array[${names.join(', ')}]::text[], null) as "${leftOut}"`;
}

/** By the column's own type, as the stream names it: a result set would name a domain's base type. */
async function readColumns(client: ClientBase): Promise<ReadonlyMap<TableName, Columns>> {
  const result = await client.query<{ relation: TableName; name: string; type_oid: string; is_long: boolean }>(
    `select c.relname as relation, a.attname as name, a.atttypid::text as type_oid, a.attlen = -1 as is_long
       from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = 'public' and c.relname = any ($1) and a.attnum > 0 and not a.attisdropped
      order by a.attnum`,
    [tableNames],
  );
  const byTable = new Map<TableName, Map<string, Column>>();
  for (const { relation, name, type_oid: typeOid, is_long: isLong } of result.rows) {
    const columns = byTable.get(relation) ?? new Map<string, Column>();
    byTable.set(relation, columns.set(name, { decode: decoderOf(Number(typeOid)), isLong }));
  }
  return byTable;
}

function decodeRow({ [leftOut]: absent = null, ...row }: TextRow, columns: Columns): WireRow {
  const decoded: Record<string, WireValue> = {};
  for (const [column, text] of Object.entries(row)) {
    decoded[column] = text === null ? null : readable(must(columns.get(column), `the type of ${column}`).decode, text);
  }
  for (const column of parseArray(absent ?? '{}', (name) => name)) decoded[String(column)] = tooLarge();
  return bounded(decoded, bytesOf(row));
}

const textOnly: CustomTypesConfig = { getTypeParser: () => (text: string) => text };
