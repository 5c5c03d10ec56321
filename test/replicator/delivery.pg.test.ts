// The stream from COMMIT to the objects, with real Postgres and a fake worker: what arrives, how often, in which order.
import { expect, test } from 'vitest';
import {
  changesOf,
  createAccount,
  hasTruncate,
  nameOf,
  newNames,
  renameAccount,
  startAll,
  toPg,
  untilRecorded,
  useTestServer,
} from './system.ts';

const { server, closers } = useTestServer();

test('[P3.1] commits of one account arrive in commit order, one delivery at a time', async () => {
  const { database, worker } = await startAll(server, closers);
  const account = await createAccount(database);
  for (let number = 1; number <= 200; number += 1) await renameAccount(database, account, `name ${number}`);

  await worker.until('all renames', () => nameOf(worker, account) === 'name 200');

  const names = changesOf(worker, account).map((change) => ('new' in change ? change.new['name'] : null));
  expect(names).toEqual(['an account', ...Array.from({ length: 200 }, (_, index) => `name ${index + 1}`)]);
  expect(worker.violations).toEqual([]);
});

test('[P3.2] a transaction arrives whole: subtransactions that were rolled back leave nothing, released ones keep their place', async () => {
  const { database, worker } = await startAll(server, closers);
  const account = await createAccount(database);
  await database.query(`do $$ begin
    insert into actors (account_id, type, name) values ('${account}', 'service_account', 'first');
    begin
      insert into actors (account_id, type, name) values ('${account}', 'service_account', 'undone');
      raise exception 'undo';
    exception when raise_exception then null; end;
    begin
      insert into actors (account_id, type, name) values ('${account}', 'service_account', 'second');
    end;
  end $$`);

  await worker.until('the actors', () => changesOf(worker, account).length === 3);

  const [, commit] = worker.accounts.get(account)?.commits ?? [];
  expect(commit?.changes.map((change) => [change.seq, 'new' in change ? change.new['name'] : null])).toEqual([
    [0, 'first'],
    [1, 'second'],
  ]);
});

test('[P3.3][LAB-K] transactions that overlap arrive in the order of their commits', async () => {
  const { database, worker, connect } = await startAll(server, closers);
  const account = await createAccount(database);
  const [one, two] = [await connect(), await connect()];
  await one.query('begin');
  await one.query(`insert into actors (account_id, type, name) values ($1, 'service_account', 'begun first')`, [
    account,
  ]);
  await two.query('begin');
  await two.query(`insert into actors (account_id, type, name) values ($1, 'service_account', 'begun second')`, [
    account,
  ]);
  await two.query('commit');
  await one.query('commit');

  await worker.until('both', () => changesOf(worker, account).length === 3);

  expect(newNames(worker, account)).toEqual(['an account', 'begun second', 'begun first']);
  expect(worker.violations).toEqual([]);
});

test('[P3.4] an unchanged value stored out of line arrives with every update of its row', async () => {
  const { database, worker } = await startAll(server, closers);
  const account = await createAccount(database);
  await database.query(
    `update accounts set config = jsonb_build_object('note', (select string_agg(md5(n::text), '') from generate_series(1, 20000) n))
      where id = $1`,
    [account],
  );
  await renameAccount(database, account, 'renamed');

  await worker.until('the rename', () => nameOf(worker, account) === 'renamed');

  const last = changesOf(worker, account).at(-1);
  const config = last !== undefined && 'new' in last ? last.new['config'] : null;
  expect(String(config)).toHaveLength(20_000 * 32 + '{"note": ""}'.length);
  expect(worker.violations).toEqual([]);
});

test('[P2.1] an update of a key arrives as a delete and an insert with two seqs', async () => {
  const { database, worker } = await startAll(server, closers);
  const account = await createAccount(database);
  await database.query(`insert into actors (account_id, type, name) values ($1, 'service_account', 'an actor')`, [
    account,
  ]);
  await database.query(`update actors set id = gen_random_uuid() where account_id = $1`, [account]);

  await worker.until('the move', () => worker.accounts.get(account)?.commits.length === 3);

  const moved = worker.accounts.get(account)?.commits[2]?.changes.map((change) => [change.op, change.seq]);
  expect(moved).toEqual([
    ['delete', 0],
    ['insert', 1],
  ]);
  expect(worker.violations).toEqual([]);
});

test('[P2.2][LAB-K] rows of COPY, which share one LSN, all arrive', async () => {
  const { database, worker } = await startAll(server, closers);
  const account = await createAccount(database);
  // COPY FROM PROGRAM needs no client support and runs the same multi-insert.
  await database.query(
    `copy actors (account_id, type, name) from program 'for n in 1 2 3 4 5 6 7 8 9; do echo "${account},service_account,copy $n"; done' csv`,
  );

  await worker.until('the copy', () => changesOf(worker, account).length === 10);

  expect(worker.accounts.get(account)?.commits[1]?.changes.map((change) => change.seq)).toEqual([
    0, 1, 2, 3, 4, 5, 6, 7, 8,
  ]);
});

test('[P2.3] truncate arrives at its place in its commit, for every known account', async () => {
  const { database, worker, connect } = await startAll(server, closers);
  const [one, other] = [await createAccount(database), await createAccount(database)];
  await database.query(`insert into actors (account_id, type, name) values ($1, 'service_account', 'before')`, [one]);
  const client = await connect();
  await client.query('begin');
  await client.query('truncate actors cascade');
  await client.query(`insert into actors (account_id, type, name) values ($1, 'service_account', 'after')`, [one]);
  await client.query('commit');

  await worker.until('the truncate', () => [one, other].every((account) => hasTruncate(worker, account)));
  await worker.until('the insert', () => newNames(worker, one).includes('after'));

  const held = [...(worker.accounts.get(one)?.rows.keys() ?? [])].filter((key) => key.startsWith('actors '));
  expect(held).toHaveLength(1);
  expect(worker.violations).toEqual([]);
});

test('[P2.4] an account born in the stream is delivered without a snapshot, from null', async () => {
  const { database, worker } = await startAll(server, closers);
  const account = await createAccount(database);

  await worker.until('the birth', () => nameOf(worker, account) === 'an account');

  const [first] = worker.deliveries.filter((delivery) => delivery.account === account);
  expect(first).toMatchObject({ type: 'commits', from: null });
  expect(worker.accounts.get(account)?.snapshots).toBe(0);
});

test('[P1.1][LAB-C] what was committed while the replicator was killed and the worker down is delivered once, in order', async () => {
  const { database, worker, replicator, restart } = await startAll(server, closers);
  const account = await createAccount(database);
  await worker.until('the birth', () => nameOf(worker, account) === 'an account');
  await untilRecorded(database, account);
  worker.intercept = () => 503;
  await renameAccount(database, account, 'while down');
  await worker.until('an attempt', () => worker.deliveries.length > 1);
  await replicator.kill('SIGKILL');
  await renameAccount(database, account, 'while killed');
  worker.intercept = () => null;

  await restart();
  await worker.until('both renames', () => nameOf(worker, account) === 'while killed');

  expect(newNames(worker, account)).toEqual(['an account', 'while down', 'while killed']);
  expect(worker.accounts.get(account)?.snapshots).toBe(0);
  expect(worker.violations).toEqual([]);
});

test('[P1.2] after a restart the lane goes on from the lanes table, and what was confirmed is not sent again', async () => {
  const { database, worker, replicator, restart } = await startAll(server, closers);
  const account = await createAccount(database);
  await worker.until('the birth', () => nameOf(worker, account) === 'an account');
  await untilRecorded(database, account);
  expect(await replicator.kill('SIGTERM')).toBe(0);
  const sent = worker.deliveries.length;

  await restart();
  await renameAccount(database, account, 'renamed');
  await worker.until('the rename', () => nameOf(worker, account) === 'renamed');

  const again = worker.deliveries.slice(sent);
  expect(again).toHaveLength(1);
  expect(again[0]).toMatchObject({ type: 'commits', from: worker.accounts.get(account)?.commits[0]?.lsn });
});

test('[P1.3][LAB-A] nothing is confirmed past a commit that one of its objects does not hold', async () => {
  const { database, worker } = await startAll(server, closers);
  const [stuck, other] = [await createAccount(database), await createAccount(database)];
  await worker.until('both', () => [stuck, other].every((account) => nameOf(worker, account) === 'an account'));
  worker.intercept = (delivery) => (delivery.account === stuck ? 503 : null);
  await renameAccount(database, stuck, 'stuck');
  await worker.until('the attempt', () => worker.deliveries.at(-1)?.account === stuck);
  const last = worker.deliveries.at(-1);
  const refused = last?.type === 'commits' ? last.to : '';
  await renameAccount(database, other, 'later');
  await worker.until('the other', () => nameOf(worker, other) === 'later');
  await database.untilTrue('select to_lsn >= $2::pg_lsn from drawbridge.lanes where account_id = $1', [
    other,
    toPg(worker.accounts.get(other)?.position?.lsn ?? ''),
  ]);

  const { rows } = await database.query(
    'select confirmed_flush_lsn < $2::pg_lsn as is_kept from pg_replication_slots where slot_name = $1',
    [database.name, toPg(refused)],
  );
  expect(rows).toEqual([{ is_kept: true }]);
});

test('[P12.1] an object that does not answer delays no other account', async () => {
  const { database, worker } = await startAll(server, closers);
  const [stuck, free] = [await createAccount(database), await createAccount(database)];
  await worker.until('both', () => [stuck, free].every((account) => nameOf(worker, account) === 'an account'));
  worker.intercept = (delivery) => (delivery.account === stuck ? 'hang' : null);
  await renameAccount(database, stuck, 'hangs');
  await worker.until('the hang', () => worker.deliveries.at(-1)?.account === stuck);
  for (let number = 1; number <= 20; number += 1) await renameAccount(database, free, `free ${number}`);

  await worker.until('the free account', () => nameOf(worker, free) === 'free 20');

  expect(nameOf(worker, stuck)).toBe('an account');
});

test('[P15.1] what arrives while a lane waits travels in one delivery once it goes on', async () => {
  const { database, worker } = await startAll(server, closers);
  const account = await createAccount(database);
  await worker.until('the birth', () => nameOf(worker, account) === 'an account');
  worker.intercept = () => 503;
  for (let number = 1; number <= 50; number += 1) await renameAccount(database, account, `name ${number}`);
  await worker.until('an attempt', () => worker.deliveries.length > 1);
  worker.intercept = () => null;

  await worker.until('all', () => nameOf(worker, account) === 'name 50');

  const used = worker.deliveries.filter((delivery) => delivery.type === 'commits' && delivery.commits.length > 1);
  expect(used.length).toBeGreaterThan(0);
  expect(worker.accounts.get(account)?.commits).toHaveLength(51);
  expect(worker.violations).toEqual([]);
});

test('[P15.19][LAB-F2] reading pauses while more than a window of bytes waits for answers, and nothing is lost by it', async () => {
  const { database, worker, replicator } = await startAll(server, closers);
  const account = await createAccount(database);
  await worker.until('the birth', () => nameOf(worker, account) === 'an account');
  worker.intercept = () => 503;
  for (let number = 1; number <= 25; number += 1) {
    await database.query(`update accounts set config = jsonb_build_object('note', repeat($2, 900000)) where id = $1`, [
      account,
      String(number % 10),
    ]);
  }
  await replicator.event('reading_paused');
  await renameAccount(database, account, 'the end');
  worker.intercept = () => null;

  await worker.until('the end', () => nameOf(worker, account) === 'the end');

  await replicator.event('reading_resumed');
  expect(worker.accounts.get(account)?.commits).toHaveLength(27);
  expect(worker.violations).toEqual([]);
});

test('[P1.29] WAL that holds nothing of ours is confirmed too, so an idle slot does not keep it', async () => {
  const { database, worker } = await startAll(server, closers);
  await database.query('create table unpublished (id int)');
  await database.query('insert into unpublished select generate_series(1, 1000)');
  const { rows } = await database.query('select pg_current_wal_insert_lsn()::text as lsn');

  await database.untilTrue('select confirmed_flush_lsn >= $2::pg_lsn from pg_replication_slots where slot_name = $1', [
    database.name,
    rows[0]?.['lsn'],
  ]);

  expect(worker.deliveries).toEqual([]);
});
