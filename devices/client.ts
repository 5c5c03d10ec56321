// A simulated client of any generation: knows the resources and relays it was told of, asks for a flow, and offers a candidate to
// the gateway it was given.
import * as v from 'valibot';
import { startDevice } from './device.ts';
import type { Device, DeviceOptions } from './device.ts';
import type { DeviceFrame } from './strict.ts';

export type Client = {
  readonly device: Device;
  /** Ids of the resources it may use, as it was told. */
  readonly resources: ReadonlySet<string>;
  /** Ids of the relays it holds, as it was told. */
  readonly relays: ReadonlySet<string>;
  /** Resources for which it has a connection: ended by `resource_deleted` alone. */
  readonly connected: ReadonlySet<string>;
  /** Asks for a flow and returns the frame that answers it. */
  readonly createFlow: (resourceId: string) => Promise<DeviceFrame>;
};

const resource = v.object({ id: v.string() });
const init = v.object({ resources: v.array(resource), relays: v.array(resource) });
const flow = v.object({ resource_id: v.string() });
const created = v.object({ gateway_id: v.string(), resource_id: v.string() });
const presence = v.object({ disconnected_ids: v.array(v.string()), connected: v.array(resource) });

type Beliefs = { readonly resources: Set<string>; readonly relays: Set<string>; readonly connected: Set<string> };

export type ClientOptions = Omit<DeviceOptions, 'role' | 'joinPayload'> & {
  /** What it was connected to when its last socket ended: its process goes on. */
  readonly connected?: ReadonlySet<string>;
};

export async function startClient(options: ClientOptions): Promise<Client> {
  const connected = new Set(options.connected);
  const beliefs = { resources: new Set<string>(), relays: new Set<string>(), connected };
  let device: Device | null = null;
  const onFrame = (frame: DeviceFrame) => {
    if (device !== null) react(device, beliefs, frame);
    options.onFrame?.(frame);
  };
  device = await startDevice({ ...options, role: 'client', onFrame });
  for (const frame of device.frames) react(device, beliefs, frame);
  const open = device;
  return { device, ...beliefs, createFlow: async (resourceId) => await createFlow(open, resourceId) };
}

/** The events that answer a request, by whether it was granted. */
const answers = new Map([
  ['flow_created', true],
  ['authorization_created', true],
  ['flow_creation_failed', false],
  ['authorization_creation_failed', false],
]);

/** Whether a frame is the answer of a portal that granted a request. */
export function isGranted({ event }: DeviceFrame): boolean {
  return answers.get(event) === true;
}

async function createFlow(device: Device, resourceId: string): Promise<DeviceFrame> {
  const from = device.frames.length;
  const event = device.generation === 'B' ? 'request_authorization' : 'create_flow';
  device.send(event, { resource_id: resourceId, connected_gateway_ids: [] });
  const isAnswer = (frame: DeviceFrame) =>
    answers.has(frame.event) && v.parse(flow, frame.payload).resource_id === resourceId;
  return await device.waitFor(`the answer to ${event}`, isAnswer, { from });
}

function react(device: Device, { resources, relays, connected }: Beliefs, frame: DeviceFrame): void {
  const { event, payload } = frame;
  if (event === 'init') {
    const told = v.parse(init, payload);
    resources.clear();
    for (const { id } of told.resources) resources.add(id);
    for (const { id } of told.relays) relays.add(id);
    for (const id of connected) if (!resources.has(id)) connected.delete(id);
  } else if (event === 'resource_created_or_updated') {
    resources.add(v.parse(resource, payload).id);
  } else if (event === 'resource_deleted') {
    resources.delete(v.parse(v.string(), payload));
    connected.delete(v.parse(v.string(), payload));
  } else if (event === 'relays_presence') {
    const change = v.parse(presence, payload);
    for (const id of change.disconnected_ids) relays.delete(id);
    for (const { id } of change.connected) relays.add(id);
  } else if (isGranted(frame)) {
    const { gateway_id: gatewayId, resource_id: resourceId } = v.parse(created, payload);
    connected.add(resourceId);
    const candidates = ['candidate:1 1 udp 2130706431 192.0.2.20 52625 typ host'];
    if (device.generation === 'A') device.send('broadcast_ice_candidates', { gateway_ids: [gatewayId], candidates });
    else device.send('new_gateway_ice_candidates', { gateway_id: gatewayId, candidates });
  }
}
