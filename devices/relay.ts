// A simulated relay: joins with a stamp secret, a fresh one unless it is given, as at every start of a real program, and
// heartbeats. It carries nothing.
import { randomBytes } from 'node:crypto';
import { startDevice } from './device.ts';
import type { Device, DeviceOptions } from './device.ts';

export type Relay = { readonly device: Device; readonly stampSecret: string };

export type RelayOptions = Pick<DeviceOptions, 'url' | 'token' | 'generation' | 'onFrame'> & {
  readonly stampSecret?: string;
  readonly ipv4?: string;
  /** Without brackets. */
  readonly ipv6?: string;
  readonly port?: number;
};

export async function startRelay({ stampSecret, ipv4, ipv6, port = 3478, ...options }: RelayOptions): Promise<Relay> {
  const secret = stampSecret ?? randomBytes(32).toString('hex');
  const parameters = {
    ...(ipv4 === undefined ? {} : { ipv4 }),
    ...(ipv6 === undefined ? {} : { ipv6 }),
    port: String(port),
  };
  const joinPayload = { stamp_secret: secret };
  const device = await startDevice({ ...options, role: 'relay', parameters, joinPayload });
  return { device, stampSecret: secret };
}
