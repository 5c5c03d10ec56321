// How many flushes of one isolate are at Postgres at once. Where a transaction concerns a thousand accounts each of their objects has
// something to write in the same second, over a connection of its own: all at once they would take every connection that the
// server has, the replicator's among them, and fail for want of one.
//
// Who finds no turn looks again later: a promise that another invocation resolves would be lost with that. A turn that is not given
// back, as when its invocation was cut off, ends by itself.

/** Flushes at once. */
export const turnsMax = 16;

/** No flush takes longer, milliseconds. */
export const turnMsMax = 30_000;

const lookMs = { least: 50, most: 2000 } as const;

/** When one of so many that wait looks for a turn again, milliseconds; `random` is uniform in [0, 1). Together they look some hundred times a second. */
export function lookAgainMs(waiting: number, random: number): number {
  return Math.min(lookMs.most, lookMs.least * (1 + waiting / turnsMax)) * (0.5 + random);
}

export class Turns {
  readonly #taken = new Set<{ readonly at: number }>();

  /** Takes a turn and returns how to give it back; null while there is none. `now`: milliseconds, on any clock. */
  take(now: number): (() => void) | null {
    for (const turn of this.#taken) if (now - turn.at >= turnMsMax) this.#taken.delete(turn);
    if (this.#taken.size >= turnsMax) return null;
    const turn = { at: now };
    this.#taken.add(turn);
    return () => void this.#taken.delete(turn);
  }
}
