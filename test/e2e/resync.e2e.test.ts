// What an object asks the replicator for by itself, through Postgres: the snapshot without which it would grant nothing, or refuse a
// device for ever. Both take their time and are busy with nothing meanwhile, so they run beside each other.
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, test } from 'vitest';
import { askObject, askStatus } from '../../cli/status-http.ts';
import { answer } from '../../protocol/commit.ts';
import { createFirstAccount } from '../../dev/first-account.ts';
import { deliverPath } from '../../protocol/ingest.ts';
import { lsnToText, textToLsn } from '../../protocol/lsn.ts';
import { must } from '../../protocol/assert.ts';
import { startClient } from '../../devices/client.ts';
import { startTestSystem } from '../support/system.ts';
import { untilApplied } from '../support/told.ts';
import type { Client } from '../../devices/client.ts';
import type { FirstAccount } from '../../dev/first-account.ts';
import type { TestSystem } from '../support/system.ts';

let all: TestSystem;
let quiet: FirstAccount;
let contested: FirstAccount;
beforeAll(async () => {
  all = await startTestSystem();
  quiet = await createFirstAccount(all.db, all.system.tokenKeys, 'quiet');
  contested = await createFirstAccount(all.db, all.system.tokenKeys, 'contested');
  await untilApplied(all.db);
});
afterAll(async () => await all.stop());

const statusOf = async ({ accountId }: FirstAccount) =>
  await askStatus(all.system.workerUrl, all.system.ingestKey, { id: accountId, place: null });

/** Delivers what the stream never held, at the position after that of the object; `from` is so far beyond it. */
async function forge(account: FirstAccount, beyond: bigint, changes: object[]) {
  const { position, term } = await statusOf(account);
  const { epoch, lsn } = must(position, 'the position of an account that was delivered');
  const [from, to] = [textToLsn(lsn) + beyond, textToLsn(lsn) + beyond + 1n].map(lsnToText);
  const commit = { lsn: to, xid: '1', committedAtUs: Date.now() * 1000, changes };
  const sender = { version: 1, account: account.accountId, place: null, term, epoch };
  const question = { type: 'commits', ...sender, from, to, commits: [commit] };
  return await askObject(all.system.workerUrl, all.system.ingestKey, deliverPath, question, answer);
}

test.concurrent('[P6.36] an object that missed something is delivered by snapshot though nobody connects', async ({
  expect,
}) => {
  expect((await forge(quiet, 8n, [])).type).toBe('gap');
  expect((await statusOf(quiet)).stale).toBe(true);
  await expect.poll(async () => (await statusOf(quiet)).stale, { interval: 1000, timeout: 60_000 }).toBe(false);
});

test.concurrent('[P6.37] a device that Postgres refuses for a row that its object has not has the row brought', async ({
  expect,
}) => {
  expect((await forge(contested, 0n, [{ op: 'truncate', seq: 0, table: 'clients' }])).type).toBe('applied');
  await (
    await untilConnected(contested)
  ).device.closed;
  expect(await sessionsOf(contested)).toBe(0);
  await untilConnected(contested);
  await expect.poll(async () => await sessionsOf(contested), { timeout: 10_000 }).toBe(1);
});

/** Tries again, as a device does that is told to come back. */
async function untilConnected(account: FirstAccount): Promise<Client> {
  for (;;) {
    const client = await startClient({ url: all.system.workerUrl, ...account.client, name: 'laptop' }).catch(
      () => null,
    );
    if (client !== null) return client;
    await pause(1000);
  }
}

/** Connections under the row that Postgres has. */
async function sessionsOf({ clientId }: FirstAccount): Promise<number> {
  const { rowCount } = await all.db.query('select from drawbridge.client_sessions where client_id = $1', [clientId]);
  return rowCount ?? 0;
}
