// When what changes by itself: the next such moment of every grant and every session, in a binary heap, so that the earliest
// is known at once and a tick looks at what is due and at nothing else.
import { nextChangeAt, tokenExpiry } from './expiry.ts';
import type { Grant, State } from './state.ts';

/** Three views of one heap: the moments, whose they are, and at which place each is. */
export type Due = { readonly ats: number[]; readonly ids: string[]; readonly places: Map<string, number> };

export function nothingDue(): Due {
  return { ats: [], ids: [], places: new Map() };
}

/** The earliest moment of all, milliseconds since 1970-01-01 UTC; null when nothing changes by itself. */
export function firstDue({ ats }: Due): number | null {
  return ats[0] ?? null;
}

/** `id` is due at `at`, whatever was said of it before; never, when that is Infinity. */
export function setDue(due: Due, id: string, at: number): void {
  const place = due.places.get(id) ?? due.ids.length;
  if (!Number.isFinite(at)) {
    if (place < due.ids.length) takeOut(due, place);
    return;
  }
  put(due, place, at, id);
  settle(due, place);
}

/** Takes out everything that is due at `now`, the earliest first, equals by id. */
export function takeDue(due: Due, now: number): string[] {
  const taken: string[] = [];
  for (let id = due.ids[0]; id !== undefined && (due.ats[0] ?? Infinity) <= now; id = due.ids[0]) {
    taken.push(id);
    takeOut(due, 0);
  }
  return taken;
}

/** A grant is due when it changes next, unless it is to be looked at before, at `now`. */
export function expectGrant(state: State, grant: Grant, isDueNow = false): void {
  expectAt(state, grant.flowId, isDueNow ? state.now : nextChangeAt(grant, state.now));
}

/** A session is due when its token ends, its view may change, or it has waited long enough for relays. */
export function expectSession(state: State, sessionId: string): void {
  const session = state.sessions.get(sessionId);
  const until = state.announced.get(sessionId)?.until ?? Infinity;
  const at =
    session === undefined
      ? Infinity
      : Math.min(tokenExpiry(state, session.tokenId), until, session.waitsUntil ?? Infinity);
  expectAt(state, sessionId, at);
}

/** The shared relays are asked for again when the lease is due, as long as devices are connected. */
export function expectLease(state: State): void {
  const isWanted = state.sessions.size > 0 && state.leaseDueAt > state.now;
  expectAt(state, 'lease', isWanted ? state.leaseDueAt : Infinity);
}

/** What is due already stays so until a tick has taken it. */
export function expectAt({ due, now }: State, id: string, at: number): void {
  const place = due.places.get(id);
  if (place === undefined || (due.ats[place] ?? Infinity) > now) setDue(due, id, at);
}

function takeOut(due: Due, place: number): void {
  const last = due.ids.length - 1;
  due.places.delete(due.ids[place] ?? '');
  if (place < last) put(due, place, due.ats[last] ?? Infinity, due.ids[last] ?? '');
  due.ats.pop();
  due.ids.pop();
  if (place < last) settle(due, place);
}

function put(due: Due, place: number, at: number, id: string): void {
  due.ats[place] = at;
  due.ids[place] = id;
  due.places.set(id, place);
}

/** Moves what stands at `place` up or down to where it belongs. */
function settle(due: Due, place: number): void {
  let at = place;
  for (let above = (at - 1) >>> 1; at > 0 && isBefore(due, at, above); above = (at - 1) >>> 1) {
    swap(due, at, above);
    at = above;
  }
  for (;;) {
    const left = 2 * at + 1;
    const below = isBefore(due, left + 1, left) ? left + 1 : left;
    if (!isBefore(due, below, at)) return;
    swap(due, at, below);
    at = below;
  }
}

function isBefore({ ats, ids }: Due, a: number, b: number): boolean {
  if (a >= ids.length) return false;
  const [first = Infinity, second = Infinity] = [ats[a], ats[b]];
  return first < second || (first === second && (ids[a] ?? '') < (ids[b] ?? ''));
}

function swap(due: Due, a: number, b: number): void {
  const [at = Infinity, id = ''] = [due.ats[a], due.ids[a]];
  put(due, a, due.ats[b] ?? Infinity, due.ids[b] ?? '');
  put(due, b, at, id);
}
