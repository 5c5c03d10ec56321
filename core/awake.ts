// Which actors are awake: those with a session or a live grant. Their memberships are in memory, so that what changes for
// them is found and told in the same step.
import { partners } from './tables.ts';
import { putToSleep } from './memberships.ts';
import type { ActorId } from '../protocol/ids.ts';
import type { State } from './state.ts';

export function isAwake(state: State, actorId: ActorId): boolean {
  return partners(state.tables.clientsOfActor, actorId).some(
    (clientId) =>
      state.sessionOfDevice.has(clientId) ||
      [...(state.grantsOfClient.get(clientId) ?? [])].some((id) => state.grants.get(id)?.phase === 'live'),
  );
}

/** Lets go of the memberships of those who have fallen asleep in this step. */
export function putActorsToSleep(state: State): void {
  for (const actorId of state.maybeAsleep) {
    if (!isAwake(state, actorId)) putToSleep(state.tables.memberships, actorId);
  }
  state.maybeAsleep.clear();
}
