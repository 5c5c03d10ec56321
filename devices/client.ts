// A simulated client of generation A: knows the resources it was told of, asks for a flow, and offers a candidate to the
// gateway it was given.
import * as v from 'valibot';
import { startDevice } from './device.ts';
import type { Device, DeviceOptions } from './device.ts';
import type { DeviceFrame } from './strict.ts';

export type Client = {
  readonly device: Device;
  /** Ids of the resources it may use, as it was told. */
  readonly resources: ReadonlySet<string>;
  /** Asks for a flow and returns the frame that answers it: flow_created or flow_creation_failed. */
  readonly createFlow: (resourceId: string) => Promise<DeviceFrame>;
};

const resource = v.object({ id: v.string() });
const init = v.object({ resources: v.array(resource) });
const flow = v.object({ resource_id: v.string() });
const flowCreated = v.object({ gateway_id: v.string() });

export async function startClient(options: Omit<DeviceOptions, 'role'>): Promise<Client> {
  const resources = new Set<string>();
  let device: Device | null = null;
  const onFrame = (frame: DeviceFrame) => {
    if (device !== null) react(device, resources, frame);
    options.onFrame?.(frame);
  };
  device = await startDevice({ ...options, role: 'client', onFrame });
  for (const frame of device.frames) react(device, resources, frame);
  const connected = device;
  return { device, resources, createFlow: async (resourceId) => await createFlow(connected, resourceId) };
}

async function createFlow(device: Device, resourceId: string): Promise<DeviceFrame> {
  const from = device.frames.length;
  device.send('create_flow', { resource_id: resourceId, connected_gateway_ids: [] });
  const isAnswer = ({ event, payload }: DeviceFrame) =>
    (event === 'flow_created' || event === 'flow_creation_failed') && v.parse(flow, payload).resource_id === resourceId;
  return await device.waitFor(`the answer to create_flow`, isAnswer, { from });
}

function react(device: Device, resources: Set<string>, { event, payload }: DeviceFrame): void {
  if (event === 'init') {
    resources.clear();
    for (const { id } of v.parse(init, payload).resources) resources.add(id);
  } else if (event === 'resource_created_or_updated') {
    resources.add(v.parse(resource, payload).id);
  } else if (event === 'resource_deleted') {
    resources.delete(v.parse(v.string(), payload));
  } else if (event === 'flow_created') {
    const candidates = ['candidate:1 1 udp 2130706431 192.0.2.20 52625 typ host'];
    const { gateway_id: gatewayId } = v.parse(flowCreated, payload);
    device.send('broadcast_ice_candidates', { gateway_ids: [gatewayId], candidates });
  }
}
