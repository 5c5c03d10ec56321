// Devices without a row, through every part: registered at the edge, in Postgres a second later, and what Postgres says of them.
import { join } from 'node:path';
import { readdir, readFile, rm } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createFirstAccount } from '../../dev/first-account.ts';
import { askObject } from '../../cli/status-http.ts';
import { explainAnswer, explainPath } from '../../protocol/explain.ts';
import { isEvent, startTestSystem, untilRow } from '../support/system.ts';
import { untilApplied } from '../support/told.ts';
import { startClient } from '../../devices/client.ts';
import { startGateway } from '../../devices/gateway.ts';
import type { FirstAccount } from '../../dev/first-account.ts';
import type { TestSystem } from '../support/system.ts';

let all: TestSystem;
beforeAll(async () => {
  all = await startTestSystem();
});
afterAll(async () => await all.stop());

async function accountOf(slug: string): Promise<FirstAccount> {
  return await createFirstAccount(all.db, all.system.tokenKeys, slug);
}

const clientOf = async (account: FirstAccount, externalId: string) =>
  await startClient({ url: all.system.workerUrl, token: account.client.token, externalId, name: externalId });

test('[P6.22] devices without a row connect, have a flow, and are rows of Postgres behind that, which can be deleted', async () => {
  const account = await accountOf('newcomers');
  await all.db.query('delete from gateways where account_id = $1', [account.accountId]);
  const gateway = await startGateway({
    url: all.system.workerUrl,
    ...account.gateway,
    externalId: 'new-rack',
    name: 'new-rack',
  });
  const client = await clientOf(account, 'new-laptop');
  expect((await client.createFlow(account.resourceId)).event).toBe('flow_created');
  const row = await untilRow(all.db, 'select id, actor_id from clients where account_id = $1 and external_id = $2', [
    account.accountId,
    'new-laptop',
  ]);
  expect(row['actor_id']).toBe(account.actorId);
  await untilRow(all.db, 'select id from gateways where account_id = $1 and external_id = $2', [
    account.accountId,
    'new-rack',
  ]);
  await all.db.query('delete from clients where id = $1', [row['id']]);
  await gateway.device.waitFor('the reject', isEvent('reject_access'));
  await client.device.waitFor('the end', isEvent('disconnect'));
});

test('[P6.23] a device whose key Postgres has given to another row meanwhile is refused, and takes that row when the stream brings it', async () => {
  const account = await accountOf('winner');
  const before = await clientOf(account, account.client.externalId);
  await all.system.killReplicator();
  await all.db.query(
    `insert into clients (account_id, actor_id, external_id, name, ipv4, ipv6) values ($1, $2, 'contested', 'By hand', '100.64.9.9', 'fd00:2021:1111::9:9')`,
    [account.accountId, account.actorId],
  );
  const client = await clientOf(account, 'contested');
  await client.device.closed;
  await all.system.startReplicator();
  const [row] = (await all.db.query<{ id: string }>(`select id::text from clients where external_id = 'contested'`))
    .rows;
  await all.db.query(`update resources set name = 'Told' where account_id = $1`, [account.accountId]);
  await before.device.waitFor('what the stream brings', isEvent('resource_created_or_updated'));
  const again = await clientOf(account, 'contested');
  expect(
    await untilRow(all.db, 'select client_id from drawbridge.client_sessions where client_id = $1', [row?.id]),
  ).toEqual({
    client_id: row?.id,
  });
  again.device.close();
});

test('[P6.30] what a client says of its hardware as it first connects is in its row', async () => {
  const account = await accountOf('hardware');
  const parameters = { device_serial: 'S1', device_uuid: '', firebase_installation_id: 'F1' };
  const { url, token } = { url: all.system.workerUrl, token: account.client.token };
  await startClient({ url, token, externalId: 'phone', name: 'phone', parameters });
  const text = 'select device_serial, device_uuid, identifier_for_vendor, firebase_installation_id from clients';
  expect(
    await untilRow(all.db, `${text} where account_id = $1 and external_id = 'phone'`, [account.accountId]),
  ).toEqual({
    device_serial: 'S1',
    device_uuid: null,
    identifier_for_vendor: null,
    firebase_installation_id: 'F1',
  });
});

const isVerified = `array['{"property": "client_verified", "operator": "is", "values": ["true"]}'::jsonb]`;

/** An account whose client is verified, as it must be, and has connected from the hardware of its row. */
async function verifiedAccount(slug: string) {
  const account = await accountOf(slug);
  await all.db.query(`update policies set conditions = ${isVerified} where id = $1`, [account.policyId]);
  await all.db.query(
    `update clients set verified_at = now(), verified_by = 'actor', device_serial = 'S1' where id = $1`,
    [account.clientId],
  );
  await untilApplied(all.db);
  const connectFrom = async (serial: string) =>
    await startClient({
      url: all.system.workerUrl,
      ...account.client,
      name: 'laptop',
      parameters: { device_serial: serial },
    });
  return { account, connectFrom, client: await connectFrom('S1') };
}

test('[P5.86] a verified client that connects with other hardware is cut, unverified in Postgres a moment later, and verified again by hand', async () => {
  const { account, connectFrom, client } = await verifiedAccount('unverified');
  const gateway = await startGateway({ url: all.system.workerUrl, ...account.gateway, name: 'Rack 1' });
  expect((await client.createFlow(account.resourceId)).event).toBe('flow_created');
  const other = await connectFrom('S2');
  await gateway.device.waitFor('the reject', isEvent('reject_access'));
  expect([...other.resources]).toEqual([]);
  expect((await other.createFlow(account.resourceId)).payload).toMatchObject({ reason: 'forbidden' });
  await untilRow(all.db, `select from clients where id = $1 and verified_at is null and device_serial = 'S2'`, [
    account.clientId,
  ]);
  await all.db.query(`update clients set verified_at = now(), verified_by = 'actor' where id = $1`, [account.clientId]);
  await other.device.waitFor('the resource', isEvent('resource_created_or_updated'));
  expect((await other.createFlow(account.resourceId)).event).toBe('flow_created');
});

test('[P5.87] the loss stays while Postgres cannot be told, the worker is killed and the row says verified, and explain says why', async () => {
  const { account, connectFrom } = await verifiedAccount('untold');
  const { accountId, clientId, resourceId } = account;
  const writing = 'execute on function drawbridge.write_devices(uuid, jsonb, jsonb)';
  await all.db.query(`revoke ${writing} from drawbridge_edge`);
  await connectFrom('S2');
  await all.system.killWorker();
  await all.system.startWorker();
  const again = await connectFrom('S2');
  await all.db.query('update clients set verified_at = now() where id = $1', [clientId]);
  await untilApplied(all.db);
  expect([...again.resources]).toEqual([]);
  const asked = { version: 1, account: accountId, client: clientId, resource: resourceId };
  const given = { token: null, remoteIp: null, region: null };
  const { workerUrl, ingestKey } = all.system;
  const answer = await askObject(workerUrl, ingestKey, explainPath, { ...asked, place: 'any', given }, explainAnswer);
  expect(answer.facts).toMatchObject({ isVerified: false, isVerificationLost: true });
  await all.db.query(`grant ${writing} to drawbridge_edge`);
  await untilRow(all.db, `select from clients where id = $1 and verified_at is null and device_serial = 'S2'`, [
    clientId,
  ]);
  again.device.close();
});

test('[P6.32] the name under which a gateway connects is that of its row a moment later', async () => {
  const account = await accountOf('renamed');
  const named = 'select name from gateways where id = $1';
  const [before] = (await all.db.query<{ name: string }>(named, [account.gatewayId])).rows;
  const gateway = await startGateway({ url: all.system.workerUrl, ...account.gateway, name: 'rack-9' });
  expect(await untilRow(all.db, `${named} and name <> $2`, [account.gatewayId, before?.name])).toEqual({
    name: 'rack-9',
  });
  gateway.device.close();
});

test('[P6.28] a quiet account whose object has lost its storage serves a device that connects', async () => {
  const account = await accountOf('lost');
  const before = await clientOf(account, account.client.externalId);
  await all.system.killWorker();
  await before.device.closed;
  await removeStorage(account.accountId);
  await all.system.startWorker();
  for (;;) {
    // Told to return until the rows have come.
    const client = await clientOf(account, account.client.externalId).catch(() => null);
    if (client === null) continue;
    expect(client.device.frames.some(isEvent('init'))).toBe(true);
    break;
  }
});

/** Removes what the account's object has stored, and nothing of any other object. */
async function removeStorage(accountId: string): Promise<void> {
  const directory = join(all.system.workerState, 'do');
  const names = (await readdir(directory, { recursive: true })).filter((name) =>
    /Account\/[0-9a-f]{64}\.sqlite/.test(name),
  );
  const objects = new Set<string>();
  for (const name of names) {
    const content = await readFile(join(directory, name), 'latin1');
    if (content.includes(accountId)) objects.add(name.replace(/\.sqlite.*$/, ''));
  }
  expect(objects.size).toBe(1);
  for (const name of names) if (objects.has(name.replace(/\.sqlite.*$/, ''))) await rm(join(directory, name));
}
