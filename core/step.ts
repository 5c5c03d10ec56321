// The one function that changes a State: (state, input, env) to effects. Pure but for the state it is given, synchronous,
// deterministic. If it throws, the state is half changed: the caller drops it and reads it again from storage.
import { accountOf } from './state.ts';
import { applyChanges, applyRows } from './apply.ts';
import { connect, endOf, endSession, forgetSession, holdSession, joined } from './sessions.ts';
import { createFlow, flowAuthorized, relayFromClient, relayFromGateway } from './flows.ts';
import { clientView } from './view.ts';
import { settleRejects } from './grants.ts';
import { parseFromClient } from '../protocol/device/client.ts';
import { parseFromGateway } from '../protocol/device/gateway.ts';
import { noEffects } from './effect.ts';
import { nothingTouched } from './touched.ts';
import { findDeadline, tick } from './tick.ts';
import { settle } from './consequences.ts';
import { unreachable } from '../protocol/assert.ts';
import type { Effects } from './effect.ts';
import type { Env } from './env.ts';
import type { Input } from './input.ts';
import type { Session, State } from './state.ts';
import type { Touched } from './touched.ts';

/** Takes one input. Throws `Divergence` when a commit does not fit the rows held. */
export function step(state: State, input: Input, env: Env): Effects {
  const effects = noEffects();
  state.now = Math.max(state.now, env.now);
  take(state, input, effects, env);
  effects.wakeAt = state.deadline;
  return effects;
}

/** Completes a state that was just read from storage with the sessions whose sockets are open. */
export function resume(state: State, sessions: readonly Session[], now: number): void {
  state.now = now;
  for (const session of [...sessions].sort((a, b) => a.connectedAt - b.connectedAt)) {
    holdSession(state, session);
    const view = session.role === 'client' && session.joined ? clientView(state, session) : null;
    if (view !== null) state.announced.set(session.id, view);
  }
  findDeadline(state);
}

function take(state: State, input: Input, effects: Effects, env: Env): void {
  switch (input.type) {
    case 'commit':
    case 'snapshot':
    case 'advance':
      takeRows(state, input, effects, env);
      return;
    case 'connect':
      effects.admission = connect(state, input.sessionId, input.hello, effects, env);
      return;
    case 'joined':
    case 'message':
    case 'closed': {
      const session = state.sessions.get(input.sessionId);
      if (session !== undefined) takeFromDevice(state, session, input, effects, env);
      return;
    }
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
  const slugBefore = accountOf(state)?.slug ?? null;
  let touched = nothingTouched();
  if (input.type === 'commit') {
    touched = applyChanges(state.tables, input.commit.changes, effects);
    state.position = { epoch: input.epoch, lsn: input.commit.lsn };
  } else {
    if (input.type === 'snapshot') {
      touched = applyRows(state.tables, input.rows, effects);
      for (const { changes } of input.commits) merge(touched, applyChanges(state.tables, changes, effects));
      state.stale = false;
    }
    state.position = input.position;
  }
  settle(state, touched, slugBefore, effects, env);
  effects.saves.push({ type: 'put-position', position: state.position });
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
  const answer = session.joined ? takeMessage(state, session, input, effects, env) : { reason: 'unmatched topic' };
  if (answer !== null) {
    effects.sends.unshift({ type: 'reply', sessionId: session.id, topic: session.role, ref: input.ref, answer });
  }
}

/** Returns the reply owed to the device, or null for messages that are answered by pushes alone. */
function takeMessage(
  state: State,
  session: Session,
  input: Extract<Input, { type: 'message' }>,
  effects: Effects,
  env: Env,
): 'ok' | { readonly reason: string } | null {
  const unknown = { reason: 'unknown_message' };
  if (session.role === 'client') {
    const message = parseFromClient(input.event, input.payload);
    if (message === null) return unknown;
    if (message.type === 'create_flow') createFlow(state, session, message, effects, env);
    else relayFromClient(state, session, message, effects);
    return null;
  }
  settleRejects(state, session.deviceId, session.id, effects);
  const message = parseFromGateway(input.event, input.payload);
  if (message === null) return unknown;
  if (message.type === 'flow_authorized') return flowAuthorized(state, session, message.ref, effects, env);
  relayFromGateway(state, session, message, effects);
  return null;
}

function merge(into: Touched, more: Touched): void {
  into.everything ||= more.everything;
  for (const key of [
    'actors',
    'tokens',
    'clients',
    'gateways',
    'sites',
    'resources',
    'readdressed',
    'refiltered',
  ] as const) {
    const target: { add(id: string): unknown } = into[key];
    for (const id of more[key]) target.add(id);
  }
  for (const [id, row] of more.resourcesBefore) if (!into.resourcesBefore.has(id)) into.resourcesBefore.set(id, row);
}
