// The smallest account in which a flow is possible: one user in one group, one client, one site with one gateway, one cidr
// resource in it, one policy, and a token for each side and for a relay of the account.
import { randomUUID } from 'node:crypto';
import { mintToken } from '../cli/mint-token.ts';
import type { Client } from 'pg';

export type FirstAccount = {
  readonly accountId: string;
  readonly actorId: string;
  readonly groupId: string;
  readonly siteId: string;
  readonly clientId: string;
  readonly gatewayId: string;
  readonly resourceId: string;
  readonly policyId: string;
  readonly client: { readonly externalId: string; readonly token: string };
  readonly gateway: { readonly externalId: string; readonly token: string };
  readonly relay: { readonly token: string };
};

/** Inserts everything in one transaction. `tokenKeys` is the worker's DRAWBRIDGE_TOKEN_KEYS. */
export async function createFirstAccount(db: Client, tokenKeys: string, slug: string): Promise<FirstAccount> {
  const [accountId, actorId, groupId, siteId] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()];
  const [clientId, gatewayId, resourceId, policyId] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()];
  const insert = async (statement: string, values: readonly string[]) =>
    await db.query(`insert into ${statement} values (${values.map((_, i) => `$${i + 1}`).join(', ')})`, [...values]);
  await db.query('begin');
  await insert('accounts (id, name, slug)', [accountId, 'Acme', slug]);
  await insert('actors (id, account_id, type, name)', [actorId, accountId, 'account_user', 'Alice']);
  await insert('actor_groups (id, account_id, name)', [groupId, accountId, 'Engineering']);
  await insert('actor_group_memberships (account_id, actor_id, group_id)', [accountId, actorId, groupId]);
  await insert('gateway_groups (id, account_id, name)', [siteId, accountId, 'Headquarters']);
  const rack = [gatewayId, accountId, siteId, 'rack-1', 'Rack 1', '100.64.0.2', 'fd00:2021:1111::2'];
  await insert('gateways (id, account_id, group_id, external_id, name, ipv4, ipv6)', rack);
  const laptop = [clientId, accountId, actorId, 'laptop', "Alice's laptop", '100.64.0.3', 'fd00:2021:1111::3'];
  await insert('clients (id, account_id, actor_id, external_id, name, ipv4, ipv6)', laptop);
  const network = [resourceId, accountId, 'Database network', 'cidr', '10.9.0.0/24'];
  await insert('resources (id, account_id, name, type, address)', network);
  await insert('resource_connections (resource_id, gateway_group_id, account_id)', [resourceId, siteId, accountId]);
  const policy = [policyId, accountId, groupId, resourceId, 'Engineers reach the database network'];
  await insert('policies (id, account_id, actor_group_id, resource_id, description)', policy);
  const clientToken = await mintToken(db, tokenKeys, accountId, { type: 'client', actorId });
  const gatewayToken = await mintToken(db, tokenKeys, accountId, { type: 'gateway_group', siteId });
  const relayGroupId = randomUUID();
  await insert('relay_groups (id, account_id, name)', [relayGroupId, accountId, 'Frankfurt']);
  const relayToken = await mintToken(db, tokenKeys, accountId, { type: 'relay_group', relayGroupId });
  await db.query('commit');
  return {
    accountId,
    actorId,
    groupId,
    siteId,
    clientId,
    gatewayId,
    resourceId,
    policyId,
    client: { externalId: 'laptop', token: clientToken },
    gateway: { externalId: 'rack-1', token: gatewayToken },
    relay: { token: relayToken },
  };
}
