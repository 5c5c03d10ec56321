// Holds in the object: placed and lifted by a signed request alone, and kept through whatever happens to the object.
import { abortAllDurableObjects, evictDurableObject, reset, runInDurableObject } from 'cloudflare:test';
import { createHash, createHmac } from 'node:crypto';
import { env, exports } from 'cloudflare:workers';
import { afterEach, expect, test } from 'vitest';
import { accountObjectName } from '../../worker/env.ts';
import { holdPath } from '../../protocol/holds.ts';
import { ids, snapshotDelivery } from '../support/world.ts';
import { ingestHeaders, signedText } from '../../protocol/ingest.ts';
import { dial, join } from './device.ts';
import type { HoldAction } from '../../protocol/holds.ts';

const account = () => env.ACCOUNT.getByName(accountObjectName(ids.account));
const client = { kind: 'client', id: ids.client } as const;
const place = { type: 'place', ...client, by: 'alice', reason: 'INC-42' } as const;
const lift = { type: 'lift', ...client, by: 'alice' } as const;

afterEach(async () => await reset());

test('[P5.66] a signed request holds a device, and the hold stays through eviction, reset and snapshots until it is lifted', async () => {
  await account().deliver(snapshotDelivery(100));
  const { device } = await join('client');
  const placed = await ask(place);
  expect([placed.status, await placed.json()]).toMatchObject([
    200,
    { done: true, holds: [{ ...client, by: 'alice' }] },
  ]);
  expect((await device.closed).reason).toContain('cut');
  const refused = { status: 403, code: 'held' };
  expect(await outcome()).toMatchObject(refused);
  await evictDurableObject(account());
  expect(await outcome()).toMatchObject(refused);
  await abortAllDurableObjects();
  expect(await outcome()).toMatchObject(refused);
  await account().deliver(snapshotDelivery(200));
  expect(await outcome()).toMatchObject(refused);
  expect(await account().status()).toMatchObject({ holds: [{ ...client, by: 'alice', reason: 'INC-42' }] });
  expect(await (await ask(lift)).json()).toEqual({ done: true, isKnown: true, holds: [] });
  expect(await outcome()).toEqual({ status: 101 });
});

test('[P5.67] a hold whose particulars cannot be read denies all the same', async () => {
  await account().deliver(snapshotDelivery(100));
  await ask(place);
  await runInDurableObject(account(), (_, { storage }) => void storage.sql.exec("update holds set data = '{}'"));
  await evictDurableObject(account());
  expect(await outcome()).toMatchObject({ code: 'held' });
  expect(await (await ask(lift)).json()).toEqual({ done: true, isKnown: true, holds: [] });
});

test('[P12.25] a request for a hold that is not signed, or not one, changes nothing', async () => {
  await account().deliver(snapshotDelivery(100));
  expect((await ask(place, 'x'.repeat(32))).status).toBe(401);
  for (const wrong of [
    { ...place, kind: 'policy' },
    { ...place, id: '../x' },
    { type: 'all' },
    { ...place, reason: 'a\0b' },
    { ...lift, by: '\ud800' },
  ]) {
    expect((await ask(wrong)).status).toBe(400);
  }
  expect(await (await ask({ type: 'list' })).json()).toEqual({ done: true, isKnown: true, holds: [] });
});

/** How a connect of the client goes, without its socket. */
async function outcome(): Promise<{ readonly status: number; readonly code?: string }> {
  const response = await dial('client', { of: 'C' });
  const { status, webSocket } = response;
  if (webSocket === null) return { status, code: (await response.json<{ code: string }>()).code };
  webSocket.accept();
  webSocket.close(1000);
  return { status };
}

/** Any of the keys in force signs. */
const firstKey = env.DRAWBRIDGE_INGEST_KEY.split(',')[0] ?? '';

async function ask(action: HoldAction | object, key = firstKey): Promise<Response> {
  const body = JSON.stringify({ version: 1, account: ids.account, action });
  const digest = createHash('sha256').update(body).digest('hex');
  const [timeMs, length] = [Date.now(), new TextEncoder().encode(body).length];
  const text = signedText({ method: 'POST', path: holdPath, timeMs, length, digest });
  return await exports.default.fetch(`https://drawbridge.example${holdPath}`, {
    method: 'POST',
    body,
    headers: {
      'content-length': String(length),
      [ingestHeaders.time]: String(timeMs),
      [ingestHeaders.digest]: digest,
      [ingestHeaders.signature]: createHmac('sha256', key).update(text).digest('hex'),
    },
  });
}
