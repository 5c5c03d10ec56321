// Relays as objects speak of them: a set with a version, always whole, so that whoever has the highest version has what there
// is, however often and in whatever order sets arrive.
import * as v from 'valibot';

/** A relay as devices come to know it. */
export const relayEntry = v.object({
  /** A UUID made of the stamp secret: it tells one start of a relay from another. */
  id: v.string(),
  stampSecret: v.string(),
  ipv4: v.nullable(v.string()),
  ipv6: v.nullable(v.string()),
  port: v.number(),
  latitude: v.nullable(v.number()),
  longitude: v.nullable(v.number()),
});
export type RelayEntry = v.InferOutput<typeof relayEntry>;

export const sharedRelays = v.object({ version: v.number(), relays: v.array(relayEntry) });
export type SharedRelays = v.InferOutput<typeof sharedRelays>;

/** A relay that is held where it connected. */
export const heldRelay = v.object({
  entry: relayEntry,
  tokenId: v.string(),
  /** The connection that it joined on; null once that has ended. */
  sessionId: v.nullable(v.string()),
  /** When that connected, milliseconds since 1970-01-01 UTC. */
  connectedAt: v.number(),
  /** When it is gone unless it comes back, milliseconds since 1970-01-01 UTC; null while it is connected. */
  goneAt: v.nullable(v.number()),
});
export type HeldRelay = v.InferOutput<typeof heldRelay>;
