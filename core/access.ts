// Which resources a client may reach, by which policy, and until when. Fails closed: a disabled account or actor, a policy
// that is disabled or has a condition, a resource without a site grant nothing.
import { accountOf } from './state.ts';
import { isPair, partners } from './tables.ts';
import type { ActorId, PolicyId, ResourceId } from '../protocol/ids.ts';
import type { PolicyRow } from '../protocol/rows.ts';
import type { State } from './state.ts';

/** `policyId` grants the access. */
export type Access = { readonly policyId: PolicyId };

/** Whether `actorId` may reach `resourceId`, by the granting policy with the lowest id; null when none grants. */
export function accessOf(state: State, actorId: ActorId, resourceId: ResourceId): Access | null {
  const { tables } = state;
  if (!isEnabled(state, actorId)) return null;
  if (!tables.rows.resources.has(resourceId) || !tables.sitesOfResource.has(resourceId)) return null;
  let best: PolicyId | null = null;
  for (const policyId of partners(tables.policiesOfResource, resourceId)) {
    const policy = tables.rows.policies.get(policyId);
    if (policy === undefined || !isGranting(policy)) continue;
    if (!isPair(tables.groupsOfActor, actorId, policy.actor_group_id)) continue;
    if (best === null || policyId < best) best = policyId;
  }
  return best === null ? null : { policyId: best };
}

/** Every resource that some policy of the actor's groups names: what {@link accessOf} can be other than null for. */
export function* namedResources(state: State, actorId: ActorId): Generator<ResourceId> {
  const seen = new Set<ResourceId>();
  for (const groupId of partners(state.tables.groupsOfActor, actorId)) {
    for (const policyId of partners(state.tables.policiesOfGroup, groupId)) {
      const resourceId = state.tables.rows.policies.get(policyId)?.resource_id;
      if (resourceId === undefined || seen.has(resourceId)) continue;
      seen.add(resourceId);
      yield resourceId;
    }
  }
}

/** Whether the account and the actor are there and enabled. */
function isEnabled(state: State, actorId: ActorId): boolean {
  const account = accountOf(state);
  const actor = state.tables.rows.actors.get(actorId);
  return account !== null && account.disabled_at === null && actor !== undefined && actor.disabled_at === null;
}

function isGranting(policy: PolicyRow): boolean {
  return policy.disabled_at === null && policy.conditions.length === 0;
}
