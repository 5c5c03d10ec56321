// Rows that belong to no account, with real Postgres: they have a lane of their own.
import { expect, test } from 'vitest';
import { sharedAccountId } from '../../protocol/ids.ts';
import type { FakeWorker } from '../support/fake-worker.ts';
import { insertSharedToken, startAll, useTestServer } from './system.ts';

const { server, closers } = useTestServer();

test('[P2.40] rows of no account are delivered to the shared one, by snapshot at first and then by commits', async () => {
  const database = await server.createDatabase();
  await insertSharedToken(database, 'before');
  const { worker } = await startAll(server, closers, database);
  await worker.until('the snapshot', () => namesOf(worker).includes('before'));
  await insertSharedToken(database, 'after');
  await database.query(`delete from tokens where name = 'before'`);

  await worker.until('the commits', () => !namesOf(worker).includes('before'));

  expect(namesOf(worker)).toEqual(['after']);
  expect(worker.accounts.get(sharedAccountId)?.snapshots).toBe(1);
  expect(worker.violations).toEqual([]);
});

/** Of the tokens. */
function namesOf(worker: FakeWorker): unknown[] {
  return [...(worker.accounts.get(sharedAccountId)?.rows ?? [])].flatMap(([key, row]) =>
    key.startsWith('tokens ') ? [row['name']] : [],
  );
}
