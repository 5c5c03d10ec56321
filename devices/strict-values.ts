// Values inside of messages, as strictly as real devices take them (data-plane contract section 2, common encodings).
import * as v from 'valibot';

export const uuid = v.pipe(v.string(), v.regex(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/));
export const key = v.pipe(v.string(), v.regex(/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/));
export const unixSeconds = v.pipe(v.number(), v.integer());
export const ipv4 = v.pipe(v.string(), v.ipv4());
export const ipv6 = v.pipe(v.string(), v.ipv6());
const port = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65_535));
export const cidr = v.pipe(
  v.string(),
  v.check((text) => !hasHostBits(text), 'a CIDR needs a prefix and no host bits'),
);

export const filter = v.variant('protocol', [
  v.object({
    protocol: v.picklist(['tcp', 'udp']),
    port_range_start: v.optional(port),
    port_range_end: v.optional(port),
  }),
  v.object({ protocol: v.literal('icmp') }),
]);
export const iceCredentials = v.object({ username: v.string(), password: v.string() });
export const candidateList = v.array(v.string());

/** `203.0.113.7:3478` or `[2001:db8::7]:3478`. */
const socketAddress = v.pipe(
  v.string(),
  v.check((text) => {
    const match = /^(?:(?<four>[0-9.]+)|\[(?<six>[0-9a-f:.]+)\]):(?<port>\d{1,5})$/.exec(text);
    const { four, six } = match?.groups ?? {};
    const isHost = four === undefined ? v.is(ipv6, six) : v.is(ipv4, four);
    return isHost && Number(match?.groups?.['port']) <= 65_535;
  }, 'expected an address with a port'),
);

const relay = v.variant('type', [
  v.object({
    type: v.literal('turn'),
    id: uuid,
    addr: socketAddress,
    username: v.pipe(v.string(), v.regex(/^\d+:[^:]+$/)),
    password: v.pipe(v.string(), v.regex(/^[A-Za-z0-9+/]+$/)),
    expires_at: unixSeconds,
  }),
  v.object({ type: v.literal('stun'), id: uuid, addr: socketAddress }),
]);

/** Entries of one relay that are not next to each other replace each other. */
export const relays = v.pipe(
  v.array(relay),
  v.check((list) => {
    const runs = list.map(({ id }) => id).filter((id, i, ids) => ids[i - 1] !== id);
    return new Set(runs).size === runs.length;
  }, 'entries of one relay stand apart'),
);

export const relaysPresence = v.pipe(
  v.object({ disconnected_ids: v.array(uuid), connected: relays }),
  v.check(
    ({ disconnected_ids: gone, connected }) => connected.every(({ id }) => !gone.includes(id)),
    'a relay that is connected is named as disconnected',
  ),
);

/** Generation B drops a whole init without it. */
export const flowLogs = v.object({
  api_url: v.string(),
  upload_interval_secs: v.pipe(v.number(), v.integer(), v.minValue(0)),
  upload_batch_size: v.pipe(v.number(), v.integer(), v.minValue(0)),
});

const unsigned = v.pipe(v.number(), v.integer(), v.minValue(0));
const text = v.string();
const claims = v.object({
  account_id: text,
  iat: unsigned,
  exp: unsigned,
  uploads_enabled: v.boolean(),
  role: v.picklist(['initiator', 'responder']),
  initiator_device_id: text,
  responder_device_id: text,
  policy_authorization_id: text,
  policy_id: text,
  resource_id: text,
  resource_name: text,
  initiator_actor_id: text,
  initiator_actor_name: text,
  authorized_at: text,
  authorization_expires_at: text,
});

/** A token of which generation B reads the header and the claims, and never the signature. */
export const ingestToken = v.pipe(
  v.string(),
  v.check((jwt) => {
    const segments = jwt.split('.');
    const [head = '', body = '', signature = ''] = segments;
    if (segments.length !== 3 || segments.some((segment) => !/^[A-Za-z0-9_-]+$/.test(segment))) return false;
    return v.is(v.object({ alg: v.literal('HS256') }), jsonIn(head)) && v.is(claims, jsonIn(body)) && signature !== '';
  }, 'not a token for flow logs'),
);

function jsonIn(segment: string): unknown {
  try {
    const value: unknown = JSON.parse(Buffer.from(segment, 'base64url').toString());
    return value;
  } catch {
    return undefined;
  }
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
