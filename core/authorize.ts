// Decides one request of a client for a resource: by which policy, until when, through which gateway; or why not.
import { accessOf, subjectOf } from './access.ts';
import { chooseGateway, onlineGateways } from './choose-gateway.ts';
import { expiryToTell } from './expiry.ts';
import { limitOfNewGrants } from './freshness.ts';
import { areGrantsFull } from './grants.ts';
import { isLedgerFull } from './ledger.ts';
import type { ClientSession, GatewaySession, State } from './state.ts';
import type { Env } from './env.ts';
import type { GatewayId, PolicyId, ResourceId } from '../protocol/ids.ts';

export type Decision =
  | {
      readonly type: 'allow';
      readonly policyId: PolicyId;
      /** The end of what justifies it; Infinity when time alone ends nothing. */
      readonly justifiedUntil: number;
      /** Until when it may live since the account is behind; Infinity when it is not. */
      readonly limitedUntil: number;
      /** A whole second, milliseconds since 1970-01-01 UTC. */
      readonly expiresAt: number;
      readonly gateway: GatewaySession;
    }
  | { readonly type: 'deny'; readonly reason: 'not_found' }
  /** `isMismatch`: gateways are online, and their versions alone stand in the way. */
  | { readonly type: 'deny'; readonly reason: 'offline'; readonly isMismatch: boolean }
  | { readonly type: 'deny'; readonly reason: 'forbidden'; readonly violatedProperties: readonly string[] };

/** Why the account as it stands grants nothing new, whatever its rows say. */
export function reasonsAgainstGrants(
  state: State,
): readonly { readonly type: 'stale' | 'behind' | 'ledger' | 'grants' }[] {
  return [
    ...(state.stale ? [{ type: 'stale' as const }] : []),
    ...(limitOfNewGrants(state) === null ? [{ type: 'behind' as const }] : []),
    ...(isLedgerFull(state) ? [{ type: 'ledger' as const }] : []),
    ...(areGrantsFull(state) ? [{ type: 'grants' as const }] : []),
  ];
}

/**
 * `preferred`: gateways the client is connected to; `excluded`: gateways that did not answer for this request. A resource
 * that no enabled policy of the client's groups names is `not_found`, whether it exists or not.
 */
export function authorize(
  state: State,
  client: ClientSession,
  resourceId: ResourceId,
  gateways: { readonly preferred: readonly GatewayId[]; readonly excluded: readonly GatewayId[] },
  env: Env,
): Decision {
  const limitedUntil = limitOfNewGrants(state);
  if (limitedUntil === null || reasonsAgainstGrants(state).length > 0)
    return { type: 'deny', reason: 'offline', isMismatch: false };
  const access = accessOf(state, subjectOf(client), resourceId);
  if (access.type === 'not_found') return { type: 'deny', reason: 'not_found' };
  const forbidden = { type: 'deny', reason: 'forbidden' } as const;
  if (access.type === 'forbidden') return { ...forbidden, violatedProperties: access.properties };
  const gateway = chooseGateway(state, client, resourceId, gateways, env.hashes);
  if (gateway === null) {
    const isMismatch = onlineGateways(state, resourceId).some(({ deviceId }) => !gateways.excluded.includes(deviceId));
    return { type: 'deny', reason: 'offline', isMismatch };
  }
  const justifiedUntil = access.until;
  const expiresAt = expiryToTell(Math.min(justifiedUntil, limitedUntil), state.now);
  if (expiresAt <= state.now) return { ...forbidden, violatedProperties: ['current_utc_datetime'] };
  return { type: 'allow', policyId: access.policyId, justifiedUntil, limitedUntil, expiresAt, gateway };
}
