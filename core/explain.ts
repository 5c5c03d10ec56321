// Why a client may, or may not, reach a resource: the path from the account to the gateway, each condition with its outcome, and
// for a denial the fewest facts that are missing. It reads the same tables and asks the same functions as access.ts; where the
// two ever differ, a test fails.
import { accessOf, factsOf, isProviderEnabled } from './access.ts';
import { accountOf } from './state.ts';
import { compileConditions, evaluate } from './condition.ts';
import { groupsOf, membershipOf } from './memberships.ts';
import { partners } from './tables.ts';
import { isHeld } from './holds.ts';
import { onlineGateways } from './choose-gateway.ts';
import { tokenExpiry } from './expiry.ts';
import type { Access, Subject } from './access.ts';
import type { CompiledConditions, Condition } from './condition.ts';
import type { GatewayId, ResourceId, SiteId } from '../protocol/ids.ts';
import type { MissingFact, PolicyPath } from '../protocol/explain.ts';
import type { PolicyRow } from '../protocol/rows.ts';
import type { State } from './state.ts';

export type Explanation = {
  readonly access: Access;
  /** Every policy that names the resource, by id. */
  readonly policies: readonly PolicyPath[];
  readonly sites: readonly SiteId[];
  /** Gateways of those sites that are connected. */
  readonly gateways: readonly GatewayId[];
  /** Empty when the access is granted; else what, all of it together, would grant it. */
  readonly missing: readonly MissingFact[];
};

export function explain(state: State, subject: Subject, resourceId: ResourceId): Explanation {
  const access = accessOf(state, subject, resourceId);
  const policies = policyRows(state, resourceId).map((policy) => pathOf(state, subject, policy));
  const missing = [...missingFromSubject(state, subject), ...missingFromResource(state, resourceId)];
  return {
    access,
    policies,
    sites: [...partners(state.tables.sitesOfResource, resourceId)].sort(),
    gateways: onlineGateways(state, resourceId).map(({ deviceId }) => deviceId),
    missing:
      access.type === 'granted' ? [] : [...missing, ...missingFromPolicies(state, subject, resourceId, policies)],
  };
}

function policyRows(state: State, resourceId: ResourceId): PolicyRow[] {
  return partners(state.tables.policiesOfResource, resourceId).toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

function pathOf(state: State, subject: Subject, policy: PolicyRow): PolicyPath {
  const facts = factsOf(state, subject);
  return {
    id: policy.id,
    groupId: policy.actor_group_id,
    isMember: membershipOf(state.tables.memberships, subject.actorId)(policy.actor_group_id),
    isEnabled: policy.disabled_at === null,
    conditions: policy.conditions.map((condition) => {
      const { type, until } = evaluate(compiled(condition), facts, state.now);
      return { ...condition, isMet: type === 'met', until: Number.isFinite(until) ? until : null };
    }),
  };
}

/** Conditions of rows, each compiled by itself, once for as long as its row is held. */
const compiledByCondition = new WeakMap<Condition, CompiledConditions>();

function compiled(condition: Condition): CompiledConditions {
  const held = compiledByCondition.get(condition);
  if (held !== undefined) return held;
  const fresh = compileConditions([condition]);
  compiledByCondition.set(condition, fresh);
  return fresh;
}

function missingFromSubject(state: State, { clientId, actorId, tokenId }: Subject): MissingFact[] {
  const { rows } = state.tables;
  const missing: MissingFact[] = [];
  if (isHeld(state, 'client', clientId)) missing.push({ type: 'held', kind: 'client', id: clientId });
  if (isHeld(state, 'actor', actorId)) missing.push({ type: 'held', kind: 'actor', id: actorId });
  const account = accountOf(state);
  if (account === null) missing.push({ type: 'account', detail: 'absent' });
  else if (account.disabled_at !== null) missing.push({ type: 'account', detail: 'disabled' });
  if (rows.clients.get(clientId)?.actor_id !== actorId) missing.push({ type: 'client', detail: 'absent' });
  const actor = rows.actors.get(actorId);
  if (actor === undefined) missing.push({ type: 'actor', detail: 'absent' });
  else if (actor.disabled_at !== null) missing.push({ type: 'actor', detail: 'disabled' });
  const token = rows.tokens.get(tokenId);
  if (token?.type !== 'client' || token.actor_id !== actorId) missing.push({ type: 'token', detail: 'absent' });
  else if (tokenExpiry(state, tokenId) <= state.now) missing.push({ type: 'token', detail: 'expired' });
  if (!isProviderEnabled(state, tokenId)) missing.push({ type: 'provider', detail: 'disabled' });
  return missing;
}

function missingFromResource(state: State, resourceId: ResourceId): MissingFact[] {
  const missing: MissingFact[] = [];
  if (isHeld(state, 'resource', resourceId)) missing.push({ type: 'held', kind: 'resource', id: resourceId });
  if (!state.tables.rows.resources.has(resourceId)) missing.push({ type: 'resource', resourceId });
  if (!state.tables.sitesOfResource.has(resourceId)) missing.push({ type: 'site', resourceId });
  return missing;
}

/** What the policy that is nearest to granting lacks; the first of equals. */
function missingFromPolicies(
  state: State,
  subject: Subject,
  resourceId: ResourceId,
  policies: readonly PolicyPath[],
): MissingFact[] {
  const { actorId } = subject;
  if (policies.length === 0) {
    const isInNoGroup = groupsOf(state.tables.memberships, actorId).length === 0;
    return [...(isInNoGroup ? [{ type: 'group', actorId } as const] : []), { type: 'policy', resourceId }];
  }
  const lacking = policies.map((policy) => missingFromPolicy(subject, policy));
  const fewest = Math.min(...lacking.map(({ length }) => length));
  return lacking.find(({ length }) => length === fewest) ?? [];
}

function missingFromPolicy({ actorId }: Subject, policy: PolicyPath): MissingFact[] {
  const { id: policyId, groupId } = policy;
  const missing: MissingFact[] = [];
  if (!policy.isMember) missing.push({ type: 'membership', actorId, groupId });
  if (!policy.isEnabled) missing.push({ type: 'policy_disabled', policyId });
  for (const { property, isMet, until } of policy.conditions) {
    if (!isMet) missing.push({ type: 'condition', policyId, property, until });
  }
  return missing;
}
