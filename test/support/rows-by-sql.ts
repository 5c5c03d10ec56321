// Rows and changes of the world as statements of SQL. What the database wants besides what decisions read is added.
import { escapeLiteral } from 'pg';
import * as v from 'valibot';
import { keyColumns, tableName, tableNames } from '../../protocol/tables.ts';
import { wireRow } from '../../protocol/commit.ts';
import type { TableName } from '../../protocol/tables.ts';
import type { WireRow, WireValue } from '../../protocol/commit.ts';

/** By table, columns that may not be null, and that the world leaves out. */
const required: Readonly<Partial<Record<TableName, WireRow>>> = {
  accounts: { name: 'Acme' },
  actors: { name: 'Alice' },
  auth_providers: { name: 'Okta', adapter: 'openid_connect', provisioner: 'manual' },
  auth_identities: { provider_identifier: 'alice' },
  clients: { name: 'Laptop' },
  gateways: { name: 'Rack' },
};

const change = v.variant('op', [
  v.object({ op: v.literal('insert'), table: tableName, new: wireRow }),
  v.object({ op: v.literal('update'), table: tableName, old: wireRow, new: wireRow }),
  v.object({ op: v.literal('delete'), table: tableName, old: wireRow }),
  v.object({ op: v.literal('truncate'), table: v.union([tableName, v.literal('flows')]) }),
]);

/** Parents before children. */
export function insertions(rows: Readonly<Partial<Record<TableName, readonly WireRow[]>>>): string[] {
  return tableNames.flatMap((table) => (rows[table] ?? []).map((row) => insertion(table, row)));
}

/** One statement a change, in the order given; `changes` are those of a commit, without their numbers. */
export function statementsFor(changes: readonly object[]): string[] {
  return changes.map((only) => {
    const made = v.parse(change, only);
    switch (made.op) {
      case 'insert':
        return insertion(made.table, made.new);
      case 'update': {
        const { old, new: row } = made;
        const columns = Object.keys(row).filter(
          (column) => JSON.stringify(old[column]) !== JSON.stringify(row[column]),
        );
        const set = columns.map((column) => `${column} = ${literal(row[column] ?? null)}`);
        return `update ${made.table} set ${set.join(', ')} where ${isRow(made.table, old)}`;
      }
      case 'delete':
        return `delete from ${made.table} where ${isRow(made.table, made.old)}`;
      case 'truncate':
        return `truncate ${made.table}`;
    }
  });
}

function insertion(table: TableName, row: WireRow): string {
  const whole: WireRow = { ...required[table], ...row };
  const columns = Object.keys(whole);
  return `insert into ${table} (${columns.join(', ')}) values (${columns.map((column) => literal(whole[column] ?? null)).join(', ')})`;
}

function isRow(table: TableName, row: WireRow): string {
  return keyColumns[table].map((column) => `${column} = ${literal(row[column] ?? null)}`).join(' and ');
}

/** Lists are of JSON texts: no other array is among the columns. */
function literal(value: WireValue): string {
  if (value === null) return 'null';
  if (typeof value === 'string') return escapeLiteral(value);
  if (typeof value === 'object') return `array[${value.map(literal).join(', ')}]::jsonb[]`;
  return String(value);
}
