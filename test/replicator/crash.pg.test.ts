// Postgres itself crashes: the slot may go back, and what comes again is taken once.
import { afterAll, beforeAll, expect, test } from 'vitest';
import pg from 'pg';
import { migrate } from '../../dev/migrate.ts';
import { removeDataDir, startPostgres, type RunningPostgres } from '../../dev/postgres.ts';
import { setRolePassword } from '../../dev/role-password.ts';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { startFakeWorker } from '../support/fake-worker.ts';
import { ingestKey, startReplicator } from '../support/replicator.ts';

let dataDir: string;
let postgres: RunningPostgres;
beforeAll(async () => {
  dataDir = join(mkdtempSync(join(tmpdir(), 'drawbridge-crash-')), 'data');
  postgres = await startPostgres({ dataDir });
  await migrate(postgres.url);
});
afterAll(async () => {
  await postgres.stop();
  await removeDataDir(dataDir);
  rmSync(dirname(dataDir), { recursive: true, force: true });
});

test('[P2.22][LAB-CR] after a crash of Postgres every commit has been applied once, in order, without a snapshot', async () => {
  const worker = await startFakeWorker(ingestKey);
  const replicator = startReplicator({
    REPLICATOR_DATABASE_URL: await setRolePassword(postgres.url, 'drawbridge_replicator', 'secret'),
    WORKER_URL: worker.url,
  });
  await replicator.event('streaming');
  const account = await rename(postgres.url, null, 1, 20);
  const isAt = (name: string) => worker.accounts.get(account)?.rows.get(`accounts ["${account}"]`)?.['name'] === name;
  await worker.until('the first names', () => isAt('name 20'));
  await untilRecorded(postgres.url, account);

  await postgres.stopImmediately();
  postgres = await startPostgres({ dataDir, port: postgres.port });
  await rename(postgres.url, account, 21, 40);
  await worker.until('the last name', () => isAt('name 40'));

  const names = worker.accounts
    .get(account)
    ?.commits.flatMap((commit) => commit.changes.map((change) => ('new' in change ? change.new['name'] : null)));
  expect(names).toEqual(Array.from({ length: 40 }, (_, index) => `name ${index + 1}`));
  expect(worker.accounts.get(account)?.snapshots).toBe(0);
  expect(worker.violations).toEqual([]);
  expect(await replicator.kill('SIGTERM')).toBe(0);
  await worker.close();
});

/** Gives the account, or one that it creates, the names from `first` to `last`, each in a transaction of its own. */
async function rename(url: string, account: string | null, first: number, last: number): Promise<string> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  let id = account;
  for (let number = first; number <= last; number += 1) {
    const { rows } = await client.query<{ id: string }>(
      id === null
        ? `insert into accounts (name) values ('name ${number}') returning id::text`
        : `update accounts set name = 'name ${number}' where id = '${id}' returning id::text`,
    );
    id = rows[0]?.id ?? null;
  }
  await client.end();
  return id ?? '';
}

/** Polls, since Postgres does not announce it: an account without a lane would rightly be delivered by snapshot. */
async function untilRecorded(url: string, account: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const deadline = performance.now() + 20_000;
  let isRecorded = false;
  while (!isRecorded && performance.now() < deadline) {
    const { rowCount } = await client.query('select from drawbridge.lanes where account_id = $1', [account]);
    isRecorded = rowCount === 1;
  }
  await client.end();
  expect(isRecorded).toBe(true);
}
