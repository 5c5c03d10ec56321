// The internal routes: what is not signed, or not what the route takes, is refused in words; what is, is answered by the account's
// object.
import { createHash, createHmac } from 'node:crypto';
import { env, exports } from 'cloudflare:workers';
import { reset } from 'cloudflare:test';
import { afterEach, expect, test } from 'vitest';
import * as v from 'valibot';
import { accessAnswer, accessPath, explainAnswer, explainPath } from '../../protocol/explain.ts';
import { accountObjectName } from '../../worker/env.ts';
import { id, ids, snapshotDelivery } from '../support/world.ts';
import { deliverPath, ingestHeaders, ingestSkewMsMax, signedText, statusPath } from '../../protocol/ingest.ts';
import { accountsPath, heartbeatPath, leadPath } from '../../protocol/stream.ts';
import { join } from './device.ts';

afterEach(async () => await reset());

const about = { version: 1, account: ids.account };
const given = { token: null, remoteIp: null, region: null };
const why = { ...about, client: ids.client, resource: ids.resource, given };
const who = { ...about, of: { type: 'resource', id: ids.resource } };

test('[P12.10] a request that is not signed, or not what the route takes, is refused with words', async () => {
  const wrong: Readonly<Record<string, readonly object[]>> = {
    [statusPath]: [{}, { version: 1, account: 'x' }],
    [explainPath]: [
      {},
      { ...why, client: 7 },
      { ...why, given: null },
      { ...why, given: { ...given, remoteIp: 'x'.repeat(65) } },
    ],
    [accessPath]: [{}, { ...who, of: null }, { ...who, of: { type: 'site', id: ids.site } }, { ...who, version: 2 }],
    [deliverPath]: [{}, { ...snapshotDelivery(100), account: 'x' }],
    [leadPath]: [
      {},
      { version: 1, systemIdentifier: 'x', timeline: 1, termFloor: 0, walEnd: '0'.repeat(16), beats: [] },
    ],
    [heartbeatPath]: [{}, { version: 1, term: 1, epoch: 1, beat: { run: 'x', count: 0 }, applied: null }],
    [accountsPath]: [{}, { version: 1, after: 'x' }],
  };
  for (const [path, bodies] of Object.entries(wrong)) {
    const unsigned = await exports.default.fetch(`https://drawbridge.example${path}`, { method: 'POST', body: '{}' });
    expect([path, unsigned.status]).toEqual([path, 401]);
    expect(await unsigned.json()).toMatchObject({ detail: expect.stringMatching(/signature/) });
    for (const body of [...bodies, [], 7, 'text', null]) {
      const response = await post(path, body);
      expect([path, body, response.status]).toEqual([path, body, 400]);
      expect(await response.json()).toMatchObject({ detail: expect.stringMatching(/^not an? [a-z]+/) });
    }
    const other = await post(path, why, statusPath === path ? explainPath : statusPath);
    expect([path, other.status]).toEqual([path, 401]);
  }
});

test('[P12.9] [P5.34] an object answers for its own ids, and for those of others as for none', async () => {
  await env.ACCOUNT.getByName(accountObjectName(ids.account)).deliver(snapshotDelivery(100));
  await join('gateway');
  await join('client');
  const explained = v.parse(explainAnswer, await (await post(explainPath, { ...why, extra: 'ignored' })).json());
  expect(explained).toMatchObject({ verdict: 'allow', facts: { token: { id: ids.clientToken, source: 'session' } } });
  const listed = v.parse(accessAnswer, await (await post(accessPath, who)).json());
  expect(listed).toMatchObject({ total: 1, allowed: 1, rows: [{ clientId: ids.client, verdict: 'allow' }] });
  const foreign = v.parse(explainAnswer, await (await post(explainPath, { ...why, client: id('foreign') })).json());
  expect(foreign).toMatchObject({ verdict: 'not_found', client: null, actor: null });
  const elsewhere = await post(explainPath, { ...why, account: id('other') });
  expect(v.parse(explainAnswer, await elsewhere.json())).toMatchObject({
    position: null,
    client: null,
    resource: null,
  });
});

test('[P5.56] a delivery is taken under either of two keys in force, within five minutes, unchanged, and not otherwise', async () => {
  const given = snapshotDelivery(100);
  const statusOf = async (how: Signing) => (await post(deliverPath, given, deliverPath, how)).status;
  expect(await statusOf({ key: 'j'.repeat(32) })).toBe(200);
  expect(await statusOf({ key: 'i'.repeat(32) })).toBe(200);
  expect(await statusOf({ key: 'k'.repeat(32) })).toBe(401);
  expect(await statusOf({ ageMs: ingestSkewMsMax - 60_000 })).toBe(200);
  expect(await statusOf({ ageMs: ingestSkewMsMax + 60_000 })).toBe(401);
  expect(await statusOf({ ageMs: -ingestSkewMsMax - 60_000 })).toBe(401);
  expect(await statusOf({ sent: JSON.stringify(given).replace('"term":1', '"term":2') })).toBe(400);
});

type Signing = { readonly key?: string; readonly ageMs?: number; readonly sent?: string };

/** Posts `body` as JSON, signed for `signedPath`; `sent` is posted in its place. */
async function post(
  path: string,
  body: unknown,
  signedPath = path,
  { key = 'i'.repeat(32), ageMs = 0, sent }: Signing = {},
): Promise<Response> {
  const text = JSON.stringify(body);
  const digest = createHash('sha256').update(text).digest('hex');
  const timeMs = Date.now() - ageMs;
  const { length } = new TextEncoder().encode(text);
  const signed = signedText({ method: 'POST', path: signedPath, timeMs, length, digest });
  return await exports.default.fetch(`https://drawbridge.example${path}`, {
    method: 'POST',
    body: sent ?? text,
    headers: {
      'content-length': String(length),
      [ingestHeaders.time]: String(timeMs),
      [ingestHeaders.digest]: digest,
      [ingestHeaders.signature]: createHmac('sha256', key).update(signed).digest('hex'),
    },
  });
}
