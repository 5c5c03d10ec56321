// How many flushes of one isolate are at Postgres at once. Where a transaction concerns a thousand accounts each of their objects has
// something to write in the same second, over a connection of its own: all at once they would take every connection that the
// server has, the replicator's among them, and fail for want of one.
//
// Who finds no turn looks again later: a promise that another invocation resolves would be lost with that. A turn that is not given
// back, and a wait that is not ended, as when the invocation was cut off, ends by itself.

/** Flushes at once. */
export const turnsMax = 16;

/** After this time the account has given a flush up, and its turn is another's, though Postgres may still be at it; milliseconds. */
export const turnMsMax = 30_000;

const lookMs = { least: 50, most: 2000 } as const;

/**
 * When one of so many that wait looks for a turn again, milliseconds; `random` is uniform in [0, 1). Together they look some
 * hundred times a second.
 */
export function lookAgainMs(waiting: number, random: number): number {
  return Math.min(lookMs.most, lookMs.least * (1 + waiting / turnsMax)) * (0.5 + random);
}

type Since = { readonly at: number };

/** All times are milliseconds, on any clock. */
export class Turns {
  readonly #taken = new Set<Since>();
  readonly #waiting = new Set<Since>();

  /** Takes a turn and returns how to give it back; null while there is none. */
  take(now: number): (() => void) | null {
    return countOf(this.#taken, now) < turnsMax ? added(this.#taken, now) : null;
  }

  /** Begins to wait and returns how to end that. */
  wait(now: number): () => void {
    return added(this.#waiting, now);
  }

  /** How many wait. */
  waiting(now: number): number {
    return countOf(this.#waiting, now);
  }
}

function added(set: Set<Since>, at: number): () => void {
  const entry = { at };
  set.add(entry);
  return () => void set.delete(entry);
}

function countOf(set: Set<Since>, now: number): number {
  for (const entry of set) if (now - entry.at >= turnMsMax) set.delete(entry);
  return set.size;
}
