// A device's upgrade request into a Hello: token, parameters, and what the platform knows of the connection. The Hello is
// built from parsed fields alone; nothing else of the device's request goes further.
import * as v from 'valibot';
import { hello, linkVersion, noHardware, relayHello } from '../../protocol/link.ts';
import { invalidParameters, refusalOf } from '../../protocol/reasons.ts';
import { programs } from '../../protocol/device/generations.ts';
import { tokenTypeOfRole } from '../../protocol/roles.ts';
import { verifyToken } from '../token.ts';
import type { AnyHello, Hardware, Refusal } from '../../protocol/link.ts';
import type { Place } from '../../protocol/place.ts';
import type { SocketRole } from '../../protocol/roles.ts';
import type { SocketVersion } from '../../protocol/device/generations.ts';
import type { TokenKey } from '../token.ts';

export type ParsedRequest =
  | { readonly type: 'hello'; readonly hello: AnyHello; readonly place: Place }
  | { readonly type: 'refused'; readonly refusal: Refusal };

/** `now`: milliseconds since 1970-01-01 UTC, the connect time by which the newest connection of a device wins. */
export function parseUpgrade(
  request: Request,
  { role, socketVersion }: { readonly role: SocketRole; readonly socketVersion: SocketVersion },
  keys: readonly TokenKey[],
  now: number,
): ParsedRequest {
  const refused = (refusal: Refusal): ParsedRequest => ({ type: 'refused', refusal });
  if (request.headers.get('upgrade')?.toLowerCase() !== 'websocket') return refused(refusalOf('upgrade_required'));
  const { searchParams } = new URL(request.url);
  const text = bearer(request.headers.get('x-authorization')) ?? searchParams.get('token');
  if (text === null || text === '') return refused(refusalOf('missing_token'));
  const token = verifyToken(text, keys);
  if (token === null || token.type !== tokenTypeOfRole[role]) return refused(refusalOf('invalid_token'));
  const vsn = searchParams.get('vsn');
  if (vsn !== null && vsn !== '1.0.0') return refused(invalidParameters('vsn: expected 1.0.0 or nothing'));
  const { cf } = request;
  const connection = {
    version: linkVersion,
    account: token.accountId,
    token: { id: token.tokenId, type: token.type, secret: token.secret, issuedAt: token.issuedAtSeconds * 1000 },
    name: searchParams.get('name'),
    ...deviceOf(request.headers.get('user-agent')),
    remoteIp: request.headers.get('cf-connecting-ip'),
    region: textOrNull(cf?.['country']),
    latitude: numberOrNull(cf?.['latitude']),
    longitude: numberOrNull(cf?.['longitude']),
    connectedAt: now,
  };
  const parsed =
    role === 'relay'
      ? v.safeParse(relayHello, { ...connection, role, ...relayParameters(searchParams) })
      : v.safeParse(hello, {
          ...connection,
          role,
          externalId: searchParams.get('external_id') ?? '',
          publicKey: searchParams.get('public_key') ?? '',
          socketVersion,
          hardware: hardwareParameters(searchParams),
        });
  if (parsed.success) return { type: 'hello', hello: parsed.output, place: token.place };
  const path = v.getDotPath(parsed.issues[0]) ?? '';
  return refused(invalidParameters(expectations[path] ?? `${path}: expected ${shortTextWords}`));
}

/** An empty one is as none. */
function hardwareParameters(searchParams: URLSearchParams): Hardware {
  const textOf = (name: keyof Hardware) => searchParams.get(name) || null;
  return {
    device_serial: textOf('device_serial'),
    device_uuid: textOf('device_uuid'),
    identifier_for_vendor: textOf('identifier_for_vendor'),
    firebase_installation_id: textOf('firebase_installation_id'),
  };
}

/** Where a relay says that it can be reached. */
function relayParameters(searchParams: URLSearchParams) {
  const port = searchParams.get('port');
  return {
    ipv4: searchParams.get('ipv4'),
    ipv6: searchParams.get('ipv6'),
    port: port === null ? relayPort : /^\d{1,5}$/.test(port) ? Number(port) : Number.NaN,
  };
}

/** Where relays listen that do not say. */
const relayPort = 3478;

const shortTextWords = 'at most 255 characters, none of them a control character';

/** By where in the Hello something is wrong: the parameter, and what it should be. */
const expectations: Readonly<Record<string, string>> = {
  externalId: 'external_id: expected 1 to 255 characters that identify the device, none of them a control character',
  publicKey: 'public_key: expected a WireGuard public key, 32 bytes in base64 with padding (44 characters)',
  name: `name: expected ${shortTextWords}`,
  ipv4: 'ipv4: expected an IPv4 address',
  ipv6: 'ipv6: expected an IPv6 address without brackets',
  port: 'port: expected a number from 1 to 65535',
  '': 'ipv4, ipv6: expected one of them at least',
  ...Object.fromEntries(
    Object.keys(noHardware).map((name) => [`hardware.${name}`, `${name}: expected ${shortTextWords}`]),
  ),
};

/** The first word of a user agent that names one of the device programs: the program and its version. */
export function deviceOf(userAgent: string | null): Pick<AnyHello, 'program' | 'deviceVersion'> {
  const match = programPattern.exec(userAgent ?? '');
  return { program: match?.[1] ?? null, deviceVersion: match?.[2] ?? null };
}

const programPattern = new RegExp(`(?:^|\\s)(${programs.join('|')})/(\\S{1,64})`);

function bearer(header: string | null): string | null {
  return /^Bearer\s+(\S+)\s*$/i.exec(header ?? '')?.[1] ?? null;
}

function textOrNull(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

function numberOrNull(value: unknown): number | null {
  const number = typeof value === 'string' && value !== '' ? Number(value) : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : null;
}
