// Which row ended a flow, for the ledger: of the changes in the commit that is applied, the one on its path that stands
// highest, for the others may only have followed from it; without such a change, the row that no longer grants it.
import { accountOf } from './state.ts';
import { tokenExpiry } from './expiry.ts';
import type { Because } from './effect.ts';
import type { Change, WireRow } from '../protocol/commit.ts';
import type { EndCause } from '../protocol/write-back.ts';
import type { LiveGrant, State } from './state.ts';
import type { TableName } from '../protocol/tables.ts';

/** A table whose rows are on the path is here; those whose deletion deletes others come first. */
const ranked = [
  'accounts',
  'auth_providers',
  'auth_identities',
  'actors',
  'actor_groups',
  'gateway_groups',
  'resources',
  'tokens',
  'clients',
  'gateways',
  'actor_group_memberships',
  'resource_connections',
  'policies',
] as const satisfies readonly TableName[];

/** What ended `grant`. `because`: the commits that are being applied; null when time or a device did. */
export function causeOf(state: State, grant: LiveGrant, because: Because): EndCause {
  if (because !== null) {
    const isOnPath = pathOf(state, grant, because.changes);
    for (const table of ranked) {
      const found = because.changes.find((change) => change.table === table && isOnPath(table, change));
      if (found !== undefined) return { table, id: idOf(table, found, grant), commit: because.lsn };
    }
  }
  return { ...rowThatDoesNotGrant(state, grant), commit: because?.lsn ?? null };
}

type IsOnPath = (table: (typeof ranked)[number], change: Change) => boolean;

/** Tells whether a change concerns a row that the grant stood on, and may end it. */
function pathOf(state: State, grant: LiveGrant, changes: readonly Change[]): IsOnPath {
  const { rows } = state.tables;
  const oldRow = (table: TableName, id: unknown): WireRow | undefined => {
    const found = changes.find((change) => change.table === table && 'old' in change && change.old['id'] === id);
    return found !== undefined && 'old' in found ? found.old : undefined;
  };
  const group =
    oldRow('policies', grant.policyId)?.['actor_group_id'] ?? rows.policies.get(grant.policyId)?.actor_group_id;
  const site = oldRow('gateways', grant.gatewayId)?.['group_id'] ?? rows.gateways.get(grant.gatewayId)?.group_id;
  const identity = oldRow('tokens', grant.tokenId)?.['identity_id'] ?? rows.tokens.get(grant.tokenId)?.identity_id;
  const identityRow = typeof identity === 'string' ? rows.auth_identities.get(identity) : undefined;
  const provider = oldRow('auth_identities', identity)?.['provider_id'] ?? identityRow?.provider_id;
  return (table, change) => {
    if (change.op === 'insert') return false;
    if (change.op === 'truncate') return true;
    const { old } = change;
    const isDeleted = change.op === 'delete';
    const isDisabled = isDeleted || change.new['disabled_at'] !== old['disabled_at'];
    const isMoved = isDeleted || ['address', 'type', 'ip_stack'].some((column) => change.new[column] !== old[column]);
    return {
      accounts: isDisabled,
      auth_providers: old['id'] === provider && isDisabled,
      auth_identities: old['id'] === identity,
      actors: old['id'] === grant.actorId && isDisabled,
      actor_groups: old['id'] === group && isDeleted,
      gateway_groups: old['id'] === site && isDeleted,
      resources: old['id'] === grant.resourceId && isMoved,
      tokens: old['id'] === grant.tokenId,
      clients: old['id'] === grant.clientId,
      gateways: old['id'] === grant.gatewayId,
      actor_group_memberships: old['actor_id'] === grant.actorId && old['group_id'] === group,
      resource_connections: old['resource_id'] === grant.resourceId && old['gateway_group_id'] === site,
      policies: old['id'] === grant.policyId,
    }[table];
  };
}

/** A table that was truncated names no row: the grant's own stands for it, as far as it has one. */
function idOf(table: (typeof ranked)[number], change: Change, grant: LiveGrant): string {
  if ('old' in change && typeof change.old['id'] === 'string') return change.old['id'];
  const { actorId, tokenId, clientId, gatewayId, resourceId, policyId } = grant;
  const own: Partial<Record<TableName, string>> = {
    actors: actorId,
    tokens: tokenId,
    clients: clientId,
    gateways: gatewayId,
    resources: resourceId,
    resource_connections: resourceId,
  };
  return own[table] ?? policyId;
}

function rowThatDoesNotGrant(state: State, grant: LiveGrant): { readonly table: TableName; readonly id: string } {
  const { rows } = state.tables;
  const account = accountOf(state);
  if (account !== null && account.disabled_at !== null) return { table: 'accounts', id: account.id };
  if (rows.actors.get(grant.actorId)?.disabled_at !== null) return { table: 'actors', id: grant.actorId };
  if (!rows.tokens.has(grant.tokenId) || tokenExpiry(state, grant.tokenId) <= state.now) {
    return { table: 'tokens', id: grant.tokenId };
  }
  if (!rows.clients.has(grant.clientId)) return { table: 'clients', id: grant.clientId };
  if (!rows.gateways.has(grant.gatewayId)) return { table: 'gateways', id: grant.gatewayId };
  if (!rows.resources.has(grant.resourceId)) return { table: 'resources', id: grant.resourceId };
  return { table: 'policies', id: grant.policyId };
}
