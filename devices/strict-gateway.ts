// What gateways of each generation accept, written from the data-plane contract alone (section 2.3), as for clients in
// strict-client.ts.
import * as v from 'valibot';
import {
  candidateList,
  cidr,
  filter,
  flowLogs,
  iceCredentials,
  ingestToken,
  ipv4,
  ipv6,
  key,
} from './strict-values.ts';
import { relays, relaysPresence, unixSeconds, uuid } from './strict-values.ts';

const resource = v.variant('type', [
  v.object({ type: v.literal('dns'), id: uuid, address: v.string(), name: v.string(), filters: v.array(filter) }),
  v.object({ type: v.literal('cidr'), id: uuid, address: cidr, name: v.string(), filters: v.array(filter) }),
  v.object({ type: v.literal('internet'), id: uuid }),
]);
const pair = v.object({ client_id: uuid, resource_id: uuid });
const candidates = v.object({ client_id: uuid, candidates: candidateList });

const init = {
  interface: v.object({ ipv4, ipv6 }),
  config: v.object({ ipv4_masquerade_enabled: v.boolean(), ipv6_masquerade_enabled: v.boolean() }),
  relays: v.optional(relays),
  account_slug: v.nullish(v.string()),
};
const expiring = v.optional(v.array(v.object({ ...pair.entries, expires_at: unixSeconds })));

const authorization = {
  ref: v.string(),
  resource,
  client: v.object({ id: uuid, public_key: key, preshared_key: key, ipv4, ipv6 }),
  client_ice_credentials: iceCredentials,
  gateway_ice_credentials: iceCredentials,
};

const common = {
  reject_access: pair,
  ice_candidates: candidates,
  invalidate_ice_candidates: candidates,
  relays_presence: relaysPresence,
  resource_updated: resource,
};

export const gatewayAccepts: Readonly<Record<'A' | 'C' | 'B', Readonly<Record<string, v.GenericSchema>>>> = {
  A: {
    ...common,
    init: v.object({ ...init, authorizations: v.optional(v.array(pair)) }),
    authorize_flow: v.object({ ...authorization, expires_at: v.nullable(unixSeconds) }),
  },
  C: {
    ...common,
    init: v.object({ ...init, authorizations: expiring }),
    authorize_flow: v.object({ ...authorization, expires_at: v.nullish(unixSeconds) }),
    access_authorization_expiry_updated: v.object({ ...pair.entries, expires_at: unixSeconds }),
  },
  B: {
    ...common,
    init: v.object({ ...init, authorizations: expiring, flow_logs: flowLogs }),
    create_authorization: v.object({
      ...authorization,
      expires_at: v.nullish(unixSeconds),
      use_iceless: v.optional(v.boolean()),
      flow_logs_ingest_token: ingestToken,
    }),
  },
};
