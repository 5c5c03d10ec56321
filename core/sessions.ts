// Connections of devices: who is admitted, what a joined device is told first, and when a session must end.
//
//   connect ──▶ admitted ──▶ joined (init) ──▶ joined again (init again) … ──▶ closed
//      └──▶ refused
//
// The newest connection of a device wins, by the time it connected at the edge.
import { accountOf, noRelaysTold } from './state.ts';
import { areRelaysKnown, relaysForInit } from './relay-views.ts';
import { isProviderEnabled } from './access.ts';
import { isValidToken } from './token.ts';
import { askAgain, askAgainFor } from './flows.ts';
import { takeReplacement } from './clones.ts';
import { expectLease, expectSession, setDue } from './due.ts';
import { gatewayResource } from './render.ts';
import { grantsOfClient, grantsOfGateway, sendOwedRejects, takeOwedToClient } from './grants.ts';
import { isBuried, refusalOfAbsent } from './tombstones.ts';
import { isHeld } from './holds.ts';
import { judge, renewed } from './judge.ts';
import { must } from '../protocol/assert.ts';
import { noteSessions } from './ledger.ts';
import { patchClient } from './patch.ts';
import { keepEnded } from './records.ts';
import { noteClient, noteName } from './reconnection.ts';
import { register } from './registration.ts';
import { refusalOf } from '../protocol/reasons.ts';
import { isUnreadable, keysHeld } from './tables.ts';
import { tellClient, tellGateway } from './tell.ts';
import { clientView } from './view.ts';
import { tunnelInterface } from './render.ts';
import { wake } from './memberships.ts';
import type { Admission, Effects } from './effect.ts';
import type { ClientSession, GatewaySession, Session, State } from './state.ts';
import type { CloseCause, RefusalCode } from '../protocol/reasons.ts';
import type { Env } from './env.ts';
import type { ResourceId, TokenId } from '../protocol/ids.ts';
import type { Hello } from '../protocol/link.ts';
import type { Relay } from '../protocol/device/shared.ts';
import type { TokenRow } from '../protocol/rows.ts';

/** Devices connected at the same time, at most: 10,000 clients, and the gateways that serve them. */
export const sessionsMax = 11_000;

/** Decides a connection. An admitted one replaces the device's older session, which is closed. */
export function connect(state: State, sessionId: string, hello: Hello, effects: Effects, env: Env): Admission {
  const refuse = (code: RefusalCode): Admission => ({ type: 'refused', refusal: refusalOf(code) });
  const refused = refusalOfToken(state, hello.token.id, (row) => isValidToken(row, hello, state.now, env));
  if (refused === 'token_not_known_yet') return refuse(refusalOfAbsent(state, hello.token, effects));
  if (refused !== null) return refuse(refused);
  const token = must(state.tables.rows.tokens.get(hello.token.id), 'the row of a token that is not refused');
  if (isActorHeld(state, token)) return refuse('held');
  const known = sessionOf(state, sessionId, hello, token);
  const isConnected = known !== null && state.sessionOfDevice.has(known.deviceId);
  if (!isConnected && state.sessions.size >= sessionsMax) return refuse('account_too_large');
  if (known === null && !register(state, hello, token, effects, env)) return refuse('registration_refused');
  const found = known ?? must(sessionOf(state, sessionId, hello, token), 'the session of a device just registered');
  if (isHeld(state, found.role, found.deviceId)) return refuse('held');
  const older = state.sessions.get(state.sessionOfDevice.get(found.deviceId) ?? '');
  if (older !== undefined && older.connectedAt > found.connectedAt) return refuse('superseded');
  if (older !== undefined && !takeReplacement(state, older, found)) return refuse('device_cloned');
  const said = known?.role === 'client' ? noteClient(state, known.deviceId, token, hello, effects) : 'kept';
  if (said === 'full') return refuse('registration_refused');
  if (older !== undefined) endSession(state, older, 'superseded', effects);
  // The same key is the same process, which still has the relays that it was told of.
  const relays = older?.publicKey === found.publicKey ? older.relays : noRelaysTold;
  const admitted = { ...found, relays, revision: noteSessions(state) };
  holdSession(state, admitted);
  effects.saves.push({ type: 'put-session', session: admitted });
  if (admitted.role === 'client') judgeAnew(state, admitted, said === 'lost', effects);
  else noteName(state, admitted.deviceId, hello.name, effects);
  return { type: 'admitted', session: admitted };
}

/** Why nobody is admitted under the token, whatever the device; null when somebody may be. `isRight` judges the token's row. */
export function refusalOfToken(
  state: State,
  tokenId: TokenId,
  isRight: (token: TokenRow) => boolean,
): RefusalCode | null {
  if (state.position === null) return 'account_not_ready';
  const account = accountOf(state);
  if (account === null) return isAccountUnread(state) ? 'row_unreadable' : 'invalid_token';
  const token = state.tables.rows.tokens.get(tokenId);
  if (isUnreadable(state.tables, 'tokens', tokenId)) return 'row_unreadable';
  if (token === undefined) return isBuried(state, tokenId) ? 'invalid_token' : 'token_not_known_yet';
  if (!isRight(token)) return 'invalid_token';
  if (account.disabled_at !== null) return 'account_disabled';
  const actor = token.actor_id === null ? null : state.tables.rows.actors.get(token.actor_id);
  if (actor !== null && actor?.disabled_at !== null) return 'actor_disabled';
  return isProviderEnabled(state, token.id) ? null : 'provider_disabled';
}

/** The client's grants stand on the facts of its newest connection from here on. */
function judgeAnew(state: State, session: ClientSession, isUnverified: boolean, effects: Effects): void {
  const { tokenId, remoteIp, region } = session;
  for (const grant of grantsOfClient(state, session.deviceId)) {
    if (grant.phase !== 'live') continue;
    const isSame = grant.tokenId === tokenId && grant.remoteIp === remoteIp && grant.region === region;
    if (!isSame || isUnverified) judge(state, { ...grant, tokenId, remoteIp, region }, effects);
  }
}

/** Adds a session to the state, as after admission or after waking. */
export function holdSession(state: State, session: Session): void {
  state.sessions.set(session.id, session);
  state.sessionOfDevice.set(session.deviceId, session.id);
  if (session.role === 'client') wake(state.tables.memberships, session.actorId);
  expectSession(state, session.id);
  expectLease(state);
}

/** How long an init waits for the first set of shared relays, milliseconds: without a relay no tunnel can be built. */
export const relaysWaitMsMax = 3000;

/** The device's join was answered: it gets the whole of its view, whatever it was told before. */
export function joined(state: State, session: Session, effects: Effects, env: Env): void {
  if (!areRelaysKnown(state) && session.waitsUntil === null) {
    const waiting = { ...session, waitsUntil: state.now + relaysWaitMsMax };
    state.sessions.set(session.id, waiting);
    effects.saves.push({ type: 'put-session', session: waiting });
    expectSession(state, session.id);
    return;
  }
  const { relays, told, gone } = relaysForInit(state, session, env);
  const after = { ...session, joined: true, viewedAt: state.now, waitsUntil: null, relays: told };
  state.sessions.set(session.id, after);
  effects.saves.push({ type: 'put-session', session: after });
  const change = { disconnected_ids: gone, connected: relays };
  if (after.role === 'client') {
    initClient(state, after, relays, effects);
    if (gone.length > 0) tellClient(effects, after, { type: 'relays', change });
    askAgainFor(state, after, effects, env);
  } else {
    initGateway(state, after, relays, effects, env);
    if (gone.length > 0) tellGateway(effects, after, { type: 'relays', change });
  }
}

/** Gives its init to every device that has waited for relays, once something is known of them. */
export function endWaiting(state: State, effects: Effects, env: Env): void {
  if (!areRelaysKnown(state)) return;
  for (const session of state.sessions.values()) {
    if (session.waitsUntil !== null) joined(state, session, effects, env);
  }
}

/** What the device says of itself after its join; kept with its session. */
export function noteCapabilities(state: State, session: Session, iceless: boolean, effects: Effects): void {
  if (session.iceless === iceless) return;
  const after = { ...session, iceless };
  state.sessions.set(session.id, after);
  effects.saves.push({ type: 'put-session', session: after });
}

/** The socket is gone, or is about to be. */
export function forgetSession(state: State, session: Session): void {
  if (state.sessions.has(session.id)) {
    noteSessions(state);
    keepEnded(state, session);
  }
  state.sessions.delete(session.id);
  state.announced.delete(session.id);
  setDue(state.due, session.id, Infinity);
  if (session.role === 'client') state.maybeAsleep.add(session.actorId);
  if (state.sessionOfDevice.get(session.deviceId) === session.id) state.sessionOfDevice.delete(session.deviceId);
}

export function endSession(state: State, session: Session, cause: CloseCause, effects: Effects): void {
  forgetSession(state, session);
  effects.sends.push({ type: 'close', sessionId: session.id, cause });
}

/**
 * Those of `sessions` that may not go on, with the reason. A client among them counts as away from here on, so that what ends now is
 * told when it returns; a gateway is still told what it must know before it is closed.
 */
export function takeEnding(state: State, sessions: Iterable<Session>): Map<Session, CloseCause> {
  const ending = new Map<Session, CloseCause>();
  for (const session of sessions) {
    const cause = endOf(state, session);
    if (cause === null) continue;
    ending.set(session, cause);
    if (session.role === 'client') forgetSession(state, session);
  }
  return ending;
}

/** Why the session may not go on, or null. */
export function endOf(state: State, session: Session): CloseCause | null {
  const { rows } = state.tables;
  const token = rows.tokens.get(session.tokenId);
  if (isAnyUnread(state, session)) return 'unreadable';
  if (token === undefined || (token.expires_at ?? Infinity) <= state.now) return 'token_gone';
  if (accountOf(state)?.disabled_at !== null) return 'disabled';
  if (isActorHeld(state, token) || isHeld(state, session.role, session.deviceId)) return 'held';
  if (session.role === 'gateway') {
    const gateway = rows.gateways.get(session.deviceId);
    if (gateway === undefined) return state.tables.evicted.has(session.deviceId) ? 'moved' : 'device_gone';
    return gateway.group_id === session.siteId && token.gateway_group_id === session.siteId ? null : 'moved';
  }
  const client = rows.clients.get(session.deviceId);
  if (client === undefined) return state.tables.evicted.has(session.deviceId) ? 'moved' : 'device_gone';
  if (client.actor_id !== session.actorId || token.actor_id !== session.actorId) return 'moved';
  if (!isProviderEnabled(state, session.tokenId)) return 'disabled';
  return rows.actors.get(session.actorId)?.disabled_at === null ? null : 'disabled';
}

/** Whether a row that the session stands on is there and cannot be read: who signs out for that has lost a token that is good. */
function isAnyUnread(state: State, { role, deviceId, tokenId }: Session): boolean {
  const { tables } = state;
  if (tables.unreadable.size === 0) return false;
  const isDeviceUnread = isUnreadable(tables, role === 'client' ? 'clients' : 'gateways', deviceId);
  return isDeviceUnread || isUnreadable(tables, 'tokens', tokenId) || isAccountUnread(state);
}

/** Rows of one account alone are held, so any of that table is its own. */
export function isAccountUnread({ tables }: State): boolean {
  return tables.rows.accounts.size === 0 && keysHeld(tables, 'accounts').length > 0;
}

function isActorHeld(state: State, { actor_id: actorId }: TokenRow): boolean {
  return actorId !== null && isHeld(state, 'actor', actorId);
}

function initClient(state: State, session: ClientSession, relays: readonly Relay[], effects: Effects): void {
  const view = clientView(state, session);
  if (view === null) return;
  state.announced.set(session.id, view);
  expectSession(state, session.id);
  const resources = [...view.resources];
  tellClient(effects, session, { type: 'init', interface: view.interface, resources, relays });
  const interrupted = takeOwedToClient(state, session.deviceId, effects);
  if (interrupted.size > 0) patchClient(state, session, [], interrupted, effects);
}

/**
 * After its init a gateway is told the rejects it is owed, how the resources filter that it holds an access to, since they may
 * have changed while it was away, and asked what it has not answered.
 */
export function initGateway(
  state: State,
  session: GatewaySession,
  relays: readonly Relay[],
  effects: Effects,
  env: Env,
): void {
  const row = state.tables.rows.gateways.get(session.deviceId);
  if (row === undefined) return;
  const live = grantsOfGateway(state, session.deviceId).flatMap((grant) =>
    grant.phase === 'live' ? [renewed(state, grant, session, effects)] : [],
  );
  const { ipv4, ipv6 } = tunnelInterface(state, row);
  tellGateway(effects, session, {
    type: 'init',
    init: {
      interface: { ipv4, ipv6 },
      config: { ipv4_masquerade_enabled: true, ipv6_masquerade_enabled: true },
      account_slug: accountOf(state)?.slug ?? null,
      authorizations: live
        .filter(({ acknowledged }) => acknowledged)
        .map((grant) => ({
          client_id: grant.clientId,
          resource_id: grant.resourceId,
          expires_at: grant.expiresAt / 1000,
        })),
      relays: [...relays],
    },
  });
  sendOwedRejects(state, session, effects);
  const held = live.filter(({ acknowledged }) => acknowledged).map((grant) => grant.resourceId);
  for (const resourceId of new Set(held)) sendFilters(state, session, resourceId, effects);
  askAgain(state, session, live, effects, env);
}

/** Tells a gateway how a resource filters. */
export function sendFilters(state: State, session: GatewaySession, resourceId: ResourceId, effects: Effects): void {
  const row = state.tables.rows.resources.get(resourceId);
  if (row === undefined) return;
  tellGateway(effects, session, { type: 'resource', resource: gatewayResource(row) });
}

function sessionOf(state: State, id: string, hello: Hello, token: TokenRow): Session | null {
  const facts = {
    id,
    tokenId: token.id,
    publicKey: hello.publicKey,
    deviceVersion: hello.deviceVersion,
    program: hello.program,
    socketVersion: hello.socketVersion,
    iceless: false,
    relays: noRelaysTold,
    waitsUntil: null,
    remoteIp: hello.remoteIp,
    region: hello.region,
    latitude: hello.latitude,
    longitude: hello.longitude,
    connectedAt: hello.connectedAt,
    joined: false,
    viewedAt: state.now,
    revision: 0,
  };
  if (hello.role === 'client') {
    const { actor_id: actorId } = token;
    const deviceId = state.tables.clientByExternalId.get(`${actorId}/${hello.externalId}`);
    return actorId === null || deviceId === undefined ? null : { ...facts, role: 'client', deviceId, actorId };
  }
  const { gateway_group_id: siteId } = token;
  const deviceId = state.tables.gatewayByExternalId.get(`${siteId}/${hello.externalId}`);
  return siteId === null || deviceId === undefined ? null : { ...facts, role: 'gateway', deviceId, siteId };
}
