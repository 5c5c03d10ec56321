// What real clients and gateways accept, as strictly as they do (data-plane contract sections 1.3 and 2): a frame that they
// would drop is a failure here. Schemas are written from the contract alone and share nothing with protocol/device/.
import * as v from 'valibot';
import type { Role } from '../protocol/roles.ts';

const uuid = v.pipe(v.string(), v.regex(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/));
const key = v.pipe(v.string(), v.regex(/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/));
const unixSeconds = v.pipe(v.number(), v.integer());
const port = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535));
const ipv4 = v.pipe(v.string(), v.ipv4());
const ipv6 = v.pipe(v.string(), v.ipv6());
const cidr = v.pipe(
  v.string(),
  v.check((text) => !hasHostBits(text), 'a CIDR needs a prefix and no host bits'),
);

const filter = v.variant('protocol', [
  v.object({
    protocol: v.picklist(['tcp', 'udp']),
    port_range_start: v.optional(port),
    port_range_end: v.optional(port),
  }),
  v.object({ protocol: v.literal('icmp') }),
]);
const sites = v.array(v.object({ id: uuid, name: v.string() }));
const iceCredentials = v.object({ username: v.string(), password: v.string() });
const relay = v.variant('type', [
  v.object({
    type: v.literal('turn'),
    id: uuid,
    addr: v.string(),
    username: v.pipe(v.string(), v.regex(/^\d+:[^:]+$/)),
    password: v.string(),
    expires_at: unixSeconds,
  }),
  v.object({ type: v.literal('stun'), id: uuid, addr: v.string() }),
]);

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

/** Naming a site both ways is a duplicate field to generations C and B. */
const clientResource = v.pipe(
  v.looseObject({}),
  v.check((object) => !('gateway_groups' in object && 'sites' in object), 'gateway_groups and sites at once'),
  knownResource,
);

const gatewayResource = v.variant('type', [
  v.object({ type: v.literal('dns'), id: uuid, address: v.string(), name: v.string(), filters: v.array(filter) }),
  v.object({ type: v.literal('cidr'), id: uuid, address: cidr, name: v.string(), filters: v.array(filter) }),
  v.object({ type: v.literal('internet'), id: uuid }),
]);

const clientInterface = v.object({
  ipv4,
  ipv6,
  upstream_dns: v.optional(v.array(v.object({ protocol: v.literal('ip_port'), address: v.string() }))),
  upstream_do53: v.optional(v.array(v.object({ ip: v.string() }))),
  upstream_doh: v.optional(v.array(v.object({ url: v.string() }))),
  search_domain: v.nullish(v.string()),
});

const relaysPresence = v.object({ disconnected_ids: v.array(uuid), connected: v.array(relay) });
const candidateList = v.array(v.string());

const toClient = {
  init: v.object({
    interface: clientInterface,
    resources: v.optional(v.array(clientResource)),
    relays: v.optional(v.array(relay)),
  }),
  config_changed: v.object({ interface: clientInterface }),
  resource_created_or_updated: clientResource,
  resource_deleted: uuid,
  ice_candidates: v.object({ gateway_id: uuid, candidates: candidateList }),
  invalidate_ice_candidates: v.object({ gateway_id: uuid, candidates: candidateList }),
  relays_presence: relaysPresence,
  flow_created: v.object({
    resource_id: uuid,
    gateway_id: uuid,
    gateway_group_id: uuid,
    gateway_public_key: key,
    gateway_ipv4: ipv4,
    gateway_ipv6: ipv6,
    preshared_key: key,
    client_ice_credentials: iceCredentials,
    gateway_ice_credentials: iceCredentials,
  }),
  flow_creation_failed: v.object({
    resource_id: uuid,
    reason: v.string(),
    violated_properties: v.optional(v.array(v.string())),
  }),
} as const satisfies Record<string, v.GenericSchema>;

const pair = v.object({ client_id: uuid, resource_id: uuid });

const toGateway = {
  init: v.object({
    interface: v.object({ ipv4, ipv6 }),
    config: v.object({ ipv4_masquerade_enabled: v.boolean(), ipv6_masquerade_enabled: v.boolean() }),
    relays: v.optional(v.array(relay)),
    account_slug: v.nullish(v.string()),
    authorizations: v.optional(v.array(v.object({ ...pair.entries, expires_at: unixSeconds }))),
  }),
  authorize_flow: v.object({
    ref: v.string(),
    resource: gatewayResource,
    client: v.object({ id: uuid, public_key: key, preshared_key: key, ipv4, ipv6 }),
    client_ice_credentials: iceCredentials,
    gateway_ice_credentials: iceCredentials,
    expires_at: v.nullable(unixSeconds),
  }),
  reject_access: pair,
  ice_candidates: v.object({ client_id: uuid, candidates: candidateList }),
  invalidate_ice_candidates: v.object({ client_id: uuid, candidates: candidateList }),
  relays_presence: relaysPresence,
  resource_updated: gatewayResource,
} as const satisfies Record<string, v.GenericSchema>;

const schemas: Readonly<Record<Role, Readonly<Record<string, v.GenericSchema>>>> = {
  client: toClient,
  gateway: toGateway,
};

const okReply = v.object({ status: v.literal('ok'), response: v.strictObject({}) });
const errorReply = v.object({ status: v.literal('error'), response: v.object({ reason: v.string() }) });

/** A frame as a device reads it. */
export type DeviceFrame = {
  readonly topic: string;
  readonly event: string;
  readonly payload: unknown;
  readonly ref: number | null;
};

export type ReadFrame =
  | { readonly type: 'frame'; readonly frame: DeviceFrame }
  | { readonly type: 'dropped'; readonly reason: string };

const envelope = v.object({
  topic: v.string(),
  event: v.string(),
  payload: v.unknown(),
  ref: v.optional(v.nullable(v.number()), null),
});

/** Reads one text frame as a device of this role does; `dropped` with the reason where it would drop it. */
export function readFrame(role: Role, text: string): ReadFrame {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), envelope), text);
  if (!parsed.success) return { type: 'dropped', reason: `not a frame: ${v.summarize(parsed.issues)}` };
  const { topic, event, payload, ref } = parsed.output;
  const problem = problemOf(role, event, payload);
  return problem === null
    ? { type: 'frame', frame: { topic, event, payload, ref } }
    : { type: 'dropped', reason: `${event}: ${problem}` };
}

function problemOf(role: Role, event: string, payload: unknown): string | null {
  if (event === 'phx_reply') return issuesOf(v.union([okReply, errorReply]), payload);
  if (event === 'phx_error' || event === 'phx_close') return issuesOf(v.strictObject({}), payload);
  if (event === 'disconnect') return issuesOf(v.object({ reason: v.literal('token_expired') }), payload);
  const schema = Object.hasOwn(schemas[role], event) ? schemas[role][event] : undefined;
  return schema === undefined ? 'an event that this device does not know' : issuesOf(schema, payload);
}

function issuesOf(schema: v.GenericSchema, payload: unknown): string | null {
  const parsed = v.safeParse(schema, payload);
  return parsed.success ? null : v.summarize(parsed.issues);
}

/** True also for text that is no CIDR at all. */
function hasHostBits(text: string): boolean {
  const [address = '', prefixText, ...rest] = text.split('/');
  const bytes = address.includes(':') ? ipv6Bytes(address) : ipv4Bytes(address);
  const prefix = Number(prefixText);
  if (rest.length > 0 || bytes === null || !/^\d{1,3}$/.test(prefixText ?? '') || prefix > bytes.length * 8)
    return true;
  return bytes.some((byte, i) => (byte & (0xff >> Math.max(0, Math.min(8, prefix - i * 8)))) !== 0);
}

function ipv4Bytes(text: string): number[] | null {
  const parts = text.split('.');
  const isValid = parts.length === 4 && parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) < 256);
  return isValid ? parts.map(Number) : null;
}

function ipv6Bytes(text: string): number[] | null {
  const [head = '', tail, ...rest] = text.split('::');
  if (rest.length > 0) return null;
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const gap = tail === undefined ? 0 : 8 - left.length - right.length;
  const groups = [...left, ...Array.from({ length: Math.max(0, gap) }, () => '0'), ...right];
  if (groups.length !== 8 || groups.some((group) => !/^[0-9a-f]{1,4}$/i.test(group))) return null;
  return groups.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]);
}
