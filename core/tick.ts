// What changes by time alone: grants and tokens that run out, windows that open and close, renewals, questions that nobody
// answered. A tick looks at what is due (due.ts), and at nothing else.
import { dropGrant } from './grants.ts';
import { awaitsFreshness, renewalRetryMs } from './freshness.ts';
import { endSession, joined, takeEnding } from './sessions.ts';
import { expectGrant, expectLease, expectSession, setDue, takeDue } from './due.ts';
import { expectRelays, settleRelays } from './relay-sessions.ts';
import { giveUp } from './flows.ts';
import { judge, renew } from './judge.ts';
import { endAt, nextChangeAt, renewalAt } from './expiry.ts';
import { patchClient } from './patch.ts';
import type { Effects } from './effect.ts';
import type { Env } from './env.ts';
import type { Grant, LiveGrant, Session, State } from './state.ts';
import type { ClientId, ResourceId } from '../protocol/ids.ts';

export function tick(state: State, effects: Effects, env: Env): void {
  const interrupted = new Map<ClientId, Set<ResourceId>>();
  const due = takeDue(state.due, state.now);
  const sessions = due.flatMap((id) => state.sessions.get(id) ?? []);
  const ending = takeEnding(state, sessions);
  const unanswered: LiveGrant[] = [];
  for (const id of due) {
    const grant = grantOf(state, id);
    if (grant === null || !isDue(grant, state.now)) continue;
    if (grant.phase === 'owed') dropGrant(state, grant, effects);
    else if (takeTime(state, grant, effects, env) === null) {
      const resources = interrupted.get(grant.clientId) ?? new Set();
      interrupted.set(grant.clientId, resources.add(grant.resourceId));
    } else if ((grant.question?.deadlineAt ?? Infinity) <= state.now) unanswered.push(grant);
  }
  patchDue(state, sessions, interrupted, effects);
  for (const grant of unanswered) {
    const held = state.grants.get(grant.flowId);
    if (held?.phase === 'live') giveUp(state, held, effects, env);
  }
  for (const [session, cause] of ending) endSession(state, session, cause, effects);
  settleRelays(state, effects, env);
  for (const { id } of sessions) {
    const session = state.sessions.get(id);
    if (session !== undefined && (session.waitsUntil ?? Infinity) <= state.now) joined(state, session, effects, env);
  }
  for (const id of due) {
    const grant = grantOf(state, id);
    if (grant === null) expectSession(state, id);
    else if (awaitsFreshness(state, grant))
      setDue(state.due, id, Math.min(nextChangeAt(grant, state.now), state.now + renewalRetryMs));
    else expectGrant(state, grant);
  }
  expectRelays(state);
  expectLease(state);
}

/** Tells the clients whose views have run out, and those who lost a flow. */
function patchDue(
  state: State,
  sessions: readonly Session[],
  interrupted: ReadonlyMap<ClientId, ReadonlySet<ResourceId>>,
  effects: Effects,
): void {
  const patched = new Set<string>();
  const patch = (session: Session | undefined) => {
    if (session?.role !== 'client' || patched.has(session.id)) return;
    patched.add(session.id);
    const resources = interrupted.get(session.deviceId) ?? new Set();
    const until = state.announced.get(session.id)?.until ?? Infinity;
    if (until <= state.now) patchClient(state, session, 'all', resources, effects);
    else if (resources.size > 0) patchClient(state, session, [], resources, effects);
  };
  for (const { id } of sessions) patch(state.sessions.get(id));
  for (const clientId of interrupted.keys()) patch(state.sessions.get(state.sessionOfDevice.get(clientId) ?? ''));
}

function grantOf({ grants }: { readonly grants: ReadonlyMap<string, Grant> }, id: string): Grant | null {
  return grants.get(id) ?? null;
}

function isDue(grant: Grant, now: number): boolean {
  return nextChangeAt(grant, now) <= now || (grant.phase === 'live' && renewalAt(grant) <= now);
}

/** Judges the grant if its justification or its expiry has run out, and renews it; null when it has ended. */
function takeTime(state: State, grant: LiveGrant, effects: Effects, env: Env): LiveGrant | null {
  const isOver = Math.min(endAt(grant), grant.justifiedUntil ?? Infinity) <= state.now;
  const standing = isOver ? judge(state, grant, effects) : grant;
  if (standing !== null) renew(state, standing, effects, env);
  return standing;
}
