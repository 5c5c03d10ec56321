// What clients of each generation accept, written from the data-plane contract alone (sections 2 and 2.1): nothing is shared
// with protocol/device/.
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

const sites = v.array(v.object({ id: uuid, name: v.string() }));

/** Generations C and B know two names for one field, and both at once is a duplicate to them. */
function named(schema: v.GenericSchema, first: string, second: string): v.GenericSchema {
  return v.pipe(
    v.looseObject({}),
    v.check((object) => !(first in object && second in object), `${first} and ${second} at once`),
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return;
      const { value } = dataset;
      const parsed = v.safeParse(schema, second in value ? { ...value, [first]: value[second] } : value);
      if (!parsed.success) addIssue({ message: v.summarize(parsed.issues) });
    }),
  );
}

const knownResource = v.variant('type', [
  v.object({
    type: v.literal('dns'),
    id: uuid,
    address: v.string(),
    name: v.string(),
    gateway_groups: sites,
    address_description: v.nullish(v.string()),
    ip_stack: v.nullish(v.picklist(['dual', 'ipv4_only', 'ipv6_only'])),
    filters: v.optional(v.array(filter)),
  }),
  v.object({
    type: v.literal('cidr'),
    id: uuid,
    address: cidr,
    name: v.string(),
    gateway_groups: sites,
    address_description: v.nullish(v.string()),
    filters: v.optional(v.array(filter)),
  }),
  v.object({ type: v.literal('internet'), id: uuid, gateway_groups: sites }),
]);

/** A would take `gateway_groups` and ignore `sites`; to be told both is a mistake of the portal all the same. */
const resourceA = v.pipe(
  v.looseObject({}),
  v.check((object) => !('gateway_groups' in object && 'sites' in object), 'gateway_groups and sites at once'),
  knownResource,
);
const resourceC = named(knownResource, 'gateway_groups', 'sites');

const tunnel = v.object({
  ipv4,
  ipv6,
  upstream_dns: v.optional(v.array(v.object({ protocol: v.literal('ip_port'), address: v.string() }))),
  upstream_do53: v.optional(v.array(v.object({ ip: v.string() }))),
  upstream_doh: v.optional(v.array(v.object({ url: v.string() }))),
  search_domain: v.nullish(v.string()),
});

const flow = {
  resource_id: uuid,
  gateway_id: uuid,
  gateway_group_id: uuid,
  gateway_public_key: key,
  gateway_ipv4: ipv4,
  gateway_ipv6: ipv6,
  preshared_key: key,
  client_ice_credentials: iceCredentials,
  gateway_ice_credentials: iceCredentials,
};
const failed = v.object({
  resource_id: uuid,
  reason: v.string(),
  violated_properties: v.optional(v.array(v.string())),
});
const candidates = v.object({ gateway_id: uuid, candidates: candidateList });
const authorizations = v.optional(v.array(v.object({ client_id: uuid, resource_id: uuid, expires_at: unixSeconds })));

const common = {
  config_changed: v.object({ interface: tunnel }),
  resource_deleted: uuid,
  ice_candidates: candidates,
  invalidate_ice_candidates: candidates,
  relays_presence: relaysPresence,
};

/** C and B alike. */
const later = {
  ...common,
  resource_created_or_updated: resourceC,
  gateway_ice_candidates: candidates,
  invalidate_gateway_ice_candidates: candidates,
  resource_filters_updated: v.object({ id: uuid, filters: v.array(filter) }),
  device_pool_domain_resolution_failed: v.object({ resource_id: uuid, domain: v.string(), reason: v.string() }),
};

export const clientAccepts: Readonly<Record<'A' | 'C' | 'B', Readonly<Record<string, v.GenericSchema>>>> = {
  A: {
    ...common,
    init: v.object({ interface: tunnel, resources: v.optional(v.array(resourceA)), relays: v.optional(relays) }),
    resource_created_or_updated: resourceA,
    flow_created: v.object(flow),
    flow_creation_failed: failed,
  },
  C: {
    ...later,
    init: v.object({ interface: tunnel, resources: v.optional(v.array(resourceC)), relays: v.optional(relays) }),
    flow_created: named(v.object(flow), 'gateway_group_id', 'site_id'),
    flow_creation_failed: failed,
  },
  B: {
    ...later,
    init: v.object({
      interface: tunnel,
      resources: v.optional(v.array(resourceC)),
      relays: v.optional(relays),
      authorizations,
      flow_logs: flowLogs,
    }),
    authorization_created: named(
      v.object({ ...flow, use_iceless: v.optional(v.boolean()), flow_logs_ingest_token: ingestToken }),
      'gateway_group_id',
      'site_id',
    ),
    authorization_creation_failed: failed,
  },
};
