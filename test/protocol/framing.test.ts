// Version 1 framing: what is read, and what the holder of a device's socket does with it.
import { expect, test } from 'vitest';
import fc from 'fast-check';
import { decideFrame, frameLengthMax, parseFrame, replyFrame } from '../../protocol/framing.ts';

test('[P15.20] whatever text arrives, reading it ends in a frame or in words, never in an exception', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      expect(['frame', 'malformed']).toContain(parseFrame(text).type);
    }),
    { seed: 7 },
  );
  expect(parseFrame('x'.repeat(frameLengthMax + 1)).type).toBe('malformed');
});

test('[P15.21] a reply carries the ref as the JSON value it came as, and an empty response for ok', () => {
  expect(replyFrame('client', 0, 'ok')).toBe(
    '{"topic":"client","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":0}',
  );
  expect(replyFrame('client', '0', { reason: 'no' })).toBe(
    '{"topic":"client","event":"phx_reply","payload":{"status":"error","response":{"reason":"no"}},"ref":"0"}',
  );
});

test('[P15.22] a frame before the join, or for another topic, is answered with unmatched topic and goes no further', () => {
  const frame = { topic: 'client', event: 'create_flow', payload: {}, ref: 3 };
  const unmatched = { type: 'reply', text: replyFrame('client', 3, { reason: 'unmatched topic' }) };
  expect(decideFrame('client', false, frame)).toEqual(unmatched);
  expect(decideFrame('client', true, frame)).toMatchObject({ type: 'forward', event: 'create_flow', ref: 3 });
  expect(decideFrame('gateway', true, frame)).toEqual(unmatched);
});

test('[P15.23] heartbeats are answered in every state, and a join each time it comes', () => {
  const heartbeat = { topic: 'phoenix', event: 'heartbeat', payload: {}, ref: 9 };
  const join = { topic: 'gateway', event: 'phx_join', payload: null, ref: 0 };
  for (const joined of [false, true]) {
    expect(decideFrame('gateway', joined, heartbeat)).toMatchObject({ type: 'reply' });
    expect(decideFrame('gateway', joined, join)).toMatchObject({ type: 'join' });
  }
});
