// What is not as it should be, on every socket that there is: each role on each version of the sockets, each message of it,
// each parameter, and tokens. Whatever it is has one answer, and nothing else is told or changed by it.
import { env } from 'cloudflare:workers';
import { reset } from 'cloudflare:test';
import { afterEach, expect, test } from 'vitest';
import { accountObjectName } from '../../worker/env.ts';
import { dial, join, token, type Device } from './device.ts';
import { fromClient } from '../../protocol/device/client.ts';
import { fromGateway } from '../../protocol/device/gateway.ts';
import { ids, relayRows, snapshotDelivery } from '../support/world.ts';
import type { Generation } from '../../protocol/device/generations.ts';
import type { SocketRole } from '../../protocol/roles.ts';

const sockets = [
  { role: 'client', of: 'A', events: Object.keys(fromClient) },
  { role: 'client', of: 'B', events: Object.keys(fromClient) },
  { role: 'gateway', of: 'A', events: Object.keys(fromGateway) },
  { role: 'gateway', of: 'B', events: Object.keys(fromGateway) },
  { role: 'relay', of: 'A', events: ['init', 'relays_presence', '__proto__'] },
] as const satisfies { role: SocketRole; of: Generation; events: readonly string[] }[];

const account = () => env.ACCOUNT.getByName(accountObjectName(ids.account));
const deliver = async () => await account().deliver(snapshotDelivery(100, relayRows()));
afterEach(async () => await reset());

/** A heartbeat's answer is the next frame: nothing else was said but that relays come and go. */
async function expectSilence(device: Device, ref: number): Promise<void> {
  device.send({ topic: 'phoenix', event: 'heartbeat', payload: {}, ref });
  let next = await device.frame();
  while (next.event === 'relays_presence') next = await device.frame();
  expect(next).toMatchObject({ topic: 'phoenix', event: 'phx_reply', ref });
}

const unreadable = (topic: string) => [
  '',
  '{"topic":"',
  'hello',
  'null',
  '[]',
  '"text"',
  `{"topic":"${topic}"}`,
  `{"topic":7,"event":"x","payload":{},"ref":1}`,
  `{"topic":"${topic}","event":{},"payload":{},"ref":1}`,
  `{"topic":"${topic}","event":"x","payload":{},"ref":{}}`,
  `{"topic":"${topic}","event":"${'x'.repeat(65)}","payload":{},"ref":1}`,
];

test.each(sockets)(
  '[P12.38] a $role of generation $of may send ten frames that cannot be read, and is closed for the eleventh, alone',
  async ({ role, of }) => {
    await deliver();
    const { device: other } = await join(role === 'gateway' ? 'client' : 'gateway', { of });
    const { device } = await join(role, { of });
    const frames = unreadable(role);
    for (const frame of frames.slice(0, 10)) device.send(frame);
    await expectSilence(device, 1);
    device.send(frames[10] ?? '');
    expect((await device.closed).code).toBe(1008);
    await expectSilence(other, 2);
  },
);

test.each(sockets)(
  '[P12.39] a $role of generation $of is closed for what is no text, or too long, and reads why',
  async ({ role, of }) => {
    await deliver();
    for (const send of [
      (device: Device) => device.sendBinary(new Uint8Array([123, 125])),
      (device: Device) => device.sendBinary(new Uint8Array(0)),
      (device: Device) => device.send(' '.repeat(65_537)),
      (device: Device) => device.send(`{"topic":"${role}","event":"x","payload":"${'x'.repeat(900_000)}","ref":1}`),
    ]) {
      const { device } = await join(role, { of });
      send(device);
      expect(await device.closed).toEqual({ code: 1009, reason: 'expected text frames of at most 65,536 characters' });
    }
    await join(role, { of });
  },
);

/** JSON of payloads that no message has. */
const payloads = [
  'null',
  '7',
  '"text"',
  '[]',
  '[[],{}]',
  '{"resource_id":7,"connected_gateway_ids":7,"ref":7,"gateway_ids":7,"client_ids":7,"candidates":7,"iceless":7}',
  '{"resource_id":{},"connected_gateway_ids":[{}],"ref":[],"gateway_id":[],"client_id":[],"domain":[],"iceless":null}',
  `{"resource_id":"${'x'.repeat(60_000)}","ref":{"a":1}}`,
  `{"__proto__":{"iceless":true},"constructor":{"prototype":{}}}`,
  `{"resource_id":"${ids.resource}","resource_id":null,"connected_gateway_ids":[],"connected_gateway_ids":{}}`,
  `${'['.repeat(30_000)}${']'.repeat(30_000)}`,
  `${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}`,
];
/** Those that are understood of an empty object, or of anything. */
const undemanding = new Set(['no_relays']);

test.each(sockets)(
  '[P12.40] whatever stands in the payload of a message of a $role of generation $of, it is answered once and changes nothing',
  async ({ role, of, events }) => {
    await deliver();
    const { device: other } = await join(role === 'gateway' ? 'client' : 'gateway', { of });
    const { device } = await join(role, { of });
    const before = await account().status();
    let ref = 1;
    // Of a relay, which may say so much less at once, fewer.
    const names = role === 'relay' ? events : [...events, 'no_such', '__proto__', 'toString', '', 'phx_reply'];
    for (const event of names.filter((name) => !undemanding.has(name))) {
      for (const payload of payloads) {
        ref += 1;
        device.send(`{"topic":"${role}","event":"${event}","payload":${payload},"ref":${ref}}`);
        expect(await device.frame()).toEqual({
          topic: role,
          event: 'phx_reply',
          payload: { status: 'error', response: { reason: 'unknown_message' } },
          ref,
        });
      }
    }
    await expectSilence(device, 0);
    await expectSilence(other, 0);
    expect({ ...(await account().status()), at: 0 }).toEqual({ ...before, at: 0 });
  },
);

test.each(sockets)(
  '[P12.41] a token that is none of a $role of generation $of is refused with 401',
  async ({ role, of }) => {
    await deliver();
    const good = token(role);
    const flipped = (at: number) =>
      good.slice(0, at) + String.fromCharCode(good.charCodeAt(at) ^ 1) + good.slice(at + 1);
    const wrong = [
      ...Array.from({ length: 8 }, (_, n) => good.slice(0, Math.floor((good.length * n) / 8) || 1)),
      ...Array.from({ length: 8 }, (_, n) => flipped(Math.floor((good.length * n) / 8))),
      flipped(good.length - 2),
      `${good}x`,
      `${good}.`,
      good.toUpperCase(),
      'x'.repeat(10_000),
      ...(['client', 'gateway', 'relay'] as const).filter((name) => name !== role).map((name) => token(name)),
      token(role, { secret: 'x'.repeat(32) }),
      token(role, {}, `other:${'o'.repeat(32)}`),
      token(role, {}, `${env.DRAWBRIDGE_TOKEN_KEYS.split(':')[0]}:${'o'.repeat(32)}`),
    ];
    const answers = new Set<string>();
    for (const signed of wrong) {
      for (const options of [{ signed }, { signed: null, query: { token: signed } }]) {
        const response = await dial(role, { ...options, of });
        answers.add(`${response.status} ${(await response.json<{ code: string }>()).code}`);
      }
    }
    expect([...answers]).toEqual(['401 invalid_token']);
    for (const options of [{ signed: null }, { signed: null, query: { token: '' } }]) {
      const response = await dial(role, { ...options, of });
      expect([response.status, await response.json()]).toEqual([
        401,
        expect.objectContaining({ code: 'missing_token' }),
      ]);
    }
    expect((await dial(role, { of })).status).toBe(101);
  },
);

const texts = ['name', 'device_serial', 'device_uuid', 'identifier_for_vendor', 'firebase_installation_id'] as const;
const longOrControl = ['x'.repeat(256), 'x'.repeat(10_000), 'a\u0000b', '\u001b[2J', 'a\u0085'];
const wrongParameters: Readonly<Record<SocketRole, readonly (readonly [string, readonly string[]])[]>> = {
  client: [
    ...[...texts, 'external_id'].map((name) => [name, longOrControl] as const),
    ['external_id', ['']],
    [
      'public_key',
      ['', 'short', 'A'.repeat(44), `${'A'.repeat(42)}B=`, '='.repeat(44), 'x'.repeat(10_000), 'A\n'.repeat(22)],
    ],
    ['vsn', ['2.0.0', '', 'x'.repeat(10_000)]],
  ],
  gateway: [
    ...['name', 'external_id'].map((name) => [name, longOrControl] as const),
    ['external_id', ['']],
    ['public_key', ['', 'short', 'A'.repeat(44), `${'A'.repeat(42)}B=`, 'x'.repeat(10_000)]],
    ['vsn', ['2.0.0', '']],
  ],
  relay: [
    ['name', longOrControl],
    ['ipv4', ['', 'example.org', '1.2.3', '256.1.1.1', '::1', 'x'.repeat(10_000), '198.51.100.9\u0000']],
    ['ipv6', ['', '[::1]', '198.51.100.9', '::1%eth0', 'fe80::1%eth0', 'fe80:::::%x', 'x'.repeat(10_000)]],
    ['port', ['', '0', '65536', '-1', '0x10', '1e3', ' 3478', '3478.5', 'x'.repeat(10_000)]],
    ['vsn', ['2.0.0', '']],
  ],
};

test.each(sockets)(
  '[P15.72] whatever a parameter of a $role of generation $of holds, the answer names it, and nobody is connected',
  async ({ role, of }) => {
    await deliver();
    for (const [name, values] of wrongParameters[role]) {
      for (const value of values) {
        const response = await dial(role, { of, query: { [name]: value } });
        expect([name, value.slice(0, 20), response.status]).toEqual([name, value.slice(0, 20), 400]);
        expect(response.headers.get('content-type')).toBe('application/problem+json');
        expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
        const { code, detail } = await response.json<{ code: string; detail: string }>();
        expect([code, detail]).toEqual([
          'invalid_connect_params',
          expect.stringMatching(new RegExp(`\\b${name}\\b.*: expected`)),
        ]);
        expect(detail.length).toBeLessThan(200);
      }
    }
    expect(await account().status()).toMatchObject({ clients: 0, gateways: 0, relays: 0 });
  },
);
