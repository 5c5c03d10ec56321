// What of a row may stand in the change log: the columns listed here, as JSON text. Whatever is not listed, a secret or a
// column that this code has never heard of, is put as `[redacted]` before it leaves the process; null stays null.
import { isUnreadableValue, type WireRow, type WireValue } from '../protocol/commit.ts';
import type { TableName } from '../protocol/tables.ts';

export const redacted = '"[redacted]"';

/** `json`: the column's text, or the texts of its list, are JSON and stand in the log as what they say. */
type Shown = 'plain' | 'json';

const plain = (...names: readonly string[]): Readonly<Record<string, Shown>> =>
  Object.fromEntries(names.map((name) => [name, 'plain']));

const shownColumns: Readonly<Record<TableName, Readonly<Record<string, Shown>>>> = {
  accounts: {
    ...plain('id', 'name', 'slug', 'region', 'when_behind', 'disabled_at', 'disabled_reason', 'inserted_at'),
    config: 'json',
    features: 'json',
    limits: 'json',
  },
  actors: plain('id', 'account_id', 'type', 'name', 'disabled_at', 'inserted_at'),
  actor_groups: plain('id', 'account_id', 'name', 'type', 'provider_id', 'provider_identifier', 'inserted_at'),
  actor_group_memberships: plain('id', 'account_id', 'actor_id', 'group_id'),
  auth_providers: plain('id', 'account_id', 'name', 'adapter', 'provisioner', 'disabled_at', 'inserted_at'),
  auth_identities: plain('id', 'account_id', 'actor_id', 'provider_id', 'provider_identifier', 'email', 'inserted_at'),
  gateway_groups: plain('id', 'account_id', 'name', 'managed_by', 'inserted_at'),
  tokens: plain(
    'id',
    'account_id',
    'type',
    'name',
    'actor_id',
    'identity_id',
    'gateway_group_id',
    'relay_group_id',
    'expires_at',
    'inserted_at',
  ),
  clients: plain(
    'id',
    'account_id',
    'actor_id',
    'identity_id',
    'external_id',
    'name',
    'ipv4',
    'ipv6',
    'device_serial',
    'device_uuid',
    'identifier_for_vendor',
    'verified_at',
    'verified_by',
    'edge_revision',
    'inserted_at',
  ),
  gateways: plain(
    'id',
    'account_id',
    'group_id',
    'external_id',
    'name',
    'ipv4',
    'ipv6',
    'edge_revision',
    'inserted_at',
  ),
  resources: {
    ...plain('id', 'account_id', 'name', 'type', 'address', 'address_description', 'ip_stack', 'inserted_at'),
    filters: 'json',
  },
  resource_connections: plain('resource_id', 'gateway_group_id', 'account_id'),
  policies: {
    ...plain('id', 'account_id', 'actor_group_id', 'resource_id', 'description', 'disabled_at', 'inserted_at'),
    conditions: 'json',
  },
};

/** The row as JSON text, redacted. */
export function redact(table: TableName, row: WireRow): string {
  const shown = shownColumns[table];
  let members = '';
  // Every change has one or two rows: a list of their members takes three times as long.
  for (const column of Object.keys(row)) {
    if (members !== '') members += ',';
    members += `${JSON.stringify(column)}:${render(row[column], Object.hasOwn(shown, column) ? shown[column] : undefined)}`;
  }
  return `{${members}}`;
}

function render(value: WireValue | undefined, shown: Shown | undefined): string {
  if (value === null || value === undefined) return 'null';
  if (shown === undefined) return redacted;
  if (shown === 'plain' || isUnreadableValue(value)) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((item) => render(item, shown)).join(',')}]`;
  return String(value);
}
