// What an account's object holds, in brief: the number of rows and a digest of them, by table. It is compared with the same
// digest of the rows in Postgres, to see that the edge has what the database has. Signed like a status request.
//
// Here are the contract and the text under a digest; who holds rows computes.
import * as v from 'valibot';
import { position, type WireRow } from './commit.ts';
import { accountId } from './ids.ts';
import { place } from './place.ts';
import { keyColumns, tableName, type TableName } from './tables.ts';

/** POST a DigestRequest as JSON; 200 with a DigestAnswer as JSON. */
export const digestPath = '/internal/v1/digest';

export const digestRequest = v.object({ version: v.literal(1), account: accountId, place });

/** `digest`: SHA-256, lower-case hex, over `digestText` of each row, in the order of `digestKey`, by code units. */
const tableDigest = v.object({ rows: v.pipe(v.number(), v.safeInteger(), v.minValue(1)), digest: v.string() });
export type TableDigest = v.InferOutput<typeof tableDigest>;

/** Tables without rows are left out. */
export const digestAnswer = v.object({ position: v.nullable(position), tables: v.record(tableName, tableDigest) });
export type DigestAnswer = v.InferOutput<typeof digestAnswer>;

export function digestKey(table: TableName, row: WireRow): string {
  return keyColumns[table].map((column) => String(row[column])).join('/');
}

/** One line: the row as JSON, its columns in the order of their names. */
export function digestText(row: WireRow): string {
  const columns = Object.entries(row).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `${JSON.stringify(Object.fromEntries(columns))}\n`;
}
