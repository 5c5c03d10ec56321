// How far behind the database the account may be, and what that does to new grants.
//
//   fresh ──── nothing heard for silenceMsMax ────▶ silent ──── the answer ────▶ fresh or behind
//
// Fresh: everything that was committed up to a minute ago has been applied here. Behind: it has not, as far as is known. Silent:
// nothing was heard lately, as in every account without edits; a silent account grants at once and asks behind the grant, so
// that no request waits for anything, while a renewal has time and waits for the answer. Where the answer is that it was behind,
// the grants made meanwhile are treated as those made while behind. Only memory knows all this: an object that wakes is silent.
import { expiryToTell, renewalAt } from './expiry.ts';
import { accountOf } from './state.ts';
import type { FlowId } from '../protocol/ids.ts';
import type { Effects } from './effect.ts';
import type { Grant, LiveGrant, State } from './state.ts';

/** Nothing heard for longer than this: silent. Milliseconds. */
export const silenceMsMax = 10_000;

/** What was committed longer ago than this and has not been applied: behind. Milliseconds. */
export const behindMsMax = 60_000;

/** How long a grant lives that was made while behind, at most. Milliseconds. */
export const grantMsWhileBehind = 15 * 60_000;

/** How often a renewal that is due asks again, while the account is not known to be fresh. Milliseconds. */
export const renewalRetryMs = 60_000;

/** A token's row arrives within this of its issue, milliseconds, where the stream has come as far. */
const tokenMsMax = 60_000;

/** The rows are those of another epoch. */
export function forgetFreshness(state: State): void {
  state.freshness.appliedTo = null;
  state.freshness.heardAt = -Infinity;
}

/** Until when a grant made at this moment may live, whatever justifies it; null when it may not be made at all. */
export function limitOfNewGrants(state: State): number | null {
  if (!state.freshness.isBehind) return Infinity;
  return deniesWhileBehind(state) ? null : state.now + grantMsWhileBehind;
}

export function isFresh({ freshness, now }: State): boolean {
  return !freshness.isBehind && now - freshness.heardAt <= silenceMsMax;
}

/** Something was decided by what is known: unless that is fresh, more is asked for. */
export function askUnlessFresh(state: State, effects: Effects): void {
  if (!isFresh(state)) effects.asksFreshness = true;
}

export function noteGrant(state: State, flowId: FlowId): void {
  const { isBehind, unverified } = state.freshness;
  if (!isBehind && !isFresh(state)) unverified.set(flowId, state.now);
}

/** Whether a renewal is due that only waits until the account is known to be fresh. */
export function awaitsFreshness(state: State, grant: Grant): boolean {
  if (grant.phase !== 'live' || isFresh(state) || renewalAt(grant) > state.now) return false;
  return expiryToTell(grant.justifiedUntil ?? Infinity, state.now) > grant.expiresAt;
}

/** The expiry that a grant may be renewed to: not beyond its limit, and no further than it has unless the account is fresh. */
export function expiryToRenew(state: State, grant: LiveGrant): number {
  if (!isFresh(state)) return grant.expiresAt;
  return expiryToTell(Math.min(grant.justifiedUntil ?? Infinity, grant.limitedUntil ?? Infinity), state.now);
}

/**
 * Whether the row of a token issued then would have been here by now, if there were one. `issuedAt`: null where not known. However
 * far the stream has come, it has not come here while the rows are stale.
 */
export function isTokenOverdue({ freshness: { appliedTo }, stale }: State, issuedAt: number | null): boolean {
  return !stale && issuedAt !== null && appliedTo !== null && issuedAt + tokenMsMax < appliedTo;
}

export function deniesWhileBehind(state: State): boolean {
  return accountOf(state)?.when_behind !== 'short';
}
