// Rows as SQL writes them: each column the text that Postgres prints for it, which it also reads, whatever the type. So
// a row that was read can be inserted again as it was. The state that random edits are made from is read in this form.
import { escapeLiteral, type ClientBase, type CustomTypesConfig } from 'pg';
import { accountColumn, keyColumns, type TableName } from '../../protocol/tables.ts';

/** By column, Postgres's text of the value; columns that are left out of an insert have their default. */
export type SqlRow = Readonly<Record<string, string | null>>;

export type SqlRows = ReadonlyMap<TableName, readonly SqlRow[]>;

/** The published tables by their foreign keys: what a row refers to stands in a table before its own. */
export const parentsFirst: readonly TableName[] = [
  'accounts',
  'actors',
  'auth_providers',
  'auth_identities',
  'actor_groups',
  'actor_group_memberships',
  'gateway_groups',
  'tokens',
  'clients',
  'gateways',
  'resources',
  'resource_connections',
  'policies',
];

/** All rows of an account, in order of their keys. */
export async function readSqlRows(db: ClientBase, account: string): Promise<SqlRows> {
  const rows = new Map<TableName, readonly SqlRow[]>();
  for (const table of parentsFirst) {
    const result = await db.query<SqlRow>({
      text: `select * from public.${table} where ${accountColumn(table)} = $1 order by ${keyColumns[table].join(', ')}`,
      values: [account],
      types: textOnly,
    });
    rows.set(table, result.rows);
  }
  return rows;
}

/** The rows of every account, by account. */
export async function readAllSqlRows(db: ClientBase): Promise<Map<string, Map<TableName, SqlRow[]>>> {
  const found = new Map<string, Map<TableName, SqlRow[]>>();
  for (const table of parentsFirst) {
    const { rows } = await db.query<SqlRow>({
      text: `select * from public.${table} order by ${keyColumns[table].join(', ')}`,
      types: textOnly,
    });
    for (const [account, own] of Map.groupBy(rows, (row) => row[accountColumn(table)] ?? '')) {
      const tables = found.get(account) ?? new Map<TableName, SqlRow[]>();
      found.set(account, tables.set(table, own));
    }
  }
  return found;
}

/** One statement that inserts the rows, which must name the same columns and be at least one. */
export function insertSql(table: TableName, rows: readonly SqlRow[]): string {
  const columns = Object.keys(rows[0] ?? {});
  const tuples = rows.map((row) => `(${columns.map((column) => literal(row[column] ?? null)).join(', ')})`);
  return `insert into ${table} (${columns.join(', ')}) values ${tuples.join(', ')}`;
}

/** One statement that sets columns of one row. */
export function updateSql(table: TableName, row: SqlRow, set: SqlRow): string {
  const assignments = Object.entries(set).map(([column, value]) => `${column} = ${literal(value)}`);
  return `update ${table} set ${assignments.join(', ')} where ${whereKey(table, row)}`;
}

/** One statement that deletes one row. */
export function deleteSql(table: TableName, row: SqlRow): string {
  return `delete from ${table} where ${whereKey(table, row)}`;
}

export function literal(value: string | null): string {
  return value === null ? 'null' : escapeLiteral(value);
}

/** The text of an array of texts (https://www.postgresql.org/docs/18/arrays.html#ARRAYS-IO). */
export function arrayText(items: readonly string[]): string {
  return `{${items.map((item) => `"${item.replaceAll(/["\\]/g, String.raw`\$&`)}"`).join(',')}}`;
}

function whereKey(table: TableName, row: SqlRow): string {
  return keyColumns[table].map((column) => `${column} = ${literal(row[column] ?? null)}`).join(' and ');
}

const textOnly: CustomTypesConfig = { getTypeParser: () => (text: string) => text };
