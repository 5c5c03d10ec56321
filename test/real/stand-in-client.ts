#!/usr/bin/env node
// Stands in for a client (stand-in.ts): a resource for which it has a flow gets a route. Real ones ask when there is something to
// send and notice a gateway that is gone; this one asks anew every second for whatever it may use.
import { randomBytes } from 'node:crypto';
import * as v from 'valibot';
import { fault, generation, ip, say, settings, stayConnected } from './stand-in.ts';
import { startClient } from '../../devices/client.ts';
import type { Client } from '../../devices/client.ts';
import type { DeviceFrame } from '../../devices/strict.ts';

const askEveryMs = 1000;
const resource = v.object({ id: v.string(), address: v.string() });
const told = v.object({ interface: v.object({ ipv4: v.string() }), resources: v.array(resource) });

const publicKey = randomBytes(32).toString('base64');
const networks = new Map<string, string>();
let address = '';
let client: Client | null = null;
ip('route', 'flush', 'root', '10.9.0.0/16');

function onFrame({ event, payload }: DeviceFrame): void {
  if (event === 'init') {
    const { interface: tunnel, resources } = v.parse(told, payload);
    address = tunnel.ipv4;
    if (fault === 'reads-nothing') {
      say('WARN Failed to deserialize message: init');
      return;
    }
    ip('addr', 'replace', `${address}/32`, 'dev', 'eth0');
    for (const { id, address: network } of resources) networks.set(id, network);
  }
  if (event === 'resource_created_or_updated') {
    const { id, address: network } = v.parse(resource, payload);
    networks.set(id, network);
  }
  for (const [id, network] of networks) {
    if (client?.connected.has(id) === true) ip('route', 'replace', network, 'dev', 'eth0', 'src', address);
    else ip('route', 'del', network);
  }
}

function ask(): void {
  for (const id of client?.resources ?? []) {
    const event = generation === 'B' ? 'request_authorization' : 'create_flow';
    client?.device.send(event, { resource_id: id, connected_gateway_ids: [] });
  }
}

setInterval(ask, askEveryMs);
await stayConnected(async () => {
  const connected: ReadonlySet<string> = client?.connected ?? new Set();
  client = await startClient({ ...settings(), name: 'client', generation, publicKey, connected, onFrame });
  for (const frame of client.device.frames) onFrame(frame);
  ask();
  return client.device;
});
