// Published tables that are altered: rows change without an event in the stream.
import { expect, test } from 'vitest';
import { ColumnWatch, publishedColumns, resyncsAtOnceMax, type Columns } from '../../replicator/columns.ts';
import type { AccountId } from '../../protocol/ids.ts';
import { createAccount, nameOf, renameAccount, startAll, untilRecorded, type All, useTestServer } from './system.ts';

const { server, closers } = useTestServer();

const rewrite = 'alter table actors alter column name type text using upper(name)';

async function addActor({ database }: All, account: string): Promise<void> {
  await database.query(`insert into actors (account_id, type, name) values ($1, 'service_account', 'robot')`, [
    account,
  ]);
}

function actorNames({ worker }: All, account: string): unknown[] {
  return [...(worker.accounts.get(account)?.rows ?? [])].flatMap(([key, row]) =>
    key.startsWith('actors ') ? [row['name']] : [],
  );
}

test('[P1.72] [LAB-21] a rewrite of a column while the stream is read delivers the accounts with such rows anew, and no others', async () => {
  const all = await startAll(server, closers);
  const { database, worker, replicator } = all;
  const [one, other] = [await createAccount(database), await createAccount(database)];
  await addActor(all, one);
  await untilRecorded(database, one);
  await database.untilTrue('select columns is not null from drawbridge.streams');

  await database.query(rewrite);

  await worker.until('the rewritten row', () => actorNames(all, one)[0] === 'ROBOT');
  expect(await replicator.event('columns_altered')).toMatchObject({ tables: 'actors', accounts: 1 });
  await renameAccount(database, other, 'after');
  await worker.until('what follows', () => nameOf(worker, other) === 'after');
  expect([worker.accounts.get(one)?.snapshots, worker.accounts.get(other)?.snapshots]).toEqual([1, 0]);
  expect(worker.violations).toEqual([]);
});

test('[P2.44] a primary key that was away delivers the accounts with such rows anew, since two of them may have had one key', async () => {
  const all = await startAll(server, closers);
  const { database, worker, replicator } = all;
  const account = await createAccount(database);
  await addActor(all, account);
  await untilRecorded(database, account);
  await database.untilTrue('select columns is not null from drawbridge.streams');
  await database.query(
    'alter table actors drop constraint actors_pkey cascade; alter table actors add primary key (id)',
  );

  await worker.until('the snapshot', () => worker.accounts.get(account)?.snapshots === 1);

  expect(await replicator.event('columns_altered')).toMatchObject({ tables: 'actors', accounts: 1 });
  expect(worker.violations).toEqual([]);
});

test('[P1.73] a rewrite while no replicator runs is noticed at the start, and done again by the next where one dies on the way', async () => {
  const all = await startAll(server, closers);
  const { database, worker, replicator, restart } = all;
  const account = await createAccount(database);
  await addActor(all, account);
  await untilRecorded(database, account);
  await database.untilTrue('select columns is not null from drawbridge.streams');
  await replicator.kill('SIGKILL');
  await database.query(rewrite);
  worker.intercept = ({ type }) => (type === 'snapshot' ? 'hang' : null);
  const second = await restart();
  await worker.until('the snapshot that is not answered', () =>
    worker.deliveries.some(({ type }) => type === 'snapshot'),
  );
  await second.kill('SIGKILL');
  worker.intercept = () => null;

  await restart();

  await worker.until('the rewritten row', () => actorNames(all, account)[0] === 'ROBOT');
  expect(worker.violations).toEqual([]);
});

test('[P1.90] a rewrite of what says which flows are live delivers their accounts anew, other columns of the ledger nobody', async () => {
  const all = await startAll(server, closers);
  const { database, worker, replicator } = all;
  const [live, ended] = [await createAccount(database), await createAccount(database)];
  const insertFlow = `insert into flows (id, account_id, client_id, resource_id, gateway_id, policy_id, actor_id, token_id,
      inserted_at, expires_at, ended_at, revision)
    select n, $1, n, n, n, n, n, n, now(), 'infinity', $2, 1 from (select gen_random_uuid() as n) as ids`;
  await database.query(insertFlow, [live, null]);
  await database.query(insertFlow, [ended, new Date()]);
  await untilRecorded(database, ended);
  await database.untilTrue('select columns is not null from drawbridge.streams');
  const columns = async () => (await database.query(publishedColumns('$1'), [['drawbridge', 'drawbridge_flows']])).rows;
  const before = await columns();
  await database.query('alter table flows add column note text');
  expect(await columns()).toEqual(before);

  await database.query('alter table flows alter column id type uuid using gen_random_uuid()');

  await worker.until('the snapshot', () => worker.accounts.get(live)?.snapshots === 1);
  expect(await replicator.event('columns_altered')).toMatchObject({ tables: 'flows', accounts: 1 });
  const { rows } = await database.query('select id::text from flows where account_id = $1', [live]);
  expect(worker.deliveries.find(({ type }) => type === 'snapshot')).toMatchObject({
    account: live,
    rows: { flows: rows },
  });
  await expect(
    database.query('alter table flows alter column ended_at type timestamp with time zone using now()'),
  ).rejects.toThrow('used by a publication WHERE clause');
});

test('[P15.44] altered columns deliver a bounded number of accounts at a time, and are on record once all have been', async () => {
  const { client, query } = await server.createDatabase();
  await query(`insert into accounts (name) select 'account ' || n from generate_series(1, 120) n`);
  const asked: AccountId[][] = [];
  const recorded: Columns[] = [];
  const delivered = new Set<AccountId>();
  const watch = new ColumnWatch({
    client,
    recorded: { accounts: 'before' },
    record: async (columns) => {
      recorded.push(columns);
      await Promise.resolve();
    },
    resync: (accounts) => void asked.push([...accounts]),
    isDelivered: (account) => delivered.has(account),
    log: () => {},
  });
  const present = { accounts: 'after' };

  await watch.check(present);
  await watch.check(present);
  expect(asked.map(({ length }) => length)).toEqual([resyncsAtOnceMax, 0]);
  for (const account of asked.flat()) delivered.add(account);
  await watch.check(present);
  for (const account of asked.flat()) delivered.add(account);
  await watch.check(present);
  expect(recorded).toEqual([]);
  for (const account of asked.flat()) delivered.add(account);
  await watch.check(present);

  expect(new Set(asked.flat()).size).toBe(120);
  expect(recorded).toEqual([present]);
  await watch.check(present);
  expect(recorded).toHaveLength(1);
});
