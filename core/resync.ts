// An object's own request for a snapshot: when its rows are missing or known to be behind as somebody connects, when they turn out to
// be behind though nobody connects, and when Postgres refuses a device, so that a row must be there that this object does not have.
//
// The replicator speaks first, and as a rule has sent one by the time this is due. Asked at most once per wait, and the waits
// grow until a snapshot comes. By itself an object asks a bounded number of times: what does not help then waits for somebody who
// connects.
import { fractionOf } from './encoding.ts';
import type { Effects } from './effect.ts';
import type { State } from './state.ts';

/** How long the replicator may take before it is asked, milliseconds: less than a connection waits for the first rows. */
const patienceMs = 2000;

/** Waits between two requests, milliseconds: the first, and the longest. */
const waitMs = { first: 30_000, longest: 600_000 } as const;

/** When an object asks by itself, milliseconds after its rows turned out to be behind: so long, and up to so much longer by chance. */
export const aloneMs = { least: 15_000, spread: 15_000 } as const;

/** Requests without a snapshot after which an object asks no more by itself: some 45 minutes of them. */
export const aloneMax = 8;

/** The part that is stored: requests since the last snapshot, until when none is made, and when one is made whoever connects. */
export type ResyncMark = { readonly times: number; readonly notBefore: number; readonly aloneAt: number | null };

export type Resync = {
  mark: ResyncMark;
  /** When to ask; null when nothing calls for it. */
  dueAt: number | null;
};

export function noResync(): Resync {
  return { mark: { times: 0, notBefore: 0, aloneAt: null }, dueAt: null };
}

/** The object has refused what it was sent, so its rows are behind from here on: it grants nothing on them until a snapshot. */
export function becomeStale(state: State, effects: Effects, seed: string): void {
  if (state.stale) return;
  state.stale = true;
  effects.saves.push({ type: 'put-stale', isStale: true });
  const { mark } = state.resync;
  const at = Math.max(mark.notBefore, state.now + aloneMs.least + aloneMs.spread * fractionOf(seed));
  keepMark(state, { ...mark, aloneAt: mark.times < aloneMax ? at : null }, effects);
}

/** After waking: what was due is due. */
export function resumeResync({ resync }: State): void {
  resync.dueAt = resync.mark.aloneAt;
}

/** Somebody connects: where that finds no rows, or old ones, a snapshot is wanted. */
export function wantRows(state: State): void {
  if (state.position === null || state.stale) want(state, state.now + patienceMs);
}

/** Postgres has refused a device for a row that is not here, and the stream may bring it until `at`. Asleep or not. */
export function wantWinner(state: State, at: number, effects: Effects): void {
  const { mark } = state.resync;
  const aloneAt = Math.min(mark.aloneAt ?? Infinity, Math.max(at, mark.notBefore));
  keepMark(state, { ...mark, aloneAt }, effects);
}

/** When to ask; null when there is nothing to ask for, or no database to ask through. */
export function resyncDueAt({ ledger, resync }: State): number | null {
  return ledger.isConfigured ? resync.dueAt : null;
}

/** The request is about to be made; whether it arrives or not, the next one waits. */
export function noteAsked(state: State, effects: Effects): void {
  const { times } = state.resync.mark;
  const wait = Math.min(waitMs.longest, waitMs.first * 2 ** Math.min(times, 16));
  const notBefore = state.now + wait;
  state.resync.dueAt = null;
  keepMark(
    state,
    { times: times + 1, notBefore, aloneAt: state.stale && times + 1 < aloneMax ? notBefore : null },
    effects,
  );
}

/** Rows have come: a first commit, or a snapshot, which answers every request. */
export function endResync(state: State, effects: Effects): void {
  const { aloneAt, times } = state.resync.mark;
  if (times > 0 || aloneAt !== null) effects.saves.push({ type: 'put-resync', mark: noResync().mark });
  state.resync = noResync();
}

function want(state: State, at: number): void {
  const { dueAt, mark } = state.resync;
  state.resync.dueAt = Math.min(dueAt ?? Infinity, Math.max(at, mark.notBefore));
}

function keepMark(state: State, mark: ResyncMark, effects: Effects): void {
  state.resync.mark = mark;
  effects.saves.push({ type: 'put-resync', mark });
  if (mark.aloneAt !== null) want(state, mark.aloneAt);
}
