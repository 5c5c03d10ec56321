// Relays on real sockets: an account's own, and shared ones through the object that stands for no account and the RelayHub.
import { env } from 'cloudflare:workers';
import { evictDurableObject, reset, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { afterEach, expect, test } from 'vitest';
import { sharedAccountId } from '../../protocol/ids.ts';
import { accountObjectName, relayHubObjectName } from '../../worker/env.ts';
import { HubLink } from '../../worker/account/hub-link.ts';
import { noEffects } from '../../core/effect.ts';
import { Device, dial, join, token } from './device.ts';
import { ids, relayRows, relaySecret, snapshotDelivery, stampSecret, tokenRow } from '../support/world.ts';

const account = () => env.ACCOUNT.getByName(accountObjectName(ids.account));
const nobody = () => env.ACCOUNT.getByName(accountObjectName(sharedAccountId));
const hub = () => env.RELAY_HUB.getByName(relayHubObjectName);

afterEach(async () => await reset());

async function dialRelay(owner: string, query: object = {}): Promise<Response> {
  return await dial('relay', { signed: token('relay', { account: owner }), query });
}

async function joinRelay(owner: string, secret = stampSecret, query: object = {}): Promise<Device> {
  const { status, webSocket } = await dialRelay(owner, query);
  if (webSocket === null) throw new Error(`refused with ${status}`);
  const relay = new Device(webSocket);
  relay.send({ topic: 'relay', event: 'phx_join', payload: { stamp_secret: secret }, ref: 0 });
  expect(await relay.next()).toBe(
    '{"topic":"relay","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":0}',
  );
  expect(await relay.next()).toBe('{"topic":"relay","event":"init","payload":{},"ref":null}');
  return relay;
}

async function deliverShared(): Promise<void> {
  const rows = { tokens: [{ ...tokenRow('relay_group', ids.relayToken, relaySecret), account_id: null }] };
  await nobody().deliver(snapshotDelivery(100, rows, { account: sharedAccountId }));
}

test("[P9.31] an account's own relay is in every init, and its restart under another secret reaches devices at once", async () => {
  await account().deliver(snapshotDelivery(100, relayRows()));
  await joinRelay(ids.account);
  const { device, init } = await join('client', { of: 'B' });
  expect(init.payload).toMatchObject({ relays: [{ type: 'turn', addr: '198.51.100.9:3478' }] });
  await joinRelay(ids.account, '6'.repeat(64));
  const change = await device.frame();
  expect(change).toMatchObject({
    event: 'relays_presence',
    payload: { disconnected_ids: [Object(init.payload).relays[0].id], connected: [{ addr: '198.51.100.9:3478' }] },
  });
});

test('[P9.32] shared relays are in the first init of an account that never heard of them, and changes reach it', async () => {
  await deliverShared();
  const relay = await joinRelay(sharedAccountId);
  await expect.poll(async () => (await hub().status()).relays).toBe(1);
  await account().deliver(snapshotDelivery(100));
  const { device, init } = await join('gateway');
  expect(init.payload).toMatchObject({ relays: [{ addr: '198.51.100.9:3478', expires_at: 2_145_916_800 }] });
  await joinRelay(sharedAccountId, '6'.repeat(64), { ipv4: '198.51.100.10' });
  await expect.poll(async () => (await hub().status()).relays).toBe(2);
  await runDurableObjectAlarm(hub());
  expect(await device.frame()).toMatchObject({ event: 'relays_presence', payload: { disconnected_ids: [] } });
  relay.close();
});

test('[P9.33] an account asleep is told of a change, and one without devices is told of none until it asks again', async () => {
  await deliverShared();
  await joinRelay(sharedAccountId);
  await expect.poll(async () => (await hub().status()).relays).toBe(1);
  await account().deliver(snapshotDelivery(100));
  const { device } = await join('client');
  await evictDurableObject(account());
  await joinRelay(sharedAccountId, '6'.repeat(64), { ipv4: '198.51.100.10' });
  await expect.poll(async () => (await hub().status()).relays).toBe(2);
  await runDurableObjectAlarm(hub());
  expect((await device.frame()).event).toBe('relays_presence');
  device.close();
  await device.closed;
  await expect.poll(async () => (await account().status()).clients).toBe(0);
  await joinRelay(sharedAccountId, '7'.repeat(64), { ipv4: '198.51.100.11' });
  await expect.poll(async () => (await hub().status()).relays).toBe(3);
  await runDurableObjectAlarm(hub());
  expect((await hub().status()).leases).toBe(0);
  await evictDurableObject(account());
  await join('client', { query: { public_key: `${'E'.repeat(42)}A=` } });
  await expect.poll(async () => (await hub().status()).leases).toBe(1);
});

test('[P5.75] before its rows have come the object that stands for no account admits no relay', async () => {
  const refused = await dialRelay(sharedAccountId);
  expect([refused.status, refused.headers.has('retry-after')]).toEqual([503, true]);
  await deliverShared();
  expect((await dialRelay(sharedAccountId)).status).toBe(101);
  await account().deliver(snapshotDelivery(100));
  expect((await dialRelay(ids.account)).status).toBe(503);
});

test('[P15.85] a relay without an address, or with a wrong port, is refused with 400, and a join without a secret with an error', async () => {
  await account().deliver(snapshotDelivery(100, relayRows()));
  for (const query of [{ ipv4: '' }, { ipv4: 'example.org' }, { port: '0' }, { port: 'x' }, { ipv6: '[::1]' }]) {
    const response = await dialRelay(ids.account, query);
    expect([query, response.status]).toEqual([query, 400]);
  }
  const { webSocket } = await dialRelay(ids.account);
  const relay = new Device(webSocket!);
  relay.send({ topic: 'relay', event: 'phx_join', payload: null, ref: 0 });
  expect(await relay.frame()).toMatchObject({ payload: { status: 'error', response: { reason: 'join crashed' } } });
});

test('[P15.113] where the shared relays could not be asked for, every step until that is tried again says when it is to be', async () => {
  await runInDurableObject(hub(), (_, { storage: { sql } }) => void sql.exec('drop table leases'));
  await runInDurableObject(account(), async (_, context) => {
    const failed = Promise.withResolvers<void>();
    const laters: number[] = [];
    const link = new HubLink(context, env, {
      onSet: () => failed.reject(new Error('the hub has answered')),
      onLater(at) {
        laters.push(at);
        failed.resolve();
      },
    });
    const unasked = () => {
      throw new Error('only the object that stands for no account is asked for its relays');
    };
    const step = () => link.follow(unasked, { ...noEffects(), isLeaseDue: true });
    step();
    await failed.promise;
    step();
    step();
    expect(laters).toEqual([laters[0], laters[0], laters[0]]);
  });
});
