// An outside witness: the official Phoenix JavaScript client, in its version 1 framing, lives one life of a flow as the client
// of an account whose gateway is a simulated one. Its refs are text, and must come back as text.
import { Socket } from 'phoenix';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createFirstAccount } from '../../dev/first-account.ts';
import { isEvent, startTestSystem } from '../support/system.ts';
import { startGateway } from '../../devices/gateway.ts';
import type { Channel } from 'phoenix';
import type { TestSystem } from '../support/system.ts';

let running: TestSystem;
beforeAll(async () => {
  running = await startTestSystem();
});
afterAll(async () => await running.stop());

test('[P10.7] the official Phoenix client joins, heartbeats, gets a flow, and loses it when the policy is deleted', async () => {
  const account = await createFirstAccount(running.db, running.system.tokenKeys, 'phoenix');
  const url = running.system.workerUrl;
  const gateway = await startGateway({ url, ...account.gateway, name: 'Rack 1' });
  const socket = new Socket(`${url.replace('http', 'ws')}/client`, {
    vsn: '1.0.0',
    // It gives the socket up when a heartbeat has no answer by the time of the next.
    heartbeatIntervalMs: 2_000,
    encode: (message, send) => void send(JSON.stringify(message)),
    decode: (text, receive) => void receive(JSON.parse(text)),
    params: {
      token: account.client.token,
      external_id: account.client.externalId,
      name: 'browser',
      public_key: `${'C'.repeat(42)}A=`,
    },
  });
  const heartbeat = answeredHeartbeat(socket);
  socket.connect();
  const channel = socket.channel('client');
  const [init, created, candidates, deleted] = ['init', 'flow_created', 'ice_candidates', 'resource_deleted'].map(
    async (event) => await pushed(channel, event),
  );

  expect(await reply(channel.join())).toEqual({});
  expect(await init).toMatchObject({ resources: [{ id: account.resourceId, type: 'cidr' }] });
  channel.push('create_flow', { resource_id: account.resourceId, connected_gateway_ids: [] });
  expect(await created).toMatchObject({ resource_id: account.resourceId, gateway_id: account.gatewayId });
  expect(await candidates).toMatchObject({ gateway_id: account.gatewayId });
  channel.push('broadcast_ice_candidates', { gateway_ids: [account.gatewayId], candidates: ['candidate:x'] });
  await gateway.device.waitFor("the client's candidates", isEvent('ice_candidates'));
  await expect(reply(channel.push('no_such', {}))).rejects.toEqual({ reason: 'unknown_message' });
  await heartbeat;

  await running.db.query('delete from policies where id = $1', [account.policyId]);
  expect(await deleted).toBe(account.resourceId);
  await gateway.device.waitFor('reject_access', isEvent('reject_access'));
  socket.disconnect();
});

async function pushed(channel: Channel, event: string): Promise<unknown> {
  return await new Promise((resolve) => channel.on(event, resolve));
}

async function reply(push: ReturnType<Channel['push']>): Promise<unknown> {
  return await new Promise((resolve, reject) => {
    push
      .receive('ok', resolve)
      .receive('error', reject)
      .receive('timeout', () => reject(new Error('no reply')));
  });
}

/** Settles when the client has had an answer to one of its heartbeats. */
async function answeredHeartbeat(socket: Socket): Promise<void> {
  await new Promise<void>((resolve) => {
    socket.onMessage((message) => {
      if (typeof message === 'object' && message !== null && 'topic' in message && message.topic === 'phoenix')
        resolve();
    });
  });
}
