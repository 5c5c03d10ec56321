// Which gateway carries a flow: online in a site of the resource, the one the client is connected to if there is one, then
// the least loaded, then by a stable hash, so that equals are spread and the same question has the same answer.
import { bytesToHex } from './encoding.ts';
import { gatewaySession } from './state.ts';
import { partners } from './tables.ts';
import type { ClientSession, GatewaySession, State } from './state.ts';
import type { GatewayId, ResourceId } from '../protocol/ids.ts';
import type { Hashes } from './hashes.ts';

/** The session of the chosen gateway, or null when none is online. */
export function chooseGateway(
  state: State,
  client: ClientSession,
  resourceId: ResourceId,
  gateways: { readonly preferred: readonly GatewayId[]; readonly excluded: readonly GatewayId[] },
  hashes: Hashes,
): GatewaySession | null {
  const online: GatewaySession[] = [];
  for (const siteId of partners(state.tables.sitesOfResource, resourceId)) {
    for (const gatewayId of partners(state.tables.gatewaysOfSite, siteId)) {
      const session = gateways.excluded.includes(gatewayId) ? null : gatewaySession(state, gatewayId);
      if (session !== null) online.push(session);
    }
  }
  const connected = online.filter(({ deviceId }) => gateways.preferred.includes(deviceId));
  const candidates = connected.length > 0 ? connected : online;
  const load = (session: GatewaySession) => state.grantsOfGateway.get(session.deviceId)?.size ?? 0;
  const leastLoad = Math.min(...candidates.map(load));
  const ranked = candidates
    .filter((session) => load(session) === leastLoad)
    .map((session) => ({ session, rank: bytesToHex(hashes.sha256(`${client.deviceId}:${session.deviceId}`)) }));
  ranked.sort((a, b) => (a.rank < b.rank ? -1 : 1));
  return ranked[0]?.session ?? null;
}
