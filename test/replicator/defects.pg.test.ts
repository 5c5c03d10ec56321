// The old portal's defects of its change streams, each by its name; those of decisions are in test/core/defects.test.ts.
import { expect, test } from 'vitest';
import { sharedAccountId } from '../../protocol/ids.ts';
import { startReplicator, ingestKey, type TestDatabase } from '../support/replicator.ts';
import { startFakeWorker } from '../support/fake-worker.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import {
  insertSharedToken,
  changesOf,
  createAccount,
  nameOf,
  renameAccount,
  startAll,
  useTestServer,
} from './system.ts';

const { server, closers } = useTestServer();

test('[P1.59][D14] deleting a token of shared relays, which belongs to no account, stops nobody and is logged', async () => {
  const { database, worker, replicator } = await startAll(server, closers);
  await insertSharedToken(database, 'shared');
  await database.query('delete from tokens');
  const account = await createAccount(database);
  await worker.until('what follows', () => nameOf(worker, account) === 'an account');
  await database.untilTrue(`select count(*) = 2 from drawbridge.change_logs where "table" = 'tokens'`);

  const { rows } = await database.query(
    `select op, account_id::text as account from drawbridge.change_logs where "table" = 'tokens' order by commit_end_lsn`,
  );
  expect(rows).toEqual([
    { op: 'insert', account: sharedAccountId },
    { op: 'delete', account: sharedAccountId },
  ]);
  expect(replicator.lines.filter((line) => line.level === 'error')).toEqual([]);
});

test('[P1.60][D17] the slot advances without a row to log, and a restart takes nothing back', async () => {
  const { database, replicator, restart } = await startAll(server, closers);
  await database.query('create table unpublished (id int)');
  await passes(database, 'insert into unpublished select generate_series(1, 1000)');
  await replicator.kill('SIGKILL');
  const { rows } = await database.query(
    'select confirmed_flush_lsn::text as lsn from pg_replication_slots where slot_name = $1',
    [database.name],
  );
  await restart();
  await passes(database, 'insert into unpublished select generate_series(1, 1000)');

  const after = await database.query(
    `select confirmed_flush_lsn > $2::pg_lsn as has_advanced, (select count(*)::int from drawbridge.change_logs where op <> 'hole') as logged
       from pg_replication_slots where slot_name = $1`,
    [database.name, rows[0]?.['lsn']],
  );
  expect(after.rows).toEqual([{ has_advanced: true, logged: 0 }]);
});

test('[P15.41][D18] however many runs fail, one is under way at a time, each after a wait of its own, until one streams', async () => {
  const database = await server.createDatabase();
  const proxy = await startTcpProxy(() => Number(new URL(database.replicatorUrl).port));
  const worker = await startFakeWorker(ingestKey);
  closers.push(proxy.close, worker.close);
  const url = new URL(database.replicatorUrl);
  url.port = String(proxy.port);
  proxy.refuse();
  const replicator = startReplicator({
    REPLICATOR_DATABASE_URL: url.href,
    WORKER_URL: worker.url,
    DRAWBRIDGE_SLOT: database.name,
  });
  closers.push(() => replicator.kill('SIGKILL'));
  await replicator.line('the fifth attempt', (line) => line.event === 'run_again' && line['attempt'] === 5);
  proxy.pass();
  await replicator.event('streaming');
  const account = await createAccount(database);
  await worker.until('the birth', () => nameOf(worker, account) === 'an account');

  const runs = replicator.lines.filter((line) => ['run_failed', 'run_again', 'streaming'].includes(line.event));
  const attempts = runs.filter((line) => line.event === 'run_again').map((line) => line['attempt']);
  expect(attempts).toEqual(attempts.map((_, index) => index + 1));
  expect(runs.map((line) => line.event)).toEqual([...attempts.flatMap(() => ['run_failed', 'run_again']), 'streaming']);
  const { rows } = await database.query(
    `select count(*)::int as walsenders from pg_stat_replication where application_name = 'drawbridge_replicator'`,
  );
  expect(rows).toEqual([{ walsenders: 1 }]);
});

test('[P3.10][D30] whatever is committed while an account is read for the first time reaches it', async () => {
  const database = await server.createDatabase();
  const account = await createAccount(database);
  await database.query(
    `insert into actors (account_id, type, name) select $1, 'service_account', n from generate_series(1, 2000) n`,
    [account],
  );
  const state = { isWriting: true, last: '' };
  const writing = (async () => {
    for (let number = 1; state.isWriting; number += 1) {
      state.last = `name ${number}`;
      await renameAccount(database, account, state.last);
    }
  })();
  const { worker } = await startAll(server, closers, database);
  await worker.until('the snapshot', () => worker.accounts.get(account)?.snapshots === 1);
  await worker.until('commits after it', () => changesOf(worker, account).length > 10);
  state.isWriting = false;
  await writing;

  await worker.until('the last name', () => nameOf(worker, account) === state.last);
  expect(worker.violations).toEqual([]);
});

test('[P3.11][D32] a large value that did not change stands in every later change whole, in the log too', async () => {
  const { database, worker } = await startAll(server, closers);
  const account = await createAccount(database);
  await database.query(
    `insert into resources (account_id, name, type, address, filters)
     select $1, 'r', 'cidr', '10.0.0.0/8', jsonb_agg(jsonb_build_object('protocol', 'tcp', 'ports', jsonb_build_array(n::text)))
       from generate_series(1, 5000) n`,
    [account],
  );
  await database.query(`update resources set name = 'renamed'`);
  await worker.until('the rename', () => changesOf(worker, account).length === 3);
  await database.untilTrue(`select count(*) = 3 from drawbridge.change_logs where op <> 'hole'`);

  const { rows } = await database.query(
    `select l.data -> 'filters' = r.filters and l.old_data -> 'filters' = r.filters as is_whole, jsonb_array_length(r.filters) as filters
       from drawbridge.change_logs l, resources r where l."table" = 'resources' and l.op = 'update'`,
  );
  expect(rows).toEqual([{ is_whole: true, filters: 5_000 }]);
  const [, inserted, updated] = changesOf(worker, account);
  expect(updated).toMatchObject({
    op: 'update',
    new: { filters: inserted !== undefined && 'new' in inserted ? inserted.new['filters'] : null },
  });
  expect(worker.violations).toEqual([]);
});

/** Runs the statement and waits until the slot has passed it. */
async function passes(database: TestDatabase, statement: string): Promise<void> {
  await database.query(statement);
  const { rows } = await database.query('select pg_current_wal_insert_lsn()::text as lsn');
  await database.untilTrue('select confirmed_flush_lsn >= $2::pg_lsn from pg_replication_slots where slot_name = $1', [
    database.name,
    rows[0]?.['lsn'],
  ]);
}
