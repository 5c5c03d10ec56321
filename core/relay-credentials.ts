// What a device is given to use a relay with: TURN credentials that the relay can check by itself, since it knows its own stamp
// secret. The same relay, key and expiry give the same credentials, so a reconnect changes none (P11).
import { bytesToBase64 } from './encoding.ts';
import type { Hashes } from './hashes.ts';
import type { Relay } from '../protocol/device/shared.ts';
import type { RelayEntry } from '../protocol/relays.ts';

/** 2038-01-01T00:00:00Z in Unix seconds: the expiry of a gateway's credentials, and of a client's whose token has none. */
export const fixedExpirySeconds = 2_145_916_800;

/** The relay as a device is told of it, one entry per address family, IPv4 first. `expiresAt`: Unix seconds. */
export function relayEntries(
  { id, stampSecret, ipv4, ipv6, port }: RelayEntry,
  publicKey: string,
  expiresAt: number,
  hashes: Hashes,
): Relay[] {
  const credentials = turnCredentials(stampSecret, unpadded(hashes.sha256(publicKey)), expiresAt, hashes);
  const addresses = [...(ipv4 === null ? [] : [ipv4]), ...(ipv6 === null ? [] : [`[${ipv6}]`])];
  return addresses.map((host) => ({
    type: 'turn' as const,
    id,
    addr: `${host}:${port}`,
    ...credentials,
    expires_at: expiresAt,
  }));
}

/** `salt` is part of the user name; the password is unpadded base64 of SHA-256 over expiry, stamp secret and salt. */
export function turnCredentials(
  stampSecret: string,
  salt: string,
  expiresAt: number,
  hashes: Hashes,
): { readonly username: string; readonly password: string } {
  return {
    username: `${expiresAt}:${salt}`,
    password: unpadded(hashes.sha256(`${expiresAt}:${stampSecret}:${salt}`)),
  };
}

function unpadded(bytes: Uint8Array): string {
  return bytesToBase64(bytes).replaceAll('=', '');
}
