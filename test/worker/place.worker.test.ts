// Where an account's object is asked for, as the platform is told. A namespace is a seam of the platform, which has neither
// locations nor jurisdictions here: what it is told is written down and passed on to the real one.
import { createExecutionContext, reset } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { afterEach, expect, test } from 'vitest';
import app from '../../worker/index.ts';
import { accountObject } from '../../worker/place.ts';
import { streamObjectName } from '../../worker/env.ts';
import { ids, snapshotDelivery } from '../support/world.ts';
import { jurisdictions, locationHints } from '../../protocol/place.ts';
import { dial, join, token } from './device.ts';

afterEach(async () => await reset());

test('[P12.26] an object is asked for in its jurisdiction, or with its hint, and a name that is neither says nothing', () => {
  for (const place of locationHints) expect(askedFor(place)).toEqual([`getByName {"locationHint":"${place}"}`]);
  for (const place of jurisdictions) expect(askedFor(place)).toEqual([`jurisdiction ${place}`, 'getByName']);
  for (const place of [null, 'atlantis']) expect(askedFor(place)).toEqual(['getByName {}']);
});

test('[P12.27] the place travels in tokens and in deliveries, and asking for a jurisdiction that is not there fails closed', async () => {
  const told: string[] = [];
  const ACCOUNT = noting(told);
  await accountObject(ACCOUNT, ids.account, 'weur').deliver(snapshotDelivery(100));
  const query = new URLSearchParams({ external_id: 'laptop', public_key: `${'A'.repeat(43)}=` });
  const url = `https://drawbridge.example/client/websocket?${query.toString()}`;
  for (const place of ['weur', 'eu']) {
    const headers = { upgrade: 'websocket', 'x-authorization': `Bearer ${token('client', { place })}` };
    const response = await app.fetch(new Request(url, { headers }), { ...env, ACCOUNT }, createExecutionContext());
    response.webSocket?.accept();
    told.push(String(response.status));
  }
  expect(told).toEqual([
    'getByName {"locationHint":"weur"}',
    'getByName {"locationHint":"weur"}',
    '101',
    'jurisdiction eu',
    '503',
  ]);
  expect((await dial('client')).status).toBe(101);
});

test('[P12.44] the register keeps where an object is made, and a connection says nothing of that', async () => {
  const stream = env.STREAM.getByName(streamObjectName);
  const first = { ...snapshotDelivery(100), place: 'eu' };
  const { account } = first;
  await accountObject(env.ACCOUNT, account, null).deliver(first);
  expect(await stream.accounts(null)).toMatchObject({ accounts: [account], places: { [account]: 'eu' } });
  const { device } = await join('client');
  while ((await stream.accounts({ connectedAtMs: 1, account })).accounts.length > 0);
  expect((await stream.accounts(null)).places).toEqual({ [account]: 'eu' });
  device.close();
});

function askedFor(place: string | null): string[] {
  const told: string[] = [];
  try {
    accountObject(noting(told), ids.account, place);
  } catch {
    // The runtime of tests has no jurisdictions.
    told.push('getByName');
  }
  return told;
}

function noting(told: string[]): typeof env.ACCOUNT {
  return new Proxy(env.ACCOUNT, {
    get: (namespace, name) => {
      if (name === 'getByName') {
        return (account: string, options?: object) => {
          told.push(`getByName ${JSON.stringify(options)}`);
          return namespace.getByName(account);
        };
      }
      return (jurisdiction: 'eu') => {
        told.push(`jurisdiction ${jurisdiction}`);
        return namespace.jurisdiction(jurisdiction);
      };
    },
  });
}
