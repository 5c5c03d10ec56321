// The secrets of a connection between a client and a gateway. Each is a function of ids, public keys and per-device seeds,
// so the same pair with the same keys gets the same secrets, whatever was restarted in between (P11).
import { asciiToBytes, bytesToBase32, bytesToBase64, concatBytes, hexToBytes } from './encoding.ts';
import type { Hashes } from './hashes.ts';
import type { IceCredentials } from '../protocol/device/shared.ts';
import type { RowOf } from '../protocol/rows.ts';

type Rows = { readonly client: RowOf<'clients'>; readonly gateway: RowOf<'gateways'> };
type Keys = { readonly client: string; readonly gateway: string };
type Secrets = { readonly presharedKey: string; readonly credentials: ReturnType<typeof iceCredentials> };

/** What was made last for each client's row: its next flow is mostly through the same gateway, and so is the next message. */
const madeLast = new WeakMap<Rows['client'], { readonly of: Rows; readonly keys: Keys; readonly secrets: Secrets }>();

/** Both secrets of a pair under the public keys that its sessions have. */
export function secretsOf(of: Rows, keys: Keys, hashes: Hashes): Secrets {
  const made = madeLast.get(of.client);
  const isSame = made?.of.gateway === of.gateway && made.keys.client === keys.client;
  if (isSame && made.keys.gateway === keys.gateway) return made.secrets;
  const client = { id: of.client.id, publicKey: keys.client, pskBase: of.client.psk_base };
  const gateway = { id: of.gateway.id, publicKey: keys.gateway, pskBase: of.gateway.psk_base };
  const credentials = iceCredentials(client, gateway, hashes);
  const secrets = { presharedKey: presharedKey(client, gateway, hashes), credentials };
  madeLast.set(of.client, { of, keys, secrets });
  return secrets;
}

/** One end of a pair. `pskBase` is the row's `psk_base` as hex; null is never stored. */
export type PeerKeys = { readonly id: string; readonly publicKey: string; readonly pskBase: string };

/**
 * WireGuard's preshared key: standard base64 of 32 bytes of PBKDF2-HMAC-SHA256 (RFC 8018) with one iteration over both
 * seeds, salted with ids and public keys. One iteration of 32 bytes is a single HMAC over the salt and block number 1.
 */
export function presharedKey(client: PeerKeys, gateway: PeerKeys, hashes: Hashes): string {
  const password = concatBytes(hexToBytes(client.pskBase), hexToBytes(gateway.pskBase));
  const salt = `WG_PSK|C_ID:${client.id}|G_ID:${gateway.id}|C_PK:${client.publicKey}|G_PK:${gateway.publicKey}`;
  const firstBlock = concatBytes(asciiToBytes(salt), Uint8Array.of(0, 0, 0, 1));
  return bytesToBase64(hashes.hmacSha256(password, firstBlock));
}

/** ICE user names of 4 and passwords of 22 characters, cut from one base32 SHA-256 over ids and public keys. */
export function iceCredentials(
  client: Omit<PeerKeys, 'pskBase'>,
  gateway: Omit<PeerKeys, 'pskBase'>,
  hashes: Hashes,
): { readonly client: IceCredentials; readonly gateway: IceCredentials } {
  const text = `${client.id}:${client.publicKey}:${gateway.id}:${gateway.publicKey}`;
  const digits = bytesToBase32(hashes.sha256(text));
  return {
    client: { username: digits.slice(0, 4), password: digits.slice(4, 26) },
    gateway: { username: digits.slice(26, 30), password: digits.slice(30, 52) },
  };
}
