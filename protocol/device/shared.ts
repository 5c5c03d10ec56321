// Pieces of device messages that clients and gateways share: schemas, strict on the way out, so that nothing is sent that is
// not written here.
import * as v from 'valibot';

const text = v.string();

/** ICE candidates as SDP lines, relayed verbatim: at most 64 of 512 characters a message. */
export const candidates = v.pipe(v.array(v.pipe(text, v.maxLength(512))), v.maxLength(64));

/** Whole Unix seconds. */
export const unixSeconds = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const port = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535));

/** Ports are inclusive; both are left out where the protocol stands for all its ports. */
export const filter = v.strictObject({
  protocol: v.picklist(['tcp', 'udp', 'icmp']),
  port_range_start: v.exactOptional(port),
  port_range_end: v.exactOptional(port),
});
export type Filter = v.InferOutput<typeof filter>;

/** `upstream_dns` is read by generation A, `upstream_do53` by C and B. */
export const tunnelInterface = v.strictObject({
  ipv4: text,
  ipv6: text,
  upstream_dns: v.array(v.strictObject({ protocol: v.literal('ip_port'), address: text })),
  upstream_do53: v.array(v.strictObject({ ip: text })),
  search_domain: v.nullable(text),
});
export type Interface = v.InferOutput<typeof tunnelInterface>;

export const iceCredentials = v.strictObject({ username: text, password: text });
export type IceCredentials = v.InferOutput<typeof iceCredentials>;

/** A dual-stack relay is two of these with the same id next to each other, IPv4 first. */
export const relay = v.strictObject({
  type: v.literal('turn'),
  id: text,
  /** `203.0.113.7:3478` or `[2001:db8::7]:3478`. */
  addr: text,
  username: text,
  password: text,
  expires_at: unixSeconds,
});
export type Relay = v.InferOutput<typeof relay>;

export const relaysPresence = v.strictObject({ disconnected_ids: v.array(text), connected: v.array(relay) });

/** What generation B requires of `init`; an interval of 0 turns uploads off. */
export const flowLogs = v.strictObject({
  api_url: text,
  upload_interval_secs: v.literal(0),
  upload_batch_size: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
});

export const clientAndResource = { client_id: text, resource_id: text };
