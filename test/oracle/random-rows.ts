// Random rows of each table, valid by themselves; what a row refers to is given. Every column is written out, those with
// a default too, so that a seed gives the same rows in every run.
import { randomConditions } from './random-conditions.ts';
import { chance, hex, integer, pick, sample, uuid, type Random } from './random.ts';
import type { SqlRow } from './sql-rows.ts';

/** What rows are made from: chance, the present instant in milliseconds, and the account they belong to. */
export interface Making {
  readonly random: Random;
  readonly atMs: number;
  readonly account: string;
}

const dayMs = 86_400_000;

/** Milliseconds since 1970 as Postgres reads them. */
export function timestamp(atMs: number): string {
  return new Date(atMs).toISOString();
}

export function accountRow({ random, atMs, account }: Making): SqlRow {
  return { id: account, name: randomName(random, 'account'), config: '{}', inserted_at: timestamp(atMs) };
}

export function actorRow(making: Making): SqlRow {
  const { random } = making;
  return {
    ...ownRow(making),
    type: pick(random, ['account_user', 'account_admin_user', 'service_account']),
    name: randomName(random, 'actor'),
    disabled_at: disabledAt(making, 0.1),
  };
}

export function providerRow(making: Making): SqlRow {
  return {
    ...ownRow(making),
    name: randomName(making.random, 'provider'),
    adapter: 'openid_connect',
    provisioner: 'manual',
    disabled_at: disabledAt(making, 0.12),
  };
}

export function identityRow(making: Making, actor: string, provider: string): SqlRow {
  const identifier = randomName(making.random, 'identity');
  return { ...ownRow(making), actor_id: actor, provider_id: provider, provider_identifier: identifier };
}

/** With a provider, a group that the provider keeps. */
export function groupRow(making: Making, provider: string | null): SqlRow {
  const name = randomName(making.random, 'group');
  return { ...ownRow(making), name, provider_id: provider, provider_identifier: provider === null ? null : name };
}

export function membershipRow({ random, account }: Making, actor: string, group: string): SqlRow {
  return { id: uuid(random), account_id: account, actor_id: actor, group_id: group };
}

export function siteRow(making: Making): SqlRow {
  return { ...ownRow(making), name: randomName(making.random, 'site'), managed_by: 'account' };
}

/** The system's site, which the internet resource alone may be in. */
export function internetSiteRow(making: Making): SqlRow {
  return { ...ownRow(making), name: 'Internet', managed_by: 'system' };
}

/** A client's token, with or without an identity; may have expired, may be about to. */
export function tokenRow(making: Making, actor: string, identity: string | null): SqlRow {
  return {
    ...secretRow(making),
    type: 'client',
    actor_id: actor,
    identity_id: identity,
    gateway_group_id: null,
    expires_at: randomExpiry(making),
  };
}

export function gatewayTokenRow(making: Making, site: string): SqlRow {
  return {
    ...secretRow(making),
    type: 'gateway_group',
    actor_id: null,
    identity_id: null,
    gateway_group_id: site,
    expires_at: null,
  };
}

/** A token that admits no device, though its actor may have some. */
export function apiTokenRow(making: Making, actor: string): SqlRow {
  return { ...tokenRow(making, actor, null), type: 'api' };
}

export function clientRow(making: Making, actor: string, identity: string | null): SqlRow {
  const verified = chance(making.random, 0.5);
  return { ...deviceRow(making, 'client'), actor_id: actor, identity_id: identity, ...verification(making, verified) };
}

/** The columns that say whether a client is verified. */
export function verification({ atMs }: Making, verified: boolean): SqlRow {
  return { verified_at: verified ? timestamp(atMs) : null, verified_by: verified ? 'actor' : null };
}

export function gatewayRow(making: Making, site: string): SqlRow {
  return { ...deviceRow(making, 'gateway'), group_id: site };
}

export function resourceRow(making: Making, type: 'dns' | 'cidr' | 'ip' | 'internet'): SqlRow {
  return {
    ...ownRow(making),
    name: randomName(making.random, 'resource'),
    ...randomAddress(making.random, type),
    address_description: null,
    filters: randomFilters(making.random),
  };
}

/** The columns type, address and ip_stack, which go together. */
export function randomAddress(random: Random, type: 'dns' | 'cidr' | 'ip' | 'internet'): SqlRow {
  switch (type) {
    case 'dns': {
      const host = pick(random, ['db', '*', '**', 'app?', '*.eu']);
      const stack = pick(random, ['dual', 'ipv4_only', 'ipv6_only']);
      return { type, address: `${host}.${hex(random, 4)}.example.com`, ip_stack: stack };
    }
    case 'cidr': {
      const network = chance(random, 0.3)
        ? `2001:db8:${integer(random, 1, 0xfff).toString(16)}::/48`
        : `172.${integer(random, 16, 31)}.${integer(random, 0, 255)}.0/24`;
      return { type, address: network, ip_stack: null };
    }
    case 'ip':
      return { type, address: `192.168.${integer(random, 0, 255)}.${integer(random, 1, 254)}`, ip_stack: null };
    case 'internet':
      return { type, address: null, ip_stack: null };
  }
}

export function randomFilters(random: Random): string {
  const all = [
    { protocol: 'tcp', ports: ['80', '443'] },
    { protocol: 'udp', ports: ['100 - 200'] },
    { protocol: 'icmp' },
  ];
  return JSON.stringify(chance(random, 0.4) ? [] : sample(random, all, integer(random, 1, 3)));
}

export function connectionRow({ account }: Making, resource: string, site: string): SqlRow {
  return { resource_id: resource, gateway_group_id: site, account_id: account };
}

export function policyRow(making: Making, group: string, resource: string, providerIds: readonly string[]): SqlRow {
  return {
    ...ownRow(making),
    actor_group_id: group,
    resource_id: resource,
    description: null,
    conditions: randomConditions(making.random, providerIds),
    disabled_at: disabledAt(making, 0.12),
  };
}

/** Null for never, in the past, within minutes, or within days. */
export function randomExpiry({ random, atMs }: Making): string | null {
  const share = random();
  if (share < 0.4) return null;
  if (share < 0.5) return timestamp(atMs - integer(random, 0, dayMs));
  if (share < 0.6) return timestamp(atMs + integer(random, 1, 600_000));
  return timestamp(atMs + integer(random, 1, 10 * dayMs));
}

export function randomName(random: Random, kind: string): string {
  return `${kind} ${hex(random, 6)}`;
}

function ownRow({ random, atMs, account }: Making): SqlRow {
  return { id: uuid(random), account_id: account, inserted_at: timestamp(atMs) };
}

function disabledAt({ random, atMs }: Making, probability: number): string | null {
  return chance(random, probability) ? timestamp(atMs) : null;
}

function secretRow(making: Making): SqlRow {
  const { random } = making;
  return {
    ...ownRow(making),
    name: randomName(random, 'token'),
    secret_salt: hex(random, 8),
    secret_hash: hex(random, 64),
  };
}

/** Addresses are drawn from the whole tunnel networks: two alike are possible, and refused by the database. */
function deviceRow(making: Making, kind: string): SqlRow {
  const { random } = making;
  const name = randomName(random, kind);
  return {
    ...ownRow(making),
    external_id: name,
    name,
    ipv4: `100.${integer(random, 64, 95)}.${integer(random, 0, 255)}.${integer(random, 1, 254)}`,
    ipv6: `fd00:2021:1111::${integer(random, 0, 31).toString(16)}:${integer(random, 1, 0xffff).toString(16)}`,
    psk_base: String.raw`\x${hex(random, 64)}`,
  };
}
