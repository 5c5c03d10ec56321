// A simulated gateway of any generation: accepts every flow it is asked for, offers a candidate, and keeps the table of who may
// reach what as a real one does (access-table.ts).
import { AccessTable } from './access-table.ts';
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

export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const table = new AccessTable(options.access);
  let device: Device | null = null;
  const onFrame = (frame: DeviceFrame) => {
    if (device !== null) react(device, table, frame);
    options.onFrame?.(frame);
  };
  device = await startDevice({ ...options, role: 'gateway', onFrame });
  for (const frame of device.frames) react(device, table, frame);
  return { device, access: table.access, expiries: table.expiries };
}

function react(device: Device, table: AccessTable, frame: DeviceFrame): void {
  const asked = table.take(device.generation, frame);
  if (asked === null) return;
  device.send(device.generation === 'B' ? 'authorization_created' : 'flow_authorized', { ref: asked.ref });
  if (asked.isKnown) return;
  const candidates = ['candidate:1 1 udp 2130706431 192.0.2.10 52625 typ host'];
  device.send('broadcast_ice_candidates', { client_ids: [asked.clientId], candidates });
}
