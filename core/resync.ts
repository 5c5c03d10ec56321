// An object's own request for a snapshot: when its rows are missing or known to be behind as somebody connects, and when
// Postgres refuses the same device twice, so that a row must be there that this object does not have.
//
// The replicator speaks first, and as a rule has sent one by the time this is due. Asked at most once per wait, and the waits
// grow until a snapshot comes.
import type { Effects } from './effect.ts';
import type { State } from './state.ts';

/** How long the replicator may take before it is asked, milliseconds: less than a connection waits for the first rows. */
const patienceMs = 2000;

/** Waits between two requests, milliseconds: the first, and the longest. */
const waitMs = { first: 30_000, longest: 600_000 } as const;

/** The part that is stored: requests since the last snapshot, and until when none is made. */
export type ResyncMark = { readonly times: number; readonly notBefore: number };

export type Resync = {
  mark: ResyncMark;
  /** When to ask; null when nothing calls for it. */
  dueAt: number | null;
};

export function noResync(): Resync {
  return { mark: { times: 0, notBefore: 0 }, dueAt: null };
}

/** Somebody connects: where that finds no rows, or old ones, a snapshot is wanted. */
export function wantRows(state: State): void {
  if (state.position === null || state.stale) want(state, state.now + patienceMs);
}

/** Postgres has refused the same device twice. */
export function wantWinner(state: State): void {
  want(state, state.now);
}

/** When to ask; null when there is nothing to ask for, or no database to ask through. */
export function resyncDueAt({ ledger, resync }: State): number | null {
  return ledger.isConfigured ? resync.dueAt : null;
}

/** The request is about to be made; whether it arrives or not, the next one waits. */
export function noteAsked(state: State, effects: Effects): void {
  const { times } = state.resync.mark;
  const wait = Math.min(waitMs.longest, waitMs.first * 2 ** Math.min(times, 16));
  state.resync = { mark: { times: times + 1, notBefore: state.now + wait }, dueAt: null };
  effects.saves.push({ type: 'put-resync', mark: state.resync.mark });
}

/** Rows have come: a first commit, or a snapshot, which answers every request. */
export function endResync(state: State, effects: Effects): void {
  if (state.resync.mark.times > 0) effects.saves.push({ type: 'put-resync', mark: noResync().mark });
  state.resync = noResync();
}

function want(state: State, at: number): void {
  const { dueAt, mark } = state.resync;
  state.resync.dueAt = Math.min(dueAt ?? Infinity, Math.max(at, mark.notBefore));
}
