// The one function that changes a State: (state, input, env) to effects. Pure but for the state it is given, synchronous,
// deterministic. If it throws, the state is half changed: the caller drops it and reads it again from storage.
import { accountOf } from './state.ts';
import { renewalAt } from './expiry.ts';
import { applyChanges, applyRows, compareWithBefore, removeOthers } from './apply.ts';
import { answerNoRelays } from './relay-views.ts';
import {
  connect,
  endOf,
  endSession,
  endWaiting,
  forgetSession,
  holdSession,
  joined,
  noteCapabilities,
} from './sessions.ts';
import { connectRelay, forgetRelaySession, joinedRelay, resumeRelays, takeSharedRelays } from './relay-sessions.ts';
import { createFlow, flowAuthorized, relayFromClient, relayFromGateway } from './flows.ts';
import { clientView } from './view.ts';
import { parseFromClient } from '../protocol/device/client.ts';
import { parseFromGateway } from '../protocol/device/gateway.ts';
import { tellClient } from './tell.ts';
import { noEffects } from './effect.ts';
import { nothingTouched } from './touched.ts';
import { forgetUnsaved } from './memberships.ts';
import { putActorsToSleep } from './awake.ts';
import { buryTokens } from './tombstones.ts';
import { forgetFreshness } from './freshness.ts';
import { hearCommit, takeFreshness } from './hear.ts';
import { forgetHoldRecords } from './hold-records.ts';
import { liftHold, placeHold } from './holds.ts';
import { expectGrant, expectSession } from './due.ts';
import { tick } from './tick.ts';
import { keepUnseen, takeWritten, writeAgain } from './registration.ts';
import { saveEnded } from './records.ts';
import { flushDueAt, flushed, flushFailed, putOff, resumeSessions } from './ledger.ts';
import { missingFlows, writeUnseen } from './seen-writes.ts';
import { parsePgSnapshot } from '../protocol/visibility.ts';
import { becomeStale, endResync, noteAsked, resumeResync, resyncDueAt, wantRows } from './resync.ts';
import { settle } from './consequences.ts';
import { unreachable } from '../protocol/assert.ts';
import type { Because, Effects } from './effect.ts';
import type { Env } from './env.ts';
import type { Input } from './input.ts';
import type { ClientSession, GatewaySession, PartsTaken, RelaySession, Session, State } from './state.ts';
import type { FromClient } from '../protocol/device/client.ts';
import type { FromGateway } from '../protocol/device/gateway.ts';

/**
 * Takes one input. The caller stores the saves before anything else is asked of the state. Throws `Divergence` when a commit does
 * not fit the rows held.
 */
export function step(state: State, input: Input, env: Env): Effects {
  const effects = noEffects(becauseOf(input));
  state.now = Math.max(state.now, env.now);
  // An alarm may be late: what has run out by now has run out for this input too. Between parts nothing may follow yet, and that the
  // rows are behind holds whatever else goes wrong.
  const isBare = input.type === 'tick' || input.type === 'stale';
  if (!isBare && state.partial === null && (state.deadline ?? Infinity) <= state.now) tick(state, effects, env);
  take(state, input, effects, env);
  saveEnded(state, effects);
  putActorsToSleep(state);
  forgetUnsaved(state.tables.memberships);
  if (state.partial === null) state.tables.evicted.clear();
  effects.wakeAt = wakeDueAt(state);
  effects.isLeaseDue = state.sessions.size > 0 && state.leaseDueAt <= state.now;
  return effects;
}

/** When the object has to be awake next, whatever happens; null: nothing is due. */
export function wakeDueAt(state: State): number | null {
  return earlier(earlier(state.deadline, flushDueAt(state)), resyncDueAt(state));
}

/**
 * Completes a state that was just read from storage with the sessions whose sockets are open. What each client was told is its
 * view as it was when that was last brought up to date: what time has changed since is for the next tick to tell.
 */
export function resume(state: State, open: readonly (Session | RelaySession)[], now: number): void {
  const sessions = open.filter((session) => session.role !== 'relay');
  for (const session of sessions.toSorted((a, b) => a.connectedAt - b.connectedAt)) {
    holdSession(state, session);
    state.now = session.viewedAt === 0 ? now : session.viewedAt;
    const view = session.role === 'client' && session.joined ? clientView(state, session) : null;
    if (view !== null) state.announced.set(session.id, view);
  }
  state.now = Math.max(now, ...sessions.map(({ viewedAt }) => viewedAt));
  resumeRelays(
    state,
    open.filter((session) => session.role === 'relay'),
  );
  resumeSessions(state);
  resumeResync(state);
  for (const { id } of sessions) expectSession(state, id);
  for (const grant of state.grants.values()) {
    expectGrant(state, grant, grant.phase === 'live' && renewalAt(grant) <= now);
  }
}

function take(state: State, input: Input, effects: Effects, env: Env): void {
  switch (input.type) {
    case 'part':
      takePart(state, input, effects);
      return;
    case 'commit':
    case 'snapshot':
    case 'advance':
      takeRows(state, input, effects, env);
      return;
    case 'connect':
      wantRows(state);
      effects.admission =
        input.hello.role === 'relay'
          ? connectRelay(state, input.sessionId, input.hello, effects, env)
          : connect(state, input.sessionId, input.hello, effects, env);
      return;
    case 'joined':
    case 'message':
    case 'closed': {
      const session = state.sessions.get(input.sessionId);
      const relay = state.relaySessions.get(input.sessionId);
      if (session !== undefined) takeFromDevice(state, session, input, effects, env);
      else if (relay !== undefined) takeFromRelay(state, relay, input, effects, env);
      return;
    }
    case 'hold':
    case 'lift':
      takeHold(state, input, effects, env);
      return;
    case 'shared-relays':
      takeSharedRelays(state, input.set, input.leaseMs, effects, env);
      endWaiting(state, effects, env);
      return;
    case 'flushed':
      takeFlushed(state, input, effects, env);
      return;
    case 'flush-failed':
      flushFailed(state, env.seed);
      return;
    case 'stale':
      becomeStale(state, effects, env.seed);
      return;
    case 'resync-asked':
      noteAsked(state, effects);
      return;
    case 'freshness':
      takeFreshness(state, input, effects, env);
      return;
    case 'tick':
      tick(state, effects, env);
      return;
  }
  unreachable(input);
}

function takeRows(
  state: State,
  input: Extract<Input, { type: 'commit' | 'snapshot' | 'advance' }>,
  effects: Effects,
  env: Env,
): void {
  const { touched, slugBefore, keys } = takePartial(state);
  const epochBefore = state.position?.epoch ?? null;
  if (input.type === 'snapshot' || state.position === null) endResync(state, effects);
  if (input.type === 'commit') {
    applyChanges(state.tables, input.commit.changes, touched, effects);
    state.position = { epoch: input.epoch, lsn: input.commit.lsn };
  } else {
    if (input.type === 'snapshot') {
      applyRows(state.tables, input.rows, keys, touched, effects);
      const seen = parsePgSnapshot(input.seen ?? '0:0:');
      const isOtherEpoch = epochBefore !== null && epochBefore !== input.position.epoch;
      if (isOtherEpoch) writeAgain(state.tables, effects);
      keepUnseen(state.tables, keys, seen, effects);
      const missing = missingFlows(state, input.rows.flows ?? [], seen);
      for (const flowId of missing) touched.flows.add(flowId);
      if (isOtherEpoch) writeUnseen(state, seen, missing, effects);
      removeOthers(state.tables, keys, touched, effects);
      for (const { changes } of input.commits) applyChanges(state.tables, changes, touched, effects);
      endStaleness(state, effects);
    }
    state.position = input.position;
  }
  compareWithBefore(state.tables, touched);
  buryTokens(state, touched, effects);
  settle(state, touched, slugBefore, effects, env);
  if (state.position.epoch !== epochBefore) forgetFreshness(state);
  if (input.type === 'commit') hearCommit(state, input.commit.committedAtUs, effects, env);
  effects.saves.push({ type: 'put-position', position: state.position });
}

/** The rows are true again: what could not be renewed on stale ones is due at once. */
function endStaleness(state: State, effects: Effects): void {
  if (!state.stale) return;
  state.stale = false;
  effects.saves.push({ type: 'put-stale', isStale: false });
  for (const grant of state.grants.values()) {
    if (grant.phase === 'live' && renewalAt(grant) <= state.now) expectGrant(state, grant, true);
  }
}

/** Changes rows; what follows is left to the commit or snapshot that the part belongs to. */
function takePart(state: State, { content }: Extract<Input, { type: 'part' }>, effects: Effects): void {
  const partial = takePartial(state);
  state.partial = partial;
  const { tables } = state;
  if ('changes' in content) applyChanges(tables, content.changes, partial.touched, effects);
  else applyRows(tables, content.rows, partial.keys, partial.touched, effects);
}

function takePartial(state: State): PartsTaken {
  const { partial } = state;
  state.partial = null;
  return partial ?? { touched: nothingTouched(), slugBefore: accountOf(state)?.slug ?? null, keys: new Set() };
}

/** What an operator's word takes away or gives back follows in the same turn, as from a changed row. */
function takeHold(state: State, input: Extract<Input, { type: 'hold' | 'lift' }>, effects: Effects, env: Env): void {
  const touched =
    input.type === 'hold' ? placeHold(state, input.hold, effects) : liftHold(state, input.target, input.by, effects);
  effects.done = touched !== null;
  if (touched !== null) settle(state, touched, accountOf(state)?.slug ?? null, effects, env);
}

/** A flow whose row is gone was cut by whoever deleted it, and a device that Postgres does not take is no device. */
function takeFlushed(state: State, input: Extract<Input, { type: 'flushed' }>, effects: Effects, env: Env): void {
  forgetHoldRecords(state, input.batch, input.answer, effects);
  const gone = flushed(state, input, effects);
  if (input.answer.failed.length > 0) putOff(state, env.seed);
  const { devices } = input.answer;
  const touched = nothingTouched();
  if (devices !== null) takeWritten(state, input.batch.devices, devices, touched, effects);
  for (const flowId of gone) touched.flows.add(flowId);
  settle(state, touched, accountOf(state)?.slug ?? null, effects, env);
}

function becauseOf(input: Input): Because {
  if (input.type === 'commit') return { lsn: input.commit.lsn, changes: input.commit.changes };
  if (input.type !== 'snapshot') return null;
  return { lsn: input.position.lsn, changes: input.commits.flatMap(({ changes }) => changes) };
}

function earlier(a: number | null, b: number | null): number | null {
  if (a === null || b === null) return a ?? b;
  return Math.min(a, b);
}

function takeFromDevice(
  state: State,
  session: Session,
  input: Extract<Input, { type: 'joined' | 'message' | 'closed' }>,
  effects: Effects,
  env: Env,
): void {
  if (input.type === 'closed') {
    forgetSession(state, session);
    return;
  }
  const ending = endOf(state, session);
  if (ending !== null) {
    endSession(state, session, ending, effects);
    return;
  }
  if (input.type === 'joined') {
    joined(state, session, effects, env);
    return;
  }
  const isOpen = session.joined || session.waitsUntil !== null;
  const answer = isOpen ? takeMessage(state, session, input, effects, env) : { reason: 'unmatched topic' };
  if (answer !== null) {
    effects.sends.unshift({ type: 'reply', sessionId: session.id, topic: session.role, ref: input.ref, answer });
  }
}

function takeFromRelay(
  state: State,
  session: RelaySession,
  input: Extract<Input, { type: 'joined' | 'message' | 'closed' }>,
  effects: Effects,
  env: Env,
): void {
  switch (input.type) {
    case 'joined':
      joinedRelay(state, session, input.stampSecret, effects, env);
      endWaiting(state, effects, env);
      return;
    case 'message': {
      const { id: sessionId } = session;
      effects.sends.push({ type: 'reply', sessionId, topic: 'relay', ref: input.ref, answer: unknownMessage });
      return;
    }
    case 'closed':
      forgetRelaySession(state, session, effects);
      return;
  }
  unreachable(input);
}

/** Returns the reply owed to the device, or null for messages that are answered by pushes alone. */
function takeMessage(
  state: State,
  session: Session,
  { event, payload }: Extract<Input, { type: 'message' }>,
  effects: Effects,
  env: Env,
): 'ok' | { readonly reason: string } | null {
  if (session.role === 'client') {
    const message = parseFromClient(session.socketVersion, event, payload);
    if (message === null) return unknownMessage;
    // Before its init a device has nothing to ask for; what it says of itself it says at once.
    if (!session.joined && message.type !== 'set_snownet_capabilities') return null;
    return takeFromClient(state, session, message, effects, env);
  }
  const message = parseFromGateway(session.socketVersion, event, payload);
  if (message === null) return unknownMessage;
  if (!session.joined && message.type !== 'set_snownet_capabilities') return null;
  return takeFromGateway(state, session, message, effects, env);
}

const unknownMessage = { reason: 'unknown_message' };

function takeFromClient(state: State, session: ClientSession, message: FromClient, effects: Effects, env: Env): null {
  switch (message.type) {
    case 'create_flow':
      createFlow(state, session, message, effects, env);
      return null;
    case 'candidates':
      relayFromClient(state, session, message, effects);
      return null;
    case 'nobody':
      return null;
    case 'no_relays':
      answerNoRelays(state, session, effects, env);
      return null;
    case 'resolve_device_pool_domain': {
      const { resource_id: resourceId, domain } = message;
      tellClient(effects, session, { type: 'pool_failed', resourceId, domain });
      return null;
    }
    case 'set_snownet_capabilities':
      noteCapabilities(state, session, message.iceless, effects);
      return null;
  }
  return unreachable(message);
}

function takeFromGateway(
  state: State,
  session: GatewaySession,
  message: FromGateway,
  effects: Effects,
  env: Env,
): 'ok' | { readonly reason: string } | null {
  switch (message.type) {
    case 'flow_authorized':
      return flowAuthorized(state, session, message.ref, effects, env);
    case 'candidates':
      relayFromGateway(state, session, message, effects);
      return null;
    case 'no_relays':
      answerNoRelays(state, session, effects, env);
      return null;
    case 'set_snownet_capabilities':
      noteCapabilities(state, session, message.iceless, effects);
      return null;
  }
  return unreachable(message);
}
