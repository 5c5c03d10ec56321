// A simulated gateway of generation A: accepts every flow it is asked for, offers a candidate, and keeps the table of who may
// reach what, as a real one does: filled by authorize_flow, trimmed by reject_access and, for listed clients, by init.
import * as v from 'valibot';
import { startDevice } from './device.ts';
import type { Device, DeviceOptions } from './device.ts';
import type { DeviceFrame } from './strict.ts';

export type Gateway = {
  readonly device: Device;
  /** `client/resource` of everyone who may pass. */
  readonly access: ReadonlySet<string>;
};

const authorizeFlow = v.object({
  ref: v.string(),
  client: v.object({ id: v.string() }),
  resource: v.object({ id: v.string() }),
});
const rejectAccess = v.object({ client_id: v.string(), resource_id: v.string() });
const init = v.object({ authorizations: v.array(rejectAccess) });

export async function startGateway(options: Omit<DeviceOptions, 'role'>): Promise<Gateway> {
  const access = new Set<string>();
  let device: Device | null = null;
  const onFrame = (frame: DeviceFrame) => {
    if (device !== null) react(device, access, frame);
    options.onFrame?.(frame);
  };
  device = await startDevice({ ...options, role: 'gateway', onFrame });
  for (const frame of device.frames) react(device, access, frame);
  return { device, access };
}

function react(device: Device, access: Set<string>, { event, payload }: DeviceFrame): void {
  if (event === 'authorize_flow') {
    const { ref, client, resource } = v.parse(authorizeFlow, payload);
    access.add(`${client.id}/${resource.id}`);
    device.send('flow_authorized', { ref });
    const candidates = ['candidate:1 1 udp 2130706431 192.0.2.10 52625 typ host'];
    device.send('broadcast_ice_candidates', { client_ids: [client.id], candidates });
  } else if (event === 'reject_access') {
    const { client_id: clientId, resource_id: resourceId } = v.parse(rejectAccess, payload);
    access.delete(`${clientId}/${resourceId}`);
  } else if (event === 'init') {
    trim(access, v.parse(init, payload).authorizations);
  }
}

function trim(access: Set<string>, authorizations: v.InferOutput<typeof init>['authorizations']): void {
  const clients = new Set(authorizations.map(({ client_id: clientId }) => clientId));
  const kept = new Set(authorizations.map(({ client_id: clientId, resource_id: id }) => `${clientId}/${id}`));
  for (const pair of access) {
    const [clientId] = pair.split('/');
    if (clients.has(clientId ?? '') && !kept.has(pair)) access.delete(pair);
  }
}
