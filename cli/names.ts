// What people call the rows that an answer names by id. Names are an ornament: without a database the ids stand alone.
import type { Client } from 'pg';

/** Rows named at once, at most. */
const namesMax = 5_000;

const named: readonly (readonly [table: string, column: string])[] = [
  ['actors', 'name'],
  ['actor_groups', 'name'],
  ['auth_providers', 'name'],
  ['clients', 'name'],
  ['gateways', 'name'],
  ['gateway_groups', 'name'],
  ['policies', 'description'],
  ['resources', 'name'],
  ['tokens', 'name'],
];

/** Every id, 36 characters of hex digits and dashes, that stands anywhere in `answer`. */
export function idsIn(answer: object): string[] {
  return [...new Set(JSON.stringify(answer).match(/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g))].slice(
    0,
    namesMax,
  );
}

/** Names by id, of those of the account's rows that have one. */
export async function readNames(db: Client, account: string, ids: readonly string[]): Promise<Record<string, string>> {
  const selects = named.map(
    ([table, column]) =>
      `select id::text, ${column} as name from ${table} where account_id = $1 and id = any ($2::uuid[]) and ${column} <> ''`,
  );
  const { rows } = await db.query<{ id: string; name: string }>(selects.join(' union all '), [account, ids]);
  return Object.fromEntries(rows.map(({ id, name }) => [id, name]));
}
