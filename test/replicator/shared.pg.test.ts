// Rows that belong to no account, with real Postgres: they have a lane of their own.
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { sharedAccountId } from '../../protocol/ids.ts';
import type { FakeWorker } from '../support/fake-worker.ts';
import { startTestServer, type TestDatabase, type TestServer } from '../support/replicator.ts';
import { startAll } from './system.ts';

let server: TestServer;
const closers: (() => Promise<unknown>)[] = [];
beforeAll(async () => {
  server = await startTestServer();
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});
afterAll(() => server.stop());

test('[P2.40] rows of no account are delivered to the shared one, by snapshot at first and then by commits', async () => {
  const database = await server.createDatabase();
  await allowSharedTokens(database);
  await insertToken(database, 'before');
  const { worker } = await startAll(server, closers, database);
  await worker.until('the snapshot', () => namesOf(worker).includes('before'));
  await insertToken(database, 'after');
  await database.query(`delete from tokens where name = 'before'`);

  await worker.until('the commits', () => !namesOf(worker).includes('before'));

  expect(namesOf(worker)).toEqual(['after']);
  expect(worker.accounts.get(sharedAccountId)?.snapshots).toBe(1);
  expect(worker.violations).toEqual([]);
});

/** Whatever the table asks of a token otherwise. */
async function allowSharedTokens(database: TestDatabase): Promise<void> {
  await database.query(`alter table tokens alter column account_id drop not null`);
  await database.query(`do $$ declare name text; begin
    for name in select conname from pg_constraint where conrelid = 'tokens'::regclass and contype = 'c' loop
      execute format('alter table tokens drop constraint %I', name);
    end loop; end $$`);
}

async function insertToken(database: TestDatabase, name: string): Promise<void> {
  await database.query(
    `insert into tokens (type, name, secret_salt, secret_hash) values ('relay_group', $1, 's', repeat('0a', 32))`,
    [name],
  );
}

function namesOf(worker: FakeWorker): unknown[] {
  return [...(worker.accounts.get(sharedAccountId)?.rows.values() ?? [])].map((row) => row['name']);
}
