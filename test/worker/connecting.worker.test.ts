// What a device meets that asks for a socket: parameters, limits, the status that its generation treats rightly, and what ends
// a session once it has one.
import { createExecutionContext, reset, runInDurableObject } from 'cloudflare:test';
import { env, exports } from 'cloudflare:workers';
import { afterEach, expect, test, vi } from 'vitest';
import app from '../../worker/index.ts';
import { accountObjectName } from '../../worker/env.ts';
import { clientKey, commit, commitsDelivery, ids, remove, snapshotDelivery, update } from '../support/world.ts';
import { dial, join, token } from './device.ts';

const account = () => env.ACCOUNT.getByName(accountObjectName(ids.account));
const disabled = { disabled_at: '2026-01-01 00:00:00+00' };
afterEach(async () => await reset());

async function problem(response: Response) {
  const { code } = await response.json<{ code: string }>();
  return [response.status, code, response.headers.has('retry-after')];
}

test('[P5.59] [D25] disabling an account closes its sockets without signing anyone out, and refuses the next connect', async () => {
  await account().deliver(snapshotDelivery(100));
  const { device: gateway } = await join('gateway');
  const { device: client } = await join('client');
  await account().deliver(commitsDelivery(100, [commit(101, update('accounts', disabled))]));
  for (const device of [gateway, client]) {
    expect(await device.closed).toEqual({ code: 1000, reason: 'the account or the actor is disabled' });
  }
  expect(await problem(await dial('gateway'))).toEqual([503, 'account_disabled', true]);
  expect(await problem(await dial('client'))).toEqual([503, 'account_disabled', true]);
});

test('[P4.29] [D26] [D34] a device whose row is deleted is disconnected as if its token had expired, which is all it understands', async () => {
  await account().deliver(snapshotDelivery(100));
  const { device: gateway } = await join('gateway');
  const { device: client } = await join('client');
  await account().deliver(commitsDelivery(100, [commit(101, remove('gateways'), remove('clients'))]));
  for (const device of [gateway, client]) {
    expect(await device.frame()).toMatchObject({
      event: 'disconnect',
      payload: { reason: 'token_expired' },
      ref: null,
    });
    expect(await device.closed).toMatchObject({ code: 1000 });
  }
});

test('[P15.69] [D37] a device without a user agent, or of an unknown program, is admitted, and is chosen for no flow', async () => {
  await account().deliver(snapshotDelivery(100));
  await join('gateway', { headers: { 'user-agent': '' } });
  const { device: client } = await join('client');
  const payload = { resource_id: ids.resource, connected_gateway_ids: [] };
  client.send({ topic: 'client', event: 'create_flow', payload, ref: 1 });
  expect(await client.frame()).toMatchObject({ event: 'flow_creation_failed', payload: { reason: 'offline' } });
});

test('[P15.70] [D38] coordinates are taken from the platform, whole numbers too, and from no header of the device', async () => {
  await account().deliver(snapshotDelivery(100));
  const headers = {
    'x-geo-location-coordinates': '1,2',
    'x-geo-location-region': 'XX',
    'x-forwarded-for': '198.51.100.9',
    'x-real-ip': '198.51.100.9',
    'true-client-ip': '198.51.100.9',
    forwarded: 'for=198.51.100.9',
    'cf-ipcountry': 'XX',
    'cf-connecting-ip': '203.0.113.7',
  };
  const sessions: unknown[] = [];
  for (const cf of [
    { country: 'CH', latitude: '47', longitude: 8 },
    { country: 'CH', latitude: 'x', longitude: {} },
  ]) {
    await join('client', { headers, cf });
    sessions.push(...(await sessionFacts()));
  }
  const known = { remoteIp: '203.0.113.7', region: 'CH' };
  expect(sessions).toEqual([
    { ...known, latitude: 47, longitude: 8 },
    { ...known, latitude: null, longitude: null },
  ]);
});

test('[P15.71] by default a token connects from one address five times at once, and then has to wait, whatever it is', async () => {
  await account().deliver(snapshotDelivery(100));
  const statuses: unknown[] = [];
  for (let i = 0; i < 6; i += 1) statuses.push(await problemOrStatus(await dialLimited('203.0.113.1')));
  expect(statuses).toEqual([101, 101, 101, 101, 101, [503, 'too_many_connects', true]]);
  expect(await problemOrStatus(await dialLimited('203.0.113.2'))).toBe(101);
  const forged: number[] = [];
  for (let i = 0; i < 30; i += 1) forged.push((await dialLimited('203.0.113.3', 'nonsense')).status);
  expect(forged.slice(0, 20)).toEqual(Array.from({ length: 20 }, () => 401));
  expect(forged.slice(20)).toContain(503);
});

test('[P15.72] whatever a parameter holds, the answer names the parameter or the device is admitted', async () => {
  await account().deliver(snapshotDelivery(100));
  const cases = [
    [{ external_id: 'x'.repeat(10_000) }, 400],
    [{ external_id: '\u0000laptop' }, 400],
    [{ name: 'a\u0007b' }, 400],
    [{ name: '\u202e' }, 101],
    [{ name: '' }, 101],
    [{ public_key: '' }, 400],
    [{ public_key: `${clientKey}=` }, 400],
    [{ public_key: 'A'.repeat(44) }, 400],
    [{ public_key: `${'A'.repeat(42)}B=` }, 400],
    [{ vsn: '9.9.9' }, 400],
    [{ unknown: 'x'.repeat(5000) }, 101],
  ] as const;
  for (const [query, status] of cases) {
    const response = await dial('client', { query });
    expect([JSON.stringify(query).slice(0, 40), response.status]).toEqual([JSON.stringify(query).slice(0, 40), status]);
    if (status !== 400) continue;
    expect(response.headers.get('content-type')).toBe('application/problem+json');
    const { code, detail } = await response.json<{ code: string; detail: string }>();
    expect([code, detail]).toEqual(['invalid_connect_params', expect.stringContaining(Object.keys(query)[0] ?? '')]);
  }
});

test('[P15.25] a path that is none of the sockets is refused like anything else, with when to return', async () => {
  const paths = ['/client/v3/websocket', '/api/client/websocket', '/relay/v2/websocket', '/client/websocket/', '/'];
  for (const path of paths) {
    const response = await exports.default.fetch(`https://drawbridge.example${path}`, {
      headers: { upgrade: 'websocket' },
    });
    expect([path, response.headers.get('content-type')]).toEqual([path, 'application/problem+json']);
    expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await problem(response)).toEqual([404, 'unknown_path', true]);
  }
});

async function problemOrStatus(response: Response): Promise<unknown> {
  return response.status === 101 ? 101 : await problem(response);
}

/** A connect under the limits that hold where none are set. */
async function dialLimited(address: string, signed = token('client')): Promise<Response> {
  const query = new URLSearchParams({ external_id: 'laptop', public_key: clientKey });
  const headers = { upgrade: 'websocket', 'x-authorization': `Bearer ${signed}`, 'cf-connecting-ip': address };
  const request = new Request(`https://drawbridge.example/client/websocket?${query.toString()}`, { headers });
  return await app.fetch(request, { ...env, DRAWBRIDGE_CONNECT_LIMITS: '' }, createExecutionContext());
}

async function sessionFacts() {
  return await runInDurableObject(account(), (_, ctx) =>
    ctx
      .getWebSockets('client')
      .filter(({ readyState }) => readyState === WebSocket.OPEN)
      .map((socket) => {
        const { remoteIp, region, latitude, longitude } = socket.deserializeAttachment().session;
        return { remoteIp, region, latitude, longitude };
      }),
  );
}

test('[P15.77] a frame that is nested deeply, or names a field twice, is answered like any other; a binary one ends its socket alone', async () => {
  await account().deliver(snapshotDelivery(100));
  const { device: gateway } = await join('gateway');
  const { device: client } = await join('client');
  const depth = 32_000;
  const nested = `${'['.repeat(depth)}${']'.repeat(depth)}`;
  client.send(`{"topic":"client","event":"create_flow","payload":${nested},"ref":1}`);
  client.send('{"topic":"client","event":"no_such","event":"nor_such","payload":{},"ref":0,"ref":2}');
  for (const ref of [1, 2]) {
    expect(await client.frame()).toMatchObject({ payload: { response: { reason: 'unknown_message' } }, ref });
  }
  client.sendBinary(new Uint8Array([123, 125]));
  expect((await client.closed).code).toBe(1009);
  gateway.send({ topic: 'phoenix', event: 'heartbeat', payload: {}, ref: 3 });
  expect(await gateway.frame()).toMatchObject({ ref: 3 });
});

test('[P15.120] a connection that is refused is told of in the log, with its account where its token is genuine', async () => {
  await account().deliver(snapshotDelivery(100));
  await account().deliver(commitsDelivery(100, [commit(101, update('accounts', disabled))]));
  const logged = vi.spyOn(console, 'log').mockReturnValue();
  await dial('client');
  await dial('gateway', { signed: 'drawbridge.test.not.signed' });
  const lines: unknown[] = logged.mock.calls.map(([line]) => JSON.parse(String(line)));
  logged.mockRestore();
  expect(lines).toEqual([
    { level: 'info', event: 'connect_refused', account: ids.account, role: 'client', code: 'account_disabled' },
    { level: 'info', event: 'connect_refused', account: null, role: 'gateway', code: 'invalid_token' },
  ]);
});
