// Everything that follows from changed rows, in the turn that changed them: grants judged again, gateways told first, then
// clients, then the sessions closed that may not go on.
import { endGrant, grantsOfResource } from './grants.ts';
import { accountOf, clientSession, gatewaySession } from './state.ts';
import { expectSession } from './due.ts';
import { endSession, initGateway, sendFilters, takeEnding } from './sessions.ts';
import { grantsInReach, resourcesInReach, sessionsInReach } from './reach.ts';
import { judge } from './judge.ts';
import { patchClient } from './patch.ts';
import { patchRelays, relaysForInit } from './relay-views.ts';
import { settleRelays } from './relay-sessions.ts';
import type { ClientId, ResourceId } from '../protocol/ids.ts';
import type { LiveGrant, Session, State } from './state.ts';
import type { Effects } from './effect.ts';
import type { Env } from './env.ts';
import type { Touched } from './touched.ts';

/** Brings grants, views and sessions in line with the rows, as far as `touched` reaches. */
export function settle(state: State, touched: Touched, slugBefore: string | null, effects: Effects, env: Env): void {
  const interrupted = new Map<ClientId, Set<ResourceId>>();
  const sessions = [...sessionsInReach(state, touched)];
  const ending = takeEnding(state, sessions);
  for (const { id } of sessions) expectSession(state, id);
  for (const grant of grantsInReach(state, touched)) {
    if (grant.phase !== 'live' || isStanding(state, grant, touched, effects)) continue;
    const resources = interrupted.get(grant.clientId) ?? new Set();
    interrupted.set(grant.clientId, resources.add(grant.resourceId));
  }
  for (const resourceId of touched.refiltered) announceFilters(state, resourceId, effects);
  const isSlugChanged = touched.everything && (accountOf(state)?.slug ?? null) !== slugBefore;
  for (const session of sessions) {
    const isInitDue = isSlugChanged || touched.rekeyed.has(session.deviceId);
    if (session.role !== 'gateway' || !session.joined || ending.has(session)) continue;
    if (isInitDue) initGateway(state, session, relaysForInit(state, session, env).relays, effects, env);
  }
  patchInReach(state, sessions, touched, interrupted, effects);
  for (const { id, tokenId } of touched.tokens.size > 0 ? sessions : []) {
    // A client's credentials at its relays end with its token.
    const session = state.sessions.get(id);
    if (session?.joined === true && touched.tokens.has(tokenId)) patchRelays(state, session, effects, env);
  }
  for (const [session, cause] of ending) endSession(state, session, cause, effects);
  settleRelays(state, effects, env);
}

/** Tells each joined client in reach what changed for it, once. */
function patchInReach(
  state: State,
  sessions: readonly Session[],
  touched: Touched,
  interrupted: ReadonlyMap<ClientId, ReadonlySet<ResourceId>>,
  effects: Effects,
): void {
  const changes = new Map<string, Iterable<ResourceId> | 'all'>();
  for (const { id } of sessions) changes.set(id, 'all');
  if (!touched.everything) {
    for (const [{ id }, resources] of resourcesInReach(state, touched))
      if (!changes.has(id)) changes.set(id, resources);
  }
  for (const clientId of interrupted.keys()) {
    const id = clientSession(state, clientId)?.id;
    if (id !== undefined && !changes.has(id)) changes.set(id, []);
  }
  for (const [id, resources] of changes) {
    const session = state.sessions.get(id);
    if (session?.role !== 'client' || !session.joined) continue;
    patchClient(state, session, resources, interrupted.get(session.deviceId) ?? new Set(), effects);
  }
}

/** What either side was told is void where an address or a key behind it changed, whatever justifies the access. */
function isStanding(state: State, grant: LiveGrant, touched: Touched, effects: Effects): boolean {
  const isVoid =
    touched.readdressed.has(grant.resourceId) ||
    touched.rekeyed.has(grant.clientId) ||
    touched.rekeyed.has(grant.gatewayId);
  if (touched.everyFlow || touched.flows.has(grant.flowId)) {
    const cause = { table: 'flows', id: grant.flowId, commit: effects.because?.lsn ?? null };
    endGrant(state, grant, effects, cause);
    return false;
  }
  if (!isVoid) return judge(state, grant, effects) !== null;
  endGrant(state, grant, effects);
  return false;
}

/** Tells each connected gateway through which somebody reaches the resource how it filters; others hear it after their init. */
function announceFilters(state: State, resourceId: ResourceId, effects: Effects): void {
  const live = grantsOfResource(state, resourceId).filter(({ phase }) => phase === 'live');
  for (const gatewayId of new Set(live.map((grant) => grant.gatewayId))) {
    const session = gatewaySession(state, gatewayId);
    if (session !== null) sendFilters(state, session, resourceId, effects);
  }
}
