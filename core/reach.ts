// From what a set of changes touched to the grants and sessions that may have to be judged again or told. It may name too
// many, never too few, and what it costs follows what it names: nobody else is looked at.
import { awakeMembers } from './memberships.ts';
import { grantsOfClient, grantsOfGateway, grantsOfResource } from './grants.ts';
import { partners } from './tables.ts';
import type { ActorId, ClientId, GatewayId, GroupId, ResourceId, TokenId } from '../protocol/ids.ts';
import type { Grant, Session, State } from './state.ts';
import type { Touched } from './touched.ts';

/** Every grant that `touched` can bear on, each once. */
export function grantsInReach(state: State, touched: Touched): Iterable<Grant> {
  if (touched.everything || touched.everyFlow) return [...state.grants.values()];
  const found = new Set<Grant>();
  const note = (grants: readonly Grant[]) => {
    for (const grant of grants) found.add(grant);
  };
  for (const flowId of touched.flows) note([state.grants.get(flowId) ?? []].flat());
  for (const clientId of touched.clients) note(grantsOfClient(state, clientId));
  for (const actorId of touched.actors) note(grantsOfActor(state, actorId));
  for (const gatewayId of touched.gateways) note(grantsOfGateway(state, gatewayId));
  for (const resourceId of touched.resources) note(grantsOfResource(state, resourceId));
  for (const [resourceId, groupIds] of touched.policies) {
    for (const actorId of membersOf(state, groupIds)) {
      note(grantsOfActor(state, actorId).filter((grant) => grant.resourceId === resourceId));
    }
  }
  const { tokens, actors } = tokensInReach(state, touched);
  for (const actorId of actors) {
    note(grantsOfActor(state, actorId).filter((grant) => grant.phase === 'live' && tokens.has(grant.tokenId)));
  }
  return found;
}

/** Every session that may have to end, or whose whole view may be another. */
export function sessionsInReach(state: State, touched: Touched): Iterable<Session> {
  if (touched.everything) return [...state.sessions.values()];
  const found = new Set<Session>();
  for (const id of [...touched.clients, ...touched.gateways])
    for (const session of sessionsOf(state, [id])) found.add(session);
  for (const actorId of touched.actors) for (const session of sessionsOfActor(state, actorId)) found.add(session);
  const { tokens, actors } = tokensInReach(state, touched);
  const holders = [
    ...[...actors].flatMap((actorId) => sessionsOfActor(state, actorId)),
    ...[...touched.tokenSites].flatMap((siteId) => sessionsOf(state, partners(state.tables.gatewaysOfSite, siteId))),
  ];
  for (const session of holders) if (tokens.has(session.tokenId)) found.add(session);
  return found;
}

/** The resources that each further session may have to be told of. */
export function resourcesInReach(state: State, touched: Touched): Map<Session, Set<ResourceId>> {
  const found = new Map<Session, Set<ResourceId>>();
  const note = (groupIds: Iterable<GroupId>, resourceId: ResourceId) => {
    for (const actorId of membersOf(state, groupIds)) {
      for (const session of sessionsOfActor(state, actorId)) {
        const resources = found.get(session) ?? new Set();
        found.set(session, resources.add(resourceId));
      }
    }
  };
  const ofSites = [...touched.sites].flatMap((siteId) => partners(state.tables.resourcesOfSite, siteId));
  for (const resourceId of new Set([...touched.resources, ...ofSites]))
    note(groupsNaming(state, resourceId), resourceId);
  for (const [resourceId, groupIds] of touched.policies) note(groupIds, resourceId);
  return found;
}

/** The tokens touched, those of touched identities among them, with the actors they belong to. */
function tokensInReach(state: State, touched: Touched) {
  const tokens = new Set<TokenId>(touched.tokens);
  const actors = new Set<ActorId>(touched.tokenActors);
  for (const identityId of touched.identities) {
    for (const tokenId of partners(state.tables.tokensOfIdentity, identityId)) {
      tokens.add(tokenId);
      const actorId = state.tables.rows.tokens.get(tokenId)?.actor_id ?? null;
      if (actorId !== null) actors.add(actorId);
    }
  }
  return { tokens, actors };
}

function groupsNaming(state: State, resourceId: ResourceId): Set<GroupId> {
  return new Set(partners(state.tables.policiesOfResource, resourceId).map((policy) => policy.actor_group_id));
}

/** Those who are awake in some of the groups, each once. */
function membersOf(state: State, groupIds: Iterable<GroupId>): Set<ActorId> {
  const members = new Set<ActorId>();
  for (const groupId of groupIds) {
    for (const actorId of awakeMembers(state.tables.memberships, groupId)) members.add(actorId);
  }
  return members;
}

function grantsOfActor(state: State, actorId: ActorId): Grant[] {
  return partners(state.tables.clientsOfActor, actorId).flatMap((clientId) => grantsOfClient(state, clientId));
}

function sessionsOfActor(state: State, actorId: ActorId): Session[] {
  return sessionsOf(state, partners(state.tables.clientsOfActor, actorId));
}

function sessionsOf(state: State, deviceIds: readonly (ClientId | GatewayId)[]): Session[] {
  return deviceIds.flatMap((id) => state.sessions.get(state.sessionOfDevice.get(id) ?? '') ?? []);
}
