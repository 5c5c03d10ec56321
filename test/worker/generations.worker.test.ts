// Devices of every generation on their own sockets of the worker: paths, user agents, and the answers that each can live with.
import { env } from 'cloudflare:workers';
import { reset } from 'cloudflare:test';
import { afterEach, expect, test } from 'vitest';
import { accountObjectName } from '../../worker/env.ts';
import { ids, row, snapshotDelivery, worldRows } from '../support/world.ts';
import { dial, join } from './device.ts';

const account = () => env.ACCOUNT.getByName(accountObjectName(ids.account));

afterEach(async () => await reset());

test('[P10.18] devices of generation B open a flow over version 2 sockets', async () => {
  await account().deliver(snapshotDelivery(100));
  const gateway = await join('gateway', { of: 'B' });
  const client = await join('client', { of: 'B' });
  expect(client.init).toMatchObject({ event: 'init', payload: { flow_logs: { upload_interval_secs: 0 } } });
  client.device.send({
    topic: 'client',
    event: 'request_authorization',
    payload: { resource_id: ids.resource, connected_gateway_ids: [], ipv4: null },
    ref: 1,
  });
  const asked = await gateway.device.frame();
  expect(asked.event).toBe('create_authorization');
  const { ref } = Object(asked.payload);
  gateway.device.send({ topic: 'gateway', event: 'authorization_created', payload: { ref }, ref: 1 });
  expect(await gateway.device.frame()).toMatchObject({ event: 'phx_reply', payload: { status: 'ok' }, ref: 1 });
  expect(await client.device.frame()).toMatchObject({
    event: 'authorization_created',
    payload: { gateway_id: ids.gateway, site_id: ids.site },
  });
});

test('[P5.72] what may be lifted is refused with 403 and its code, and with 503 where a program would exit for good', async () => {
  const rows = { ...worldRows(), accounts: [row('accounts', { disabled_at: '2026-01-01 00:00:00+00' })] };
  await account().deliver(snapshotDelivery(100, rows));
  const statuses: Record<string, number> = {};
  for (const of of ['A', 'C', 'B'] as const) {
    const response = await dial('client', { of });
    statuses[of] = response.status;
    expect(response.headers.get('content-type')).toBe('application/problem+json');
    expect(response.headers.has('retry-after')).toBe(true);
    expect(await response.json()).toMatchObject({ code: 'account_disabled', status: response.status });
  }
  expect(statuses).toEqual({ A: 503, C: 403, B: 403 });
});
