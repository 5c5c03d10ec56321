// Whether a live grant still stands on the rows and at the time there are, and what follows when it does not. Another policy
// that grants the same access takes over in silence; where none does, the gateway is told before anyone else.
import { accessOf } from './access.ts';
import { endGrant, putGrant } from './grants.ts';
import { askUnlessFresh, expiryToRenew } from './freshness.ts';
import { expectGrant } from './due.ts';
import { endAt, renewalAt } from './expiry.ts';
import { isHeld } from './holds.ts';
import { gatewaySession } from './state.ts';
import { isPair } from './tables.ts';
import { gatewaySpeech } from '../protocol/device/generations.ts';
import { repeatForExpiry } from './flows.ts';
import { tellGateway } from './tell.ts';
import type { Effects } from './effect.ts';
import type { Env } from './env.ts';
import type { GatewaySession, LiveGrant, State } from './state.ts';
import type { PolicyId } from '../protocol/ids.ts';

/** Judges `grant`, keeps what changed, ends it if it may not go on. Returns the grant as it stands, or null. */
export function judge(state: State, grant: LiveGrant, effects: Effects): LiveGrant | null {
  const standing = standingOf(state, grant);
  if (standing === null) {
    endGrant(state, grant, effects);
    return null;
  }
  const isSame = standing.policyId === grant.policyId && standing.justifiedUntil === grant.justifiedUntil;
  if (isSame && state.grants.get(grant.flowId) === grant) return grant;
  const after = { ...grant, ...standing };
  const kept = putGrant(state, after, effects);
  // A renewal for which there was no reason before may have one from here on.
  if (renewalAt(kept) <= state.now) expectGrant(state, kept, true);
  return kept;
}

/**
 * Tells the gateway a later expiry where there is one, in the last quarter of the time it was told, in the way that it takes. A
 * gateway that takes none keeps what it knows: its access ends then, and is asked for again.
 */
export function renew(state: State, grant: LiveGrant, effects: Effects, env: Env): void {
  const session = gatewaySession(state, grant.gatewayId);
  if (session === null) return;
  const { renewal } = gatewaySpeech(session);
  // A gateway that has another key since has no peer to keep; and an open question is answered first.
  if (renewal === 'repeat' && (grant.keys?.gateway !== session.publicKey || grant.question !== null)) return;
  const after = renewed(state, grant, session, effects);
  if (after.expiresAt === grant.expiresAt) return;
  if (renewal === 'repeat') {
    repeatForExpiry(state, after, session, effects, env);
    return;
  }
  const expiry = { client_id: grant.clientId, resource_id: grant.resourceId, expires_at: after.expiresAt / 1000 };
  tellGateway(effects, session, { type: 'expiry', expiry });
}

/** The grant with the expiry that the gateway is to know from here on; the caller tells it. Stale rows justify no later one. */
export function renewed(state: State, grant: LiveGrant, gateway: GatewaySession, effects: Effects): LiveGrant {
  const expiresAt = expiryToRenew(state, grant);
  if (state.now >= renewalAt(grant)) askUnlessFresh(state, effects);
  const isDue = expiresAt > grant.expiresAt && state.now >= renewalAt(grant) && !state.stale;
  if (!grant.acknowledged || !isDue || gatewaySpeech(gateway).renewal === 'none') return grant;
  const after = { ...grant, expiresAt, toldAt: state.now };
  return putGrant(state, after, effects);
}

/** By which policy a grant stands and until when; null when it may not. */
function standingOf(
  state: State,
  grant: LiveGrant,
): { readonly policyId: PolicyId; readonly justifiedUntil: number | null } | null {
  const { rows, sitesOfResource } = state.tables;
  const gateway = rows.gateways.get(grant.gatewayId);
  if (gateway === undefined || endAt(grant) <= state.now || isHeld(state, 'gateway', gateway.id)) return null;
  if (!isPair(sitesOfResource, grant.resourceId, gateway.group_id)) return null;
  const access = accessOf(state, grant, grant.resourceId);
  if (access.type !== 'granted') return null;
  return { policyId: access.policyId, justifiedUntil: Number.isFinite(access.until) ? access.until : null };
}
