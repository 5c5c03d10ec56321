// Tunnel addresses of an account: one IPv4 and one IPv6 address a device, out of 100.64.0.0/11 and fd00:2021:1111::/107. Both are
// made of the same number, so that one search finds both; an address that a row made by hand has taken is passed over.
import type { Hashes } from './hashes.ts';
import { bytesToHex } from './encoding.ts';

/** Numbers of the pool; the first two and the last stand for no device. */
const poolSize = 2 ** 21;
const [first, last] = [2, poolSize - 2];

export type Addresses = { readonly ipv4: string; readonly ipv6: string };

/** Free addresses, from a place that `seed` chooses onwards and then from the beginning; null when none is left. */
export function freeAddresses(used: ReadonlyMap<string, unknown>, seed: string, hashes: Hashes): Addresses | null {
  const span = last - first + 1;
  const start = Number.parseInt(bytesToHex(hashes.sha256(`address:${seed}`)).slice(0, 8), 16) % span;
  for (let i = 0; i < span; i += 1) {
    const addresses = addressesOf(first + ((start + i) % span));
    if (!used.has(addresses.ipv4) && !used.has(addresses.ipv6)) return addresses;
  }
  return null;
}

/** The addresses of the number `n` of the pool, as Postgres prints them. */
export function addressesOf(n: number): Addresses {
  const [high, low] = [n >>> 16, n & 0xffff];
  const ipv4 = `100.${64 + high}.${low >>> 8}.${low & 0xff}`;
  const tail = high === 0 ? low.toString(16) : `${high.toString(16)}:${low.toString(16)}`;
  return { ipv4, ipv6: `fd00:2021:1111::${tail}` };
}
