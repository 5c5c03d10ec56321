// The resync message: what the command writes is what the contract says.
import { createHmac } from 'node:crypto';
import { expect, test } from 'vitest';
import * as v from 'valibot';
import { composeResync } from '../../cli/resync.ts';
import { accountId } from '../../protocol/ids.ts';
import { resyncMessage } from '../../protocol/resync.ts';
import { id } from '../support/world.ts';

const key = 'k'.repeat(32);

test.each([v.parse(accountId, id('acc')), '*' as const])(
  'a message for %s is signed over its account and time',
  (account) => {
    const message: unknown = JSON.parse(composeResync(account, 1_700_000_000_123, key));

    const mac = createHmac('sha256', key).update(`resync\n${account}\n1700000000123`).digest('hex');
    expect(message).toEqual({ type: 'resync', account, at: 1_700_000_000_123, mac });
    expect(v.parse(resyncMessage, message)).toEqual(message);
  },
);

test.each([{ account: 'acme' }, { at: -1 }, { at: 1.5 }, { mac: 'A'.repeat(64) }, { type: 'marker' }])(
  'a message with %j is none',
  (change) => {
    const message = { type: 'resync', account: '*', at: 1, mac: 'a'.repeat(64), ...change };
    expect(v.safeParse(resyncMessage, message).success).toBe(false);
  },
);
