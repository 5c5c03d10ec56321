// Whether a live grant still stands on the rows and at the time there are, and what follows when it does not. Another policy
// that grants the same access takes over in silence; where none does, the gateway is told before anyone else.
import { accessOf } from './access.ts';
import { endGrant, putGrant } from './grants.ts';
import { endAt, expiryToTell, renewalAt } from './expiry.ts';
import { gatewaySession } from './state.ts';
import { isPair } from './tables.ts';
import { takesNewExpiry } from './compatible.ts';
import type { Effects } from './effect.ts';
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
  putGrant(state, after, effects);
  return after;
}

/**
 * Tells the gateway a later expiry where there is one, in the last quarter of the time it was told. A gateway that does not
 * understand that keeps what it knows: its access ends then, and is asked for again.
 */
export function renew(state: State, grant: LiveGrant, effects: Effects): void {
  const session = gatewaySession(state, grant.gatewayId);
  if (session === null) return;
  const { expiresAt } = renewed(state, grant, session, effects);
  if (expiresAt === grant.expiresAt) return;
  const payload = { client_id: grant.clientId, resource_id: grant.resourceId, expires_at: expiresAt / 1000 };
  effects.sends.push({
    type: 'to-gateway',
    sessionId: session.id,
    message: { event: 'access_authorization_expiry_updated', payload },
  });
}

/** The grant with the expiry that the gateway is to know from here on; the caller tells it. */
export function renewed(state: State, grant: LiveGrant, gateway: GatewaySession, effects: Effects): LiveGrant {
  const expiresAt = expiryToTell(grant.justifiedUntil ?? Infinity, state.now);
  const isDue = expiresAt > grant.expiresAt && state.now >= renewalAt(grant);
  if (!grant.acknowledged || !isDue || !takesNewExpiry(gateway.deviceVersion)) return grant;
  const after = { ...grant, expiresAt, toldAt: state.now };
  putGrant(state, after, effects);
  return after;
}

/** By which policy a grant stands and until when; null when it may not. */
function standingOf(
  state: State,
  grant: LiveGrant,
): { readonly policyId: PolicyId; readonly justifiedUntil: number | null } | null {
  const { rows, sitesOfResource } = state.tables;
  const gateway = rows.gateways.get(grant.gatewayId);
  if (gateway === undefined || endAt(grant) <= state.now) return null;
  if (!isPair(sitesOfResource, grant.resourceId, gateway.group_id)) return null;
  const access = accessOf(state, grant, grant.resourceId);
  if (access.type !== 'granted') return null;
  return { policyId: access.policyId, justifiedUntil: Number.isFinite(access.until) ? access.until : null };
}
