#!/usr/bin/env node
// Stands in for a gateway (stand-in.ts): whoever has an access gets a way back.
import { randomBytes } from 'node:crypto';
import * as v from 'valibot';
import { fault, generation, ip, settings, stayConnected } from './stand-in.ts';
import { startGateway } from '../../devices/gateway.ts';
import type { DeviceFrame } from '../../devices/strict.ts';
import type { Gateway } from '../../devices/gateway.ts';

const asked = v.object({ client: v.object({ id: v.string(), ipv4: v.string() }) });
const told = v.object({ interface: v.object({ ipv4: v.string() }) });

const publicKey = randomBytes(32).toString('base64');
const addresses = new Map<string, string>();
let gateway: Gateway | null = null;
ip('route', 'flush', 'root', '100.64.0.0/10');

function onFrame({ event, payload }: DeviceFrame): void {
  if (event === 'init') ip('addr', 'replace', `${v.parse(told, payload).interface.ipv4}/32`, 'dev', 'eth0');
  if (event === 'authorize_flow' || event === 'create_authorization') {
    const { client } = v.parse(asked, payload);
    addresses.set(client.id, client.ipv4);
  }
  for (const [id, address] of addresses) {
    const isAllowed = [...(gateway?.access ?? [])].some((name) => name.startsWith(`${id}/`));
    if (isAllowed) ip('route', 'replace', `${address}/32`, 'dev', 'eth0');
    else if (fault !== 'ignores-reject') ip('route', 'del', `${address}/32`);
  }
}

await stayConnected(async () => {
  const access: ReadonlySet<string> = gateway?.access ?? new Set();
  gateway = await startGateway({ ...settings(), name: 'gateway', generation, publicKey, access, onFrame });
  for (const frame of gateway.device.frames) onFrame(frame);
  return gateway.device;
});
