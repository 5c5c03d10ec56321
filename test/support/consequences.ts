// docs/consequences.md as data: its lines as they are written, and for each the change that it speaks of, as rows of the world.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { id, insert, remove, row, tokenRow, update, worldRows } from './world.ts';
import type { TableName } from '../../protocol/tables.ts';
import type { WireRow } from '../../protocol/commit.ts';

type Rows = Partial<Record<TableName, WireRow[]>>;
/** The change of one line, and what the situation is before anybody connects. */
export type Line = { readonly rows?: (rows: Rows) => void } & (
  | { readonly type: 'commit'; readonly changes: readonly object[] }
  /** Nothing but time: until this moment, milliseconds since 1970-01-01 UTC. */
  | { readonly type: 'time'; readonly at: number }
  /** A change of the live flow's row in the ledger, as it is streamed: one that has ended arrives as a delete. */
  | { readonly type: 'ledger'; readonly op: 'insert' | 'update' | 'delete' }
  /** The client connects once more, from this address. */
  | { readonly type: 'connect'; readonly remoteIp: string }
);

const another = id('res', 2);
const group2 = id('grp', 2);
const disabled = { disabled_at: '2026-01-01 00:00:00+00' };
const secretOf = (tokenId: string) => tokenRow('client', tokenId, 'x'.repeat(32));
const condition = (property: string, operator: string, ...values: string[]) =>
  JSON.stringify({ property, operator, values });
const verified = { verified_at: '2026-01-01 00:00:00+00', verified_by: 'actor' };
const unverified = { verified_at: null, verified_by: null };
const isVerified = condition('client_verified', 'is', 'true');
/** 1970-01-01 is a Thursday; the tests' clock starts at 00:16:40 UTC on it. */
const untilOne = condition('current_utc_datetime', 'is_in_day_of_week_time_ranges', 'R/00:00-01:00/UTC');
const fromOne = condition('current_utc_datetime', 'is_in_day_of_week_time_ranges', 'R/01:00-02:00/UTC');
const justAfterOne = 3_600_001;

const edit = (...changes: readonly object[]) => ({ type: 'commit' as const, changes });

function addAnother(rows: Rows, policy: WireRow | null): void {
  rows.resources?.push(row('resources', { id: another, address: '10.10.0.0/16' }));
  rows.resource_connections?.push(row('resource_connections', { resource_id: another }));
  if (policy !== null) rows.policies?.push(row('policies', { id: id('pol', 2), resource_id: another, ...policy }));
}

function withIdentity(rows: Rows): void {
  rows.auth_providers = [row('auth_providers'), row('auth_providers', { id: id('prov', 2) })];
  rows.auth_identities = [row('auth_identities')];
  const [clientToken, ...others] = rows.tokens ?? [];
  rows.tokens = [{ ...clientToken, identity_id: id('iden') }, ...others];
}

const tokenWithIdentity = { identity_id: id('iden') };
const dns = { type: 'dns', address: 'db.example.com', ip_stack: 'dual' };
const secondPolicy = { id: id('pol', 2), actor_group_id: group2 };
function withSecondGroup(rows: Rows): void {
  rows.actor_groups?.push(row('actor_groups', { id: group2, name: 'Sales' }));
  rows.actor_group_memberships?.push(row('actor_group_memberships', { id: id('mem', 2), group_id: group2 }));
}

/** By the line's id. */
export const consequences: Readonly<Record<string, Line>> = {
  'account-disabled': edit(update('accounts', disabled)),
  'account-slug': edit(update('accounts', { slug: 'other' })),
  'account-config': edit(update('accounts', { config: '{"search_domain":"corp.test"}' })),
  'account-name': edit(update('accounts', { name: 'Other' })),
  'account-deleted': edit(
    remove('policies'),
    remove('resource_connections'),
    remove('resources'),
    remove('gateways'),
    remove('clients'),
    remove('tokens'),
    { op: 'delete', table: 'tokens', old: worldRows().tokens?.[1] },
    remove('gateway_groups'),
    remove('actor_group_memberships'),
    remove('actor_groups'),
    remove('actors'),
    remove('accounts'),
  ),
  'actor-disabled': edit(update('actors', disabled)),
  'actor-renamed': edit(update('actors', { name: 'Other' })),
  'actor-deleted': edit(remove('clients'), remove('tokens'), remove('actor_group_memberships'), remove('actors')),
  'actor-inserted': edit(insert('actors', { id: id('act', 2) })),
  'group-inserted': edit(insert('actor_groups', { id: group2, name: 'Sales' })),
  'group-renamed': edit(update('actor_groups', { name: 'Other' })),
  'group-deleted': edit(remove('policies'), remove('actor_group_memberships'), remove('actor_groups')),
  'membership-deleted': edit(remove('actor_group_memberships')),
  'membership-inserted': {
    rows: (rows) => {
      rows.actor_groups?.push(row('actor_groups', { id: group2, name: 'Sales' }));
      addAnother(rows, { actor_group_id: group2 });
    },
    ...edit(insert('actor_group_memberships', { id: id('mem', 2), group_id: group2 })),
  },
  'membership-rewritten': edit(
    remove('actor_group_memberships'),
    insert('actor_group_memberships', { id: id('mem', 3) }),
  ),
  'provider-disabled': { rows: withIdentity, ...edit(update('auth_providers', disabled)) },
  'provider-deleted': {
    rows: withIdentity,
    ...edit(remove('tokens', tokenWithIdentity), remove('auth_identities'), remove('auth_providers')),
  },
  'provider-other': {
    rows: withIdentity,
    ...edit(update('auth_providers', disabled, { id: id('prov', 2) })),
  },
  'identity-deleted': {
    rows: withIdentity,
    ...edit(remove('tokens', tokenWithIdentity), remove('auth_identities')),
  },
  'token-deleted': edit(remove('tokens')),
  'token-inserted': edit({ op: 'insert', table: 'tokens', new: secretOf(id('tokc', 2)) }),
  'token-expired-by-hand': edit(update('tokens', { expires_at: '1970-01-01 00:00:00+00' })),
  'token-extended': edit(update('tokens', { expires_at: '2200-01-01 00:00:00+00' })),
  'site-token-deleted': edit({ op: 'delete', table: 'tokens', old: worldRows().tokens?.[1] }),
  'client-deleted': edit(remove('clients')),
  'client-inserted': edit(
    insert('clients', { id: id('cli', 2), external_id: 'phone', ipv4: '100.64.0.4', ipv6: 'fd00:2021:1111::4' }),
  ),
  'client-renamed': edit(update('clients', { name: 'Other' })),
  'client-moved': {
    rows: (rows) => rows.actors?.push(row('actors', { id: id('act', 2) })),
    ...edit(update('clients', { actor_id: id('act', 2) })),
  },
  'client-address': edit(update('clients', { ipv4: '100.64.7.7' })),
  'client-verified': {
    rows: (rows) => addAnother(rows, { conditions: [isVerified] }),
    ...edit(update('clients', verified, unverified)),
  },
  'client-unverified': {
    rows: (rows) => {
      rows.clients = [row('clients', verified)];
      rows.policies = [row('policies', { conditions: [isVerified] })];
    },
    ...edit(update('clients', unverified, verified)),
  },
  'gateway-deleted': edit(remove('gateways')),
  'gateway-inserted': edit(
    insert('gateways', { id: id('gw', 2), external_id: 'rack-2', ipv4: '100.64.0.5', ipv6: 'fd00:2021:1111::5' }),
  ),
  'gateway-moved': {
    rows: (rows) => rows.gateway_groups?.push(row('gateway_groups', { id: id('site', 2), name: 'Branch' })),
    ...edit(update('gateways', { group_id: id('site', 2) })),
  },
  'gateway-address': edit(update('gateways', { ipv4: '100.64.7.8' })),
  'gateway-renamed': edit(update('gateways', { name: 'Other' })),
  'site-renamed': edit(update('gateway_groups', { name: 'Other' })),
  'site-deleted': edit(
    remove('resource_connections'),
    remove('gateways'),
    { op: 'delete', table: 'tokens', old: worldRows().tokens?.[1] },
    remove('gateway_groups'),
  ),
  'site-inserted': edit(insert('gateway_groups', { id: id('site', 2), name: 'Branch' })),
  'resource-renamed': edit(update('resources', { name: 'Other' })),
  'resource-description': edit(update('resources', { address_description: 'Other' })),
  'resource-address': edit(update('resources', { address: '10.8.0.0/24' })),
  'resource-type': edit(update('resources', { type: 'ip', address: '10.9.0.1' })),
  'resource-stack': {
    rows: (rows) => {
      rows.resources = [row('resources', dns)];
    },
    ...edit(update('resources', { ip_stack: 'ipv4_only' }, dns)),
  },
  'resource-filters': edit(update('resources', { filters: '[{"protocol":"tcp","ports":["443"]}]' })),
  'resource-replaced': edit(
    remove('policies'),
    remove('resource_connections'),
    remove('resources'),
    insert('resources', { address: '10.8.0.0/24' }),
    insert('resource_connections'),
    insert('policies'),
  ),
  'resource-rewritten': edit(
    remove('policies'),
    remove('resource_connections'),
    remove('resources'),
    insert('resources'),
    insert('resource_connections'),
    insert('policies'),
  ),
  'resource-deleted': edit(remove('policies'), remove('resource_connections'), remove('resources')),
  'resource-inserted': edit(insert('resources', { id: another })),
  'connection-deleted': edit(remove('resource_connections')),
  'connection-deleted-other': {
    rows: (rows) => {
      rows.gateway_groups?.push(row('gateway_groups', { id: id('site', 2), name: 'Branch' }));
      rows.resource_connections?.push(row('resource_connections', { gateway_group_id: id('site', 2) }));
    },
    ...edit(remove('resource_connections')),
  },
  'connection-inserted': {
    rows: (rows) => rows.gateway_groups?.push(row('gateway_groups', { id: id('site', 2), name: 'Branch' })),
    ...edit(insert('resource_connections', { gateway_group_id: id('site', 2) })),
  },
  'connection-rewritten': edit(remove('resource_connections'), insert('resource_connections')),
  'policy-deleted': edit(remove('policies')),
  'policy-deleted-other': {
    rows: (rows) => {
      withSecondGroup(rows);
      rows.policies?.push(row('policies', secondPolicy));
    },
    ...edit(remove('policies')),
  },
  'policy-disabled': edit(update('policies', disabled)),
  'policy-enabled': {
    rows: (rows) => addAnother(rows, disabled),
    ...edit(update('policies', { disabled_at: null }, { id: id('pol', 2), resource_id: another, ...disabled })),
  },
  'policy-inserted': {
    rows: (rows) => addAnother(rows, null),
    ...edit(insert('policies', { id: id('pol', 2), resource_id: another })),
  },
  'policy-inserted-same': { rows: withSecondGroup, ...edit(insert('policies', secondPolicy)) },
  'policy-description': edit(update('policies', { description: 'Other' })),
  'policy-group': {
    rows: (rows) => rows.actor_groups?.push(row('actor_groups', { id: group2, name: 'Sales' })),
    ...edit(update('policies', { actor_group_id: group2 })),
  },
  'policy-resource': {
    rows: (rows) => addAnother(rows, null),
    ...edit(update('policies', { resource_id: another })),
  },
  'policy-conditions': edit(update('policies', { conditions: [isVerified] })),
  'policy-conditions-met': edit(update('policies', { conditions: [condition('client_verified', 'is', 'false')] })),
  'policy-rewritten': edit(remove('policies'), insert('policies', { id: id('pol', 5) })),
  'policies-truncated': edit({ op: 'truncate', table: 'policies' }),
  'flow-deleted': { type: 'ledger', op: 'delete' },
  'flow-ended': { type: 'ledger', op: 'delete' },
  'flow-inserted': { type: 'ledger', op: 'insert' },
  'flow-changed': { type: 'ledger', op: 'update' },
  'flows-truncated': edit({ op: 'truncate', table: 'flows' }),
  'window-closes': {
    rows: (rows) => {
      rows.policies = [row('policies', { conditions: [untilOne] })];
    },
    type: 'time',
    at: justAfterOne,
  },
  'window-opens': { rows: (rows) => addAnother(rows, { conditions: [fromOne] }), type: 'time', at: 3_600_000 },
  'token-expires': {
    rows: (rows) => {
      const [clientToken, ...others] = rows.tokens ?? [];
      rows.tokens = [{ ...clientToken, expires_at: '1970-01-01 01:00:00+00' }, ...others];
    },
    type: 'time',
    at: 3_600_000,
  },
  'address-leaves': {
    rows: (rows) => {
      rows.policies = [row('policies', { conditions: [condition('remote_ip', 'is_in_cidr', '203.0.113.0/24')] })];
    },
    type: 'connect',
    remoteIp: '198.51.100.1',
  },
};

const page = readFileSync(fileURLToPath(new URL('../../docs/consequences.md', import.meta.url)), 'utf8');

const [ofRows = '', ofRelays = ''] = page.split(/^## Relays$/m);

/** The lines of the page: id, change in words, and what each side is told. */
export const linesOfPage = [...ofRows.matchAll(/^\| ([a-z-]+) +\| (.*?) +\| (.*?) +\| (.*?) +\|$/gm)]
  .filter(([, name = '']) => name !== 'id' && !name.startsWith('-'))
  .map(([, name = '', change = '', gateway = '', client = '']) => ({ name, change, gateway, client }));

/** The lines about relays: the same, and what the relays are told. */
export const linesOfRelays = [...ofRelays.matchAll(/^\| ([a-z-]+) +\| (.*?) +\| (.*?) +\| (.*?) +\| (.*?) +\|$/gm)]
  .filter(([, name = '']) => name !== 'id' && !name.startsWith('-'))
  .map(([, name = '', change = '', relay = '', gateway = '', client = '']) => ({
    name,
    change,
    relay,
    gateway,
    client,
  }));

/** What a cell of the page says, one thing each. */
export function thingsIn(cell: string): string[] {
  return cell === '—' ? [] : cell.split(', ');
}
