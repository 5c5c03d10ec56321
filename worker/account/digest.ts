// The digest of the rows that an account's object has stored, as protocol/digest.ts has it.
import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { wireRow } from '../../protocol/commit.ts';
import { digestText, type DigestAnswer, type TableDigest } from '../../protocol/digest.ts';
import { tableNames, type TableName } from '../../protocol/tables.ts';

export function digestRows(sql: SqlStorage): DigestAnswer['tables'] {
  const tables: Partial<Record<TableName, TableDigest>> = {};
  for (const table of tableNames) {
    const hash = createHash('sha256');
    let rows = 0;
    for (const { row } of sql.exec<{ row: string }>('select row from rows where tbl = ? order by key', table)) {
      hash.update(digestText(v.parse(wireRow, JSON.parse(row))));
      rows += 1;
    }
    if (rows > 0) tables[table] = { rows, digest: hash.digest('hex') };
  }
  return tables;
}
