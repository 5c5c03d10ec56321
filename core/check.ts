// Invariants of a State, as a list of what breaks them: for tests, and for the day when something is odd. Empty means sound.
import { nextChangeAt, tokenExpiry } from './expiry.ts';
import { isAwake } from './awake.ts';
import { readRow } from './tables.ts';
import { isHeld } from './holds.ts';
import type { LiveGrant, State } from './state.ts';

/** Every violated invariant in words; ids only, no row contents. */
export function check(state: State): string[] {
  const problems: string[] = [];
  for (const [deviceId, sessionId] of state.sessionOfDevice) {
    if (state.sessions.get(sessionId)?.deviceId !== deviceId)
      problems.push(`the session of ${deviceId} is not its own`);
  }
  for (const session of state.sessions.values()) {
    if (isHeld(state, session.role, session.deviceId)) problems.push(`a session of ${session.deviceId}, which is held`);
    if (state.sessionOfDevice.get(session.deviceId) !== session.id)
      problems.push(`two sessions of ${session.deviceId}`);
    if (!isExpected(state, tokenExpiry(state, session.tokenId))) problems.push(`nobody waits for the end of a token`);
  }
  for (const [sessionId, { until }] of state.announced) {
    if (!state.sessions.has(sessionId)) problems.push(`a view of ${sessionId}, which is gone`);
    if (!isExpected(state, until)) problems.push(`nobody waits for a change of the view of ${sessionId}`);
  }
  problems.push(...checkAwake(state));
  const live = new Set<string>();
  for (const grant of state.grants.values()) {
    const isIndexed =
      state.grantsOfClient.get(grant.clientId)?.has(grant.flowId) === true &&
      state.grantsOfGateway.get(grant.gatewayId)?.has(grant.flowId) === true &&
      state.grantsOfResource.get(grant.resourceId)?.has(grant.flowId) === true;
    if (!isIndexed) problems.push(`grant ${grant.flowId} is missing from an index`);
    if (!isExpected(state, nextChangeAt(grant, state.now))) problems.push(`nobody waits for grant ${grant.flowId}`);
    const pair = `${grant.clientId}/${grant.resourceId}`;
    if (grant.phase === 'live' && live.has(pair)) problems.push(`two live grants for ${pair}`);
    if (grant.phase === 'live') live.add(pair);
    if (grant.phase === 'live' && isHeldGrant(state, grant)) problems.push(`grant ${grant.flowId} lives under a hold`);
  }
  return problems;
}

function isHeldGrant(state: State, { clientId, actorId, gatewayId, resourceId }: LiveGrant): boolean {
  return (
    isHeld(state, 'client', clientId) ||
    isHeld(state, 'actor', actorId) ||
    isHeld(state, 'gateway', gatewayId) ||
    isHeld(state, 'resource', resourceId)
  );
}

/** Whether the next tick comes no later than `at`. */
function isExpected(state: State, at: number): boolean {
  return !Number.isFinite(at) || at <= state.now || (state.deadline !== null && state.deadline <= at);
}

/** Whether those who are awake, and nobody else, are held with the memberships that are stored; asked between steps. */
function checkAwake(state: State): string[] {
  const { memberships } = state.tables;
  const problems: string[] = [];
  const actors = [...state.sessions.values(), ...state.grants.values()].flatMap((item) =>
    'actorId' in item ? [item.actorId] : [],
  );
  for (const actorId of actors) if (!memberships.members.has(actorId)) problems.push(`${actorId} is not awake`);
  for (const { id, groups } of memberships.members.values()) {
    if (!isAwake(state, id)) problems.push(`${id} should be asleep`);
    const held = groups.map((group) => group.id).sort();
    const stored = [...memberships.stored.ofActor(id)].flatMap(({ row }) => {
      const entry = readRow('actor_group_memberships', row);
      return entry?.table === 'actor_group_memberships' ? [entry.row.group_id] : [];
    });
    if (held.join() !== stored.sort().join()) problems.push(`the groups of ${id} are not those stored`);
    const isListed = groups.every((group) => group.members.some((member) => member.id === id));
    if (!isListed) problems.push(`${id} is missing from a group`);
  }
  return problems;
}
