// A simulated gateway of any generation: accepts every flow it is asked for, offers a candidate, and keeps the table of who may
// reach what, as a real one does: filled by authorizations, trimmed by reject_access and by init, by A and C only for clients
// that init lists, by B for every client.
import * as v from 'valibot';
import { startDevice } from './device.ts';
import type { Device, DeviceOptions } from './device.ts';
import type { DeviceFrame } from './strict.ts';

export type Gateway = {
  readonly device: Device;
  /** `client/resource` of everyone who may pass. */
  readonly access: ReadonlySet<string>;
  /** By the same, until when, Unix seconds. */
  readonly expiries: ReadonlyMap<string, number>;
};

export type GatewayOptions = Omit<DeviceOptions, 'role' | 'parameters' | 'joinPayload'> & {
  /** What it let pass on its last connection: its process goes on when its socket does not. */
  readonly access?: ReadonlySet<string>;
};

const pair = v.object({ client_id: v.string(), resource_id: v.string() });
const expiring = v.object({ ...pair.entries, expires_at: v.optional(v.number()) });
const authorization = v.object({
  ref: v.string(),
  client: v.object({ id: v.string() }),
  resource: v.object({ id: v.string() }),
  expires_at: v.number(),
});
const init = v.object({ authorizations: v.array(expiring) });

type Beliefs = { readonly access: Set<string>; readonly expiries: Map<string, number> };

export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const beliefs = { access: new Set(options.access), expiries: new Map<string, number>() };
  let device: Device | null = null;
  const onFrame = (frame: DeviceFrame) => {
    if (device !== null) react(device, beliefs, frame);
    options.onFrame?.(frame);
  };
  device = await startDevice({ ...options, role: 'gateway', onFrame });
  for (const frame of device.frames) react(device, beliefs, frame);
  return { device, ...beliefs };
}

function react(device: Device, { access, expiries }: Beliefs, { event, payload }: DeviceFrame): void {
  if (event === 'authorize_flow' || event === 'create_authorization') {
    const { ref, client, resource, expires_at: expiresAt } = v.parse(authorization, payload);
    const isKnown = access.has(nameOf(client.id, resource.id));
    access.add(nameOf(client.id, resource.id));
    expiries.set(nameOf(client.id, resource.id), expiresAt);
    device.send(device.generation === 'B' ? 'authorization_created' : 'flow_authorized', { ref });
    if (isKnown) return;
    const candidates = ['candidate:1 1 udp 2130706431 192.0.2.10 52625 typ host'];
    device.send('broadcast_ice_candidates', { client_ids: [client.id], candidates });
  } else if (event === 'reject_access') {
    const { client_id: clientId, resource_id: resourceId } = v.parse(pair, payload);
    access.delete(nameOf(clientId, resourceId));
    expiries.delete(nameOf(clientId, resourceId));
  } else if (event === 'access_authorization_expiry_updated') {
    const { client_id: clientId, resource_id: resourceId, expires_at: expiresAt } = v.parse(expiring, payload);
    expiries.set(nameOf(clientId, resourceId), expiresAt ?? 0);
  } else if (event === 'init') {
    trim(device, { access, expiries }, v.parse(init, payload).authorizations);
  }
}

function trim(
  { generation }: Device,
  { access, expiries }: Beliefs,
  authorizations: v.InferOutput<typeof init>['authorizations'],
): void {
  const clients = new Set(authorizations.map(({ client_id: clientId }) => clientId));
  const kept = new Set(authorizations.map(({ client_id: clientId, resource_id: id }) => nameOf(clientId, id)));
  for (const name of access) {
    const isInQuestion = generation === 'B' || clients.has(name.split('/')[0] ?? '');
    if (isInQuestion && !kept.has(name)) access.delete(name);
  }
  if (generation === 'A') return;
  for (const { client_id: clientId, resource_id: id, expires_at: expiresAt } of authorizations) {
    expiries.set(nameOf(clientId, id), expiresAt ?? 0);
  }
}

function nameOf(clientId: string, resourceId: string): string {
  return `${clientId}/${resourceId}`;
}
