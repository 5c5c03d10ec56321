// What changes by time alone: grants and tokens that run out, windows that open and close, renewals, questions that nobody
// answered. One deadline, the earliest of all these moments, is found again after each tick.
import { dropGrant } from './grants.ts';
import { endSession, takeEnding } from './sessions.ts';
import { expectChangeAt } from './state.ts';
import { giveUp } from './flows.ts';
import { judge, renew } from './judge.ts';
import { endAt, nextChangeAt, renewalAt, tokenExpiry } from './expiry.ts';
import { patchClient } from './patch.ts';
import type { Effects } from './effect.ts';
import type { Env } from './env.ts';
import type { Grant, LiveGrant, State } from './state.ts';
import type { ClientId, ResourceId } from '../protocol/ids.ts';

export function tick(state: State, effects: Effects, env: Env): void {
  const interrupted = new Map<ClientId, Set<ResourceId>>();
  const ending = takeEnding(state, state.sessions.values());
  const unanswered: LiveGrant[] = [];
  for (const grant of state.grants.values()) {
    if (!isDue(grant, state.now)) continue;
    if (grant.phase === 'owed') dropGrant(state, grant, effects);
    else if (takeTime(state, grant, effects, env) === null) {
      const resources = interrupted.get(grant.clientId) ?? new Set();
      interrupted.set(grant.clientId, resources.add(grant.resourceId));
    } else if ((grant.question?.deadlineAt ?? Infinity) <= state.now) unanswered.push(grant);
  }
  for (const session of state.sessions.values()) {
    if (session.role !== 'client') continue;
    const resources = interrupted.get(session.deviceId) ?? new Set();
    const until = state.announced.get(session.id)?.until ?? Infinity;
    if (until <= state.now) patchClient(state, session, 'all', resources, effects);
    else if (resources.size > 0) patchClient(state, session, [], resources, effects);
  }
  for (const grant of unanswered) {
    const held = state.grants.get(grant.flowId);
    if (held?.phase === 'live') giveUp(state, held, effects, env);
  }
  for (const [session, cause] of ending) endSession(state, session, cause, effects);
  findDeadline(state);
}

/** The earliest moment at which anything changes by itself, from everything that can. */
export function findDeadline(state: State): void {
  state.deadline = null;
  for (const grant of state.grants.values()) expectChangeAt(state, nextChangeAt(grant, state.now));
  for (const { tokenId } of state.sessions.values()) expectChangeAt(state, tokenExpiry(state, tokenId));
  for (const { until } of state.announced.values()) expectChangeAt(state, until);
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
