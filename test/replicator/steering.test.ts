// Messages that steer the stream: what is written is what the contract says, and only a signed one is obeyed.
import { createHmac } from 'node:crypto';
import { expect, test } from 'vitest';
import * as v from 'valibot';
import { steeringMessage, type Steering } from '../../protocol/steering.ts';
import { composeSteering, parseSteering } from '../../replicator/steering.ts';

const key = 'k'.repeat(32);
const uuid = '6f2d9a52-0f39-4d6e-8d5e-0a5b1f0c9b11';
const messages: readonly (readonly [Steering, string])[] = [
  [{ type: 'resync', account: '*', at: 1_700_000_000_123 }, 'resync\n*\n1700000000123'],
  [{ type: 'marker', id: uuid }, `marker\n${uuid}`],
  [{ type: 'heartbeat', run: uuid, count: 7 }, `heartbeat\n${uuid}\n7`],
];

test.each(messages)(
  '[P5.41] %j is obeyed under one of the keys, and under no other key, prefix or text',
  (steering, text) => {
    const content = composeSteering(steering, key);
    const mac = createHmac('sha256', key).update(text).digest('hex');

    expect(v.parse(steeringMessage, JSON.parse(content))).toEqual({ ...steering, mac });
    expect(parseSteering({ prefix: 'drawbridge', content }, ['other', key])).toMatchObject(steering);
    expect(parseSteering({ prefix: 'drawbridge', content }, ['other'])).toBeNull();
    expect(parseSteering({ prefix: 'elsewhere', content }, [key])).toBeNull();
    expect(parseSteering({ prefix: 'drawbridge', content: JSON.stringify(steering) }, [key])).toBeNull();
    const forged = JSON.stringify({ ...steering, mac: 'a'.repeat(64) });
    expect(parseSteering({ prefix: 'drawbridge', content: forged }, [key])).toBeNull();
  },
);

test.each([{ account: 'acme' }, { at: -1 }, { at: 1.5 }, { mac: 'A'.repeat(64) }, { type: 'marker' }])(
  '[P5.41] a message with %j is none',
  (change) => {
    const message = { type: 'resync', account: '*', at: 1, mac: 'a'.repeat(64), ...change };
    expect(v.safeParse(steeringMessage, message).success).toBe(false);
  },
);
