// Which gateway carries a flow: online in a site of the resource and compatible in version; of those the one that the client
// is connected to if there is one, then the nearest, then the least loaded, then by a stable hash, so that equals are spread
// and the same question has the same answer.
import { bytesToHex } from './encoding.ts';
import { distanceKm } from './distance.ts';
import { gatewaySession } from './state.ts';
import { isHeld } from './holds.ts';
import { isCompatible } from './compatible.ts';
import { partners } from './tables.ts';
import type { ClientSession, GatewaySession, State } from './state.ts';
import type { GatewayId, ResourceId } from '../protocol/ids.ts';
import type { Hashes } from './hashes.ts';

/**
 * The session of the chosen gateway, or null when none will do. `preferred`: gateways the client is connected to;
 * `excluded`: gateways that did not answer for this request.
 */
export function chooseGateway(
  state: State,
  client: ClientSession,
  resourceId: ResourceId,
  gateways: { readonly preferred: readonly GatewayId[]; readonly excluded: readonly GatewayId[] },
  hashes: Hashes,
): GatewaySession | null {
  const able = onlineGateways(state, resourceId).filter(
    ({ deviceId, deviceVersion }) =>
      !gateways.excluded.includes(deviceId) && isCompatible(client.deviceVersion, deviceVersion),
  );
  const connected = able.filter(({ deviceId }) => gateways.preferred.includes(deviceId));
  const nearest = least(connected.length > 0 ? connected : able, (gateway) => distanceKm(client, gateway));
  const idlest = least(nearest, ({ deviceId }) => state.grantsOfGateway.get(deviceId)?.size ?? 0);
  if (idlest.length < 2) return idlest[0] ?? null;
  const rank = ({ deviceId }: GatewaySession) => bytesToHex(hashes.sha256(`${client.deviceId}:${deviceId}`));
  return idlest.toSorted((a, b) => (rank(a) < rank(b) ? -1 : 1))[0] ?? null;
}

/** Gateways that are connected and that no operator has denied, in the sites of the resource. */
export function onlineGateways(state: State, resourceId: ResourceId): GatewaySession[] {
  const online: GatewaySession[] = [];
  for (const siteId of partners(state.tables.sitesOfResource, resourceId)) {
    for (const gatewayId of partners(state.tables.gatewaysOfSite, siteId)) {
      const session = gatewaySession(state, gatewayId);
      if (session !== null && !isHeld(state, 'gateway', gatewayId)) online.push(session);
    }
  }
  return online;
}

/** Those with the least value of `of`; all of them when it is the same for all. */
function least<T>(items: readonly T[], of: (item: T) => number): T[] {
  const values = items.map(of);
  const best = Math.min(...values);
  return items.filter((_, i) => values[i] === best);
}
