// Devices of every generation with each other and with relays, through real Postgres, the real replicator and workerd. Devices
// drop what the real ones drop, and nothing may be dropped.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createFirstAccount } from '../../dev/first-account.ts';
import { isEvent, startTestSystem } from '../support/system.ts';
import { isGranted, startClient } from '../../devices/client.ts';
import { startGateway } from '../../devices/gateway.ts';
import { startRelay } from '../../devices/relay.ts';
import type { Generation } from '../../protocol/device/generations.ts';
import type { TestSystem } from '../support/system.ts';

let running: TestSystem;
beforeAll(async () => {
  running = await startTestSystem();
});
afterAll(async () => await running.stop());

const generations: readonly Generation[] = ['A', 'C', 'B'];
const pairs = generations.flatMap((client) => generations.map((gateway) => [client, gateway] as const));

test.each(pairs)(
  '[P10.22] a client of %s and a gateway of %s: relay, flow, another start of the relay, revocation, return',
  async (clientOf, gatewayOf) => {
    const url = running.system.workerUrl;
    const account = await createFirstAccount(
      running.db,
      running.system.tokenKeys,
      `pair_${clientOf}_${gatewayOf}`.toLowerCase(),
    );
    const relay = await startRelay({
      url,
      ...account.relay,
      generation: clientOf,
      ipv4: '192.0.2.7',
      ipv6: '2001:db8::7',
    });
    const gateway = await startGateway({ url, ...account.gateway, name: 'Rack 1', generation: gatewayOf });
    const client = await startClient({ url, ...account.client, name: 'laptop', generation: clientOf });
    expect([client.relays.size]).toEqual([1]);

    expect(isGranted(await client.createFlow(account.resourceId))).toBe(true);
    await gateway.device.waitFor("the client's candidates", isEvent('ice_candidates'));
    await client.device.waitFor("the gateway's candidates", ({ event }) => event.endsWith('ice_candidates'));

    const again = await startRelay({
      url,
      ...account.relay,
      generation: gatewayOf,
      ipv4: '192.0.2.7',
      ipv6: '2001:db8::7',
    });
    await relay.device.closed;
    await client.device.waitFor('the other relay', isEvent('relays_presence'));
    await gateway.device.waitFor('the other relay', isEvent('relays_presence'));
    expect([client.relays.size, client.connected.size, gateway.access.size]).toEqual([1, 1, 1]);

    await running.db.query('delete from policies where id = $1', [account.policyId]);
    await gateway.device.waitFor('reject_access', isEvent('reject_access'));
    await client.device.waitFor('resource_deleted', isEvent('resource_deleted'));
    expect([client.connected.size, gateway.access.size]).toEqual([0, 0]);

    const returned = await startGateway({ url, ...account.gateway, name: 'Rack 1', generation: gatewayOf });
    await gateway.device.closed;
    expect(returned.access.size).toBe(0);
    const devices = [relay.device, again.device, gateway.device, client.device, returned.device];
    expect(devices.flatMap(({ failures }) => failures)).toEqual([]);
    for (const device of devices) device.close();
  },
);
