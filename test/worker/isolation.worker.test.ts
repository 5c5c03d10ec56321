// One account can neither learn of another nor touch it: whatever of account B a device or an operator of account A names, in
// any field of any message, parameter, topic or route, the answer is the one for what does not exist, and B hears nothing.
import { reset } from 'cloudflare:test';
import { env, exports } from 'cloudflare:workers';
import { afterEach, expect, test } from 'vitest';
import { accountObjectName } from '../../worker/env.ts';
import { accountId, tokenId } from '../../protocol/ids.ts';
import { clientKey, clientSecret, gatewaySecret, ids, snapshotDelivery, worldRows } from '../support/world.ts';
import { dial, join } from './device.ts';
import type { Device, DialOptions } from './device.ts';
import { frameRates } from '../../worker/edge/link.ts';
import { parseTokenKeys, signToken } from '../../worker/token.ts';
import * as v from 'valibot';
import type { Generation } from '../../protocol/device/generations.ts';
import type { Role } from '../../protocol/roles.ts';

/** The ids of account B, and ids that nobody has, in the place of those of account A. */
const idsOfB = others('b');
const idsOfNobody = others('f');

afterEach(async () => await reset());

test('[P12.31] a message that names ids or refs of another account is answered like one that names what does not exist', async () => {
  const everything: string[] = [];
  for (const of of ['A', 'C', 'B'] as const) {
    const devices = await accountA(of);
    const { devicesOfB, refOfB } = await accountB(of);
    for (const { role, event, payload } of messages(of)) {
      const answers: string[] = [];
      for (const theirs of [idsOfB, idsOfNobody]) {
        const ref = theirs === idsOfB ? refOfB : `${theirs.flow}.0123456789abcdef`;
        devices[role].send({ topic: role, event, payload: payload({ ...theirs, ref }), ref: 1 });
        answers.push(anonymous(await framesUntilSeen(devices[role], role), [...Object.values(theirs), ref]));
      }
      expect([of, event, answers[0]]).toEqual([of, event, answers[1]]);
      everything.push(...answers);
    }
    for (const role of ['client', 'gateway'] as const) {
      expect([of, await framesUntilSeen(devicesOfB[role], role)]).toEqual([of, []]);
    }
    await reset();
  }
  for (const reason of ['not_found', 'invalid_ref']) expect(everything.join()).toContain(reason);
});

test('[P12.32] a topic, a parameter or a token that names another account reaches nothing of it', async () => {
  const { client } = await accountA('A');
  const { devicesOfB } = await accountB('A');
  for (const topic of [`client:${idsOfB.client}`, idsOfB.account, 'gateway']) {
    client.send({ topic, event: 'phx_join', payload: null, ref: 5 });
    expect(await client.frame()).toMatchObject({ topic, payload: { response: { reason: 'unmatched topic' } }, ref: 5 });
  }
  const statuses = await Promise.all(
    [idsOfB, idsOfNobody].map(async (theirs) => {
      const mixed = signed('client', { account: ids.account, id: theirs.clientToken, secret: clientSecret });
      const named = { external_id: theirs.client, public_key: clientKey };
      return [await outcome({ signed: mixed }), await outcome({ query: named })];
    }),
  );
  expect(statuses[0]).toEqual(statuses[1]);
  for (const role of ['client', 'gateway'] as const) expect(await framesUntilSeen(devicesOfB[role], role)).toEqual([]);
});

test('[P12.33] an operator who acts on one account by ids of another changes nothing in the other', async () => {
  await accountA('A');
  const { devicesOfB } = await accountB('A');
  const object = env.ACCOUNT.getByName(accountObjectName(ids.account));
  for (const kind of ['client', 'gateway', 'resource', 'actor'] as const) {
    expect(await object.hold({ type: 'place', kind, id: idsOfB[kind], by: 'test', reason: null })).toMatchObject({
      done: true,
    });
  }
  for (const role of ['client', 'gateway'] as const) expect(await framesUntilSeen(devicesOfB[role], role)).toEqual([]);
  for (const account of [ids.account, idsOfB.account, idsOfNobody.account]) {
    const body = JSON.stringify({ version: 1, account });
    const response = await exports.default.fetch('https://drawbridge.example/internal/v1/status', {
      method: 'POST',
      body,
    });
    expect(response.status).toBe(401);
  }
});

test('[P12.34] a device that floods or sends what is too large is closed, and the other account goes on in the same frames', async () => {
  const { client, gateway } = await accountA('A');
  const { devicesOfB, refOfB } = await accountB('A');
  client.send('x'.repeat(65 * 1024));
  for (let i = 0; i <= 2 * frameRates.gateway.burst; i += 1) {
    gateway.send({ topic: 'gateway', event: 'flow_authorized', payload: { ref: refOfB }, ref: i });
  }
  devicesOfB.gateway.send({ topic: 'gateway', event: 'flow_authorized', payload: { ref: refOfB }, ref: 3 });
  expect(await devicesOfB.gateway.frame()).toMatchObject({ event: 'phx_reply', payload: { status: 'ok' }, ref: 3 });
  expect((await devicesOfB.client.frame()).event).toBe('flow_created');
  expect([(await client.closed).code, (await gateway.closed).code]).toEqual([1009, 1008]);
});

/** How a connect of the client goes, without its socket. */
async function outcome(options: DialOptions): Promise<unknown> {
  const answer = await dial('client', options);
  answer.webSocket?.accept();
  return answer.webSocket === null ? await answer.json() : answer.status;
}

type Ids = Readonly<Record<keyof typeof ids | 'flow', string>>;

/** The ids of the world with another last digit. */
function others(digit: string): Ids {
  const changed = Object.entries(ids).map(([name, id]) => [name, id.slice(0, -1) + digit]);
  return { ...ids, ...Object.fromEntries(changed), flow: `00000000-0000-4000-8000-00000000000${digit}` };
}

async function accountA(of: Generation): Promise<Record<Role, Device>> {
  await env.ACCOUNT.getByName(accountObjectName(ids.account)).deliver(snapshotDelivery(100));
  const { device: gateway } = await join('gateway', { of });
  const { device: client } = await join('client', { of });
  return { client, gateway };
}

/** The same rows under other ids, both devices joined, and a flow that the gateway has been asked for. */
async function accountB(of: Generation) {
  const theirs: Record<string, string> = idsOfB;
  const text = Object.entries(ids).reduce(
    (rows, [name, id]) => rows.replaceAll(id, theirs[name] ?? id),
    JSON.stringify(worldRows()),
  );
  const delivery = snapshotDelivery(100, JSON.parse(text), { account: idsOfB.account });
  await env.ACCOUNT.getByName(accountObjectName(idsOfB.account)).deliver(delivery);
  const own = { account: idsOfB.account };
  const gatewayToken = signed('gateway', { ...own, id: idsOfB.gatewayToken, secret: gatewaySecret });
  const clientToken = signed('client', { ...own, id: idsOfB.clientToken, secret: clientSecret });
  const { device: gateway } = await join('gateway', { of, signed: gatewayToken });
  const { device: client } = await join('client', { of, signed: clientToken });
  const event = of === 'B' ? 'request_authorization' : 'create_flow';
  const payload = { resource_id: idsOfB.resource, connected_gateway_ids: [] };
  client.send({ topic: 'client', event, payload, ref: 1 });
  const asked = await gateway.frame();
  const refOfB: string = Object(asked.payload).ref;
  return { devicesOfB: { client, gateway }, refOfB };
}

function signed(role: Role, { account, id, secret }: { account: string; id: string; secret: string }): string {
  const type = role === 'client' ? ('client' as const) : ('gateway_group' as const);
  const envelope = { accountId: v.parse(accountId, account), tokenId: v.parse(tokenId, id) };
  return signToken(
    { type, ...envelope, secret, issuedAtSeconds: 0, place: null },
    parseTokenKeys(env.DRAWBRIDGE_TOKEN_KEYS)[0],
  );
}

type Named = Ids & { readonly ref: string };
type Message = { readonly role: Role; readonly event: string; readonly payload: (theirs: Named) => object };

const candidates = ['candidate:1 1 udp 1 192.0.2.1 1 typ host'];

/** Every message of a generation that names something, and in each field what is theirs. */
function messages(of: Generation): Message[] {
  const flow = of === 'B' ? 'request_authorization' : 'create_flow';
  const accepted = of === 'B' ? 'authorization_created' : 'flow_authorized';
  const from = (role: Role, event: string, payload: (theirs: Named) => object): Message => ({ role, event, payload });
  return [
    from('client', flow, ({ resource }) => ({ resource_id: resource, connected_gateway_ids: [] })),
    from('client', flow, ({ resource, gateway }) => ({ resource_id: resource, connected_gateway_ids: [gateway] })),
    ...['broadcast_ice_candidates', 'broadcast_invalidated_ice_candidates'].flatMap((event) => [
      from('client', event, ({ gateway }) => ({ gateway_ids: [gateway], candidates })),
      from('gateway', event, ({ client }) => ({ client_ids: [client], candidates })),
    ]),
    ...['new_gateway_ice_candidates', 'invalidate_gateway_ice_candidates'].map((event) =>
      from('client', event, ({ gateway }) => ({ gateway_id: gateway, candidates })),
    ),
    ...['new_client_ice_candidates', 'invalidate_client_ice_candidates'].map((event) =>
      from('client', event, ({ client }) => ({ client_id: client, candidates })),
    ),
    from('client', 'resolve_device_pool_domain', ({ resource }) => ({ resource_id: resource, domain: 'peer.example' })),
    from('gateway', accepted, ({ ref }) => ({ ref })),
    from('gateway', accepted, ({ flow: id }) => ({ ref: id })),
  ];
}

/** What arrives until the object has answered a message that it does not know. */
async function framesUntilSeen(device: Device, topic: Role): Promise<object[]> {
  device.send({ topic, event: 'no_such_message', payload: {}, ref: 'last' });
  const frames: object[] = [];
  for (;;) {
    const frame = await device.frame();
    if (frame.ref === 'last') return frames;
    frames.push(frame);
  }
}

function anonymous(frames: readonly object[], named: readonly string[]): string {
  return named.reduce((text, name) => text.replaceAll(name, 'X'), JSON.stringify(frames));
}
