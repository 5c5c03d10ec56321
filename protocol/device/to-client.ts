// What a client is told: one schema per message and generation. Types come from here, and so do the tables and examples of
// docs/protocol.md.
import * as v from 'valibot';
import { resourceId } from '../ids.ts';
import { candidates, filter, flowLogs, iceCredentials, relay, relaysPresence, tunnelInterface } from './shared.ts';

const text = v.string();
const sites = v.array(v.strictObject({ id: text, name: text }));

/** An `ip` resource travels as a cidr of one address. */
const addressed = {
  type: v.picklist(['dns', 'cidr']),
  id: resourceId,
  name: text,
  address: text,
  address_description: v.nullable(text),
  filters: v.array(filter),
  ip_stack: v.exactOptional(v.picklist(['dual', 'ipv4_only', 'ipv6_only'])),
};
const internet = { type: v.literal('internet'), id: resourceId, can_be_disabled: v.literal(true) };

/** As generation A names sites; C and B before it is told which of the two names to use are never sent both. */
const resourceByGroups = v.union([
  v.strictObject({ ...addressed, gateway_groups: sites }),
  v.strictObject({ ...internet, gateway_groups: sites }),
]);
const resourceBySites = v.union([v.strictObject({ ...addressed, sites }), v.strictObject({ ...internet, sites })]);

/** A resource as it is kept and compared, whatever the client's generation. */
export type ClientResource = v.InferOutput<typeof resourceByGroups>;

const initOf = <R extends typeof resourceByGroups | typeof resourceBySites>(resource: R) => ({
  interface: tunnelInterface,
  resources: v.array(resource),
  relays: v.array(relay),
});
const initA = v.strictObject(initOf(resourceByGroups));
const initC = v.strictObject(initOf(resourceBySites));
const initB = v.strictObject({ ...initOf(resourceBySites), authorizations: v.array(v.never()), flow_logs: flowLogs });

const configChanged = v.strictObject({ interface: tunnelInterface });
const gatewayCandidates = v.strictObject({ gateway_id: text, candidates });

const flow = {
  resource_id: text,
  gateway_id: text,
  gateway_public_key: text,
  gateway_ipv4: text,
  gateway_ipv6: text,
  preshared_key: text,
  client_ice_credentials: iceCredentials,
  gateway_ice_credentials: iceCredentials,
};
const flowA = v.strictObject({ ...flow, gateway_group_id: text });
const flowC = v.strictObject({ ...flow, site_id: text });
const flowB = v.strictObject({ ...flow, site_id: text, use_iceless: v.literal(false), flow_logs_ingest_token: text });

const failedFor = <R extends string>(reasons: readonly R[]) =>
  v.strictObject({
    resource_id: text,
    reason: v.picklist(reasons),
    violated_properties: v.exactOptional(v.array(text)),
  });
const flowFailed = failedFor(['not_found', 'offline', 'forbidden']);
const flowFailedB = failedFor(['not_found', 'offline', 'forbidden', 'version_mismatch']);

const filtersUpdated = v.strictObject({ id: text, filters: v.array(filter) });
const poolFailed = v.strictObject({ resource_id: text, domain: text, reason: v.literal('not_found') });

/** By event and generation; a generation that is not named is never sent it. */
export const toClient = {
  init: { A: initA, C: initC, B: initB },
  config_changed: { A: configChanged, C: configChanged, B: configChanged },
  resource_created_or_updated: { A: resourceByGroups, C: resourceBySites, B: resourceBySites },
  resource_deleted: { A: text, C: text, B: text },
  resource_filters_updated: { C: filtersUpdated, B: filtersUpdated },
  relays_presence: { A: relaysPresence, C: relaysPresence, B: relaysPresence },
  flow_created: { A: flowA, C: flowC },
  authorization_created: { B: flowB },
  flow_creation_failed: { A: flowFailed, C: flowFailed },
  authorization_creation_failed: { B: flowFailedB },
  ice_candidates: { A: gatewayCandidates, C: gatewayCandidates },
  gateway_ice_candidates: { B: gatewayCandidates },
  invalidate_ice_candidates: { A: gatewayCandidates, C: gatewayCandidates },
  invalidate_gateway_ice_candidates: { B: gatewayCandidates },
  device_pool_domain_resolution_failed: { C: poolFailed, B: poolFailed },
} as const;

type Schemas = typeof toClient;

/** A message as it is sent. */
export type ToClient = {
  [E in keyof Schemas]: {
    readonly event: E;
    readonly payload: v.InferOutput<Extract<Schemas[E][keyof Schemas[E]], v.GenericSchema>>;
  };
}[keyof Schemas];

export type FlowFailed = v.InferOutput<typeof flowFailedB>;
