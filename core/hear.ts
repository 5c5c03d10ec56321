// Takes in how far the change stream has come for the account, from a commit or from the Stream object's answer: what was
// granted while behind is limited, or taken back, or judged anew and let live. Says what freshness.ts defines.
import { endGrant, putGrant } from './grants.ts';
import { behindMsMax, deniesWhileBehind, grantMsWhileBehind, isFresh } from './freshness.ts';
import { judge, renew } from './judge.ts';
import { patchClient } from './patch.ts';
import { clientSession } from './state.ts';
import type { ClientId, ResourceId } from '../protocol/ids.ts';
import type { Effects } from './effect.ts';
import type { Env } from './env.ts';
import type { Input } from './input.ts';
import type { LiveGrant, State } from './state.ts';

/** Takes in how far the stream has come for this account. */
export function takeFreshness(
  state: State,
  { epoch, appliedTo }: Extract<Input, { type: 'freshness' }>,
  effects: Effects,
  env: Env,
): void {
  // Positions of another epoch say nothing about these rows.
  hear(state, epoch === state.position?.epoch ? appliedTo : null, effects, env);
}

/** A commit that is recent tells that the stream was there a moment ago. */
export function hearCommit(state: State, committedAtUs: number, effects: Effects, env: Env): void {
  const { freshness } = state;
  const at = Math.floor(committedAtUs / 1000);
  if (state.now - at <= behindMsMax) hear(state, at, effects, env);
  else freshness.appliedTo = Math.max(freshness.appliedTo ?? at, at);
}

function hear(state: State, appliedTo: number | null, effects: Effects, env: Env): void {
  const { freshness } = state;
  const wasFresh = isFresh(state);
  freshness.heardAt = state.now;
  freshness.appliedTo = appliedTo === null ? null : Math.max(freshness.appliedTo ?? 0, appliedTo);
  freshness.isBehind = freshness.appliedTo === null || state.now - freshness.appliedTo > behindMsMax;
  if (freshness.isBehind) limitUnverified(state, effects);
  else if (!wasFresh) catchUp(state, effects, env);
  freshness.unverified.clear();
}

function limitUnverified(state: State, effects: Effects): void {
  const interrupted = new Map<ClientId, Set<ResourceId>>();
  for (const [flowId, grantedAt] of state.freshness.unverified) {
    const grant = state.grants.get(flowId);
    if (grant?.phase !== 'live') continue;
    if (deniesWhileBehind(state)) {
      endGrant(state, grant, effects);
      note(interrupted, grant);
    } else putGrant(state, { ...grant, limitedUntil: grantedAt + grantMsWhileBehind }, effects);
  }
  patchInterrupted(state, interrupted, effects);
}

/** What was granted while behind is judged again by rows that are up to date, and what was due to be renewed is. */
function catchUp(state: State, effects: Effects, env: Env): void {
  const interrupted = new Map<ClientId, Set<ResourceId>>();
  for (const grant of state.grants.values()) {
    if (grant.phase !== 'live') continue;
    const standing = grant.limitedUntil === null ? grant : judge(state, { ...grant, limitedUntil: null }, effects);
    if (standing === null) note(interrupted, grant);
    else renew(state, standing, effects, env);
  }
  patchInterrupted(state, interrupted, effects);
}

function note(interrupted: Map<ClientId, Set<ResourceId>>, { clientId, resourceId }: LiveGrant): void {
  const resources = interrupted.get(clientId) ?? new Set();
  interrupted.set(clientId, resources.add(resourceId));
}

function patchInterrupted(
  state: State,
  interrupted: ReadonlyMap<ClientId, ReadonlySet<ResourceId>>,
  effects: Effects,
): void {
  for (const [clientId, resources] of interrupted) {
    const session = clientSession(state, clientId);
    if (session !== null) patchClient(state, session, [], resources, effects);
  }
}
