// A small account as rows of the change stream: one user in one group, one client, one site with one gateway, one cidr
// resource in that site, and one policy that grants it. Every row can be varied; ids are readable.
import { createHash } from 'node:crypto';
import type { Commit, Delivery, WireRow } from '../../protocol/commit.ts';
import type { Hello, RelayHello } from '../../protocol/link.ts';
import type { LsnText } from '../../protocol/lsn.ts';
import type { TableName } from '../../protocol/tables.ts';
import * as v from 'valibot';
import { commit as commitSchema, delivery as deliverySchema } from '../../protocol/commit.ts';
import { hello as helloSchema, linkVersion, relayHello as relayHelloSchema } from '../../protocol/link.ts';
import { lsnToText } from '../../protocol/lsn.ts';

/** The id made of one letter or digit and a number: `id('c', 1)`. */
export function id(kind: string, n = 1): string {
  const hex = Array.from(kind, (letter) => letter.charCodeAt(0).toString(16))
    .join('')
    .slice(0, 8)
    .padStart(8, '0');
  return `${hex}-0000-4000-8000-${String(n).padStart(12, '0')}`;
}

export const ids = {
  account: id('acc'),
  actor: id('act'),
  group: id('grp'),
  membership: id('mem'),
  clientToken: id('tokc'),
  gatewayToken: id('tokg'),
  relayToken: id('tokr'),
  client: id('cli'),
  site: id('site'),
  gateway: id('gw'),
  resource: id('res'),
  policy: id('pol'),
};

export const clientKey = `${'A'.repeat(43)}=`;
export const gatewayKey = `${'B'.repeat(42)}A=`;
export const clientSecret = 'c'.repeat(32);
export const gatewaySecret = 'g'.repeat(32);
export const relaySecret = 'r'.repeat(32);
/** The stamp secret of the world's relay. */
export const stampSecret = '5'.repeat(64);

const account_id = ids.account;
const defaults = {
  accounts: { id: ids.account, slug: 'acme', config: '{}', disabled_at: null },
  actors: { id: ids.actor, account_id, type: 'account_user', disabled_at: null },
  actor_groups: { id: ids.group, account_id, name: 'Engineering' },
  actor_group_memberships: { id: ids.membership, account_id, actor_id: ids.actor, group_id: ids.group },
  auth_providers: { id: id('prov'), account_id, disabled_at: null },
  auth_identities: { id: id('iden'), account_id, actor_id: ids.actor, provider_id: id('prov') },
  gateway_groups: { id: ids.site, account_id, name: 'HQ' },
  tokens: tokenRow('client', ids.clientToken, clientSecret),
  clients: {
    id: ids.client,
    account_id,
    actor_id: ids.actor,
    external_id: 'laptop',
    ipv4: '100.64.0.2',
    ipv6: 'fd00:2021:1111::2',
    psk_base: `\\x${'01'.repeat(32)}`,
    verified_at: null,
  },
  gateways: {
    id: ids.gateway,
    account_id,
    group_id: ids.site,
    external_id: 'rack-1',
    ipv4: '100.64.0.3',
    ipv6: 'fd00:2021:1111::3',
    psk_base: `\\x${'02'.repeat(32)}`,
  },
  resources: {
    id: ids.resource,
    account_id,
    name: 'Database',
    address: '10.9.0.0/24',
    address_description: null,
    type: 'cidr',
    ip_stack: null,
    filters: '[]',
  },
  resource_connections: { resource_id: ids.resource, gateway_group_id: ids.site, account_id },
  policies: {
    id: ids.policy,
    account_id,
    actor_group_id: ids.group,
    resource_id: ids.resource,
    conditions: [],
    disabled_at: null,
  },
} satisfies Record<TableName, WireRow>;

/** A row of `table`, as the world has it but for `changes`. */
export function row(table: TableName, changes: WireRow = {}): WireRow {
  return { ...defaults[table], ...changes };
}

/** A token row whose secret is `secret`. */
export function tokenRow(type: 'client' | 'gateway_group' | 'relay_group', tokenId: string, secret: string): WireRow {
  return {
    id: tokenId,
    account_id,
    type,
    actor_id: type === 'client' ? ids.actor : null,
    identity_id: null,
    gateway_group_id: type === 'gateway_group' ? ids.site : null,
    secret_salt: 'salt',
    secret_hash: createHash('sha256').update(`salt${secret}`).digest('hex'),
    expires_at: '2100-01-01 00:00:00+00',
  };
}

/** Every row of the world. */
export function worldRows(): Partial<Record<TableName, WireRow[]>> {
  const { auth_providers: _providers, auth_identities: _identities, ...tables } = defaults;
  const rows = Object.fromEntries(Object.entries(tables).map(([table, only]) => [table, [only]]));
  return { ...rows, tokens: [row('tokens'), tokenRow('gateway_group', ids.gatewayToken, gatewaySecret)] };
}

/** The same, with a token for relays of the account. */
export function relayRows(): Partial<Record<TableName, WireRow[]>> {
  const rows = worldRows();
  rows.tokens?.push(tokenRow('relay_group', ids.relayToken, relaySecret));
  return rows;
}

export function lsn(n: number): LsnText {
  return lsnToText(BigInt(n));
}

export function insert(table: TableName, changes: WireRow = {}): object {
  return { op: 'insert', table, new: row(table, changes) };
}

export function update(table: TableName, changes: WireRow, before: WireRow = {}): object {
  return { op: 'update', table, old: row(table, before), new: row(table, { ...before, ...changes }) };
}

export function remove(table: TableName, changes: WireRow = {}): object {
  return { op: 'delete', table, old: row(table, changes) };
}

/** A commit that ends at `at`. */
export function commit(at: number, ...changes: readonly object[]): Commit {
  return v.parse(commitSchema, {
    lsn: lsn(at),
    xid: String(at),
    committedAtUs: 0,
    changes: changes.map((change, seq) => ({ ...change, seq })),
  });
}

export function snapshotDelivery(to: number, rows = worldRows(), changes: object = {}): Delivery {
  return v.parse(deliverySchema, {
    version: 1,
    type: 'snapshot',
    account: ids.account,
    term: 1,
    epoch: 1,
    to: lsn(to),
    rows,
    commits: [],
    ...changes,
  });
}

export function commitsDelivery(from: number | null, commits: readonly Commit[], changes: object = {}): Delivery {
  return v.parse(deliverySchema, {
    version: 1,
    type: 'commits',
    account: ids.account,
    term: 1,
    epoch: 1,
    from: from === null ? null : lsn(from),
    to: commits.at(-1)?.lsn,
    commits,
    ...changes,
  });
}

export function clientHello(changes: object = {}): Hello {
  return v.parse(helloSchema, {
    version: linkVersion,
    role: 'client',
    account: ids.account,
    token: { id: ids.clientToken, type: 'client', secret: clientSecret },
    externalId: 'laptop',
    name: 'Laptop',
    publicKey: clientKey,
    deviceVersion: '1.5.2',
    remoteIp: '203.0.113.7',
    region: null,
    latitude: null,
    longitude: null,
    connectedAt: 1000,
    ...changes,
  });
}

export function gatewayHello(changes: object = {}): Hello {
  return v.parse(helloSchema, {
    ...clientHello(),
    role: 'gateway',
    token: { id: ids.gatewayToken, type: 'gateway_group', secret: gatewaySecret },
    externalId: 'rack-1',
    name: 'Rack 1',
    publicKey: gatewayKey,
    deviceVersion: '1.4.13',
    ...changes,
  });
}

export function relayHello(changes: object = {}): RelayHello {
  const { version, account, remoteIp, region, latitude, longitude, connectedAt } = clientHello();
  return v.parse(relayHelloSchema, {
    version,
    role: 'relay',
    account,
    token: { id: ids.relayToken, type: 'relay_group', secret: relaySecret },
    name: null,
    deviceVersion: '0.1.0',
    program: 'relay',
    remoteIp,
    region,
    latitude,
    longitude,
    connectedAt,
    ipv4: '198.51.100.9',
    ipv6: '2001:db8::9',
    port: 3478,
    ...changes,
  });
}
