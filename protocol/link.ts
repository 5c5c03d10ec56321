// The internal socket between the edge, which holds a device's socket, and the Account object: one per device, versioned.
//
// The edge introduces the device by a Hello in the upgrade request; the object admits it (101) or refuses (Refusal as
// JSON). After that the edge sends LinkUp as JSON text. The object sends either a device frame, verbatim behind `=`, which
// the edge passes on without reading, or LinkDown as JSON text.
import * as v from 'valibot';
import { accountId, tokenId } from './ids.ts';
import { tokenTypeOfRole } from './roles.ts';

/** The version of this contract; an object accepts this one and the one before it. */
export const linkVersion = 1;

/** The upgrade request's header that carries the Hello as JSON, percent-encoded. */
export const helloHeader = 'x-drawbridge-hello';

/** Marks a device frame on the way down. */
export const deviceFrameMark = '=';

const shortText = v.pipe(v.string(), v.maxLength(255));

/** A Curve25519 public key: standard base64 with padding of 32 bytes. */
const publicKey = v.pipe(v.string(), v.regex(/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/));

export const hello = v.object({
  version: v.literal(linkVersion),
  role: v.picklist(['client', 'gateway']),
  account: accountId,
  token: v.object({ id: tokenId, type: v.picklist(Object.values(tokenTypeOfRole)), secret: v.string() }),
  externalId: v.pipe(shortText, v.minLength(1)),
  name: v.nullable(shortText),
  publicKey,
  /** The program's version as its user agent states it, like `1.5.2`; null when it states none. */
  deviceVersion: v.nullable(shortText),
  /** Address of the device as the platform saw it; null when the platform did not say. */
  remoteIp: v.nullable(shortText),
  /** ISO 3166-1 alpha-2 code as the platform derived it from the address. */
  region: v.nullable(shortText),
  latitude: v.nullable(v.number()),
  longitude: v.nullable(v.number()),
  /** When the device connected to the edge, milliseconds since 1970-01-01 UTC: newest wins. */
  connectedAt: v.pipe(v.number(), v.safeInteger()),
});
export type Hello = v.InferOutput<typeof hello>;

/** Why a connection was refused, as the edge tells the device. */
export const refusal = v.object({
  status: v.number(),
  code: v.string(),
  detail: v.string(),
  retryAfterSeconds: v.nullable(v.number()),
});
export type Refusal = v.InferOutput<typeof refusal>;

const ref = v.nullable(v.union([v.number(), v.string()]));

/** Edge to object. `joined`: the device's join was answered; the object answers it, each time, with `init`. */
export const linkUp = v.variant('type', [
  v.object({ type: v.literal('joined') }),
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
