// The relays that are there, and which of them a device is given. A relay is its stamp secret: one that comes back with the
// same secret in time was never gone, one with another secret is another relay.
//
//   joined ──its connection ends──▶ left ──graceMs──▶ gone
//      ▲                             │ same secret
//      └─────────────────────────────┘
//
// Whoever joins at the address and port of another under the same token replaces it at once: it is what stands there. Under another
// token it waits until that is gone. Pure, for an account's own relays and for shared ones.
import { bytesToHex } from './encoding.ts';
import { distanceKm } from './distance.ts';
import type { Hashes } from './hashes.ts';
import type { HeldRelay, RelayEntry } from '../protocol/relays.ts';
import type { Place } from './distance.ts';

/** A relay whose connection ended is kept this long, milliseconds: longer than an edge needs to dial again. */
export const graceMs = 5000;

/** Relays in one set, at most; further ones are refused. */
export const relaysMax = 1000;

/** A device is given this many. */
export const relaysPerDevice = 2;

export type Relays = Map<string, HeldRelay>;

/** What became of a join. `ended`: connections that are not the relay's any more. `refused`: another is in place, or no room. */
export type Joined =
  | { readonly type: 'joined'; readonly ended: readonly string[]; readonly isChanged: boolean }
  | { readonly type: 'refused'; readonly cause: 'superseded' | 'address_taken' | 'overloaded' };

/** Takes in a relay that has just joined on a connection. */
export function joinRelay(relays: Relays, entry: RelayEntry, on: Connection): Joined {
  const conflicting = [...relays.values()].filter(
    (held) => held.entry.id === entry.id || isSamePlace(held.entry, entry),
  );
  if (conflicting.some(({ tokenId }) => tokenId !== on.tokenId)) return { type: 'refused', cause: 'address_taken' };
  const others = conflicting.filter(({ sessionId }) => sessionId !== null && sessionId !== on.sessionId);
  if (others.some(({ connectedAt }) => connectedAt > on.connectedAt)) return { type: 'refused', cause: 'superseded' };
  const before = relays.get(entry.id);
  if (conflicting.length === 0 && relays.size >= relaysMax) return { type: 'refused', cause: 'overloaded' };
  for (const held of conflicting) relays.delete(held.entry.id);
  relays.set(entry.id, { entry, ...on, goneAt: null });
  const isSame =
    before !== undefined && conflicting.length === 1 && JSON.stringify(before.entry) === JSON.stringify(entry);
  return { type: 'joined', ended: others.flatMap(({ sessionId }) => sessionId ?? []), isChanged: !isSame };
}

type Connection = { readonly sessionId: string; readonly tokenId: string; readonly connectedAt: number };

/** Its connection ended: it has until `goneAt` to come back. Returns the relay, or null when nothing had joined on it. */
export function leaveRelay(relays: Relays, sessionId: string, now: number): HeldRelay | null {
  for (const held of relays.values()) {
    if (held.sessionId !== sessionId) continue;
    const left = { ...held, sessionId: null, goneAt: now + graceMs };
    relays.set(held.entry.id, left);
    return left;
  }
  return null;
}

/** The id of the relay with this secret within its scope, the account's id or a word for the shared ones. */
export function relayId(scope: string, stampSecret: string, hashes: Hashes): string {
  const hex = bytesToHex(hashes.sha256(`relay:${scope}:${stampSecret}`));
  const variant = ((Number.parseInt(hex.slice(16, 17), 16) & 3) | 8).toString(16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/**
 * The relays of one device, nearest first: those of `kept` that are still there, so that nothing is moved that works, then
 * the nearest, in different places if there are, equals spread by a hash of the device.
 */
export function chooseRelays(
  relays: readonly RelayEntry[],
  device: Place & { readonly deviceId: string },
  kept: readonly string[],
): RelayEntry[] {
  const ranked = relays
    .map((entry) => ({ entry, km: distanceKm(device, entry), rank: rankOf(device.deviceId, entry) }))
    .toSorted((a, b) => (a.km === b.km ? a.rank - b.rank : a.km - b.km))
    .map(({ entry }) => entry);
  const chosen = ranked.filter(({ id }) => kept.includes(id)).slice(0, relaysPerDevice);
  while (chosen.length < relaysPerDevice) {
    const left = ranked.filter((entry) => !chosen.includes(entry));
    const next = left.find((entry) => chosen.every((other) => !isNear(entry, other))) ?? left[0];
    if (next === undefined) break;
    chosen.push(next);
  }
  return ranked.filter((entry) => chosen.includes(entry));
}

/** A number that is the same for the same device and relay, and spreads: FNV-1a of 32 bits, since every device asks it of all. */
function rankOf(deviceId: string, { id }: RelayEntry): number {
  let hash = 0x811c9dc5;
  for (const text of [deviceId, id]) {
    for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return hash >>> 0;
}

/** Whether both stand in one place, as far as that is known. */
function isNear(a: Place, b: Place): boolean {
  return a.latitude === b.latitude && a.longitude === b.longitude;
}

/** Whether both cannot be there: they claim one address and port. */
function isSamePlace(a: RelayEntry, b: RelayEntry): boolean {
  const isSame = (left: string | null, right: string | null) => left !== null && left === right;
  return a.port === b.port && (isSame(a.ipv4, b.ipv4) || isSame(a.ipv6, b.ipv6));
}
