// The grants held, with the indexes that revocation needs. A grant begins live; once it has ended, it is kept as what is owed
// to its gateway and its client, until the expiry that the gateway knew.
import { bytesToHex, hexToUuid } from './encoding.ts';
import { clientSession, gatewaySession } from './state.ts';
import { causeOf } from './cause.ts';
import { expectGrant, setDue } from './due.ts';
import { clientAwayMsMax } from './expiry.ts';
import { endedRecord, keepRecord, marked, noteUnflushed, toldRecord } from './ledger.ts';
import * as v from 'valibot';
import { wake } from './memberships.ts';
import { flowId } from '../protocol/ids.ts';
import { gatewaySpeech } from '../protocol/device/generations.ts';
import { tellGateway } from './tell.ts';
import type { ClientId, FlowId, GatewayId, ResourceId } from '../protocol/ids.ts';
import type { EndCause, FlowRecord, Told } from '../protocol/write-back.ts';
import type { Effects } from './effect.ts';
import type { GatewaySession, Grant, LiveGrant, OwedReject, State, grantPair } from './state.ts';
import type { Hashes } from './hashes.ts';

/** Grants held, live or owed to somebody, at most: some 65 MB after waking, beside what the rows of a large account take. */
export const grantsMax = 100_000;

/** Beyond so many nothing is kept for clients that are away: the news of what ended gives way to what lives. */
const keptForAwayMax = grantsMax / 2;

/** Whether nothing more may be granted, since memory has an end. */
export function areGrantsFull({ grants }: State): boolean {
  return grants.size >= grantsMax;
}

/** Adds or replaces `grant`, in memory and in storage, with its record in the ledger. Returns it as it is kept. */
export function putGrant<G extends Grant>(state: State, grant: G, effects: Effects): G;
export function putGrant(state: State, grant: Grant, effects: Effects): Grant {
  const kept = grant.phase === 'live' ? marked(state, state.grants.get(grant.flowId), grant) : grant;
  holdGrant(state, kept);
  effects.saves.push({ type: 'put-grant', grant: kept });
  return kept;
}

/** Adds or replaces `grant` in memory alone, as when it was just read from storage. */
export function holdGrant(state: State, grant: Grant): void {
  const before = state.grants.get(grant.flowId);
  if (before?.phase === 'live') state.maybeAsleep.add(before.actorId);
  if (grant.phase === 'live') wake(state.tables.memberships, grant.actorId);
  state.grants.set(grant.flowId, grant);
  add(state.grantsOfClient, grant.clientId, grant.flowId);
  add(state.grantsOfGateway, grant.gatewayId, grant.flowId);
  add(state.grantsOfResource, grant.resourceId, grant.flowId);
  expectGrant(state, grant);
}

export function dropGrant(state: State, grant: OwedReject, effects: Effects): void {
  if (grant.ended !== undefined) keepRecord(state, finalRecord(state, grant.ended), effects);
  setDue(state.due, grant.flowId, Infinity);
  state.grants.delete(grant.flowId);
  drop(state.grantsOfClient, grant.clientId, grant.flowId);
  drop(state.grantsOfGateway, grant.gatewayId, grant.flowId);
  drop(state.grantsOfResource, grant.resourceId, grant.flowId);
  effects.saves.push({ type: 'delete-grant', flowId: grant.flowId });
}

/**
 * Ends a live grant: its gateway is told at once. Nothing proves that it heard, nor that a client which is told at once does,
 * so both are told again after each of their inits until the expiry that the gateway knew, or until the same is granted anew.
 */
export function endGrant(state: State, grant: LiveGrant, effects: Effects, cause?: EndCause): void {
  const session = gatewaySession(state, grant.gatewayId);
  if (session !== null) sendReject(session, grant, effects);
  const isOver = grant.expiresAt <= state.now;
  const told: Told = session !== null ? 'sent' : isOver ? 'expired' : 'gateway_away';
  const ended = endedRecord(state, grant, cause ?? causeOf(state, grant, effects.because), told);
  noteUnflushed(state, grant.flowId, ended.revision);
  owe(state, grant, ended, effects);
}

/**
 * Keeps what is owed for an access that is over; longer for a client that is away, whose connection outlives the expiry, where there
 * is room. One whose row is gone counts too: the row may come back before the client does.
 */
export function owe(
  state: State,
  pair: v.InferOutput<typeof grantPair>,
  ended: FlowRecord | undefined,
  effects: Effects,
): void {
  const { flowId: id, clientId, resourceId, gatewayId, expiresAt: rejectUntil } = pair;
  const isKept = clientSession(state, clientId) === null && state.grants.size < keptForAwayMax;
  const expiresAt = isKept ? Math.max(rejectUntil, state.now + clientAwayMsMax) : rejectUntil;
  const owed = {
    phase: 'owed' as const,
    flowId: id,
    clientId,
    resourceId,
    gatewayId,
    rejectUntil,
    expiresAt,
    isClientOwed: true,
    ...(ended === undefined ? {} : { ended }),
  };
  settle(state, owed, effects);
}

/** Whether an access has ended, before the expiry that its gateway knew, and the gateway is away. */
export function isOwedToAbsent(state: State, grant: Grant): boolean {
  return grant.phase === 'owed' && grant.rejectUntil > state.now && gatewaySession(state, grant.gatewayId) === null;
}

/** Sends every reject that the gateway is owed, after its init, unless its init alone has told it. */
export function sendOwedRejects(state: State, session: GatewaySession, effects: Effects): void {
  for (const grant of grantsOfGateway(state, session.deviceId)) {
    if (grant.phase !== 'owed' || grant.rejectUntil <= state.now) continue;
    if (gatewaySpeech(session).ignoresAbsence) sendReject(session, grant, effects);
    if (grant.ended?.told !== 'gateway_away') continue;
    const ended = toldRecord(state, grant.ended, 'sent', state.now);
    noteUnflushed(state, grant.flowId, ended.revision);
    putGrant(state, { ...grant, ended }, effects);
  }
}

/** The resources that the client must be made to ask for again, after its init. */
export function takeOwedToClient(state: State, clientId: ClientId, effects: Effects): Set<ResourceId> {
  const resources = new Set<ResourceId>();
  for (const grant of grantsOfClient(state, clientId)) {
    if (grant.phase !== 'owed' || !grant.isClientOwed) continue;
    resources.add(grant.resourceId);
    if (grant.expiresAt > grant.rejectUntil) settle(state, { ...grant, expiresAt: grant.rejectUntil }, effects);
  }
  return resources;
}

/** A new grant of the same client and resource begins: nothing of older ones may contradict it. */
export function supersede(state: State, grant: LiveGrant, effects: Effects): void {
  for (const older of grantsOfPair(state, grant.clientId, grant.resourceId)) {
    if (older.phase !== 'owed') continue;
    const rejectUntil = older.gatewayId === grant.gatewayId ? state.now : older.rejectUntil;
    settle(state, { ...older, rejectUntil, expiresAt: rejectUntil, isClientOwed: false }, effects);
  }
}

/** The last that the ledger says of a flow: a gateway that was away until the expiry has dropped the access by itself. */
function finalRecord(state: State, ended: FlowRecord): FlowRecord {
  if (ended.told !== 'gateway_away' || ended.expiresAt > state.now) return ended;
  const expired = toldRecord(state, ended, 'expired', ended.expiresAt);
  noteUnflushed(state, ended.flowId, expired.revision);
  return expired;
}

/** Keeps what is owed as long as somebody is. */
function settle(state: State, owed: OwedReject, effects: Effects): void {
  if (owed.expiresAt <= state.now) dropGrant(state, owed, effects);
  else putGrant(state, owed, effects);
}

/** The live grant of a client for a resource, or null. */
export function liveGrant(state: State, clientId: ClientId, resourceId: ResourceId): LiveGrant | null {
  for (const grant of grantsOfPair(state, clientId, resourceId)) if (grant.phase === 'live') return grant;
  return null;
}

/** Whether the two share a live grant that the gateway has accepted: only then may they exchange candidates. */
export function sharesGrant(state: State, clientId: ClientId, gatewayId: GatewayId): boolean {
  return grantsOfClient(state, clientId).some(
    (grant) => grant.phase === 'live' && grant.gatewayId === gatewayId && grant.acknowledged,
  );
}

/** By whichever of the two has fewer: an access is asked for by clients with a thousand flows too. */
function grantsOfPair(state: State, clientId: ClientId, resourceId: ResourceId): Grant[] {
  const ofClient = state.grantsOfClient.get(clientId);
  const ofResource = state.grantsOfResource.get(resourceId);
  if (ofClient === undefined || ofResource === undefined) return [];
  const found: Grant[] = [];
  for (const id of ofClient.size < ofResource.size ? ofClient : ofResource) {
    const grant = state.grants.get(id);
    if (grant?.clientId === clientId && grant.resourceId === resourceId) found.push(grant);
  }
  return found;
}

export function grantsOfClient(state: State, clientId: ClientId): Grant[] {
  return listed(state, state.grantsOfClient.get(clientId));
}

export function grantsOfGateway(state: State, gatewayId: GatewayId): Grant[] {
  return listed(state, state.grantsOfGateway.get(gatewayId));
}

export function grantsOfResource(state: State, resourceId: ResourceId): Grant[] {
  return listed(state, state.grantsOfResource.get(resourceId));
}

/** A new flow's id: a UUID made from the step's seed, different for each client and resource. */
export function newFlowId(seed: string, clientId: ClientId, resourceId: ResourceId, hashes: Hashes): FlowId {
  return v.parse(flowId, hexToUuid(bytesToHex(hashes.sha256(`flow:${seed}:${clientId}:${resourceId}`))));
}

function sendReject(session: GatewaySession, { clientId, resourceId }: Grant, effects: Effects): void {
  tellGateway(effects, session, { type: 'reject', pair: { client_id: clientId, resource_id: resourceId } });
}

function listed(state: State, ids: ReadonlySet<FlowId> | undefined): Grant[] {
  const grants: Grant[] = [];
  for (const id of ids ?? []) {
    const grant = state.grants.get(id);
    if (grant !== undefined) grants.push(grant);
  }
  return grants;
}

function add<K>(index: Map<K, Set<FlowId>>, key: K, id: FlowId): void {
  const ids = index.get(key);
  if (ids === undefined) index.set(key, new Set([id]));
  else ids.add(id);
}

function drop<K>(index: Map<K, Set<FlowId>>, key: K, id: FlowId): void {
  const ids = index.get(key);
  ids?.delete(id);
  if (ids?.size === 0) index.delete(key);
}
