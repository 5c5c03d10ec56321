// What operators ask: why a client may or may not reach a resource, and who may reach what. The verdict is that of authorize.ts,
// asked as the client's own request would be; the facts are those of its live connection, else of its newest flow, else those
// given, and it is told which. Nothing is changed by asking.
import { accessOf, factsOf, namedResources, subjectOf } from './access.ts';
import { accessRowsMax, explainPoliciesMax } from '../protocol/explain.ts';
import { accountOf, gatewaySession } from './state.ts';
import { allMembers } from './memberships.ts';
import { authorize, reasonsAgainstGrants } from './authorize.ts';
import { explain } from './explain.ts';
import { grantsOfClient, liveGrant } from './grants.ts';
import { isHeld } from './holds.ts';
import { isVerificationLost } from './reconnection.ts';
import { isCompatible } from './compatible.ts';
import { partners } from './tables.ts';
import { refusalOf } from '../protocol/reasons.ts';
import { refusalOfToken } from './sessions.ts';
import { endAt, tokenExpiry } from './expiry.ts';
import * as v from 'valibot';
import { actorId as actorIdSchema, tokenId as tokenIdSchema } from '../protocol/ids.ts';
import type { AccessAnswer, AccessRequest, AccessRow, ExplainAnswer, ExplainRequest } from '../protocol/explain.ts';
import type { MissingFact, PolicyPath, Source, Verdict } from '../protocol/explain.ts';
import type { ActorId, ClientId, GatewayId, ResourceId, TokenId } from '../protocol/ids.ts';
import type { ClientSession, LiveGrant, State } from './state.ts';
import type { Env } from './env.ts';

/** What a client is judged on: its session, or what is as good as one, and where that comes from. */
type Known = {
  readonly client: ClientSession;
  readonly sources: { readonly token: Source; readonly remoteIp: Source; readonly region: Source };
  readonly isConnected: boolean;
};

type Given = ExplainRequest['given'];

const nothingGiven: Given = { token: null, remoteIp: null, region: null };

/** Stands for a token or an actor that is not there; no row has it. */
const nobody = '00000000-0000-0000-0000-000000000000';

/** Answers as of `env.now`, or of the latest time that the state has seen. */
export function explainClient(before: State, request: ExplainRequest, env: Env): ExplainAnswer {
  const state = { ...before, now: Math.max(before.now, env.now) };
  const { client: clientId, resource: resourceId } = request;
  const { rows } = state.tables;
  const known = knownOf(state, clientId, request.given, longestTokens(state));
  const { client } = known;
  const { verdict, gatewayId } = decide(state, client, resourceId, env);
  const explanation = explain(state, subjectOf(client), resourceId);
  const { access } = explanation;
  const row = rows.clients.get(clientId);
  const resource = rows.resources.get(resourceId);
  const account = accountOf(state);
  const actor = rows.actors.get(client.actorId);
  const flow = liveGrant(state, clientId, resourceId);
  const gateways = gatewaysOf(state, client, resourceId);
  const policyId = access.type === 'granted' ? access.policyId : null;
  return {
    at: state.now,
    position: state.position,
    stale: state.stale,
    verdict,
    until: finite(access.until),
    missing: verdict === 'allow' ? [] : missingOf(state, explanation.missing, gateways, access),
    client: row === undefined ? null : { id: clientId, externalId: row.external_id },
    connection: connectionOf(state, known),
    facts: knownFacts(state, known),
    account: account === null ? null : { id: account.id, isEnabled: account.disabled_at === null },
    actor: actor === undefined ? null : { id: actor.id, isEnabled: actor.disabled_at === null },
    resource:
      resource === undefined
        ? null
        : { id: resourceId, name: resource.name, type: resource.type, address: resource.address },
    policies: nearestFirst(explanation.policies, policyId).slice(0, explainPoliciesMax),
    policiesTotal: explanation.policies.length,
    policyId,
    sites: explanation.sites.map((id) => ({ id, name: rows.gateway_groups.get(id)?.name ?? '' })),
    gateways,
    gatewayId,
    flow: flow === null ? null : { gatewayId: flow.gatewayId, isOpen: flow.acknowledged, expiresAt: flow.expiresAt },
  };
}

/** Who can reach a resource, or what an actor or a client can, as of `env.now`. */
export function listAccess(before: State, { of }: AccessRequest, env: Env): AccessAnswer {
  const state = { ...before, now: Math.max(before.now, env.now) };
  const longest = longestTokens(state);
  const rows = pairsOf(state, of).map(([clientId, resourceId]) => {
    return accessRow(state, knownOf(state, clientId, nothingGiven, longest), resourceId, env);
  });
  const { actors, clients, resources } = state.tables.rows;
  const tables = { resource: resources, actor: actors, client: clients } as const;
  return {
    at: state.now,
    position: state.position,
    stale: state.stale,
    isKnown: tables[of.type].has(of.id),
    rows: rows.toSorted(byIds).slice(0, accessRowsMax),
    total: rows.length,
    allowed: rows.filter(({ verdict }) => verdict === 'allow').length,
  };
}

/** What is known of the client's connection: of a live one, else of its newest flow, else what is given. */
function knownOf(state: State, clientId: ClientId, given: Given, longestOf: ReadonlyMap<ActorId, TokenId>): Known {
  const session = state.sessions.get(state.sessionOfDevice.get(clientId) ?? '');
  if (session?.role === 'client') return { client: session, sources: all('session'), isConnected: true };
  const actorId = state.tables.rows.clients.get(clientId)?.actor_id ?? v.parse(actorIdSchema, nobody);
  const flow = newestFlow(state, clientId);
  if (flow !== null) {
    const client = imagined(clientId, actorId, flow.tokenId, flow, state.now);
    return { client, sources: all('flow'), isConnected: false };
  }
  const longest = given.token === null ? (longestOf.get(actorId) ?? null) : null;
  const tokenId = given.token ?? longest ?? v.parse(tokenIdSchema, nobody);
  const sourceOf = (fact: string | null): Source => (fact === null ? 'unknown' : 'given');
  return {
    client: imagined(clientId, actorId, tokenId, given, state.now),
    sources: {
      token: longest === null ? sourceOf(given.token) : 'longest',
      remoteIp: sourceOf(given.remoteIp),
      region: sourceOf(given.region),
    },
    isConnected: false,
  };
}

function all(source: Source): Known['sources'] {
  return { token: source, remoteIp: source, region: source };
}

/** A connection that could be: of no stated version, so that it fits every gateway, and from no known place. */
function imagined(
  deviceId: ClientId,
  actorId: ActorId,
  tokenId: TokenId,
  { remoteIp, region }: Pick<Given, 'remoteIp' | 'region'>,
  now: number,
): ClientSession {
  return {
    role: 'client',
    id: '',
    deviceId,
    actorId,
    tokenId,
    publicKey: '',
    deviceVersion: null,
    program: null,
    socketVersion: 1,
    iceless: false,
    relays: [],
    waitsUntil: null,
    revision: 0,
    remoteIp,
    region,
    latitude: null,
    longitude: null,
    connectedAt: now,
    joined: false,
    viewedAt: now,
  };
}

function newestFlow(state: State, clientId: ClientId): LiveGrant | null {
  let newest: LiveGrant | null = null;
  for (const grant of grantsOfClient(state, clientId)) {
    if (grant.phase === 'live' && (newest === null || grant.toldAt > newest.toldAt)) newest = grant;
  }
  return newest;
}

/** By actor, the client token that ends last, the lowest id of equals. */
function longestTokens(state: State): Map<ActorId, TokenId> {
  const longest = new Map<ActorId, TokenId>();
  for (const { id, type, actor_id: actorId } of state.tables.rows.tokens.values()) {
    if (type !== 'client' || actorId === null) continue;
    const held = longest.get(actorId);
    const [until, heldUntil] = [tokenExpiry(state, id), held === undefined ? -Infinity : tokenExpiry(state, held)];
    if (held === undefined || until > heldUntil || (until === heldUntil && id < held)) longest.set(actorId, id);
  }
  return longest;
}

/**
 * What a request would be answered: by the gateway that holds the live flow while it is connected, else as authorize.ts decides.
 * The client is taken to be connected to the gateways of its open flows.
 */
function decide(
  state: State,
  client: ClientSession,
  resourceId: ResourceId,
  env: Env,
): { readonly verdict: Verdict; readonly gatewayId: GatewayId | null } {
  const { deviceId } = client;
  const flow = liveGrant(state, deviceId, resourceId);
  const isHeld = flow !== null && endAt(flow) > state.now && gatewaySession(state, flow.gatewayId) !== null;
  const isGranted = accessOf(state, subjectOf(client), resourceId).type === 'granted';
  if (isHeld && isGranted && !state.stale) return { verdict: 'allow', gatewayId: flow.gatewayId };
  const preferred = grantsOfClient(state, deviceId).flatMap((grant) =>
    grant.phase === 'live' && grant.acknowledged ? [grant.gatewayId] : [],
  );
  const decision = authorize(state, client, resourceId, { preferred, excluded: [] }, env);
  if (decision.type === 'deny') return { verdict: decision.reason, gatewayId: null };
  return { verdict: 'allow', gatewayId: decision.gateway.deviceId };
}

function missingOf(
  state: State,
  missing: readonly MissingFact[],
  gateways: ExplainAnswer['gateways'],
  access: { readonly type: string; readonly until: number },
): MissingFact[] {
  if (state.position === null) return [{ type: 'snapshot' }];
  const found: MissingFact[] = [...reasonsAgainstGrants(state), ...missing];
  const held = gateways.filter(({ id }) => isHeld(state, 'gateway', id));
  if (!gateways.some((gateway) => gateway.isConnected && gateway.isCompatible)) {
    for (const { id } of held) found.push({ type: 'held', kind: 'gateway', id });
  }
  if (gateways.length === 0) found.push({ type: 'gateway', detail: 'none' });
  else if (!gateways.some(({ isConnected }) => isConnected)) found.push({ type: 'gateway', detail: 'offline' });
  else if (!gateways.some((gateway) => gateway.isConnected && gateway.isCompatible)) {
    found.push({ type: 'gateway', detail: 'incompatible' });
  }
  return found.length > 0 ? found : [{ type: 'time', until: finite(access.until) }];
}

/** Every gateway in the resource's sites, by id. */
function gatewaysOf(state: State, client: ClientSession, resourceId: ResourceId): ExplainAnswer['gateways'] {
  const found = [...partners(state.tables.sitesOfResource, resourceId)].flatMap((siteId) =>
    [...partners(state.tables.gatewaysOfSite, siteId)].map((id) => {
      const session = gatewaySession(state, id);
      const version = session?.deviceVersion ?? null;
      const isFitting = session !== null && isCompatible(client.deviceVersion, version);
      return { id, siteId, isConnected: session !== null, version, isCompatible: isFitting };
    }),
  );
  return found.toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

function connectionOf(state: State, { client, isConnected }: Known): ExplainAnswer['connection'] {
  const refused = refusalOfToken(state, client.tokenId, ({ type, expires_at: end }) => {
    return type === 'client' && (end ?? Infinity) > state.now;
  });
  const isCut = isHeld(state, 'actor', client.actorId) || isHeld(state, 'client', client.deviceId);
  const code = refused ?? (isCut ? 'held' : null);
  const refusal = code === null ? null : refusalOf(code);
  return {
    since: isConnected ? client.connectedAt : null,
    isJoined: isConnected && client.joined,
    refusal: refusal === null ? null : { code: refusal.code, detail: refusal.detail },
  };
}

function knownFacts(state: State, { client, sources }: Known): ExplainAnswer['facts'] {
  const { tokenId, remoteIp, region, deviceVersion } = client;
  const { providerId, isVerified } = factsOf(state, subjectOf(client));
  const provider = providerId === null ? undefined : state.tables.rows.auth_providers.get(providerId);
  return {
    token: {
      id: tokenId === nobody ? null : tokenId,
      source: sources.token,
      expiresAt: finite(tokenExpiry(state, tokenId)),
    },
    remoteIp: { value: remoteIp, source: sources.remoteIp },
    region: { value: region, source: sources.region },
    provider: provider === undefined ? null : { id: provider.id, isEnabled: provider.disabled_at === null },
    isVerified,
    isVerificationLost: isVerificationLost(state, client.deviceId),
    version: deviceVersion,
  };
}

function nearestFirst(policies: readonly PolicyPath[], chosen: string | null): PolicyPath[] {
  const rank = ({ id, isMember }: PolicyPath) => (id === chosen ? 0 : isMember ? 1 : 2);
  return policies.toSorted((a, b) => rank(a) - rank(b));
}

/** The clients and resources that policies bring together with what is asked for. */
function pairsOf(state: State, of: AccessRequest['of']): [ClientId, ResourceId][] {
  const { tables } = state;
  const pairs: [ClientId, ResourceId][] = [];
  if (of.type === 'resource') {
    for (const actorId of namedActors(state, of.id)) {
      for (const clientId of partners(tables.clientsOfActor, actorId)) pairs.push([clientId, of.id]);
    }
    return pairs;
  }
  const owner = of.type === 'actor' ? of.id : tables.rows.clients.get(of.id)?.actor_id;
  if (owner === undefined) return pairs;
  const clients = of.type === 'client' ? [of.id] : [...partners(tables.clientsOfActor, owner)];
  for (const resourceId of namedResources(state, owner)) {
    for (const clientId of clients) pairs.push([clientId, resourceId]);
  }
  return pairs;
}

/** The actors of every group that a policy gives the resource to. */
function namedActors(state: State, resourceId: ResourceId): Set<ActorId> {
  const found = new Set<ActorId>();
  const policies = partners(state.tables.policiesOfResource, resourceId);
  for (const groupId of new Set(policies.map((policy) => policy.actor_group_id))) {
    for (const actorId of allMembers(state.tables.memberships, groupId)) found.add(actorId);
  }
  return found;
}

function accessRow(state: State, { client, sources, isConnected }: Known, resourceId: ResourceId, env: Env): AccessRow {
  const { verdict } = decide(state, client, resourceId, env);
  const access = accessOf(state, subjectOf(client), resourceId);
  return {
    actorId: client.actorId,
    clientId: client.deviceId,
    resourceId,
    resourceName: state.tables.rows.resources.get(resourceId)?.name ?? '',
    verdict,
    until: finite(access.until),
    policyId: access.type === 'granted' ? access.policyId : null,
    violated: access.type === 'forbidden' ? [...access.properties] : [],
    facts: isConnected ? 'session' : sources.token,
  };
}

function byIds(a: AccessRow, b: AccessRow): number {
  const key = ({ actorId, clientId, resourceId }: AccessRow) => `${actorId}/${clientId}/${resourceId}`;
  return key(a) < key(b) ? -1 : 1;
}

function finite(at: number): number | null {
  return Number.isFinite(at) ? at : null;
}
