// What is written of a grant, and of connections: those that began since the last flush, and all that live.
import type { Batch, FlowRecord, SessionRecord } from '../protocol/write-back.ts';
import type { Grant, LiveGrant, Session, State } from './state.ts';

export function takeSessions(state: State): NonNullable<Batch['sessions']> {
  const begun = [...state.sessions.values()].filter(({ revision }) => revision > state.ledger.sessions.through);
  const recordsOf = (role: Session['role']) => begun.filter((session) => session.role === role).map(sessionRecord);
  return {
    clients: recordsOf('client'),
    gateways: recordsOf('gateway'),
    alive: [...state.sessions.keys()],
    revision: state.ledger.revision,
  };
}

function sessionRecord(session: Session): SessionRecord {
  const { id, deviceId, tokenId, publicKey, deviceVersion, remoteIp, region, latitude, longitude } = session;
  const { connectedAt, revision } = session;
  const device = { id, deviceId, tokenId, publicKey, version: deviceVersion };
  return { ...device, remoteIp, region, latitude, longitude, connectedAt, revision };
}

export function revisionOf(grant: Grant): number | null {
  return (grant.phase === 'live' ? grant.ledger?.revision : grant.ended?.revision) ?? null;
}

/** Null where the grant has no record. */
export function recordOf(grant: Grant, revision: number): FlowRecord | null {
  return grant.phase === 'live' ? liveRecord(grant, revision) : (grant.ended ?? null);
}

export function liveRecord(grant: LiveGrant, revision: number): FlowRecord {
  const { flowId, clientId, resourceId, gatewayId, policyId, actorId, tokenId } = grant;
  return {
    flowId,
    clientId,
    resourceId,
    gatewayId,
    policyId,
    actorId,
    tokenId,
    clientRemoteIp: grant.remoteIp,
    grantedAt: grant.ledger?.grantedAt ?? grant.toldAt,
    expiresAt: grant.expiresAt,
    endedAt: null,
    cause: null,
    told: null,
    toldAt: null,
    first: grant.ledger?.first ?? revision,
    revision,
  };
}
