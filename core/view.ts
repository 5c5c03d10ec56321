// What a client should know, as a pure function of the state: the whole of it is `init`, and what is pushed later is the
// difference of two views.
import { accessesOf, policiesByResource, subjectOf } from './access.ts';
import { clientResource, tunnelInterface } from './render.ts';
import type { Announced, ClientSession, State } from './state.ts';
import type { ClientResource } from '../protocol/device/to-client.ts';
import type { ResourceId } from '../protocol/ids.ts';

/** The whole view of a client, resources ordered by id; null when its row is gone. */
export function clientView(state: State, session: ClientSession): Announced | null {
  const row = state.tables.rows.clients.get(session.deviceId);
  if (row === undefined) return null;
  const resources: ClientResource[] = [];
  let until = Infinity;
  const named = policiesByResource(state, session.actorId);
  const accessTo = accessesOf(state, subjectOf(session), named);
  for (const resourceId of [...named.keys()].sort()) {
    const seen = resourceInView(state, accessTo, resourceId);
    if (seen.resource !== null) resources.push(seen.resource);
    until = Math.min(until, seen.until);
  }
  // A copy has no room to grow: there is one such list for every client.
  return { interface: tunnelInterface(state, row), resources: resources.slice(), until };
}

/** One resource of the view, null when the client may not know of it, and when that may change by time alone. */
export function resourceInView(
  state: State,
  accessTo: ReturnType<typeof accessesOf>,
  resourceId: ResourceId,
): { readonly resource: ClientResource | null; readonly until: number } {
  const access = accessTo(resourceId);
  const resource = access.type === 'granted' ? clientResource(state, resourceId) : null;
  return { resource, until: access.until };
}
