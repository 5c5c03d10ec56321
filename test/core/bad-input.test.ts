// Every message that a device may send, with fields missing, extra, of other types, too large, or naming what belongs to nobody
// here: it is answered as the reference says, and changes nothing.
import { expect, test } from 'vitest';
import fc from 'fast-check';
import { driveWithFlow, joinGateway, lines } from '../support/core.ts';
import { id, ids } from '../support/world.ts';
import { fromClient } from '../../protocol/device/client.ts';
import { fromGateway } from '../../protocol/device/gateway.ts';
import { speaking } from '../support/generations.ts';
import type { Drive } from '../support/core.ts';

const foreign = id('foreign');
const candidate = 'candidate:1 1 udp 1 192.0.2.1 1 typ host';

const valid = {
  client: {
    create_flow: { resource_id: foreign, connected_gateway_ids: [] },
    broadcast_ice_candidates: { gateway_ids: [foreign], candidates: [candidate] },
    broadcast_invalidated_ice_candidates: { gateway_ids: [foreign], candidates: [candidate] },
    new_gateway_ice_candidates: { gateway_id: foreign, candidates: [candidate] },
    invalidate_gateway_ice_candidates: { gateway_id: foreign, candidates: [candidate] },
    new_client_ice_candidates: { client_id: foreign, candidates: [candidate] },
    invalidate_client_ice_candidates: { client_id: foreign, candidates: [candidate] },
    request_authorization: { resource_id: foreign, connected_gateway_ids: [] },
    resolve_device_pool_domain: { resource_id: foreign, domain: 'peer.example' },
    set_snownet_capabilities: { iceless: true },
    no_relays: {},
  },
  gateway: {
    flow_authorized: { ref: `${foreign}.0` },
    broadcast_ice_candidates: { client_ids: [foreign], candidates: [candidate] },
    broadcast_invalidated_ice_candidates: { client_ids: [foreign], candidates: [candidate] },
    authorization_created: { ref: `${foreign}.0` },
    set_snownet_capabilities: { iceless: true },
    no_relays: {},
  },
} as const;

/** Messages of version 2 sockets alone; the others are spoken on version 1. */
const second = new Set(['request_authorization', 'authorization_created', 'set_snownet_capabilities']);

type Message = {
  readonly sessionId: 'client' | 'gateway';
  readonly event: string;
  readonly payload: Record<string, unknown>;
};
const messages: Message[] = (['client', 'gateway'] as const).flatMap((sessionId) =>
  Object.entries(valid[sessionId]).map(([event, payload]) => ({ sessionId, event, payload })),
);

/** Fields that are any text. */
const free = new Set(['ref', 'domain']);

/** An account with one live flow, between devices that speak the socket's version of `message`. */
function driveFor({ event }: Message): Drive {
  const isOfPools = event.includes('device_pool') || event.includes('_client_ice');
  return driveWithFlow(undefined, second.has(event) ? speaking.B : speaking[isOfPools ? 'C' : 'A']);
}

/** Sends a message to an account with one live flow; returns what was said, and whether more was saved than that it was refused. */
function send(driven: Drive, { sessionId, event }: Message, payload: unknown): { said: string[]; saved: number } {
  const effects = driven.step({ type: 'message', sessionId, event, payload, ref: 1 });
  return { said: lines(effects), saved: effects.saves.filter(({ type }) => type !== 'put-denial').length };
}

const withFields = messages.filter(({ payload }) => Object.keys(payload).length > 0);

test('[P12.12] every message that a device may send is tried with bad input', () => {
  const tried = (sessionId: Message['sessionId']) =>
    messages.flatMap((message) => (message.sessionId === sessionId ? [message.event] : [])).toSorted();
  expect(tried('client')).toEqual(Object.keys(fromClient).toSorted());
  expect(tried('gateway')).toEqual(Object.keys(fromGateway).toSorted());
});

test.each(messages)('[P12.13] $event of a $sessionId whose payload is no object is an unknown message', (message) => {
  const driven = driveFor(message);
  for (const payload of [null, 'text', 7, true, undefined]) {
    expect(send(driven, message, payload)).toEqual({ said: [`${message.sessionId} reply unknown_message`], saved: 0 });
  }
});

test.each(withFields)(
  '[P15.30] $event of a $sessionId with a field that is too large is an unknown message',
  (message) => {
    const driven = driveFor(message);
    for (const [field, value] of Object.entries(message.payload)) {
      const tooLong = 'x'.repeat(70_000);
      const tooMany: unknown[] = Array.from({ length: 1001 }, () => (field === 'candidates' ? candidate : foreign));
      for (const large of [tooLong, tooMany, ...(Array.isArray(value) ? [[tooLong]] : [])]) {
        expect([field, send(driven, message, { ...message.payload, [field]: large })]).toEqual([
          field,
          { said: [`${message.sessionId} reply unknown_message`], saved: 0 },
        ]);
      }
    }
  },
);

test.each(withFields)(
  '[P12.6] $event of a $sessionId with a field missing or of another type is an unknown message',
  (message) => {
    const driven = driveFor(message);
    const odd = fc.oneof(
      fc.constant(undefined),
      fc.constant(null),
      fc.integer(),
      fc.string({ maxLength: 5 }),
      fc.object({ maxDepth: 1 }),
    );
    const fields = Object.keys(message.payload);
    fc.assert(
      fc.property(fc.constantFrom(...fields), odd, (field, value) => {
        fc.pre(!(free.has(field) && typeof value === 'string'));
        const answer = send(driven, message, { ...message.payload, [field]: value });
        expect(answer).toEqual({ said: [`${message.sessionId} reply unknown_message`], saved: 0 });
      }),
      { seed: 12, numRuns: 60 },
    );
    expect(send(driven, message, []).said).toEqual([`${message.sessionId} reply unknown_message`]);
  },
);

test.each(withFields)(
  '[P12.7] $event of a $sessionId that names another account changes nothing and reaches nobody',
  (message) => {
    const expected: Record<string, string[]> = {
      create_flow: ['client flow_creation_failed not_found'],
      request_authorization: ['client authorization_creation_failed not_found'],
      resolve_device_pool_domain: ['client device_pool_domain_resolution_failed'],
      flow_authorized: ['gateway reply invalid_ref'],
      authorization_created: ['gateway reply invalid_ref'],
    };
    const { event, payload } = message;
    const answer = send(driveFor(message), message, { ...payload, extra: 'ignored' });
    const saved = event === 'set_snownet_capabilities' ? 1 : 0;
    expect(answer).toEqual({ said: expected[event] ?? [], saved });
  },
);

test('[P15.27] lists and texts beyond their bounds are unknown messages', () => {
  const driven = driveWithFlow();
  const tooLarge: [Message['sessionId'], string, object][] = [
    [
      'client',
      'broadcast_ice_candidates',
      { gateway_ids: Array.from({ length: 65 }, () => ids.gateway), candidates: [] },
    ],
    [
      'client',
      'broadcast_ice_candidates',
      { gateway_ids: [], candidates: Array.from({ length: 65 }, () => candidate) },
    ],
    ['gateway', 'broadcast_ice_candidates', { client_ids: [], candidates: ['x'.repeat(513)] }],
    [
      'client',
      'create_flow',
      { resource_id: ids.resource, connected_gateway_ids: Array.from({ length: 1001 }, () => ids.gateway) },
    ],
    ['gateway', 'flow_authorized', { ref: 'x'.repeat(256) }],
  ];
  for (const [sessionId, event, payload] of tooLarge) {
    expect(send(driven, { sessionId, event, payload: {} }, payload)).toEqual({
      said: [`${sessionId} reply unknown_message`],
      saved: 0,
    });
  }
});

test('[P12.8] a message of one role is unknown to the other, and so are names that every object has', () => {
  const driven = driveWithFlow();
  for (const event of ['flow_authorized', 'constructor', 'toString', '__proto__', 'init', 'phx_join']) {
    expect(send(driven, { sessionId: 'client', event, payload: {} }, {}).said).toEqual([
      'client reply unknown_message',
    ]);
  }
  expect(
    send(driven, { sessionId: 'gateway', event: 'create_flow', payload: {} }, valid.client.create_flow).said,
  ).toEqual(['gateway reply unknown_message']);
});

test('[P15.87] ten thousand requests of one client make one grant, one question, and an answer each where there is none', () => {
  const driven = driveWithFlow(undefined, speaking.C);
  driven.step({ type: 'closed', sessionId: 'gateway' });
  joinGateway(driven, { ...speaking.C.gateway, connectedAt: 2000 });
  const asking: Message = { sessionId: 'client', event: 'create_flow', payload: {} };
  const request = (resourceId: string) => send(driven, asking, { resource_id: resourceId, connected_gateway_ids: [] });
  const answers = Array.from({ length: 5000 }, (_, n) => [request(ids.resource), request(id('foreign', n))]).flat();
  expect(answers.filter(({ said }) => said[0] === 'gateway authorize_flow')).toHaveLength(1);
  expect(answers.filter(({ said }) => said[0] === 'client flow_creation_failed not_found')).toHaveLength(5000);
  expect(answers.filter(({ saved }) => saved > 0)).toHaveLength(1);
  expect(driven.state.grants.size).toBe(1);
});

test('[P12.35] the names of one version of the sockets are unknown on the other', () => {
  const first = driveWithFlow();
  const later = driveWithFlow(undefined, speaking.B);
  const only = { 1: first, 2: later } as const;
  const spoken = [
    ['client', 'create_flow', 1],
    ['client', 'broadcast_ice_candidates', 1],
    ['client', 'broadcast_invalidated_ice_candidates', 1],
    ['gateway', 'flow_authorized', 1],
    ['client', 'request_authorization', 2],
    ['client', 'set_snownet_capabilities', 2],
    ['gateway', 'authorization_created', 2],
  ] as const;
  for (const [sessionId, event, socket] of spoken) {
    const message = messages.find((candidate) => candidate.sessionId === sessionId && candidate.event === event)!;
    const unknown = [`${sessionId} reply unknown_message`];
    expect(send(only[socket === 1 ? 2 : 1], message, message.payload).said).toEqual(unknown);
    expect(send(only[socket], message, message.payload).said).not.toEqual(unknown);
  }
});
