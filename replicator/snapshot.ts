// All rows of one account as of one database snapshot S.
//
// The published tables are locked in ACCESS SHARE mode before S is taken, so that no rewrite or truncate can fall between
// S and the reading. S is taken on the primary and must see every transaction given as `mustSee`: the stream runs ahead
// of visibility, and without this a row could go back to an earlier state. Rows are decoded as the stream decodes them.
import { setTimeout as delay } from 'node:timers/promises';
import type { ClientBase, CustomTypesConfig } from 'pg';
import { must } from '../protocol/assert.ts';
import type { WireRow, WireValue } from '../protocol/commit.ts';
import type { AccountId } from '../protocol/ids.ts';
import { messagePrefix } from '../protocol/steering.ts';
import { accountColumn, tableNames, type TableName } from '../protocol/tables.ts';
import { composeSteering } from './steering.ts';
import { decoderOf } from './value.ts';
import { isVisible, parsePgSnapshot, type PgSnapshot, type Xid } from './visibility.ts';

export type AccountRows = {
  readonly seen: PgSnapshot;
  readonly rows: Readonly<Partial<Record<TableName, readonly WireRow[]>>>;
};

const attemptsMax = 200;

/** The primary does not come to see what the stream has delivered. */
export class UnseenError extends Error {
  override readonly name = 'UnseenError';
}

/** Throws UnseenError when S does not come to see `mustSee` within about ten seconds, as behind a synchronous standby that is gone. */
export async function readAccount(
  client: ClientBase,
  account: AccountId,
  mustSee: readonly Xid[],
  random: () => number,
): Promise<AccountRows> {
  for (let attempt = 1; attempt <= attemptsMax; attempt += 1) {
    await client.query('begin isolation level repeatable read read only');
    try {
      // Must stay the first statement: the next one fixes S.
      await client.query(`lock table ${tableNames.map((table) => `public.${table}`).join(', ')} in access share mode`);
      const seen = await currentSnapshot(client);
      if (mustSee.every((xid) => isVisible(seen, xid))) return { seen, rows: await readTables(client, account) };
    } finally {
      await client.query('rollback');
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

async function readTables(client: ClientBase, account: AccountId): Promise<AccountRows['rows']> {
  const decoders = await readDecoders(client);
  const rows: Partial<Record<TableName, readonly WireRow[]>> = {};
  for (const table of tableNames) {
    const byColumn = must(decoders.get(table), `the columns of ${table}`);
    const result = await client.query<Record<string, string | null>>({
      text: `select * from only public.${table} where ${accountColumn(table)} = $1`,
      values: [account],
      types: textOnly,
    });
    rows[table] = result.rows.map((row) => decodeRow(row, byColumn));
  }
  return rows;
}

type Decoders = ReadonlyMap<string, (text: string) => WireValue>;

/** By the column's own type, as the stream names it: a result set would name a domain's base type. */
async function readDecoders(client: ClientBase): Promise<ReadonlyMap<TableName, Decoders>> {
  const result = await client.query<{ relation: TableName; name: string; type_oid: string }>(
    `select c.relname as relation, a.attname as name, a.atttypid::text as type_oid
       from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
      where n.nspname = 'public' and c.relname = any ($1) and a.attnum > 0 and not a.attisdropped`,
    [tableNames],
  );
  const byTable = new Map<TableName, Map<string, (text: string) => WireValue>>();
  for (const { relation, name, type_oid: typeOid } of result.rows) {
    const columns = byTable.get(relation) ?? new Map<string, (text: string) => WireValue>();
    byTable.set(relation, columns.set(name, decoderOf(Number(typeOid))));
  }
  return byTable;
}

function decodeRow(row: Readonly<Record<string, string | null>>, decoders: Decoders): WireRow {
  const decoded: Record<string, WireValue> = {};
  for (const [column, text] of Object.entries(row)) {
    decoded[column] = text === null ? null : must(decoders.get(column), `the type of ${column}`)(text);
  }
  return decoded;
}

const textOnly: CustomTypesConfig = { getTypeParser: () => (text: string) => text };
