// An account whose devices only heartbeat costs nothing: its object is not running. What wakes it finds everything as it was.
import { abortAllDurableObjects, evictDurableObject, reset } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { afterEach, expect, test } from 'vitest';
import { accountObjectName } from '../../worker/env.ts';
import {
  commit,
  commitsDelivery,
  id,
  ids,
  remove,
  row,
  snapshotDelivery,
  update,
  worldRows,
} from '../support/world.ts';
import { join } from './device.ts';
import type { Device } from './device.ts';

const account = () => env.ACCOUNT.getByName(accountObjectName(ids.account));

afterEach(async () => await reset());

test('[P15.74] the object does not run while 50 devices heartbeat, and a message, a commit and an alarm find all as it was', async () => {
  const { clients, gateway } = await fifty();
  const [first] = clients;
  await heartbeatAsleep([gateway, ...clients]);

  first?.send({ topic: 'client', event: 'create_flow', payload: flowRequest, ref: 1 });
  const asked = await gateway.frame();
  expect(asked.event).toBe('authorize_flow');
  await heartbeatAsleep([gateway, ...clients]);

  gateway.send({ topic: 'gateway', event: 'flow_authorized', payload: { ref: Object(asked.payload).ref }, ref: 2 });
  expect(await gateway.frame()).toMatchObject({ event: 'phx_reply', ref: 2, payload: { status: 'ok' } });
  expect((await first?.frame())?.event).toBe('flow_created');
  await heartbeatAsleep([gateway, ...clients]);

  const renamed = update('resources', { name: 'Renamed' });
  await account().deliver(commitsDelivery(100, [commit(101, renamed)]));
  for (const client of clients) expect((await client.frame()).event).toBe('resource_created_or_updated');
  await heartbeatAsleep([gateway, ...clients]);

  const soon = new Date(Date.now() + 500).toISOString();
  const expires = update('tokens', { expires_at: `${soon.slice(0, 10)} ${soon.slice(11, 23)}+00` });
  await account().deliver(commitsDelivery(101, [commit(102, expires)]));
  await evictDurableObject(account());
  expect((await gateway.frame()).event).toBe('reject_access');
  for (const client of clients) expect((await client.frame()).event).toBe('disconnect');
});

test('[P7.37] an object that is reset between any two frames of the life of a flow forgets nothing that it has told', async () => {
  await account().deliver(snapshotDelivery(100));
  const { device: gateway } = await join('gateway');
  const { device: client } = await join('client');
  client.send({ topic: 'client', event: 'create_flow', payload: flowRequest, ref: 1 });
  expect((await gateway.frame()).event).toBe('authorize_flow');

  await abortAllDurableObjects();
  await until(client, 'init');
  await until(gateway, 'init');
  client.send({ topic: 'client', event: 'create_flow', payload: flowRequest, ref: 2 });
  const asked = await until(gateway, 'authorize_flow');
  gateway.send({ topic: 'gateway', event: 'flow_authorized', payload: { ref: Object(asked.payload).ref }, ref: 1 });
  expect(await gateway.frame()).toMatchObject({ event: 'phx_reply', payload: { status: 'ok' } });
  await until(client, 'flow_created');

  await abortAllDurableObjects();
  expect((await client.frame()).event).toBe('init');
  const pair = { client_id: ids.client, resource_id: ids.resource };
  expect(await gateway.frame()).toMatchObject({ event: 'init', payload: { authorizations: [pair] } });
  expect((await gateway.frame()).event).toBe('resource_updated');

  expect(await account().deliver(commitsDelivery(100, [commit(101, remove('policies'))]))).toMatchObject({
    type: 'applied',
  });
  await abortAllDurableObjects();
  expect((await gateway.frame()).event).toBe('reject_access');
  expect((await client.frame()).event).toBe('resource_deleted');
  expect(await gateway.frame()).toMatchObject({ event: 'init', payload: { authorizations: [] } });
  expect(await gateway.frame()).toMatchObject({ event: 'reject_access', payload: pair });
  expect(await client.frame()).toMatchObject({ event: 'init', payload: { resources: [] } });
});

/** The next frame of this name; others before it are skipped. */
async function until(device: Device, event: string) {
  for (;;) {
    const frame = await device.frame();
    if (frame.event === event) return frame;
  }
}

const flowRequest = { resource_id: ids.resource, connected_gateway_ids: [] };

/** One gateway and 49 clients of one actor, joined. */
async function fifty(): Promise<{ readonly clients: readonly Device[]; readonly gateway: Device }> {
  const rows = Array.from({ length: 49 }, (_, n) =>
    row('clients', {
      id: id('many', n),
      external_id: `laptop-${n}`,
      ipv4: `100.64.1.${n + 1}`,
      ipv6: `fd00:2021:1111::1:${n + 1}`,
    }),
  );
  await account().deliver(snapshotDelivery(100, { ...worldRows(), clients: rows }));
  const { device: gateway } = await join('gateway');
  const clients: Device[] = [];
  for (let n = 0; n < 49; n += 1) {
    clients.push((await join('client', { query: { external_id: `laptop-${n}` } })).device);
  }
  return { clients, gateway };
}

/** Lets the object sleep, has every device heartbeat, and sees that the object is asleep still. */
async function heartbeatAsleep(devices: readonly Device[]): Promise<void> {
  await evictDurableObject(account());
  for (const [ref, device] of devices.entries()) {
    device.send({ topic: 'phoenix', event: 'heartbeat', payload: {}, ref });
    expect(await device.frame()).toMatchObject({ event: 'phx_reply', ref });
  }
  await expect(evictDurableObject(account())).rejects.toThrow(/not currently running/);
}
