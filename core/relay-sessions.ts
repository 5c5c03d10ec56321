// Connections of relays: who is admitted, when one is a relay, and when it is none any more. Devices are told of what changed in
// the same turn. Relays of an account connect to its object; those of none to the object that stands for no account, which
// passes their set on.
import { accountOf } from './state.ts';
import { expectAt, expectLease } from './due.ts';
import { graceMs, joinRelay, leaveRelay, relayId, relaysMax } from './relays.ts';
import { isAccountUnread } from './sessions.ts';
import { isUnreadable } from './tables.ts';
import { isValidToken } from './token.ts';
import { patchAllRelays, resumeTelling } from './relay-views.ts';
import { refusalOf } from '../protocol/reasons.ts';
import { refusalOfAbsent } from './tombstones.ts';
import { sharedAccountId } from '../protocol/ids.ts';
import type { Admission, Effects } from './effect.ts';
import type { CloseCause, RefusalCode } from '../protocol/reasons.ts';
import type { Env } from './env.ts';
import type { RelayHello } from '../protocol/link.ts';
import type { RelaySession, State } from './state.ts';
import type { SharedRelays } from '../protocol/relays.ts';

/** Decides a relay's connection by its token alone; what stands at its address under that token is replaced by its join. */
export function connectRelay(
  state: State,
  sessionId: string,
  hello: RelayHello,
  effects: Effects,
  env: Env,
): Admission {
  const refuse = (code: RefusalCode): Admission => ({ type: 'refused', refusal: refusalOf(code) });
  const { account, ipv4, ipv6, port, latitude, longitude, connectedAt } = hello;
  if (state.position === null) return refuse('account_not_ready');
  if (isUnreadable(state.tables, 'tokens', hello.token.id) || isAccountUnread(state)) return refuse('row_unreadable');
  if (account !== sharedAccountId && accountOf(state) === null) return refuse('invalid_token');
  const token = state.tables.rows.tokens.get(hello.token.id);
  if (token === undefined) return refuse(refusalOfAbsent(state, hello.token, effects));
  if (!isValidToken(token, hello, state.now, env)) return refuse('invalid_token');
  if ((accountOf(state)?.disabled_at ?? null) !== null) return refuse('account_disabled');
  // Twice the relays: all of them may dial again before it is noticed that they were gone.
  if (state.relaySessions.size >= 2 * relaysMax) return refuse('account_too_large');
  const session: RelaySession = {
    role: 'relay',
    id: sessionId,
    account,
    tokenId: token.id,
    ipv4,
    ipv6,
    port,
    latitude,
    longitude,
    connectedAt,
  };
  holdRelaySession(state, session);
  effects.saves.push({ type: 'put-session', session });
  return { type: 'admitted', session };
}

/** Adds a relay's connection to the state, as after admission or after waking. */
export function holdRelaySession(state: State, session: RelaySession): void {
  state.relaySessions.set(session.id, session);
  expectRelays(state);
}

/** Its join was answered: from here on it is a relay, and what it replaces is none. */
export function joinedRelay(
  state: State,
  session: RelaySession,
  secret: string | undefined,
  effects: Effects,
  env: Env,
): void {
  if (secret === undefined) {
    endRelaySession(state, session, 'internal_error', effects);
    return;
  }
  const { ipv4, ipv6, port, latitude, longitude, tokenId, connectedAt, id: sessionId } = session;
  const id = relayId(session.account, secret, env.hashes);
  const entry = { id, stampSecret: secret, ipv4, ipv6, port, latitude, longitude };
  // Another secret on the connection that it has is another start of the relay.
  const earlier = [...state.relays.values()].find((held) => held.sessionId === sessionId && held.entry.id !== id);
  const joined = joinRelay(state.relays, entry, { sessionId, tokenId, connectedAt });
  if (joined.type === 'refused') {
    endRelaySession(state, session, joined.cause, effects);
    return;
  }
  if (earlier !== undefined) state.relays.delete(earlier.entry.id);
  for (const endedId of joined.ended) {
    const ended = state.relaySessions.get(endedId);
    if (ended !== undefined) endRelaySession(state, ended, 'superseded', effects);
  }
  effects.sends.push({ type: 'to-relay', sessionId });
  keepRelays(state, joined.isChanged, effects, env);
}

/** The socket is gone. The relay has some time to come back. */
export function forgetRelaySession(state: State, session: RelaySession, effects: Effects): void {
  state.relaySessions.delete(session.id);
  const left = leaveRelay(state.relays, session.id, state.now);
  if (left === null) return;
  expectRelays(state);
  saveRelays(state, effects);
}

/** After waking: relays whose sockets are gone have some time to come back, the others are as they were. */
export function resumeRelays(state: State, sessions: readonly RelaySession[]): void {
  for (const session of sessions) holdRelaySession(state, session);
  for (const { entry, sessionId, ...held } of state.relays.values()) {
    const isThere = sessionId !== null && state.relaySessions.has(sessionId);
    const goneAt = isThere ? null : (held.goneAt ?? state.now + graceMs);
    state.relays.set(entry.id, { ...held, entry, sessionId: isThere ? sessionId : null, goneAt });
  }
  resumeTelling(state);
  expectRelays(state);
}

/** Ends the connections that may not go on and the relays whose time is over, and tells devices. */
export function settleRelays(state: State, effects: Effects, env: Env): void {
  let isChanged = false;
  for (const session of state.relaySessions.values()) {
    const cause = endOf(state, session);
    if (cause !== null) endRelaySession(state, session, cause, effects);
  }
  for (const held of state.relays.values()) {
    const isOver = (held.goneAt ?? Infinity) <= state.now || !state.tables.rows.tokens.has(held.tokenId);
    const isOrphan = held.sessionId !== null && !state.relaySessions.has(held.sessionId);
    if (!isOver && !isOrphan) continue;
    state.relays.delete(held.entry.id);
    isChanged = true;
  }
  if (isChanged) keepRelays(state, true, effects, env);
  else if (state.relaysNextAt <= state.now) patchAllRelays(state, effects, env);
  expectRelays(state);
}

/** The relays that connect here, as a set for others. */
export function sharedRelaysOf({ relays, relaysVersion }: State): SharedRelays {
  return { version: relaysVersion, relays: [...relays.values()].map(({ entry }) => entry) };
}

/** The shared relays as they are: an older set says nothing, and the same one only renews the lease. */
export function takeSharedRelays(
  state: State,
  set: SharedRelays,
  leaseMs: number | null,
  effects: Effects,
  env: Env,
): void {
  if (leaseMs !== null) state.leaseDueAt = leaseMs === 0 ? 0 : state.now + leaseMs / 2;
  expectLease(state);
  const isNew = state.shared === null || set.version > state.shared.version;
  if (isNew) state.shared = set;
  effects.saves.push({ type: 'put-shared-relays', set: state.shared ?? set, leaseDueAt: state.leaseDueAt });
  if (isNew) patchAllRelays(state, effects, env);
  expectRelays(state);
}

/** Relays are due when one of them is gone, the token of one ends, or devices are still to be told. */
export function expectRelays(state: State): void {
  let at = state.relaysNextAt;
  for (const { goneAt } of state.relays.values()) at = Math.min(at, goneAt ?? Infinity);
  for (const { tokenId } of state.relaySessions.values()) {
    at = Math.min(at, state.tables.rows.tokens.get(tokenId)?.expires_at ?? Infinity);
  }
  expectAt(state, 'relays', at);
}

function keepRelays(state: State, isChanged: boolean, effects: Effects, env: Env): void {
  if (isChanged) state.relaysVersion += 1;
  saveRelays(state, effects);
  if (isChanged) patchAllRelays(state, effects, env);
  expectRelays(state);
}

function saveRelays(state: State, effects: Effects): void {
  effects.saves.push({ type: 'put-relays', version: state.relaysVersion, relays: [...state.relays.values()] });
}

function endRelaySession(state: State, session: RelaySession, cause: CloseCause, effects: Effects): void {
  state.relaySessions.delete(session.id);
  effects.sends.push({ type: 'close', sessionId: session.id, cause });
}

function endOf(state: State, { tokenId }: RelaySession): CloseCause | null {
  const token = state.tables.rows.tokens.get(tokenId);
  if (isUnreadable(state.tables, 'tokens', tokenId) || isAccountUnread(state)) return 'unreadable';
  if (token === undefined || (token.expires_at ?? Infinity) <= state.now) return 'token_gone';
  return (accountOf(state)?.disabled_at ?? null) === null ? null : 'disabled';
}
