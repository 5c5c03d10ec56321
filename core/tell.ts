// Says something to a device in the words of its generation. The core means one thing; which name, which keys and which
// required extras that has on a socket is decided here, by the table of protocol/device/generations.ts.
import { clientSpeech, gatewaySpeech } from '../protocol/device/generations.ts';
import { unreachable } from '../protocol/assert.ts';
import type { ClientResource, FlowFailed, ToClient } from '../protocol/device/to-client.ts';
import type { ClientSession, GatewaySession } from './state.ts';
import type { Effects } from './effect.ts';
import type { Filter, IceCredentials, Interface, Relay } from '../protocol/device/shared.ts';
import type { ToGateway } from '../protocol/device/to-gateway.ts';

type Candidates = {
  readonly type: 'candidates' | 'invalidated';
  readonly candidates: readonly string[];
};

export type RelayChange = { readonly disconnected_ids: readonly string[]; readonly connected: readonly Relay[] };

/** What a client may be told. */
export type ClientNews =
  | {
      readonly type: 'init';
      readonly interface: Interface;
      readonly resources: readonly ClientResource[];
      readonly relays: readonly Relay[];
    }
  | { readonly type: 'interface'; readonly interface: Interface }
  | { readonly type: 'resource'; readonly resource: ClientResource }
  | { readonly type: 'resource_deleted'; readonly id: string }
  | { readonly type: 'filters'; readonly id: string; readonly filters: readonly Filter[] }
  | { readonly type: 'relays'; readonly change: RelayChange }
  | (Candidates & { readonly gatewayId: string })
  | { readonly type: 'flow'; readonly flow: FlowNews; readonly siteId: string; readonly logsToken: () => string }
  | { readonly type: 'flow_failed'; readonly failure: FlowFailed }
  | { readonly type: 'pool_failed'; readonly resourceId: string; readonly domain: string };

export type FlowNews = {
  readonly resource_id: string;
  readonly gateway_id: string;
  readonly gateway_public_key: string;
  readonly gateway_ipv4: string;
  readonly gateway_ipv6: string;
  readonly preshared_key: string;
  readonly client_ice_credentials: IceCredentials;
  readonly gateway_ice_credentials: IceCredentials;
};

type Payload<E extends ToGateway['event']> = Extract<ToGateway, { event: E }>['payload'];

/** What a gateway may be told. */
export type GatewayNews =
  | { readonly type: 'init'; readonly init: Omit<Payload<'init'>, 'flow_logs'> }
  | { readonly type: 'authorize'; readonly authorization: Payload<'authorize_flow'>; readonly logsToken: () => string }
  | { readonly type: 'reject'; readonly pair: Payload<'reject_access'> }
  | { readonly type: 'expiry'; readonly expiry: Payload<'access_authorization_expiry_updated'> }
  | { readonly type: 'resource'; readonly resource: Payload<'resource_updated'> }
  | { readonly type: 'relays'; readonly change: RelayChange }
  | (Candidates & { readonly clientId: string });

/** Flow logs are not collected: an interval of 0 turns uploads off, and nothing is sent to the address. */
const flowLogs = { api_url: 'https://flow-logs.invalid/', upload_interval_secs: 0, upload_batch_size: 1000 } as const;

export function tellClient(effects: Effects, session: ClientSession, news: ClientNews): void {
  effects.sends.push({ type: 'to-client', sessionId: session.id, message: clientMessage(session, news) });
}

export function tellGateway(effects: Effects, session: GatewaySession, news: GatewayNews): void {
  effects.sends.push({ type: 'to-gateway', sessionId: session.id, message: gatewayMessage(session, news) });
}

function clientMessage(session: ClientSession, news: ClientNews): ToClient {
  const speech = clientSpeech(session);
  const named = (resource: ClientResource) => (speech.siteNames === 'sites' ? bySites(resource) : resource);
  switch (news.type) {
    case 'init': {
      const { interface: tunnel, relays } = news;
      const base = { interface: tunnel, resources: news.resources.map(named), relays: [...relays] };
      const payload = speech.needsFlowLogs ? { ...base, authorizations: [], flow_logs: flowLogs } : base;
      return message('init', payload);
    }
    case 'interface':
      return { event: 'config_changed', payload: { interface: news.interface } };
    case 'resource':
      return { event: 'resource_created_or_updated', payload: named(news.resource) };
    case 'resource_deleted':
      return { event: 'resource_deleted', payload: news.id };
    case 'filters':
      return { event: 'resource_filters_updated', payload: { id: news.id, filters: [...news.filters] } };
    case 'relays':
      return { event: 'relays_presence', payload: copied(news.change) };
    case 'candidates':
    case 'invalidated': {
      const payload = { gateway_id: news.gatewayId, candidates: [...news.candidates] };
      return { event: speech[news.type], payload };
    }
    case 'flow': {
      const { flow, siteId, logsToken } = news;
      const site = speech.siteNames === 'sites' ? { site_id: siteId } : { gateway_group_id: siteId };
      const logs = speech.needsFlowLogs ? { use_iceless: false as const, flow_logs_ingest_token: logsToken() } : {};
      return message(speech.flowCreated, { ...flow, ...site, ...logs });
    }
    case 'flow_failed': {
      const { failure } = news;
      const reason = failure.reason === 'version_mismatch' && !speech.knowsMismatch ? 'offline' : failure.reason;
      return message(speech.flowFailed, { ...failure, reason });
    }
    case 'pool_failed': {
      const payload = { resource_id: news.resourceId, domain: news.domain, reason: 'not_found' as const };
      return { event: 'device_pool_domain_resolution_failed', payload };
    }
  }
  return unreachable(news);
}

function gatewayMessage(session: GatewaySession, news: GatewayNews): ToGateway {
  const speech = gatewaySpeech(session);
  switch (news.type) {
    case 'init':
      return { event: 'init', payload: speech.needsFlowLogs ? { ...news.init, flow_logs: flowLogs } : news.init };
    case 'authorize': {
      const { authorization, logsToken } = news;
      if (speech.authorize === 'authorize_flow') return { event: speech.authorize, payload: authorization };
      const logs = { use_iceless: false as const, flow_logs_ingest_token: logsToken() };
      return { event: speech.authorize, payload: { ...authorization, ...logs } };
    }
    case 'reject':
      return { event: 'reject_access', payload: news.pair };
    case 'expiry':
      return { event: 'access_authorization_expiry_updated', payload: news.expiry };
    case 'resource':
      return { event: 'resource_updated', payload: news.resource };
    case 'relays':
      return { event: 'relays_presence', payload: copied(news.change) };
    case 'candidates':
    case 'invalidated': {
      const event = news.type === 'candidates' ? 'ice_candidates' : 'invalidate_ice_candidates';
      return { event, payload: { client_id: news.clientId, candidates: [...news.candidates] } };
    }
  }
  return unreachable(news);
}

function bySites(resource: ClientResource) {
  if (resource.type === 'internet') {
    const { gateway_groups: sites, ...rest } = resource;
    return { ...rest, sites };
  }
  const { gateway_groups: sites, ...rest } = resource;
  return { ...rest, sites };
}

function copied({ disconnected_ids, connected }: RelayChange) {
  return { disconnected_ids: [...disconnected_ids], connected: [...connected] };
}

/** The table decides name and keys together, which the compiler cannot see; the schemas are held against both in tests. */
function message(event: ToClient['event'], payload: object): ToClient {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion
  return { event, payload } as ToClient;
}
