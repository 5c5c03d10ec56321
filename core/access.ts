// Whether a client may reach a resource, by which policy, and until when: the one place where this is decided. Every view
// and every grant asks here, so what a client is told and what it gets cannot differ.
//
// Fails closed: a disabled account, actor or provider, a hold, a policy that is disabled or whose conditions do not all hold for
// facts that are known, a resource without a site grant nothing.
import { accountOf } from './state.ts';
import { isHeld } from './holds.ts';
import { isVerificationLost } from './reconnection.ts';
import { compileConditions, evaluate } from './condition.ts';
import { groupsOf, membershipOf } from './memberships.ts';
import { partners } from './tables.ts';
import { tokenExpiry } from './expiry.ts';
import type { ActorId, ClientId, GroupId, PolicyId, ResourceId, TokenId } from '../protocol/ids.ts';
import type { CompiledConditions, Facts } from './condition.ts';
import type { PolicyRow } from '../protocol/rows.ts';
import type { ClientSession, State } from './state.ts';

/** Who asks: a connected client, or the client of a grant with the facts it was last seen with. */
export type Subject = {
  readonly clientId: ClientId;
  readonly actorId: ActorId;
  readonly tokenId: TokenId;
  readonly remoteIp: string | null;
  readonly region: string | null;
};

/**
 * `until`: the first moment, milliseconds since 1970-01-01 UTC, at which the answer may be another by time alone; Infinity
 * when time alone changes nothing. `forbidden` names each violated property once; `not_found` gives no hint.
 */
export type Access =
  | { readonly type: 'granted'; readonly policyId: PolicyId; readonly until: number }
  | { readonly type: 'forbidden'; readonly properties: readonly string[]; readonly until: number }
  | { readonly type: 'not_found'; readonly until: number };

/** Policies that take over from each other without a gap, as far as they are followed. */
const runPiecesMax = 32;

const notFound: Access = { type: 'not_found', until: Infinity };

/** The client of a session, as access is decided for it. */
export function subjectOf({ deviceId, actorId, tokenId, remoteIp, region }: ClientSession): Subject {
  return { clientId: deviceId, actorId, tokenId, remoteIp, region };
}

/** Of all policies that grant, the one that does so longest decides, ties by the lowest id. */
export function accessOf(state: State, subject: Subject, resourceId: ResourceId): Access {
  return accessesOf(state, subject)(resourceId);
}

/**
 * As {@link accessOf}, for many resources of one subject: what does not depend on the resource is looked up once, and where
 * `named` has the policies of all of them, those are not looked for again. To be used up before anything of the state changes.
 */
export function accessesOf(
  state: State,
  subject: Subject,
  named?: ReadonlyMap<ResourceId, readonly PolicyRow[]>,
): (resourceId: ResourceId) => Access {
  if (!isEnabled(state, subject)) return () => notFound;
  const { tables } = state;
  const facts = factsOf(state, subject);
  const isMember = membershipOf(tables.memberships, subject.actorId);
  const tokenEnd = tokenExpiry(state, subject.tokenId);
  return (resourceId) => {
    if (isHeld(state, 'resource', resourceId)) return notFound;
    if (!tables.rows.resources.has(resourceId) || !tables.sitesOfResource.has(resourceId)) return notFound;
    const policies = named === undefined ? policiesFor(state, isMember, resourceId) : (named.get(resourceId) ?? []);
    return judgePolicies(policies.length < 2 ? policies : policies.toSorted(byId), facts, tokenEnd, state.now);
  };
}

function judgePolicies(policies: readonly PolicyRow[], facts: Facts, tokenEnd: number, now: number): Access {
  if (policies.length === 0) return notFound;
  const best = longest(policies, facts, now);
  if (best !== null) {
    const until = Math.min(endOfRun(policies, facts, best.until), tokenEnd);
    return { type: 'granted', policyId: best.policyId, until };
  }
  const properties = new Set<string>();
  let until = Infinity;
  for (const policy of policies) {
    const verdict = evaluate(compiled(policy), facts, now);
    if (verdict.type !== 'violated') continue;
    for (const property of verdict.properties) properties.add(property);
    until = Math.min(until, verdict.until);
  }
  return { type: 'forbidden', properties: [...properties], until };
}

/** The enabled policies of the actor's groups, by the resource that they name. */
export function policiesByResource(state: State, actorId: ActorId): Map<ResourceId, PolicyRow[]> {
  const found = new Map<ResourceId, PolicyRow[]>();
  for (const groupId of new Set(groupsOf(state.tables.memberships, actorId))) {
    for (const policy of partners(state.tables.policiesOfGroup, groupId)) {
      if (policy.disabled_at !== null) continue;
      const others = found.get(policy.resource_id);
      if (others === undefined) found.set(policy.resource_id, [policy]);
      else others.push(policy);
    }
  }
  return found;
}

/** The enabled policies of the subject's groups that name the resource. */
function policiesFor(state: State, isMember: (groupId: GroupId) => boolean, resourceId: ResourceId): PolicyRow[] {
  const policies: PolicyRow[] = [];
  for (const policy of partners(state.tables.policiesOfResource, resourceId)) {
    if (policy.disabled_at === null && isMember(policy.actor_group_id)) policies.push(policy);
  }
  return policies;
}

function byId(a: PolicyRow, b: PolicyRow): number {
  return a.id < b.id ? -1 : 1;
}

/** Of `policies`, the one whose conditions hold at `at` and go on to do so longest; the first of equals; null for none. */
function longest(policies: readonly PolicyRow[], facts: Facts, at: number) {
  let best: { readonly policyId: PolicyId; readonly until: number } | null = null;
  for (const policy of policies) {
    const verdict = evaluate(compiled(policy), facts, at);
    if (verdict.type === 'met' && (best === null || verdict.until > best.until)) {
      best = { policyId: policy.id, until: verdict.until };
    }
  }
  return best;
}

/**
 * The end of an access that some policy grants until `until`: where another one grants from that very moment on, nothing is
 * interrupted. Bounded, so it may be too early for windows that alternate very often; it is never too late.
 */
function endOfRun(policies: readonly PolicyRow[], facts: Facts, until: number): number {
  let end = until;
  for (let i = 0; i < runPiecesMax && Number.isFinite(end); i += 1) {
    const next = longest(policies, facts, end);
    if (next === null) return end;
    end = next.until;
  }
  return end;
}

/** Every resource that some policy of the actor's groups names: what {@link accessOf} can be granted for. */
export function* namedResources(state: State, actorId: ActorId): Generator<ResourceId> {
  const seen = new Set<ResourceId>();
  for (const groupId of groupsOf(state.tables.memberships, actorId)) {
    for (const { resource_id: resourceId } of partners(state.tables.policiesOfGroup, groupId)) {
      if (seen.has(resourceId)) continue;
      seen.add(resourceId);
      yield resourceId;
    }
  }
}

/** What conditions are judged on. A token without an identity has no provider. */
export function factsOf(state: State, { clientId, tokenId, remoteIp, region }: Subject): Facts {
  const { rows } = state.tables;
  const identity = rows.auth_identities.get(rows.tokens.get(tokenId)?.identity_id ?? '');
  const client = rows.clients.get(clientId);
  return {
    remoteIp,
    region,
    providerId: identity?.provider_id ?? null,
    isVerified: client !== undefined && client.verified_at !== null && !isVerificationLost(state, clientId),
  };
}

/**
 * Whether account, client, actor, token and, for an identity, its provider are there, belong together and are enabled, and no
 * operator has denied client or actor.
 */
function isEnabled(state: State, { clientId, actorId, tokenId }: Subject): boolean {
  const { rows } = state.tables;
  if (isHeld(state, 'client', clientId) || isHeld(state, 'actor', actorId)) return false;
  if (accountOf(state)?.disabled_at !== null || rows.actors.get(actorId)?.disabled_at !== null) return false;
  const token = rows.tokens.get(tokenId);
  if (token?.type !== 'client' || token.actor_id !== actorId || tokenExpiry(state, tokenId) <= state.now) return false;
  return rows.clients.get(clientId)?.actor_id === actorId && isProviderEnabled(state, tokenId);
}

/** True for a token without an identity; else whether the identity's provider is there and enabled. */
export function isProviderEnabled(state: State, tokenId: TokenId): boolean {
  const { rows } = state.tables;
  const identityId = rows.tokens.get(tokenId)?.identity_id ?? null;
  if (identityId === null) return true;
  const provider = rows.auth_providers.get(rows.auth_identities.get(identityId)?.provider_id ?? '');
  return provider !== undefined && provider.disabled_at === null;
}

/** Conditions of a policy's row, compiled once for as long as the row is held. */
const compiledByRow = new WeakMap<PolicyRow, CompiledConditions>();

function compiled(policy: PolicyRow): CompiledConditions {
  const held = compiledByRow.get(policy);
  if (held !== undefined) return held;
  const fresh = compileConditions(policy.conditions);
  compiledByRow.set(policy, fresh);
  return fresh;
}
