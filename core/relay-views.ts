// Which relays a device is told of, and when it is told again. What it was told last is kept with its session, so a change says
// only what is different: a relay that is still there is never named as gone.
import { chooseRelays, relaysPerDevice } from './relays.ts';
import { noRelaysTold } from './state.ts';
import { fixedExpirySeconds, relayEntries } from './relay-credentials.ts';
import { tellClient, tellGateway } from './tell.ts';
import { tokenExpiry } from './expiry.ts';
import type { Effects } from './effect.ts';
import type { Env } from './env.ts';
import type { Relay } from '../protocol/device/shared.ts';
import type { RelayEntry } from '../protocol/relays.ts';
import type { Session, State } from './state.ts';

type Told = Session['relays'];

type View = { readonly told: Told; readonly entries: () => Relay[] };

/** The relays for a device's init, and what they leave behind of those it was told of on an earlier connection. */
export function relaysForInit(
  state: State,
  session: Session,
  env: Env,
): { readonly relays: readonly Relay[]; readonly told: Told; readonly gone: readonly string[] } {
  const { entries, told } = viewOf(state, session, chosen(state, session), env);
  return { relays: entries(), told, gone: keptOf(session).filter((id) => !told.some((now) => now.id === id)) };
}

/** Devices told of relays in one turn, and the time until the next such turn, milliseconds: other decisions find room in between. */
export const toldMax = 1000;
const toldEveryMs = 50;

/** Tells joined devices what has changed in their relays, so many at once; the others are told from `relaysNextAt` on. */
export function patchAllRelays(state: State, effects: Effects, env: Env): void {
  const byId = relaysById(state);
  let left = toldMax;
  state.relaysNextAt = Infinity;
  for (const session of state.sessions.values()) {
    if (!session.joined || !isBehind(state, session, byId)) continue;
    if (left === 0) {
      state.relaysNextAt = state.now + toldEveryMs;
      return;
    }
    left -= 1;
    patchRelays(state, session, effects, env);
  }
}

/** After waking: whom a change had not reached is told with the next tick. */
export function resumeTelling(state: State): void {
  const byId = relaysById(state);
  const isAnyBehind = [...state.sessions.values()].some((session) => session.joined && isBehind(state, session, byId));
  state.relaysNextAt = isAnyBehind ? state.now : Infinity;
}

export function relaysById(state: State): ReadonlyMap<string, RelayEntry> {
  return new Map(everyRelay(state).map((entry) => [entry.id, entry]));
}

/**
 * Whether the device should be told something else than it was: a relay is chosen anew only where one of its relays has changed, or it
 * has fewer than it could have.
 */
export function isBehind(state: State, session: Session, byId: ReadonlyMap<string, RelayEntry>): boolean {
  if (session.relays.length !== Math.min(relaysPerDevice, byId.size)) return true;
  const expiresAt = expiryFor(state, session);
  return session.relays.some(({ id, mark }) => {
    const entry = byId.get(id);
    return entry === undefined || markOf(entry, expiresAt) !== mark;
  });
}

export function patchRelays(state: State, session: Session, effects: Effects, env: Env): void {
  const view = viewOf(state, session, chosen(state, session), env);
  const isSame = JSON.stringify(view.told) === JSON.stringify(session.relays);
  if (!isSame) tell(state, session, view, effects);
}

/** None of the relays it was told of answers it: others if there are any, and all that there is in any case. */
export function answerNoRelays(state: State, session: Session, effects: Effects, env: Env): void {
  const all = everyRelay(state);
  const failed = new Set(keptOf(session));
  const others = chooseRelays(
    all.filter(({ id }) => !failed.has(id)),
    session,
    [],
  );
  const kept = others.map(({ id }) => id);
  const relays = chooseRelays(all, session, kept);
  tell(state, session, viewOf(state, session, relays, env), effects);
}

/** Whether anything is known of the relays there are: before that, an init would name none. */
export function areRelaysKnown(state: State): boolean {
  return state.shared !== null || state.relays.size > 0;
}

function tell(state: State, session: Session, { told, entries }: View, effects: Effects): void {
  const disconnected = keptOf(session).filter((id) => !told.some((now) => now.id === id));
  const after = { ...session, relays: told };
  state.sessions.set(session.id, after);
  effects.saves.push({ type: 'put-session', session: after });
  const change = { disconnected_ids: disconnected, connected: entries() };
  if (after.role === 'client') tellClient(effects, after, { type: 'relays', change });
  else tellGateway(effects, after, { type: 'relays', change });
}

function chosen(state: State, session: Session): RelayEntry[] {
  return chooseRelays(everyRelay(state), session, keptOf(session));
}

function everyRelay(state: State): RelayEntry[] {
  return [...[...state.relays.values()].map(({ entry }) => entry), ...(state.shared?.relays ?? [])];
}

/** What `relays` are to a device: what it is told, and what is kept of that; the first only once it is asked for. */
function viewOf(state: State, session: Session, relays: readonly RelayEntry[], env: Env): View {
  const expiresAt = expiryFor(state, session);
  return {
    // The rest of what is told follows from the id, which stands for the relay's secret, and the session's key.
    told:
      relays.length === 0 ? noRelaysTold : relays.map((entry) => ({ id: entry.id, mark: markOf(entry, expiresAt) })),
    entries: () => relays.flatMap((entry) => relayEntries(entry, session.publicKey, expiresAt, env.hashes)),
  };
}

function markOf({ ipv4, ipv6, port }: RelayEntry, expiresAt: number): string {
  return [ipv4, ipv6, port, expiresAt].join(' ');
}

/** Until when a device may use its relays, Unix seconds: a client as long as its token admits it, a gateway for good. */
function expiryFor(state: State, session: Session): number {
  if (session.role === 'gateway') return fixedExpirySeconds;
  const expiry = tokenExpiry(state, session.tokenId);
  return Number.isFinite(expiry) ? Math.floor(expiry / 1000) : fixedExpirySeconds;
}

function keptOf({ relays }: Session): string[] {
  return relays.map(({ id }) => id);
}
