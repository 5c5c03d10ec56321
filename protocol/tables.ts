// The published tables: which travel, what identifies a row, and which column names its account. The publication in
// migrations/ and this list must agree; a test compares them.
import * as v from 'valibot';

/** By table, the columns that identify a row within its account. Parents come before children. */
export const keyColumns = {
  accounts: ['id'],
  actors: ['id'],
  actor_groups: ['id'],
  actor_group_memberships: ['id'],
  auth_providers: ['id'],
  auth_identities: ['id'],
  gateway_groups: ['id'],
  tokens: ['id'],
  clients: ['id'],
  gateways: ['id'],
  resources: ['id'],
  resource_connections: ['resource_id', 'gateway_group_id'],
  policies: ['id'],
} as const;

export const tableName = v.picklist([
  'accounts',
  'actors',
  'actor_groups',
  'actor_group_memberships',
  'auth_providers',
  'auth_identities',
  'gateway_groups',
  'tokens',
  'clients',
  'gateways',
  'resources',
  'resource_connections',
  'policies',
] satisfies (keyof typeof keyColumns)[]);
export type TableName = v.InferOutput<typeof tableName>;
export const tableNames: readonly TableName[] = tableName.options;

/** The column that names a row's account. */
export function accountColumn(table: TableName): 'id' | 'account_id' {
  return table === 'accounts' ? 'id' : 'account_id';
}

/** Whether a row may belong to no account: it then belongs to the shared one. */
export function mayBeShared(table: TableName): boolean {
  return table === 'tokens';
}
