// When a grant ends, and when its gateway is told of a later end. A gateway knows whole seconds; the object knows the exact end
// and enforces it.
import type { Grant, LiveGrant, State } from './state.ts';
import type { TokenId } from '../protocol/ids.ts';

/** A gateway is told an expiry this far ahead at most, milliseconds: as long as gateways live without a portal. */
export const grantMsMax = 24 * 3_600_000;

/**
 * A client that was away when its flow ended is told at its next init, if it returns within this time, milliseconds: a program
 * that keeps running, cut off for longer, asks again only once its own connection has failed.
 */
export const clientAwayMsMax = 30 * 24 * 3_600_000;

/** Renewals fall into this last part of a grant's time, spread by its id. */
const renewalPart = 0.25;

/** The moment a token ends; Infinity when it never does, and when it is gone, which ends its grants by itself. */
export function tokenExpiry(state: State, tokenId: TokenId): number {
  return state.tables.rows.tokens.get(tokenId)?.expires_at ?? Infinity;
}

/** What a gateway is told of a grant that is justified until `justifiedUntil`: a whole second, in milliseconds. */
export function expiryToTell(justifiedUntil: number, now: number): number {
  return Math.floor(Math.min(justifiedUntil, now + grantMsMax) / 1000) * 1000;
}

/** When a later expiry is told, if there is one: in the last quarter of the time told, at a point of the grant's own. */
export function renewalAt({ flowId, toldAt, expiresAt }: LiveGrant): number {
  const spread = Number.parseInt(flowId.slice(0, 8), 16) / 0x1_0000_0000;
  return expiresAt - (expiresAt - toldAt) * renewalPart * (1 - spread * 0.8);
}

/**
 * When the object ends a grant if nothing renews it: at the expiry that the gateway knows, or, where that is only its
 * justification rounded down to a second, together with the justification; never beyond its limit.
 */
export function endAt({ expiresAt, justifiedUntil, limitedUntil }: LiveGrant): number {
  const isRoundedDown = justifiedUntil !== null && expiresAt === Math.floor(justifiedUntil / 1000) * 1000;
  return Math.min(isRoundedDown ? justifiedUntil : expiresAt, limitedUntil ?? Infinity);
}

/** The next moment after `now` at which a grant changes by time alone; Infinity when it is only waiting to be dropped. */
export function nextChangeAt(grant: Grant, now: number): number {
  if (grant.phase === 'owed') return grant.expiresAt;
  const renewal = renewalAt(grant);
  return Math.min(
    endAt(grant),
    grant.justifiedUntil ?? Infinity,
    grant.question?.deadlineAt ?? Infinity,
    renewal > now ? renewal : Infinity,
  );
}
