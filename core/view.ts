// What a client should know, as a pure function of the state: the whole of it is `init`, and what is pushed later is the
// difference of two views.
import { accessOf, namedResources } from './access.ts';
import { clientResource, tunnelInterface } from './render.ts';
import type { Announced, ClientSession, State } from './state.ts';
import type { ClientResource } from '../protocol/device/client.ts';
import type { ResourceId } from '../protocol/ids.ts';

/** The whole view of a client, resources ordered by id; null when its row is gone. */
export function clientView(state: State, session: ClientSession): Announced | null {
  const row = state.tables.rows.clients.get(session.deviceId);
  if (row === undefined) return null;
  const resources = new Map<ResourceId, ClientResource>();
  for (const resourceId of [...namedResources(state, session.actorId)].sort()) {
    const resource = resourceInView(state, session, resourceId);
    if (resource !== null) resources.set(resourceId, resource);
  }
  return { interface: tunnelInterface(state, row), resources };
}

/** One resource of the view, or null when the client may not know of it. */
export function resourceInView(state: State, session: ClientSession, resourceId: ResourceId): ClientResource | null {
  return accessOf(state, session.actorId, resourceId) === null ? null : clientResource(state, resourceId);
}
