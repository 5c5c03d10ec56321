// Every message that a device may send, with fields missing, extra, of other types, too large, or naming what belongs to nobody
// here: it is answered as the reference says, and changes nothing.
import { expect, test } from 'vitest';
import fc from 'fast-check';
import { driveWithFlow, lines } from '../support/core.ts';
import { id, ids } from '../support/world.ts';
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
  },
  gateway: {
    flow_authorized: { ref: `${foreign}.0` },
    broadcast_ice_candidates: { client_ids: [foreign], candidates: [candidate] },
    broadcast_invalidated_ice_candidates: { client_ids: [foreign], candidates: [candidate] },
  },
} as const;

type Message = {
  readonly sessionId: 'client' | 'gateway';
  readonly event: string;
  readonly payload: Record<string, unknown>;
};
const messages: Message[] = (['client', 'gateway'] as const).flatMap((sessionId) =>
  Object.entries(valid[sessionId]).map(([event, payload]) => ({ sessionId, event, payload })),
);

/** Sends a message to an account with one live flow; returns what was said, and whether anything was saved. */
function send(driven: Drive, { sessionId, event }: Message, payload: unknown): { said: string[]; saved: number } {
  const effects = driven.step({ type: 'message', sessionId, event, payload, ref: 1 });
  return { said: lines(effects), saved: effects.saves.length };
}

test.each(messages)(
  '[P12.6] $event of a $sessionId with a field missing or of another type is an unknown message',
  (message) => {
    const driven = driveWithFlow();
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
        fc.pre(!(message.event === 'flow_authorized' && typeof value === 'string'));
        const answer = send(driven, message, { ...message.payload, [field]: value });
        expect(answer).toEqual({ said: [`${message.sessionId} reply unknown_message`], saved: 0 });
      }),
      { seed: 12, numRuns: 60 },
    );
    for (const payload of [null, 'text', 7, [], undefined]) {
      expect(send(driven, message, payload).said).toEqual([`${message.sessionId} reply unknown_message`]);
    }
  },
);

test.each(messages)(
  '[P12.7] $event of a $sessionId that names another account changes nothing and reaches nobody',
  (message) => {
    const expected: Record<string, string[]> = {
      create_flow: ['client flow_creation_failed not_found'],
      flow_authorized: ['gateway reply invalid_ref'],
    };
    const answer = send(driveWithFlow(), message, { ...message.payload, extra: 'ignored' });
    expect(answer).toEqual({ said: expected[message.event] ?? [], saved: 0 });
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
