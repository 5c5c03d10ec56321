// The digest of an account's rows in Postgres, read and decoded as the replicator's snapshots are, and what of it an account's
// object does not have.
import { createHash } from 'node:crypto';
import type { ClientBase } from 'pg';
import { digestKey, digestText, type DigestAnswer, type TableDigest } from '../protocol/digest.ts';
import type { AccountId } from '../protocol/ids.ts';
import { tableNames, type TableName } from '../protocol/tables.ts';
import { readAccount } from '../replicator/snapshot.ts';

type Tables = DigestAnswer['tables'];

/** `client` is a session with the settings of the replicator's, so that values read alike. */
export async function digestOfDatabase(client: ClientBase, account: AccountId): Promise<Tables> {
  const { rows } = await readAccount(client, account, [], Math.random);
  const tables: Partial<Record<TableName, TableDigest>> = {};
  for (const table of tableNames) {
    const held = (rows[table] ?? []).map((row) => ({ key: digestKey(table, row), text: digestText(row) }));
    if (held.length === 0) continue;
    const hash = createHash('sha256');
    for (const { text } of held.toSorted((a, b) => (a.key < b.key ? -1 : 1))) hash.update(text);
    tables[table] = { rows: held.length, digest: hash.digest('hex') };
  }
  return tables;
}

/** A sentence for each table that differs. */
export function differences(database: Tables, object: Tables): string[] {
  return tableNames.flatMap((table) => {
    const [there, here] = [database[table], object[table]];
    if (there?.digest === here?.digest) return [];
    const isSameCount = there?.rows === here?.rows;
    return [
      `${table}: ${isSameCount ? `${here?.rows} rows, with other contents` : `${here?.rows ?? 0} rows, the database has ${there?.rows ?? 0}`}`,
    ];
  });
}
