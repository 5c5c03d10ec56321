// Devices that share an external_id take the connection from each other, again and again. One that was replaced by other keys
// too often in a minute keeps its connection, newcomers are refused, and operators see which device it is.
import type { ClientId, GatewayId } from '../protocol/ids.ts';
import type { Session, State } from './state.ts';

/** Replacements by another key in `windowMs`, at most. A program makes its key anew at each start. */
export const replacementsMax = 5;
const windowMs = 60_000;

/** How long a device is named after a newcomer was refused, milliseconds. */
const namedMs = 600_000;

/** Devices whose replacements are remembered: those that were replaced last. */
const rememberedMax = 1000;

export type Replacements = {
  /** When, within the last minute, milliseconds since 1970-01-01 UTC. */
  readonly times: readonly number[];
  readonly refusedAt: number;
};

/** Whether `newcomer` may take the place of `older`, a session of the same device. */
export function takeReplacement(state: State, older: Session, newcomer: Session): boolean {
  if (older.publicKey === newcomer.publicKey) return true;
  const { times, refusedAt } = replacementsOf(state, older.deviceId);
  const isTooMany = times.length >= replacementsMax;
  remember(state, older.deviceId, {
    times: isTooMany ? times : [...times, state.now],
    refusedAt: isTooMany ? state.now : refusedAt,
  });
  return !isTooMany;
}

/** Devices of which a newcomer was refused lately, by id. */
export function clonedDevices(state: State, now: number): (ClientId | GatewayId)[] {
  const cloned = [...state.replacements].filter(([, { refusedAt }]) => refusedAt > now - namedMs);
  return cloned.map(([deviceId]) => deviceId).sort();
}

function replacementsOf(state: State, deviceId: ClientId | GatewayId): Replacements {
  const { times, refusedAt } = state.replacements.get(deviceId) ?? { times: [], refusedAt: -Infinity };
  return { times: times.filter((at) => at > state.now - windowMs), refusedAt };
}

function remember(state: State, deviceId: ClientId | GatewayId, replacements: Replacements): void {
  state.replacements.delete(deviceId);
  state.replacements.set(deviceId, replacements);
  for (const oldest of state.replacements.keys()) {
    if (state.replacements.size <= rememberedMax) return;
    state.replacements.delete(oldest);
  }
}
