// Decides one request of a client for a resource: by which policy, until when, through which gateway; or why not.
import { accessOf } from './access.ts';
import { chooseGateway } from './choose-gateway.ts';
import { grantMsMax } from './grants.ts';
import { isPair, partners } from './tables.ts';
import type { ClientSession, GatewaySession, State } from './state.ts';
import type { Env } from './env.ts';
import type { GatewayId, PolicyId, ResourceId } from '../protocol/ids.ts';

export type Decision =
  | {
      readonly type: 'allow';
      readonly policyId: PolicyId;
      /** A whole second, milliseconds since 1970-01-01 UTC. */
      readonly expiresAt: number;
      readonly gateway: GatewaySession;
    }
  | { readonly type: 'deny'; readonly reason: 'not_found' | 'offline' }
  | { readonly type: 'deny'; readonly reason: 'forbidden'; readonly violatedProperties: readonly string[] };

/**
 * `preferred`: gateways the client is connected to; `excluded`: gateways that did not answer for this request. A resource
 * that no enabled policy of the client's groups names is `not_found`, whether it exists or not.
 */
export function authorize(
  state: State,
  client: ClientSession,
  resourceId: ResourceId,
  gateways: { readonly preferred: readonly GatewayId[]; readonly excluded: readonly GatewayId[] },
  env: Env,
): Decision {
  if (state.stale) return { type: 'deny', reason: 'offline' };
  const access = accessOf(state, client.actorId, resourceId);
  if (access === null) return refuse(state, client, resourceId);
  const gateway = chooseGateway(state, client, resourceId, gateways, env.hashes);
  if (gateway === null) return { type: 'deny', reason: 'offline' };
  const token = state.tables.rows.tokens.get(client.tokenId);
  if (token === undefined) return { type: 'deny', reason: 'not_found' };
  const expiresAt = Math.floor(Math.min(token.expires_at ?? Infinity, state.now + grantMsMax) / 1000) * 1000;
  if (expiresAt <= state.now) return { type: 'deny', reason: 'not_found' };
  return { type: 'allow', policyId: access.policyId, expiresAt, gateway };
}

function refuse(state: State, client: ClientSession, resourceId: ResourceId): Decision {
  const { tables } = state;
  const violated = new Set<string>();
  for (const policyId of partners(tables.policiesOfResource, resourceId)) {
    const policy = tables.rows.policies.get(policyId);
    if (policy === undefined || policy.disabled_at !== null) continue;
    if (!isPair(tables.groupsOfActor, client.actorId, policy.actor_group_id)) continue;
    for (const { property } of policy.conditions) violated.add(property);
  }
  if (violated.size === 0) return { type: 'deny', reason: 'not_found' };
  return { type: 'deny', reason: 'forbidden', violatedProperties: [...violated].sort() };
}
