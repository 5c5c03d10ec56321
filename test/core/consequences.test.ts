// docs/consequences.md, line by line: the page is read, each line is run, and what each side is told is compared with it.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { authorizeFlow, createFlow, drive, joinClient, joinGateway, lines, refOf } from '../support/core.ts';
import { clientHello, id, ids, insert, remove, row, tokenRow, update, worldRows } from '../support/world.ts';
import type { Drive } from '../support/core.ts';
import type { TableName } from '../../protocol/tables.ts';
import type { WireRow } from '../../protocol/commit.ts';

type Rows = Partial<Record<TableName, WireRow[]>>;
type Case = {
  /** Changes the situation before anybody connects. */
  readonly rows?: (rows: Rows) => void;
  /** Makes the change; returns the lines that were sent. */
  readonly change: (driven: Drive) => string[];
};

const another = id('res', 2);
const group2 = id('grp', 2);
const disabled = { disabled_at: '2026-01-01 00:00:00+00' };
const secretOf = (tokenId: string) => tokenRow('client', tokenId, 'x'.repeat(32));
const condition = (property: string, operator: string, ...values: string[]) =>
  JSON.stringify({ property, operator, values });
const isVerified = condition('client_verified', 'is', 'true');
/** 1970-01-01 is a Thursday; the tests' clock starts at 00:16:40 UTC on it. */
const untilOne = condition('current_utc_datetime', 'is_in_day_of_week_time_ranges', 'R/00:00-01:00/UTC');
const fromOne = condition('current_utc_datetime', 'is_in_day_of_week_time_ranges', 'R/01:00-02:00/UTC');
const justAfterOne = 3_600_001;

const oneCommit =
  (...changes: readonly object[]) =>
  (driven: Drive) =>
    driven.commit(...changes);
const edit = (...changes: readonly object[]): Case => ({ change: oneCommit(...changes) });

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
  rows.actor_groups?.push(row('actor_groups', { id: group2 }));
  rows.actor_group_memberships?.push(row('actor_group_memberships', { id: id('mem', 2), group_id: group2 }));
}

function after(ms: number): (driven: Drive) => string[] {
  return (driven) => {
    driven.now = ms;
    return lines(driven.step({ type: 'tick' }));
  };
}

const cases: Readonly<Record<string, Case>> = {
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
  'group-inserted': edit(insert('actor_groups', { id: group2 })),
  'group-renamed': edit(update('actor_groups', { name: 'Other' })),
  'group-deleted': edit(remove('policies'), remove('actor_group_memberships'), remove('actor_groups')),
  'membership-deleted': edit(remove('actor_group_memberships')),
  'membership-inserted': {
    rows: (rows) => {
      rows.actor_groups?.push(row('actor_groups', { id: group2 }));
      addAnother(rows, { actor_group_id: group2 });
    },
    change: oneCommit(insert('actor_group_memberships', { id: id('mem', 2), group_id: group2 })),
  },
  'membership-rewritten': edit(
    remove('actor_group_memberships'),
    insert('actor_group_memberships', { id: id('mem', 3) }),
  ),
  'provider-disabled': { rows: withIdentity, change: oneCommit(update('auth_providers', disabled)) },
  'provider-deleted': {
    rows: withIdentity,
    change: oneCommit(remove('tokens', tokenWithIdentity), remove('auth_identities'), remove('auth_providers')),
  },
  'provider-other': {
    rows: withIdentity,
    change: oneCommit(update('auth_providers', disabled, { id: id('prov', 2) })),
  },
  'identity-deleted': {
    rows: withIdentity,
    change: oneCommit(remove('tokens', tokenWithIdentity), remove('auth_identities')),
  },
  'token-deleted': edit(remove('tokens')),
  'token-inserted': edit({ op: 'insert', table: 'tokens', new: secretOf(id('tokc', 2)) }),
  'token-expired-by-hand': edit(update('tokens', { expires_at: '1970-01-01 00:00:00+00' })),
  'token-extended': edit(update('tokens', { expires_at: '2200-01-01 00:00:00+00' })),
  'site-token-deleted': edit({ op: 'delete', table: 'tokens', old: worldRows().tokens?.[1] }),
  'client-deleted': edit(remove('clients')),
  'client-inserted': edit(insert('clients', { id: id('cli', 2), external_id: 'phone' })),
  'client-renamed': edit(update('clients', { name: 'Other' })),
  'client-moved': {
    rows: (rows) => rows.actors?.push(row('actors', { id: id('act', 2) })),
    change: oneCommit(update('clients', { actor_id: id('act', 2) })),
  },
  'client-address': edit(update('clients', { ipv4: '100.64.7.7' })),
  'client-verified': {
    rows: (rows) => addAnother(rows, { conditions: [isVerified] }),
    change: oneCommit(update('clients', { verified_at: '2026-01-01 00:00:00+00' })),
  },
  'client-unverified': {
    rows: (rows) => {
      rows.clients = [row('clients', { verified_at: '2026-01-01 00:00:00+00' })];
      rows.policies = [row('policies', { conditions: [isVerified] })];
    },
    change: oneCommit(update('clients', { verified_at: null }, { verified_at: '2026-01-01 00:00:00+00' })),
  },
  'gateway-deleted': edit(remove('gateways')),
  'gateway-inserted': edit(insert('gateways', { id: id('gw', 2), external_id: 'rack-2' })),
  'gateway-moved': {
    rows: (rows) => rows.gateway_groups?.push(row('gateway_groups', { id: id('site', 2) })),
    change: oneCommit(update('gateways', { group_id: id('site', 2) })),
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
  'site-inserted': edit(insert('gateway_groups', { id: id('site', 2) })),
  'resource-renamed': edit(update('resources', { name: 'Other' })),
  'resource-description': edit(update('resources', { address_description: 'Other' })),
  'resource-address': edit(update('resources', { address: '10.8.0.0/24' })),
  'resource-type': edit(update('resources', { type: 'ip', address: '10.9.0.1' })),
  'resource-stack': {
    rows: (rows) => {
      rows.resources = [row('resources', dns)];
    },
    change: oneCommit(update('resources', { ip_stack: 'ipv4_only' }, dns)),
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
      rows.gateway_groups?.push(row('gateway_groups', { id: id('site', 2) }));
      rows.resource_connections?.push(row('resource_connections', { gateway_group_id: id('site', 2) }));
    },
    change: oneCommit(remove('resource_connections')),
  },
  'connection-inserted': {
    rows: (rows) => rows.gateway_groups?.push(row('gateway_groups', { id: id('site', 2) })),
    change: oneCommit(insert('resource_connections', { gateway_group_id: id('site', 2) })),
  },
  'connection-rewritten': edit(remove('resource_connections'), insert('resource_connections')),
  'policy-deleted': edit(remove('policies')),
  'policy-deleted-other': {
    rows: (rows) => {
      withSecondGroup(rows);
      rows.policies?.push(row('policies', secondPolicy));
    },
    change: oneCommit(remove('policies')),
  },
  'policy-disabled': edit(update('policies', disabled)),
  'policy-enabled': {
    rows: (rows) => addAnother(rows, disabled),
    change: oneCommit(
      update('policies', { disabled_at: null }, { id: id('pol', 2), resource_id: another, ...disabled }),
    ),
  },
  'policy-inserted': {
    rows: (rows) => addAnother(rows, null),
    change: oneCommit(insert('policies', { id: id('pol', 2), resource_id: another })),
  },
  'policy-inserted-same': { rows: withSecondGroup, change: oneCommit(insert('policies', secondPolicy)) },
  'policy-description': edit(update('policies', { description: 'Other' })),
  'policy-group': {
    rows: (rows) => rows.actor_groups?.push(row('actor_groups', { id: group2 })),
    change: oneCommit(update('policies', { actor_group_id: group2 })),
  },
  'policy-resource': {
    rows: (rows) => addAnother(rows, null),
    change: oneCommit(update('policies', { resource_id: another })),
  },
  'policy-conditions': edit(update('policies', { conditions: [isVerified] })),
  'policy-conditions-met': edit(
    update('policies', { conditions: [condition('remote_ip', 'is_in_cidr', '203.0.113.0/24')] }),
  ),
  'policy-rewritten': edit(remove('policies'), insert('policies', { id: id('pol', 5) })),
  'policies-truncated': edit({ op: 'truncate', table: 'policies' }),
  'window-closes': {
    rows: (rows) => {
      rows.policies = [row('policies', { conditions: [untilOne] })];
    },
    change: after(justAfterOne),
  },
  'window-opens': { rows: (rows) => addAnother(rows, { conditions: [fromOne] }), change: after(3_600_000) },
  'token-expires': {
    rows: (rows) => {
      const [clientToken, ...others] = rows.tokens ?? [];
      rows.tokens = [{ ...clientToken, expires_at: '1970-01-01 01:00:00+00' }, ...others];
    },
    change: after(3_600_000),
  },
  'address-leaves': {
    rows: (rows) => {
      rows.policies = [row('policies', { conditions: [condition('remote_ip', 'is_in_cidr', '203.0.113.0/24')] })];
    },
    change: (driven) => {
      const hello = clientHello({ remoteIp: '198.51.100.1', connectedAt: 2000 });
      const connected = lines(driven.step({ type: 'connect', sessionId: 'client-again', hello }));
      const joined = lines(driven.step({ type: 'joined', sessionId: 'client-again' }));
      return [...connected, ...joined].map((line) => line.replace('client-again', 'client'));
    },
  },
};

const page = readFileSync(fileURLToPath(new URL('../../docs/consequences.md', import.meta.url)), 'utf8');
const linesOfPage = [...page.matchAll(/^\| ([a-z-]+) +\| (.*?) +\| (.*?) +\| (.*?) +\|$/gm)]
  .filter(([, name = '']) => name !== 'id' && !name.startsWith('-'))
  .map(([, name = '', change = '', gateway = '', client = '']) => ({ name, change, gateway, client }));

test('[P4.14] every line of the page of consequences has a test, and every test a line', () => {
  expect(linesOfPage.map(({ name }) => name).toSorted()).toEqual(Object.keys(cases).toSorted());
});

test.each(linesOfPage)('[P4.15] $name: $change', ({ name, gateway, client }) => {
  const rows = worldRows();
  const made = cases[name];
  made?.rows?.(rows);
  const driven = drive(rows);
  joinGateway(driven);
  joinClient(driven);
  expect(lines(authorizeFlow(driven, refOf(createFlow(driven)))).at(-1)).toBe('client flow_created');
  const sent = made?.change(driven) ?? [];
  expect(told(sent, 'gateway')).toEqual(expected(gateway));
  expect(told(sent, 'client')).toEqual(expected(client));
  const firstToClient = sent.findIndex((line) => line.startsWith('client resource'));
  const lastReject = sent.findLastIndex((line) => line.includes('reject_access'));
  expect(firstToClient === -1 || lastReject < firstToClient).toBe(true);
});

/** What one side was told, in the page's words. */
function told(sent: readonly string[], side: 'client' | 'gateway'): string[] {
  return sent.flatMap((line) => {
    const [who, what = '', detail = ''] = line.split(' ');
    if (who !== side) return [];
    if (what === 'close') return [['token_gone', 'device_gone'].includes(detail) ? 'signed out' : 'closed'];
    if (what === 'reject_access') return [what];
    const isNamed = what.startsWith('resource_');
    return [isNamed ? `${what} ${detail === ids.resource ? 'R' : 'another'}` : what];
  });
}

function expected(cell: string): string[] {
  return cell === '—' ? [] : cell.split(', ');
}
