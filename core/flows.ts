// One life of a flow: asked by a client, put to a gateway, accepted by it, told to the client (P10), with candidates both
// ways while it lives.
//
//   create_flow ──▶ authorize_flow ──▶ flow_authorized ──▶ flow_created
//        │                │ no answer within answerMsMax
//        │                └─▶ reject_access, then the next gateway, else flow_creation_failed (offline)
//        └─▶ flow_creation_failed
//
// A repeated request makes no second grant: while the gateway's answer is awaited under the same keys it is swallowed,
// otherwise the same gateway is asked again, since it may have dropped the peer or a key may be new.
import * as v from 'valibot';
import { askUnlessFresh, expiryToRenew, noteGrant } from './freshness.ts';
import { authorize } from './authorize.ts';
import { expectGrant } from './due.ts';
import { bytesToHex } from './encoding.ts';
import { clientSession, gatewaySession } from './state.ts';
import { endGrant, liveGrant, newFlowId, putGrant, sharesGrant, supersede, grantsOfClient } from './grants.ts';
import { flowId } from '../protocol/ids.ts';
import { gatewayResource } from './render.ts';
import { patchClient } from './patch.ts';
import { renewalAt } from './expiry.ts';
import { flowLogsToken } from './flow-logs.ts';
import { recordDenial } from './ledger.ts';
import { secretsOf } from './secrets.ts';
import { must } from '../protocol/assert.ts';
import { tellClient, tellGateway } from './tell.ts';
import type { ClientSession, GatewaySession, LiveGrant, State } from './state.ts';
import type { Effects } from './effect.ts';
import type { EndCause } from '../protocol/write-back.ts';
import type { Env } from './env.ts';
import type { FlowFailed } from '../protocol/device/to-client.ts';
import type { FromClient } from '../protocol/device/client.ts';
import type { FromGateway } from '../protocol/device/gateway.ts';
import type { GatewayId, ResourceId } from '../protocol/ids.ts';

/** A gateway that has not answered after this long is given up for the request, milliseconds. */
const answerMsMax = 10_000;

type CreateFlow = Extract<FromClient, { type: 'create_flow' }>;

export function createFlow(state: State, client: ClientSession, request: CreateFlow, effects: Effects, env: Env): void {
  const { resource_id: resourceId, connected_gateway_ids: preferred } = request;
  const existing = liveGrant(state, client.deviceId, resourceId);
  if (existing !== null) {
    const gateway = gatewaySession(state, existing.gatewayId);
    if (isAwaited(existing, client, gateway)) return;
    if (gateway !== null && !state.stale) {
      askFor(state, existing, client, gateway, existing.question?.givenUp ?? [], effects, env);
      return;
    }
    if (gateway === null) endGrant(state, existing, effects, unreachableGateway(existing));
  }
  grantAnew(state, client, resourceId, { preferred, excluded: [] }, effects, env);
}

/** The gateway accepts what `ref` stands for; answers `invalid_ref` for anything that is not its own open question. */
export function flowAuthorized(
  state: State,
  gateway: GatewaySession,
  ref: string,
  effects: Effects,
  env: Env,
): 'ok' | { readonly reason: string } {
  const grant = grantOfRef(state, ref);
  const question = grant?.question ?? null;
  if (grant === null || question === null || grant.gatewayId !== gateway.deviceId) return { reason: 'invalid_ref' };
  if (question.gatewayPublicKey !== gateway.publicKey) return { reason: 'invalid_ref' };
  const keys = { client: question.clientPublicKey, gateway: question.gatewayPublicKey };
  const after = { ...grant, acknowledged: true, question: null, keys };
  putGrant(state, after, effects);
  // A renewal that had to wait for this answer is due at once.
  if (renewalAt(after) <= state.now) expectGrant(state, after, true);
  const client = clientSession(state, grant.clientId);
  if (client === null || question.isRenewal || client.publicKey !== question.clientPublicKey) return 'ok';
  announceFlow(state, after, client, gateway, effects, env);
  return 'ok';
}

/** Passes candidates on to those of the peers with whom a grant is shared; others are the same as peers that do not exist. */
export function relayFromClient(
  state: State,
  client: ClientSession,
  message: Extract<FromClient, { type: 'candidates' }>,
  effects: Effects,
): void {
  for (const gatewayId of new Set(message.gateway_ids)) {
    const gateway = gatewaySession(state, gatewayId);
    if (gateway === null || !sharesGrant(state, client.deviceId, gatewayId)) continue;
    const { event: type, candidates } = message;
    tellGateway(effects, gateway, { type, clientId: client.deviceId, candidates });
  }
}

export function relayFromGateway(
  state: State,
  gateway: GatewaySession,
  message: Extract<FromGateway, { type: 'candidates' }>,
  effects: Effects,
): void {
  for (const clientId of new Set(message.client_ids)) {
    const client = clientSession(state, clientId);
    if (client === null || !sharesGrant(state, clientId, gateway.deviceId)) continue;
    const { event: type, candidates } = message;
    tellClient(effects, client, { type, gatewayId: gateway.deviceId, candidates });
  }
}

/**
 * Puts the open questions about a client again, once it has joined: a gateway that came back before it could not be asked. Under
 * another key it is a program that has started anew, and waits for nothing.
 */
export function askAgainFor(state: State, client: ClientSession, effects: Effects, env: Env): void {
  for (const grant of grantsOfClient(state, client.deviceId)) {
    if (grant.phase !== 'live' || grant.question === null || grant.question.isRenewal) continue;
    const gateway = gatewaySession(state, grant.gatewayId);
    if (gateway === null || grant.question.clientPublicKey !== client.publicKey) continue;
    askFor(state, grant, client, gateway, grant.question.givenUp, effects, env);
  }
}

/**
 * Puts every open question of a gateway again, after its init and under the present keys; its init has told later expiries. What
 * it has not accepted is not in its init, so a question whose client is away is taken back: an answer on its way would stand for
 * an access that the init has ended.
 */
export function askAgain(
  state: State,
  gateway: GatewaySession,
  grants: readonly LiveGrant[],
  effects: Effects,
  env: Env,
): void {
  for (const grant of grants) {
    if (grant.question === null) continue;
    if (grant.question.isRenewal) {
      putGrant(state, { ...grant, question: null }, effects);
      continue;
    }
    const client = clientSession(state, grant.clientId);
    if (client !== null) askFor(state, grant, client, gateway, grant.question.givenUp, effects, env);
    else if (!grant.acknowledged) endGrant(state, grant, effects);
  }
}

/**
 * Tells a gateway a later expiry by the authorization again. The secrets are those under which it accepted, so the connection
 * stays what it is, whoever of the two has another key by then.
 */
export function repeatForExpiry(
  state: State,
  grant: LiveGrant,
  gateway: GatewaySession,
  effects: Effects,
  env: Env,
): void {
  if (grant.keys !== null) ask(state, grant, grant.keys, gateway, { givenUp: [], isRenewal: true }, effects, env);
}

/**
 * The gateway did not answer in time: it is rejected, and the next one is asked. One that did not answer a renewal may have
 * taken it all the same; what it accepted before stands.
 */
export function giveUp(state: State, grant: LiveGrant, effects: Effects, env: Env): void {
  if (grant.question?.isRenewal === true) {
    putGrant(state, { ...grant, question: null }, effects);
    return;
  }
  const excluded = [...(grant.question?.givenUp ?? []), grant.gatewayId];
  endGrant(state, grant, effects, unreachableGateway(grant));
  const client = clientSession(state, grant.clientId);
  if (client === null) return;
  // Connected to this gateway, it would hear of no other one, and keep a way on which nothing passes.
  if (grant.acknowledged) patchClient(state, client, [], new Set([grant.resourceId]), effects);
  grantAnew(state, client, grant.resourceId, { preferred: [], excluded }, effects, env);
}

/** Why a flow ends whose gateway does not answer. */
function unreachableGateway({ gatewayId }: LiveGrant): EndCause {
  return { table: 'gateways', id: gatewayId, commit: null };
}

function grantAnew(
  state: State,
  client: ClientSession,
  resourceId: ResourceId,
  gateways: { readonly preferred: readonly GatewayId[]; readonly excluded: readonly GatewayId[] },
  effects: Effects,
  env: Env,
): void {
  const decision = authorize(state, client, resourceId, gateways, env);
  askUnlessFresh(state, effects);
  if (decision.type === 'deny') {
    recordDenial(state, client, resourceId, decision.reason, effects);
    const violated = decision.reason === 'forbidden' ? { violated_properties: [...decision.violatedProperties] } : {};
    const isMismatch = decision.reason === 'offline' && decision.isMismatch;
    const reason: FlowFailed['reason'] = isMismatch ? 'version_mismatch' : decision.reason;
    const failure = { resource_id: resourceId, reason, ...violated };
    tellClient(effects, client, { type: 'flow_failed', failure });
    return;
  }
  const { gateway, policyId, expiresAt, justifiedUntil, limitedUntil } = decision;
  const grant: LiveGrant = {
    phase: 'live',
    flowId: newFlowId(env.seed, client.deviceId, resourceId, env.hashes),
    clientId: client.deviceId,
    resourceId,
    gatewayId: gateway.deviceId,
    policyId,
    justifiedUntil: Number.isFinite(justifiedUntil) ? justifiedUntil : null,
    actorId: client.actorId,
    tokenId: client.tokenId,
    remoteIp: client.remoteIp,
    region: client.region,
    toldAt: state.now,
    expiresAt,
    limitedUntil: Number.isFinite(limitedUntil) ? limitedUntil : null,
    acknowledged: false,
    question: null,
    keys: null,
  };
  noteGrant(state, grant.flowId);
  supersede(state, grant, effects);
  askFor(state, grant, client, gateway, gateways.excluded, effects, env);
}

/** Asks on a client's behalf, under the present keys and with the expiry that a renewal due by then would tell. */
function askFor(
  state: State,
  grant: LiveGrant,
  client: ClientSession,
  gateway: GatewaySession,
  givenUp: readonly GatewayId[],
  effects: Effects,
  env: Env,
): void {
  const expiresAt = Math.max(grant.expiresAt, expiryToRenew(state, grant));
  const isDue = grant.acknowledged && !state.stale && state.now >= renewalAt(grant) && expiresAt > grant.expiresAt;
  const told = isDue ? { ...grant, expiresAt, toldAt: state.now } : grant;
  ask(state, told, { client: client.publicKey }, gateway, { givenUp, isRenewal: false }, effects, env);
}

function ask(
  state: State,
  grant: LiveGrant,
  keys: { readonly client: string },
  gateway: GatewaySession,
  { givenUp, isRenewal }: { readonly givenUp: readonly GatewayId[]; readonly isRenewal: boolean },
  effects: Effects,
  env: Env,
): void {
  const rows = pairRows(state, grant);
  const resource = state.tables.rows.resources.get(grant.resourceId);
  if (rows === null || resource === undefined) return;
  const question = {
    nonce: bytesToHex(env.hashes.sha256(`ref:${env.seed}:${grant.flowId}`)).slice(0, 16),
    deadlineAt: state.now + answerMsMax,
    clientPublicKey: keys.client,
    gatewayPublicKey: gateway.publicKey,
    isRenewal,
    givenUp: [...givenUp],
  };
  putGrant(state, { ...grant, question }, effects);
  const secrets = secretsOf(rows, { client: keys.client, gateway: gateway.publicKey }, env.hashes);
  tellGateway(effects, gateway, {
    type: 'authorize',
    authorization: {
      ref: `${grant.flowId}.${question.nonce}`,
      resource: gatewayResource(resource),
      client: {
        id: grant.clientId,
        public_key: keys.client,
        preshared_key: secrets.presharedKey,
        ipv4: rows.client.ipv4,
        ipv6: rows.client.ipv6,
      },
      client_ice_credentials: secrets.credentials.client,
      gateway_ice_credentials: secrets.credentials.gateway,
      expires_at: grant.expiresAt / 1000,
    },
    logsToken: () => logsToken(state, grant, 'responder', env),
  });
}

function announceFlow(
  state: State,
  grant: LiveGrant,
  client: ClientSession,
  gateway: GatewaySession,
  effects: Effects,
  env: Env,
): void {
  const rows = pairRows(state, grant);
  if (rows === null) return;
  const secrets = secretsOf(rows, { client: client.publicKey, gateway: gateway.publicKey }, env.hashes);
  tellClient(effects, client, {
    type: 'flow',
    flow: {
      resource_id: grant.resourceId,
      gateway_id: grant.gatewayId,
      gateway_public_key: gateway.publicKey,
      gateway_ipv4: rows.gateway.ipv4,
      gateway_ipv6: rows.gateway.ipv6,
      preshared_key: secrets.presharedKey,
      client_ice_credentials: secrets.credentials.client,
      gateway_ice_credentials: secrets.credentials.gateway,
    },
    siteId: rows.gateway.group_id,
    logsToken: () => logsToken(state, grant, 'initiator', env),
  });
}

function logsToken(state: State, grant: LiveGrant, role: 'initiator' | 'responder', env: Env): string {
  const rows = must(pairRows(state, grant), 'the rows of both ends of a flow');
  const resource = must(state.tables.rows.resources.get(grant.resourceId), 'the row of the resource of a flow');
  const pskBases = [rows.client.psk_base, rows.gateway.psk_base] as const;
  const flow = { grant, role, accountId: resource.account_id, resourceName: resource.name, pskBases };
  return flowLogsToken(flow, env.hashes);
}

function pairRows(state: State, grant: LiveGrant) {
  const client = state.tables.rows.clients.get(grant.clientId);
  const gateway = state.tables.rows.gateways.get(grant.gatewayId);
  return client === undefined || gateway === undefined ? null : { client, gateway };
}

/** Whether the gateway is still expected to answer for exactly these keys. */
function isAwaited(grant: LiveGrant, client: ClientSession, gateway: GatewaySession | null): boolean {
  const { question } = grant;
  if (question === null || question.isRenewal || gateway === null) return false;
  return question.clientPublicKey === client.publicKey && question.gatewayPublicKey === gateway.publicKey;
}

function grantOfRef(state: State, ref: string): LiveGrant | null {
  const [id, nonce] = ref.split('.');
  const parsed = v.safeParse(flowId, id);
  const grant = parsed.success ? state.grants.get(parsed.output) : undefined;
  return grant?.phase === 'live' && grant.question?.nonce === nonce ? grant : null;
}
