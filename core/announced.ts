// What a client has been told of its resources: a list ordered by id, of renderings that all clients share.
import type { Announced } from './state.ts';
import type { ClientResource } from '../protocol/device/to-client.ts';
import type { ResourceId } from '../protocol/ids.ts';

/** What the client was told of a resource, or null. */
export function announcedResource({ resources }: Announced, resourceId: ResourceId): ClientResource | null {
  const found = resources[placeOf(resources, resourceId)];
  return found?.id === resourceId ? found : null;
}

/** The client is told of `resource`, as new or instead of what it was told before. */
export function announce({ resources }: Announced, resource: ClientResource): void {
  const place = placeOf(resources, resource.id);
  resources.splice(place, resources[place]?.id === resource.id ? 1 : 0, resource);
}

/** The client is told that a resource is gone. */
export function withdraw({ resources }: Announced, resourceId: ResourceId): void {
  const place = placeOf(resources, resourceId);
  if (resources[place]?.id === resourceId) resources.splice(place, 1);
}

/** The index of the first resource whose id is not below `resourceId`. */
function placeOf(resources: readonly ClientResource[], resourceId: string): number {
  let [low, high] = [0, resources.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((resources[middle]?.id ?? '') < resourceId) low = middle + 1;
    else high = middle;
  }
  return low;
}
