// Tells a client what changed in its view since it was last told: removals first, then additions; nothing when nothing
// changed. A resource whose sites, type or address changed is removed and added, for devices take it so.
import { expectChangeAt } from './state.ts';
import { namedResources } from './access.ts';
import { resourceInView } from './view.ts';
import { must } from '../protocol/assert.ts';
import { tunnelInterface } from './render.ts';
import type { Announced, ClientSession, State } from './state.ts';
import type { ClientResource, ToClient } from '../protocol/device/client.ts';
import type { Effects } from './effect.ts';
import type { ResourceId } from '../protocol/ids.ts';

/**
 * Compares what the client was told with what it should know: of `resources` alone, or of everything when that is `all`.
 * Resources in `interrupted` that stay in view are removed and added whether they changed or not: their flow has ended at
 * a gateway, and a client does not ask again by itself.
 */
export function patchClient(
  state: State,
  session: ClientSession,
  resources: Iterable<ResourceId> | 'all',
  interrupted: ReadonlySet<ResourceId>,
  effects: Effects,
): void {
  const announced = state.announced.get(session.id);
  if (announced === undefined) return;
  const send = (message: ToClient) => effects.sends.push({ type: 'to-client', sessionId: session.id, message });
  if (resources === 'all') {
    patchInterface(state, session, announced, send);
    announced.until = Infinity;
  }
  const added: ClientResource[] = [];
  for (const resourceId of inQuestion(state, session, announced, resources, interrupted)) {
    const before = announced.resources.get(resourceId) ?? null;
    const { resource: after, until } = resourceInView(state, session, resourceId);
    announced.until = Math.min(announced.until, until);
    const isInterrupted = interrupted.has(resourceId);
    if (before !== null && (after === null || isInterrupted || isReplaced(before, after))) {
      send({ event: 'resource_deleted', payload: resourceId });
      announced.resources.delete(resourceId);
    }
    if (after === null || (!isInterrupted && isSame(before, after))) continue;
    announced.resources.set(resourceId, after);
    added.push(after);
  }
  for (const resource of added) send({ event: 'resource_created_or_updated', payload: resource });
  expectChangeAt(state, announced.until);
  const after = { ...session, viewedAt: state.now };
  state.sessions.set(session.id, after);
  effects.saves.push({ type: 'put-session', session: after });
}

function patchInterface(
  state: State,
  session: ClientSession,
  announced: Announced,
  send: (message: ToClient) => void,
): void {
  const row = must(state.tables.rows.clients.get(session.deviceId), 'the row of a client whose session goes on');
  const after = tunnelInterface(state, row);
  if (isSame(announced.interface, after)) return;
  announced.interface = after;
  send({ event: 'config_changed', payload: { interface: after } });
}

/** The resources to compare, ordered by id so that the same change is told in the same order to everyone. */
function inQuestion(
  state: State,
  session: ClientSession,
  announced: Announced,
  resources: Iterable<ResourceId> | 'all',
  interrupted: ReadonlySet<ResourceId>,
): ResourceId[] {
  const named =
    resources === 'all' ? [...announced.resources.keys(), ...namedResources(state, session.actorId)] : resources;
  return [...new Set([...named, ...interrupted])].sort();
}

function isReplaced(before: ClientResource, after: ClientResource): boolean {
  if (before.type !== after.type) return true;
  if (before.type !== 'internet' && after.type !== 'internet' && before.address !== after.address) return true;
  const sitesOf = ({ gateway_groups: sites }: ClientResource) => sites.map(({ id }) => id).join();
  return sitesOf(before) !== sitesOf(after);
}

/** Rendered values have their keys in a fixed order, so equal ones print equally. */
function isSame(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
