// What a gateway is told: one schema per message and generation, as for clients in to-client.ts.
import * as v from 'valibot';
import { candidates, clientAndResource, filter, flowLogs, iceCredentials } from './shared.ts';
import { relay, relaysPresence, unixSeconds } from './shared.ts';

const text = v.string();

/** A gateway refuses the whole message for any other type. */
const resource = v.union([
  v.strictObject({ type: v.picklist(['dns', 'cidr']), id: text, name: text, address: text, filters: v.array(filter) }),
  v.strictObject({ type: v.literal('internet'), id: text }),
]);
export type GatewayResource = v.InferOutput<typeof resource>;

const init = {
  interface: v.strictObject({ ipv4: text, ipv6: text }),
  /** Constants, kept because they are required. */
  config: v.strictObject({ ipv4_masquerade_enabled: v.literal(true), ipv6_masquerade_enabled: v.literal(true) }),
  account_slug: v.nullable(text),
  authorizations: v.array(v.strictObject({ ...clientAndResource, expires_at: unixSeconds })),
  relays: v.array(relay),
};
const initA = v.strictObject(init);
const initB = v.strictObject({ ...init, flow_logs: flowLogs });

const authorization = {
  ref: text,
  resource,
  client: v.strictObject({ id: text, public_key: text, preshared_key: text, ipv4: text, ipv6: text }),
  client_ice_credentials: iceCredentials,
  gateway_ice_credentials: iceCredentials,
  expires_at: unixSeconds,
};
const authorizeFlow = v.strictObject(authorization);
const createAuthorization = v.strictObject({
  ...authorization,
  use_iceless: v.literal(false),
  flow_logs_ingest_token: text,
});

const rejectAccess = v.strictObject(clientAndResource);
const newExpiry = v.strictObject({ ...clientAndResource, expires_at: unixSeconds });
const clientCandidates = v.strictObject({ client_id: text, candidates });

/** By event and generation; a generation that is not named is never sent it. */
export const toGateway = {
  init: { A: initA, C: initA, B: initB },
  authorize_flow: { A: authorizeFlow, C: authorizeFlow },
  create_authorization: { B: createAuthorization },
  reject_access: { A: rejectAccess, C: rejectAccess, B: rejectAccess },
  access_authorization_expiry_updated: { C: newExpiry },
  resource_updated: { A: resource, C: resource, B: resource },
  relays_presence: { A: relaysPresence, C: relaysPresence, B: relaysPresence },
  ice_candidates: { A: clientCandidates, C: clientCandidates, B: clientCandidates },
  invalidate_ice_candidates: { A: clientCandidates, C: clientCandidates, B: clientCandidates },
} as const;

type Schemas = typeof toGateway;

/** A message as it is sent. */
export type ToGateway = {
  [E in keyof Schemas]: {
    readonly event: E;
    readonly payload: v.InferOutput<Extract<Schemas[E][keyof Schemas[E]], v.GenericSchema>>;
  };
}[keyof Schemas];
