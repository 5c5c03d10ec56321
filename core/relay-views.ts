// Which relays a device is told of, and when it is told again. What it was told last is kept with its session, so a change says
// only what is different: a relay that is still there is never named as gone.
import { chooseRelays } from './relays.ts';
import { bytesToHex } from './encoding.ts';
import { fixedExpirySeconds, relayEntries } from './relay-credentials.ts';
import { tellClient, tellGateway } from './tell.ts';
import { tokenExpiry } from './expiry.ts';
import type { Effects } from './effect.ts';
import type { Env } from './env.ts';
import type { Relay } from '../protocol/device/shared.ts';
import type { RelayEntry } from '../protocol/relays.ts';
import type { Session, State } from './state.ts';

type Told = Session['relays'];

/** The relays for a device's init, and what they leave behind of those it was told of on an earlier connection. */
export function relaysForInit(
  state: State,
  session: Session,
  env: Env,
): { readonly relays: readonly Relay[]; readonly told: Told; readonly gone: readonly string[] } {
  const { relays, told } = viewOf(state, session, chosen(state, session, keptOf(session), env), env);
  return { relays, told, gone: keptOf(session).filter((id) => !told.some((now) => now.id === id)) };
}

/** Tells every joined device what has changed in its relays. */
export function patchAllRelays(state: State, effects: Effects, env: Env): void {
  for (const session of state.sessions.values()) if (session.joined) patchRelays(state, session, effects, env);
}

export function patchRelays(state: State, session: Session, effects: Effects, env: Env): void {
  const view = viewOf(state, session, chosen(state, session, keptOf(session), env), env);
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
    env.hashes,
  );
  const kept = others.map(({ id }) => id);
  const relays = chooseRelays(all, session, kept, env.hashes);
  tell(state, session, viewOf(state, session, relays, env), effects);
}

/** Whether anything is known of the relays there are: before that, an init would name none. */
export function areRelaysKnown(state: State): boolean {
  return state.shared !== null || state.relays.size > 0;
}

function tell(
  state: State,
  session: Session,
  { relays, told }: { readonly relays: readonly Relay[]; readonly told: Told },
  effects: Effects,
): void {
  const disconnected = keptOf(session).filter((id) => !told.some((now) => now.id === id));
  const after = { ...session, relays: told };
  state.sessions.set(session.id, after);
  effects.saves.push({ type: 'put-session', session: after });
  const change = { disconnected_ids: disconnected, connected: relays };
  if (after.role === 'client') tellClient(effects, after, { type: 'relays', change });
  else tellGateway(effects, after, { type: 'relays', change });
}

function chosen(state: State, session: Session, kept: readonly string[], env: Env): RelayEntry[] {
  return chooseRelays(everyRelay(state), session, kept, env.hashes);
}

function everyRelay(state: State): RelayEntry[] {
  return [...[...state.relays.values()].map(({ entry }) => entry), ...(state.shared?.relays ?? [])];
}

function viewOf(
  state: State,
  session: Session,
  relays: readonly RelayEntry[],
  env: Env,
): { readonly relays: readonly Relay[]; readonly told: Told } {
  const expiresAt = expiryFor(state, session);
  const views = relays.map((entry) => ({
    id: entry.id,
    entries: relayEntries(entry, session.publicKey, expiresAt, env.hashes),
  }));
  const told = views.map(({ id, entries }) => ({
    id,
    mark: bytesToHex(env.hashes.sha256(JSON.stringify(entries))).slice(0, 16),
  }));
  return { relays: views.flatMap(({ entries }) => entries), told };
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
