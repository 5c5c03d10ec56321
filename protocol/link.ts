// The internal socket between the edge, which holds a device's socket, and the Account object: one per device, versioned.
//
// The edge introduces the device by a Hello in the upgrade request; the object admits it (101 with a Welcome) or refuses
// (Refusal as JSON). After that the edge sends LinkUp as JSON text. The object sends either a device frame, verbatim behind
// `=`, which the edge passes on without reading, or LinkDown as JSON text. Every `probeMsByRole` the edge sends `probe`, which
// the platform answers with `probeAnswer` without waking the object.
//
// Version 1 knew neither Welcome nor probe. Edge and object may be of different versions: an invocation that holds a socket
// runs its old code as long as that socket lives, and an object that is awake runs its own for minutes after a deploy.
import * as v from 'valibot';
import { accountId, tokenId } from './ids.ts';
import { tokenTypeOfRole } from './roles.ts';
import type { SocketRole } from './roles.ts';

/** The version of this contract; an object accepts this one, the one before it, and later ones as far as it knows them. */
export const linkVersion = 2;

/** The oldest version that is accepted. */
export const linkVersionMin = linkVersion - 1;

/** The first version in which probes are sent and answered. */
export const linkVersionOfProbes = 2;

/** The upgrade request's header that carries the Hello as JSON, percent-encoded. */
export const helloHeader = 'x-drawbridge-hello';

/** The header of the object's 101 that carries the Welcome as JSON. */
export const welcomeHeader = 'x-drawbridge-welcome';

/** What the edge sends to see whether the object's end is there, and what it is answered. */
export const probe = 'probe';
export const probeAnswer = 'alive';

/** How often a probe is sent, in milliseconds. */
export const probeMsByRole = {
  client: 60_000,
  gateway: 30_000,
  relay: 30_000,
} as const satisfies Record<SocketRole, number>;

/** Probes in a row that stay without an answer until either side takes the socket for dead. */
export const probesMissedMax = 2;

/** Marks a device frame on the way down. */
export const deviceFrameMark = '=';

/** What a person or a program calls something: no control characters, which logs and terminals would obey. */
const shortText = v.pipe(v.string(), v.maxLength(255), v.regex(/^\P{Cc}*$/u));

/** A Curve25519 public key: standard base64 with padding of 32 bytes. */
const publicKey = v.pipe(v.string(), v.regex(/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/));

const connection = {
  version: v.pipe(v.number(), v.integer(), v.minValue(linkVersionMin)),
  account: accountId,
  token: v.object({
    id: tokenId,
    type: v.picklist(Object.values(tokenTypeOfRole)),
    secret: v.string(),
    /** When it was issued, milliseconds since 1970-01-01 UTC; null where the edge does not say. */
    issuedAt: v.optional(v.nullable(v.number()), null),
  }),
  name: v.nullable(shortText),
  /** The program's version as its user agent states it, like `1.5.2`; null when it states none. */
  deviceVersion: v.nullable(shortText),
  /** The program that the user agent names with it; null when it names none. */
  program: v.optional(v.nullable(shortText), null),
  /** Address of the device as the platform saw it; null when the platform did not say. */
  remoteIp: v.nullable(shortText),
  /** ISO 3166-1 alpha-2 code as the platform derived it from the address. */
  region: v.nullable(shortText),
  latitude: v.nullable(v.number()),
  longitude: v.nullable(v.number()),
  /** When the device connected to the edge, milliseconds since 1970-01-01 UTC: newest wins. */
  connectedAt: v.pipe(v.number(), v.safeInteger()),
};

/** What identifies a device's hardware, as its program says; null what it does not say. */
export const hardware = v.object({
  device_serial: v.nullable(shortText),
  device_uuid: v.nullable(shortText),
  identifier_for_vendor: v.nullable(shortText),
  firebase_installation_id: v.nullable(shortText),
});
export type Hardware = v.InferOutput<typeof hardware>;

export const noHardware: Hardware = {
  device_serial: null,
  device_uuid: null,
  identifier_for_vendor: null,
  firebase_installation_id: null,
};

export const hello = v.object({
  ...connection,
  role: v.picklist(['client', 'gateway']),
  externalId: v.pipe(shortText, v.minLength(1)),
  publicKey,
  /** Which version of the sockets it dialled. */
  socketVersion: v.optional(v.picklist([1, 2]), 1),
  /** A client's; null where the edge that sends this does not tell. */
  hardware: v.optional(v.nullable(hardware), null),
});
export type Hello = v.InferOutput<typeof hello>;

/** A relay's introduction. `account` is `sharedAccountId` where its token belongs to none. It has an address at least. */
export const relayHello = v.pipe(
  v.object({
    ...connection,
    role: v.literal('relay'),
    ipv4: v.nullable(v.pipe(v.string(), v.ipv4())),
    /** Without brackets and zone: devices give up the whole message that names an address they cannot read. */
    ipv6: v.nullable(v.pipe(v.string(), v.ipv6(), v.excludes('%'))),
    port: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535)),
  }),
  v.check(({ ipv4, ipv6 }) => ipv4 !== null || ipv6 !== null, 'a relay has an address'),
);
export type RelayHello = v.InferOutput<typeof relayHello>;

export const anyHello = v.union([hello, relayHello]);
export type AnyHello = v.InferOutput<typeof anyHello>;

/** What an object says of itself when it admits a device. */
export const welcome = v.object({
  version: v.pipe(v.number(), v.integer(), v.minValue(1)),
  /** When the inner socket is lost, the edge dials again at a point chosen evenly within this time, milliseconds. */
  redialMs: v.pipe(v.number(), v.minValue(1000), v.maxValue(20_000)),
});
export type Welcome = v.InferOutput<typeof welcome>;

/** What an object of version 1, which sends none, is taken to have said. */
export const noWelcome: Welcome = { version: 1, redialMs: 1000 };

/** The window for an object with this many sockets: 556 dials a second, between 1 and 20 seconds (docs/decisions/0033). */
export function redialMsFor(sockets: number): number {
  return Math.min(20_000, Math.max(1000, sockets * 1.8));
}

/** Why a connection was refused, as the edge tells the device. */
export const refusal = v.object({
  status: v.number(),
  code: v.string(),
  detail: v.string(),
  retryAfterSeconds: v.nullable(v.number()),
});
export type Refusal = v.InferOutput<typeof refusal>;

const ref = v.nullable(v.union([v.number(), v.string()]));

/** A relay's secret, new for each start of its process: at most 255 characters, and enough of them to be one. */
export const stampSecret = v.pipe(v.string(), v.minLength(16), v.maxLength(255));

/**
 * Edge to object. `joined`: the join was answered; the object answers it, each time, with `init`. A relay's carries its secret.
 */
export const linkUp = v.variant('type', [
  v.object({ type: v.literal('joined'), stampSecret: v.exactOptional(stampSecret) }),
  v.object({ type: v.literal('message'), event: v.string(), payload: v.optional(v.unknown()), ref }),
]);
export type LinkUp = v.InferOutput<typeof linkUp>;

/** Object to edge: end the device's socket; `signOut` sends `disconnect` with `token_expired` first. */
export const linkDown = v.object({
  type: v.literal('close'),
  code: v.number(),
  reason: v.string(),
  signOut: v.boolean(),
});
export type LinkDown = v.InferOutput<typeof linkDown>;
