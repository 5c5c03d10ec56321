// Everything that follows from changed rows, in the turn that changed them: grants judged again, gateways told first, then
// clients, then the sessions closed that may not go on.
import { endGrant, grantsOfClient, grantsOfGateway, grantsOfResource } from './grants.ts';
import { accountOf, expectChangeAt, gatewaySession } from './state.ts';
import { tokenExpiry } from './expiry.ts';
import { endSession, initGateway, sendFilters, takeEnding } from './sessions.ts';
import { isPair, partners } from './tables.ts';
import { judge } from './judge.ts';
import { patchClient } from './patch.ts';
import type { ActorId, ClientId, ResourceId } from '../protocol/ids.ts';
import type { ClientSession, Grant, LiveGrant, State } from './state.ts';
import type { Effects } from './effect.ts';
import type { Env } from './env.ts';
import type { Touched } from './touched.ts';

/** Brings grants, views and sessions in line with the rows, as far as `touched` reaches. */
export function settle(state: State, touched: Touched, slugBefore: string | null, effects: Effects, env: Env): void {
  const interrupted = new Map<ClientId, Set<ResourceId>>();
  const ending = takeEnding(state);
  for (const tokenId of touched.tokens) expectChangeAt(state, tokenExpiry(state, tokenId));
  for (const grant of grantsInReach(state, touched)) {
    if (grant.phase !== 'live' || isStanding(state, grant, touched, effects)) continue;
    const resources = interrupted.get(grant.clientId) ?? new Set();
    interrupted.set(grant.clientId, resources.add(grant.resourceId));
  }
  for (const resourceId of touched.refiltered) announceFilters(state, resourceId, effects);
  const isSlugChanged = touched.everything && (accountOf(state)?.slug ?? null) !== slugBefore;
  for (const session of state.sessions.values()) {
    const isInitDue = isSlugChanged || touched.rekeyed.has(session.deviceId);
    if (session.role !== 'gateway' || !session.joined || ending.has(session)) continue;
    if (isInitDue) initGateway(state, session, effects, env);
  }
  for (const session of state.sessions.values()) {
    if (session.role !== 'client' || !session.joined || ending.has(session)) continue;
    patchInReach(state, session, touched, interrupted.get(session.deviceId) ?? new Set(), effects);
  }
  for (const [session, cause] of ending) endSession(state, session, cause, effects);
}

/** What either side was told is void where an address or a key behind it changed, whatever justifies the access. */
function isStanding(state: State, grant: LiveGrant, touched: Touched, effects: Effects): boolean {
  const isVoid =
    touched.readdressed.has(grant.resourceId) ||
    touched.rekeyed.has(grant.clientId) ||
    touched.rekeyed.has(grant.gatewayId);
  if (!isVoid) return judge(state, grant, effects) !== null;
  endGrant(state, grant, effects);
  return false;
}

/** Every grant that `touched` can bear on, each once, in the order they were made. */
function grantsInReach(state: State, touched: Touched): Iterable<Grant> {
  if (touched.everything) return [...state.grants.values()];
  const found = new Set<Grant>();
  const note = (grants: readonly Grant[]) => {
    for (const grant of grants) found.add(grant);
  };
  for (const clientId of touched.clients) note(grantsOfClient(state, clientId));
  for (const actorId of touched.actors) {
    for (const clientId of partners(state.tables.clientsOfActor, actorId)) note(grantsOfClient(state, clientId));
  }
  for (const gatewayId of touched.gateways) note(grantsOfGateway(state, gatewayId));
  for (const resourceId of touched.resources) note(grantsOfResource(state, resourceId));
  if (touched.tokens.size > 0) note([...state.grants.values()].filter((grant) => isOfToken(grant, touched)));
  return found;
}

/** Tells each connected gateway through which somebody reaches the resource how it filters; others hear it after their init. */
function announceFilters(state: State, resourceId: ResourceId, effects: Effects): void {
  const live = grantsOfResource(state, resourceId).filter(({ phase }) => phase === 'live');
  for (const gatewayId of new Set(live.map((grant) => grant.gatewayId))) {
    const session = gatewaySession(state, gatewayId);
    if (session !== null) sendFilters(state, session, resourceId, effects);
  }
}

function isOfToken(grant: Grant, touched: Touched): boolean {
  return grant.phase === 'live' && touched.tokens.has(grant.tokenId);
}

function patchInReach(
  state: State,
  session: ClientSession,
  touched: Touched,
  interrupted: ReadonlySet<ResourceId>,
  effects: Effects,
): void {
  const isWhole =
    touched.everything ||
    touched.actors.has(session.actorId) ||
    touched.clients.has(session.deviceId) ||
    touched.tokens.has(session.tokenId);
  const resources = isWhole ? ('all' as const) : resourcesInReach(state, session, touched);
  if (isWhole || interrupted.size > 0 || resources.length > 0) {
    patchClient(state, session, resources, interrupted, effects);
  }
}

/** The touched resources that the client was told of, or may have to be told of. */
function resourcesInReach(state: State, session: ClientSession, touched: Touched): ResourceId[] {
  const announced = state.announced.get(session.id)?.resources;
  const found: ResourceId[] = [];
  for (const resourceId of touched.resources) {
    if (announced?.has(resourceId) === true || isNamed(state, session.actorId, resourceId)) found.push(resourceId);
  }
  for (const siteId of touched.sites) {
    for (const resourceId of partners(state.tables.resourcesOfSite, siteId)) {
      if (announced?.has(resourceId) === true) found.push(resourceId);
    }
  }
  return found;
}

function isNamed(state: State, actorId: ActorId, resourceId: ResourceId): boolean {
  for (const policyId of partners(state.tables.policiesOfResource, resourceId)) {
    const groupId = state.tables.rows.policies.get(policyId)?.actor_group_id;
    if (groupId !== undefined && isPair(state.tables.groupsOfActor, actorId, groupId)) return true;
  }
  return false;
}
