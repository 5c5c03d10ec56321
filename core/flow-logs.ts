// The token that generation B requires with every authorization, to upload logs of the flow with. Uploads are not offered: the
// token says so, and nothing ever verifies it. It is signed all the same, since devices refuse one without a signature.
import { asciiToBytes, bytesToBase64, concatBytes, hexToBytes } from './encoding.ts';
import type { Hashes } from './hashes.ts';
import type { LiveGrant } from './state.ts';

export type LoggedFlow = {
  readonly grant: LiveGrant;
  readonly role: 'initiator' | 'responder';
  readonly accountId: string;
  readonly resourceName: string;
  /** The seeds of both devices, hex. */
  readonly pskBases: readonly [string, string];
};

/** A JSON Web Token (RFC 7519) under HS256 with every claim that devices require; the same flow gets the same token. */
export function flowLogsToken({ grant, role, accountId, resourceName, pskBases }: LoggedFlow, hashes: Hashes): string {
  const claims = {
    account_id: accountId,
    iat: Math.floor(grant.toldAt / 1000),
    exp: grant.expiresAt / 1000,
    uploads_enabled: false,
    role,
    initiator_device_id: grant.clientId,
    responder_device_id: grant.gatewayId,
    policy_authorization_id: grant.flowId,
    policy_id: grant.policyId,
    resource_id: grant.resourceId,
    resource_name: resourceName,
    initiator_actor_id: grant.actorId,
    // Names of actors are not held at the edge.
    initiator_actor_name: grant.actorId,
    authorized_at: utcText(grant.toldAt),
    authorization_expires_at: utcText(grant.expiresAt),
  };
  const head = `${encoded(JSON.stringify({ alg: 'HS256', typ: 'JWT' }))}.${encoded(JSON.stringify(claims))}`;
  const key = concatBytes(asciiToBytes('FLOW_LOGS|'), ...pskBases.map(hexToBytes));
  return `${head}.${toBase64Url(hashes.hmacSha256(key, asciiToBytes(head)))}`;
}

/** Milliseconds since 1970-01-01 UTC as RFC 3339 text, whole seconds. */
export function utcText(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  const days = Math.floor(seconds / 86_400);
  const rest = seconds - days * 86_400;
  const clock = [Math.floor(rest / 3600), Math.floor(rest / 60) % 60, rest % 60].map((n) => twoDigits(n)).join(':');
  // Days into years counted from 1 March in 400-year eras, the reverse of what protocol/rows.ts does.
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const monthFromMarch = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * monthFromMarch + 2) / 5) + 1;
  const month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  return `${String(year).padStart(4, '0')}-${twoDigits(month)}-${twoDigits(day)}T${clock}Z`;
}

function twoDigits(n: number): string {
  return String(n).padStart(2, '0');
}

/** JSON text beyond ASCII is escaped first. */
function encoded(json: string): string {
  const ascii = json.replaceAll(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return toBase64Url(asciiToBytes(ascii));
}

function toBase64Url(bytes: Uint8Array): string {
  return bytesToBase64(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
