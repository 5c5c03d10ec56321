// Tells a client what changed in its view since it was last told: removals first, then additions; nothing when nothing
// changed. A resource whose sites, type or address changed is removed and added, for devices take it so.
import { announce, announcedResource, withdraw } from './announced.ts';
import { expectSession } from './due.ts';
import { accessesOf, policiesByResource, subjectOf } from './access.ts';
import { resourceInView } from './view.ts';
import { must } from '../protocol/assert.ts';
import { tunnelInterface } from './render.ts';
import { clientSpeech } from '../protocol/device/generations.ts';
import { tellClient } from './tell.ts';
import type { Announced, ClientSession, State } from './state.ts';
import type { ClientNews } from './tell.ts';
import type { ClientResource } from '../protocol/device/to-client.ts';
import type { ClientSpeech } from '../protocol/device/generations.ts';
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
  const speech = clientSpeech(session);
  const send = (news: ClientNews) => tellClient(effects, session, news);
  if (resources === 'all') {
    patchInterface(state, session, announced, send);
    announced.until = Infinity;
  }
  const named = resources === 'all' ? policiesByResource(state, session.actorId) : undefined;
  const accessTo = accessesOf(state, subjectOf(session), named);
  const asked =
    resources === 'all' ? [...announced.resources.map(({ id }) => id), ...(named?.keys() ?? [])] : resources;
  const added: ClientNews[] = [];
  for (const resourceId of inOrder(asked, interrupted)) {
    const before = announcedResource(announced, resourceId);
    const { resource: after, until } = resourceInView(state, accessTo, resourceId);
    announced.until = Math.min(announced.until, until);
    const isInterrupted = interrupted.has(resourceId);
    if (before !== null && (after === null || isInterrupted || isReplaced(before, after, speech))) {
      send({ type: 'resource_deleted', id: resourceId });
      withdraw(announced, resourceId);
    }
    if (after === null || (!isInterrupted && isSame(before, after))) continue;
    const kept = announcedResource(announced, resourceId);
    announce(announced, after);
    added.push(newsOf(kept, after, speech));
  }
  for (const news of added) send(news);
  expectSession(state, session.id);
  const after = { ...session, viewedAt: state.now };
  state.sessions.set(session.id, after);
  effects.saves.push({ type: 'put-session', session: after });
}

function patchInterface(
  state: State,
  session: ClientSession,
  announced: Announced,
  send: (news: ClientNews) => void,
): void {
  const row = must(state.tables.rows.clients.get(session.deviceId), 'the row of a client whose session goes on');
  const after = tunnelInterface(state, row);
  if (isSame(announced.interface, after)) return;
  announced.interface = after;
  send({ type: 'interface', interface: after });
}

/** Each once, ordered by id so that the same change is told in the same order to everyone. */
function inOrder(asked: Iterable<ResourceId>, interrupted: ReadonlySet<ResourceId>): ResourceId[] {
  return [...new Set([...asked, ...interrupted])].sort();
}

/** What a resource has become: its filters alone, where the client takes that and nothing else is different. */
function newsOf(before: ClientResource | null, after: ClientResource, speech: ClientSpeech): ClientNews {
  if (speech.takesFilters && before !== null && before.type !== 'internet' && after.type !== 'internet') {
    const isFiltersAlone = isSame({ ...before, filters: [] }, { ...after, filters: [] });
    if (isFiltersAlone) return { type: 'filters', id: after.id, filters: after.filters };
  }
  return { type: 'resource', resource: after };
}

function isReplaced(before: ClientResource, after: ClientResource, speech: ClientSpeech): boolean {
  if (before.type !== after.type) return true;
  if (before.type !== 'internet' && after.type !== 'internet' && before.address !== after.address) return true;
  if (speech.followsMoves) return false;
  const sitesOf = ({ gateway_groups: sites }: ClientResource) => sites.map(({ id }) => id).join();
  return sitesOf(before) !== sitesOf(after);
}

/** Rendered values have their keys in a fixed order, so equal ones print equally. */
function isSame(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
