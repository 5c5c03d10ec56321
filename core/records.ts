// What is written of a grant, and of connections: those that began since the last flush, and all that live. One that ends before
// Postgres was told that it began is kept until it has been.
import type { Batch, FlowRecord, SessionRecord } from '../protocol/write-back.ts';
import type { Effects } from './effect.ts';
import type { Grant, LiveGrant, Session, State } from './state.ts';

/** Connections that ended before Postgres was told of them, at most; what is beyond leaves no row. */
export const endedSessionsMax = 10_000;

/** Of those in one flush, at most. */
const endedInBatchMax = 1_000;

/** What the next flush says of connections, or null when nothing has changed. */
export function takeSessions(state: State): Batch['sessions'] {
  const { ended, sessions } = state.ledger;
  if (sessions.changed <= sessions.through && ended.size === 0) return null;
  const begun = [...state.sessions.values()].filter(({ revision }) => revision > sessions.through);
  const records = [
    ...[...ended.values()].slice(0, endedInBatchMax),
    ...begun.map((session) => recordOfSession(session, null)),
  ];
  const recordsOf = (role: Session['role']) => records.filter((record) => record.role === role);
  return {
    clients: recordsOf('client'),
    gateways: recordsOf('gateway'),
    alive: [...state.sessions.keys()],
    revision: state.ledger.revision,
  };
}

/** The connection has ended. What Postgres does not know of it yet is kept, and stored by {@link saveEnded}. */
export function keepEnded(state: State, session: Session): void {
  const { ended, sessions, unsavedEnds } = state.ledger;
  if (session.revision <= sessions.through || ended.size >= endedSessionsMax) return;
  ended.set(session.id, recordOfSession(session, state.now));
  unsavedEnds.push(session.id);
}

/** Adds the saves for what {@link keepEnded} has kept since. */
export function saveEnded({ ledger }: State, effects: Effects): void {
  for (const id of ledger.unsavedEnds.splice(0)) {
    const record = ledger.ended.get(id);
    if (record !== undefined) effects.saves.push({ type: 'put-session-record', record });
  }
}

/** Postgres has what the batch says of connections. */
export function forgetEnded({ ledger }: State, { sessions }: Batch, effects: Effects): void {
  for (const { id } of [...(sessions?.clients ?? []), ...(sessions?.gateways ?? [])]) {
    if (ledger.ended.delete(id)) effects.saves.push({ type: 'delete-session-record', id });
  }
}

function recordOfSession(session: Session, endedAt: number | null): SessionRecord {
  const { id, role, deviceId, tokenId, publicKey, deviceVersion, remoteIp, region, latitude, longitude } = session;
  const { connectedAt, revision } = session;
  const device = { id, role, deviceId, tokenId, publicKey, version: deviceVersion };
  return { ...device, remoteIp, region, latitude, longitude, connectedAt, endedAt, revision };
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
