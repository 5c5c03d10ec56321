// What devices see of an object that is reset, of an inner socket that has nobody at its other end, and of edges that run old
// code: nothing, or one close that asks them to connect again.
import {
  abortAllDurableObjects,
  evictDurableObject,
  reset,
  runDurableObjectAlarm,
  runInDurableObject,
} from 'cloudflare:test';
import { env } from 'cloudflare:workers';

import { afterEach, expect, test } from 'vitest';
import { accountObjectName } from '../../worker/env.ts';
import { clientHello, commit, commitsDelivery, gatewayHello, id, ids, remove, row } from '../support/world.ts';
import { Device, join } from './device.ts';
import { helloHeader, linkVersion, welcomeHeader } from '../../protocol/link.ts';
import { snapshotDelivery, worldRows } from '../support/world.ts';
import type { Hello } from '../../protocol/link.ts';

const account = () => env.ACCOUNT.getByName(accountObjectName(ids.account));

afterEach(async () => await reset());

test('[P4.26] an object that is reset with 1,000 devices connected closes none of them, and serves all of them again', async () => {
  const count = 1000;
  const clients = Array.from({ length: count - 1 }, (_, i) => ({
    id: id('many', i),
    external_id: `laptop-${i}`,
    ipv4: `100.64.${4 + Math.floor(i / 250)}.${1 + (i % 250)}`,
    ipv6: `fd00:2021:1111::${(i + 1000).toString(16)}`,
  }));
  const rows = { ...worldRows(), clients: clients.map((changes) => row('clients', changes)) };
  await account().deliver(snapshotDelivery(100, rows));
  const closed: string[] = [];
  const watch = (name: string, device: Device) => {
    void device.closed.then(({ code, reason }) => closed.push(`${name} ${code} ${reason}`));
    return device;
  };
  const gateway = watch('gateway', (await join('gateway')).device);
  const devices: Device[] = [];
  for (const { external_id } of clients) {
    const { device } = await join('client', { query: { external_id } });
    devices.push(watch(external_id, device));
  }
  await abortAllDurableObjects();
  expect((await gateway.frame()).event).toBe('init');
  for (const device of devices) expect((await device.frame()).event).toBe('init');

  await account().deliver(commitsDelivery(100, [commit(101, remove('policies'))]));
  for (const device of devices) expect((await device.frame()).event).toBe('resource_deleted');
  expect(closed).toEqual([]);
}, 120_000);

test('[P4.27] an object that wakes without its sockets in memory takes messages of all of them as before', async () => {
  await account().deliver(snapshotDelivery(100));
  const { device: gateway } = await join('gateway');
  const { device: client } = await join('client');
  await evictDurableObject(account());
  client.send({ topic: 'client', event: 'create_flow', payload: flowRequest, ref: 1 });
  expect((await gateway.frame()).event).toBe('authorize_flow');
});

test('[P10.14] a gateway whose edge has been silent is not chosen, and its edge may dial again', async () => {
  await account().deliver(snapshotDelivery(100));
  const gateway = await dialAsEdge(gatewayHello());
  gateway.send({ type: 'joined' });
  expect(await gateway.next()).toContain('"init"');
  const { device: client } = await join('client');
  await pretend({ acceptedAt: 0 });
  await evictDurableObject(account());
  client.send({ topic: 'client', event: 'create_flow', payload: flowRequest, ref: 1 });
  expect(await client.frame()).toMatchObject({ event: 'flow_creation_failed', payload: { reason: 'offline' } });
  expect((await gateway.closed).code).toBe(1012);
});

test('[P15.57] an alarm drops sessions whose edge has been silent, and leaves those of edges that send no probes', async () => {
  await account().deliver(snapshotDelivery(100));
  const client = await dialAsEdge(clientHello());
  const gateway = await dialAsEdge(gatewayHello({ version: 1 }));
  await pretend({ acceptedAt: 0 });
  await evictDurableObject(account());
  await runDurableObjectAlarm(account());
  expect((await client.closed).code).toBe(1012);
  expect(await account().status()).toMatchObject({ clients: 0, gateways: 1 });
  gateway.close();
});

test('[P15.58] edges older than the version before are told to close their devices, spread over ten minutes', async () => {
  await account().deliver(snapshotDelivery(100));
  const client = await dialAsEdge(clientHello());
  const gateway = await dialAsEdge(gatewayHello());
  await pretend({ version: 0 });
  await wakeAsIfRunningSince(Date.now() + 1000);
  expect(await account().status()).toMatchObject({ clients: 1, gateways: 1 });
  await wakeAsIfRunningSince(Date.now() - 600_000);
  for (const device of [client, gateway]) {
    expect(JSON.parse(await device.next())).toMatchObject({ type: 'close', code: 1012, signOut: false });
  }
  expect(await account().status()).toMatchObject({ clients: 0, gateways: 0 });
});

test('[P15.59] an object says how far to spread redials, and reads a Hello of a later version as far as it knows it', async () => {
  await account().deliver(snapshotDelivery(100));
  const answer = await askAsEdge(clientHello({ version: 7 }));
  expect(JSON.parse(answer.headers.get(welcomeHeader) ?? '')).toEqual({ version: linkVersion, redialMs: 1000 });
  answer.webSocket?.accept();
});

const flowRequest = { resource_id: ids.resource, connected_gateway_ids: [] };

/** Takes the edge's part, without sending probes. */
async function askAsEdge(hello: Hello): Promise<Response> {
  const headers = { upgrade: 'websocket', [helloHeader]: encodeURIComponent(JSON.stringify(hello)) };
  return await account().fetch('https://account/link', { headers });
}

async function dialAsEdge(hello: Hello): Promise<Device> {
  const { webSocket } = await askAsEdge(hello);
  if (webSocket === null) throw new Error('refused');
  return new Device(webSocket);
}

async function wakeAsIfRunningSince(since: number): Promise<void> {
  await runInDurableObject(account(), (_, { storage }) => {
    storage.sql.exec("update meta set value = ? where name = 'link'", `${linkVersion} ${since}`);
  });
  await evictDurableObject(account());
  await runDurableObjectAlarm(account());
}

/** Changes what is stored of the link of every socket that speaks the present version. */
async function pretend(changes: object): Promise<void> {
  await runInDurableObject(account(), (_, ctx) => {
    for (const socket of ctx.getWebSockets()) {
      const stored = socket.deserializeAttachment();
      if (stored.link.version === linkVersion)
        socket.serializeAttachment({ ...stored, link: { ...stored.link, ...changes } });
    }
  });
}
