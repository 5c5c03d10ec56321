// How an account's object stands, for operators.
import { clonedDevices } from './clones.ts';
import { holdsOf } from './holds.ts';
import { isOwedToAbsent } from './grants.ts';
import { writeBackStatus } from './ledger.ts';
import type { State } from './state.ts';
import type { StatusAnswer } from '../protocol/ingest.ts';

/** Ids in one list of the answer, at most. */
const listMax = 100;

/** `now`: milliseconds since 1970-01-01 UTC. */
export function statusOf(state: State, now: number): StatusAnswer {
  const { position, term, stale, sessions, grants, tables, relays } = state;
  const roles = [...sessions.values()].map(({ role }) => role);
  return {
    position,
    term,
    stale,
    clients: roles.filter((role) => role === 'client').length,
    gateways: roles.filter((role) => role === 'gateway').length,
    flows: [...grants.values()].filter(({ phase }) => phase === 'live').length,
    grants: grants.size,
    relays: relays.size,
    rejectsOwed: [...grants.values()].filter((grant) => isOwedToAbsent(state, grant)).length,
    registrations: tables.registrations.size,
    writeBack: writeBackStatus(state),
    unreadableRows: [...tables.unreadable].slice(0, listMax),
    holds: holdsOf(state),
    clonedDevices: clonedDevices(state, now).slice(0, listMax),
  };
}
