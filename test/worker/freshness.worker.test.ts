// What an account's object learns from the Stream object: that it is behind, which tokens are void, and that it is on the
// register.
import { env } from 'cloudflare:workers';
import { evictDurableObject, reset } from 'cloudflare:test';
import { afterEach, expect, test } from 'vitest';
import * as v from 'valibot';
import { accountObjectName, streamObjectName } from '../../worker/env.ts';
import { accountId } from '../../protocol/ids.ts';
import { accessRequest, explainRequest } from '../../protocol/explain.ts';
import { heartbeat } from '../../protocol/stream.ts';
import { commit, commitsDelivery, id, ids, insert, lsn, row, snapshotDelivery, worldRows } from '../support/world.ts';
import { dial, join, token } from './device.ts';

const account = () => env.ACCOUNT.getByName(accountObjectName(ids.account));
const stream = () => env.STREAM.getByName(streamObjectName);

afterEach(async () => await reset());

test('[P6.6] [P5.44] an object asks the Stream object behind a grant, takes back what it may not grant, and refuses a token that is overdue', async () => {
  const rows = { ...worldRows(), accounts: [row('accounts', { when_behind: 'deny' })] };
  await account().deliver(snapshotDelivery(100, rows));
  const { device: gateway } = await join('gateway');
  const { device: client } = await join('client');
  await hearBehind();
  const request = { resource_id: ids.resource, connected_gateway_ids: [] };
  client.send({ topic: 'client', event: 'create_flow', payload: request, ref: 1 });

  expect((await gateway.frame()).event).toBe('authorize_flow');
  expect((await gateway.frame()).event).toBe('reject_access');
  expect([(await client.frame()).event, (await client.frame()).event]).toEqual([
    'resource_deleted',
    'resource_created_or_updated',
  ]);
  client.send({ topic: 'client', event: 'create_flow', payload: request, ref: 2 });
  expect(await client.frame()).toMatchObject({ event: 'flow_creation_failed', payload: { reason: 'offline' } });

  await evictDurableObject(account());
  const refused = await dial('client', { signed: token('client', { id: id('tokc', 9) }) });
  expect([refused.status, (await refused.json<{ code: string }>()).code]).toEqual([401, 'invalid_token']);
});

test('[P5.103] before it explains, an object that has heard nothing lately asks how far the stream has come', async () => {
  const rows = { ...worldRows(), accounts: [row('accounts', { when_behind: 'deny' })] };
  await account().deliver(snapshotDelivery(100, rows));
  await join('gateway');
  await join('client');
  await hearBehind();

  const asked = { version: 1, account: ids.account, place: null } as const;
  const given = { token: null, remoteIp: null, region: null };
  const question = v.parse(explainRequest, { ...asked, client: ids.client, resource: ids.resource, given });
  expect(await account().explain(question)).toMatchObject({ verdict: 'offline', missing: [{ type: 'behind' }] });

  await evictDurableObject(account());
  const list = v.parse(accessRequest, { ...asked, of: { type: 'resource', id: ids.resource } });
  expect(await account().access(list)).toMatchObject({ rows: [{ verdict: 'offline' }] });
});

test('[P6.40] a connection that waits for its row while the account is behind holds up nobody, the row that it waits for least of all', async () => {
  await account().deliver(snapshotDelivery(100));
  const later = id('tokc', 9);
  const signed = token('client', { id: later, issuedAtSeconds: Math.floor(Date.now() / 1000) });
  const waiting = dial('client', { signed });
  const refused = waiting.then(({ status }) => `connect: ${status}`);
  // Each is an event of the object's own: after so many the connection is among those that wait.
  for (let i = 0; i < 50; i += 1) {
    expect(await Promise.race([refused, account().status()])).toMatchObject({ stale: false });
  }
  await account().deliver(commitsDelivery(100, [commit(101, insert('tokens', { id: later }))]));
  expect((await waiting).status).toBe(101);
});

test('[P1.71] an object is on the register before it holds anything, and accounts with devices come first', async () => {
  const other = v.parse(accountId, id('other'));
  await env.ACCOUNT.getByName(accountObjectName(other)).deliver({ ...snapshotDelivery(100, {}), account: other });
  await account().deliver(snapshotDelivery(100));
  const listed = async () => (await stream().accounts(null)).accounts;
  expect(new Set(await listed())).toEqual(new Set([other, ids.account]));

  const { device } = await join('client');

  expect(await listed()).toEqual([ids.account, other]);
  device.close();
});

/** What was committed two minutes ago is the last that has been applied. */
async function hearBehind(): Promise<void> {
  const applied = { lsn: lsn(90), committedAtUs: (Date.now() - 120_000) * 1000, late: [] };
  const beat = { run: crypto.randomUUID(), count: 1 };
  await stream().hear(v.parse(heartbeat, { version: 1, term: 1, epoch: 1, beat, applied }));
}
