// The published tables: which travel, what identifies a row, and which column names its account. The publications in
// migrations/ and these lists must agree; a test compares them.
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
  flows: ['id'],
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
] satisfies Exclude<keyof typeof keyColumns, 'flows'>[]);
export type TableName = v.InferOutput<typeof tableName>;
export const tableNames: readonly TableName[] = tableName.options;

/** The ledger of flows: streamed by a publication of its own, without inserts and without rows that have ended. */
export const ledgerTable = 'flows';
export const streamedTable = v.picklist([...tableName.options, ledgerTable]);
export type StreamedTable = v.InferOutput<typeof streamedTable>;

/** The column that names a row's account. */
export function accountColumn(table: StreamedTable): 'id' | 'account_id' {
  return table === 'accounts' ? 'id' : 'account_id';
}

/** Whether a row may belong to no account: it then belongs to the shared one. */
export function mayBeShared(table: StreamedTable): boolean {
  return table === 'tokens';
}
