// Snapshots of accounts with real Postgres: what they hold, what they may not undo, and that a row reads the same by
// either way.
import pg from 'pg';
import * as v from 'valibot';
import { expect, test } from 'vitest';
import type { WireRow } from '../../protocol/commit.ts';
import { accountId, type AccountId } from '../../protocol/ids.ts';
import { tableNames, type TableName } from '../../protocol/tables.ts';
import { clientConfig } from '../../replicator/connection.ts';
import { readAccount, UnseenError } from '../../replicator/snapshot.ts';
import { composeSteering } from '../../replicator/steering.ts';
import { keyOf, startFakeWorker, type FakeWorker } from '../support/fake-worker.ts';
import { ingestKey, startReplicator, type TestDatabase } from '../support/replicator.ts';
import { useTestServer } from './system.ts';

const { server, closers } = useTestServer();

test('[P1.8] [LAB-1] an account older than the slot is delivered by snapshot while writers go on, and ends as the database has it', async () => {
  const database = await server.createDatabase();
  const account = await createAccount(database);
  for (let number = 0; number < 300; number += 1) await createActor(database, account, `old ${number}`);
  const worker = await startWorker();
  const writing = new AbortController();
  const writers = Array.from({ length: 4 }, async (_, writer) => {
    const client = await connect(database.ownerUrl);
    for (let number = 0; !writing.signal.aborted || number < 50; number += 1) {
      await client.query(`insert into actors (account_id, type, name) values ($1, 'service_account', $2)`, [
        account,
        `new ${writer} ${number}`,
      ]);
      await client.query(
        `update actors set name = name || '!' where id = (select id from actors order by random() limit 1)`,
      );
      await client.query(
        `delete from actors where id = (select id from actors where name like 'old%' order by random() limit 1)`,
      );
    }
  });
  await startAndStream(database, worker);
  await worker.until('the snapshot', () => (worker.accounts.get(account)?.snapshots ?? 0) > 0);
  writing.abort();
  await Promise.all(writers);
  await database.query(`update accounts set name = 'the end' where id = $1`, [account]);

  await worker.until('the end', () => rowsOf(worker, account, 'accounts')[0]?.['name'] === 'the end');

  const { rows } = await database.query(`select id::text, name from actors where account_id = $1 order by id`, [
    account,
  ]);
  const held = rowsOf(worker, account, 'actors').map((row) => ({ id: row['id'], name: row['name'] }));
  expect(held.toSorted((a, b) => (String(a.id) < String(b.id) ? -1 : 1))).toEqual(rows);
  expect(worker.violations).toEqual([]);
});

test('[P1.9] after a gap the lane is held, delivered by snapshot, and goes on from its marker', async () => {
  const database = await server.createDatabase();
  const worker = await startWorker();
  await startAndStream(database, worker);
  const account = await createAccount(database);
  await worker.until('the birth', () => rowsOf(worker, account, 'accounts').length === 1);
  const held = worker.accounts.get(account);
  if (held !== undefined) Object.assign(held, { position: null, rows: new Map() });
  await createActor(database, account, 'after the loss');
  await worker.until('the snapshot', () => held?.snapshots === 1);
  await createActor(database, account, 'after the snapshot');

  await worker.until('both', () => rowsOf(worker, account, 'actors').length === 2);

  expect(worker.deliveries.filter((delivery) => delivery.account === account).map((delivery) => delivery.type)).toEqual(
    ['commits', 'commits', 'snapshot', 'commits'],
  );
  expect(worker.violations).toEqual([]);
});

test('[P1.10] a slot that is gone opens an epoch, in which every account that ever had a lane is delivered by snapshot', async () => {
  const database = await server.createDatabase();
  const worker = await startWorker();
  const replicator = await startAndStream(database, worker);
  const [kept, deleted] = [await createAccount(database), await createAccount(database)];
  await database.untilTrue('select count(*) = 2 from drawbridge.lanes');
  await replicator.kill('SIGTERM');
  await database.query('select pg_drop_replication_slot($1)', [database.name]);
  await database.query('delete from accounts where id = $1', [deleted]);

  await startAndStream(database, worker);
  await worker.until('both', () => [kept, deleted].every((account) => worker.accounts.get(account)?.snapshots === 1));

  expect(worker.accounts.get(kept)?.position?.epoch).toBe(2);
  expect(worker.accounts.get(deleted)?.rows.size).toBe(0);
  const epochs = await database.query('select epoch::int, reason, slot_name from drawbridge.epochs order by epoch');
  expect(epochs.rows.map((row) => row['epoch'])).toEqual([1, 2]);
});

test('[P1.11] [LAB-1] a snapshot waits until it sees every transaction given, and gives up in the end', async () => {
  const database = await server.createDatabase();
  const account = await createAccount(database);
  const writer = await connect(database.ownerUrl);
  await writer.query('begin');
  await writer.query(`insert into actors (account_id, type, name) values ($1, 'service_account', 'late')`, [account]);
  const { rows } = await writer.query<{ xid: string }>('select pg_current_xact_id()::text as xid');
  const xid = BigInt(rows[0]?.xid ?? 0);
  const reader = await connect(database.replicatorUrl);

  const reading = readAccount(reader, account, [xid], () => 0);
  await writer.query('commit');

  expect((await reading).rows.actors).toHaveLength(1);
  await expect(readAccount(reader, account, [xid + 1_000_000n], () => 0)).rejects.toThrow(UnseenError);
});

test('[P1.12] [LAB-11] LOCK TABLE does not fix the snapshot: what commits while the locks are waited for is seen', async () => {
  const database = await server.createDatabase();
  const account = await createAccount(database);
  const writer = await connect(database.ownerUrl);
  await writer.query('begin');
  await writer.query('alter table actors alter column name type varchar(600)');
  await writer.query(`insert into actors (account_id, type, name) values ($1, 'service_account', 'while locked')`, [
    account,
  ]);
  const reader = await connect(database.replicatorUrl);
  const reading = readAccount(reader, account, [], () => 0);
  await database.untilTrue(`select count(*) = 1 from pg_locks where not granted and mode = 'AccessShareLock'`);
  await writer.query('commit');

  expect((await reading).rows.actors?.map((row) => row['name'])).toEqual(['while locked']);
});

test('[P1.62] a session that the server ends while it reads a snapshot ends the run, not the process', async () => {
  const database = await server.createDatabase();
  const account = v.parse(accountId, await createAccount(database));
  const worker = await startWorker();
  const replicator = await startAndStream(database, worker);
  await worker.until('the first snapshot', () => worker.accounts.get(account)?.snapshots === 1);
  const blocker = await connect(database.ownerUrl);
  await blocker.query('begin');
  await blocker.query('lock table actors');
  const message = composeSteering({ type: 'resync', account, at: Date.now() }, ingestKey);
  await database.query(`select pg_logical_emit_message(true, 'drawbridge', $1)`, [message]);
  const waiting = `from pg_locks where not granted and mode = 'AccessShareLock' and database = (select oid from pg_database where datname = current_database())`;
  await database.untilTrue(`select count(*) > 0 ${waiting}`);
  await database.query(`select pg_terminate_backend(pid) ${waiting}`);
  await replicator.event('run_failed');
  await blocker.query('commit');

  await worker.until('the snapshot', () => worker.accounts.get(account)?.snapshots === 2);
  expect(await replicator.kill('SIGTERM')).toBe(0);
});

test('[P2.7] a row of every published table reads the same by snapshot and by stream', async () => {
  const database = await server.createDatabase();
  const worker = await startWorker();
  await startAndStream(database, worker);
  const account = await createAccount(database);
  await fillEveryTable(database, account);
  await worker.until('the last table', () => rowsOf(worker, account, 'policies').length === 1);
  const reader = new pg.Client(clientConfig(database.replicatorUrl));
  await reader.connect();
  closers.push(() => reader.end());

  const { rows } = await readAccount(reader, account, [], () => 0);

  const read = tableNames.flatMap((table) => (rows[table] ?? []).map((row) => [keyOf(table, row), row] as const));
  expect(new Set(read.map(([key]) => key.split(' ')[0]))).toEqual(new Set(tableNames));
  expect(Object.fromEntries(read)).toEqual(Object.fromEntries(worker.accounts.get(account)?.rows ?? []));
});

test('[P1.13] messages that are no markers of this run are ignored', async () => {
  const database = await server.createDatabase();
  const worker = await startWorker();
  await startAndStream(database, worker);
  await database.query(`select pg_logical_emit_message(true, 'drawbridge', '{"type":"marker","id":"unknown"}')`);
  await database.query(`select pg_logical_emit_message(true, 'drawbridge', 'not json')`);
  await database.query(`select pg_logical_emit_message(true, 'another', '{"type":"marker","id":"unknown"}')`);
  await database.query(`select pg_logical_emit_message(false, 'drawbridge', '{}')`);

  const account = await createAccount(database);
  await worker.until('the birth', () => rowsOf(worker, account, 'accounts').length === 1);

  expect(worker.deliveries).toHaveLength(1);
});

async function startWorker(): Promise<FakeWorker> {
  const worker = await startFakeWorker(ingestKey);
  closers.push(worker.close);
  return worker;
}

async function startAndStream(database: TestDatabase, worker: FakeWorker) {
  const replicator = startReplicator({
    REPLICATOR_DATABASE_URL: database.replicatorUrl,
    WORKER_URL: worker.url,
    DRAWBRIDGE_SLOT: database.name,
  });
  closers.push(() => replicator.kill('SIGKILL'));
  await replicator.event('streaming');
  return replicator;
}

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client(clientConfig(url));
  await client.connect();
  closers.push(() => client.end());
  return client;
}

async function createAccount(database: TestDatabase): Promise<AccountId> {
  const { rows } = await database.query(
    `insert into accounts (name, config) values ('an account', '{"note": 12345678901234567890}') returning id::text`,
  );
  return v.parse(accountId, rows[0]?.['id']);
}

async function createActor(database: TestDatabase, account: string, name: string): Promise<void> {
  await database.query(`insert into actors (account_id, type, name) values ($1, 'service_account', $2)`, [
    account,
    name,
  ]);
}

function rowsOf(worker: FakeWorker, account: string, table: TableName): readonly WireRow[] {
  const entries = [...(worker.accounts.get(account)?.rows ?? [])];
  return entries.filter(([key]) => key.startsWith(`${table} `)).map(([, row]) => row);
}

/** One row in each published table, with values that a careless reader would change: big numbers, quotes, null, times. */
async function fillEveryTable(database: TestDatabase, account: string): Promise<void> {
  await database.query(`do $$
    declare
      a uuid := '${account}'; actor uuid; provider uuid; grp uuid; site uuid; resource uuid;
    begin
      set local timezone = 'Asia/Tokyo';
      update accounts set features = '{"a": [1.50, null, "\\"}"]}', disabled_at = '2026-02-03 04:05:06.789012+09' where id = a;
      insert into actors (account_id, type, name) values (a, 'account_user', E'O''Brien, "Bob" \\\\ {x}') returning id into actor;
      insert into auth_providers (account_id, name, adapter, provisioner) values (a, 'p', 'email', 'manual') returning id into provider;
      insert into auth_identities (account_id, actor_id, provider_id, provider_identifier, email)
        values (a, actor, provider, 'ünï', 'NULL');
      insert into actor_groups (account_id, name) values (a, 'NULL') returning id into grp;
      insert into actor_group_memberships (account_id, actor_id, group_id) values (a, actor, grp);
      insert into gateway_groups (account_id, name) values (a, 'site') returning id into site;
      insert into tokens (account_id, type, gateway_group_id, secret_salt, secret_hash, expires_at)
        values (a, 'gateway_group', site, 's', repeat('0a', 32), 'infinity');
      insert into clients (account_id, actor_id, external_id, name, ipv4, ipv6)
        values (a, actor, 'x', 'c', '100.64.0.9', 'fd00:2021:1111::9');
      insert into gateways (account_id, group_id, external_id, name, ipv4, ipv6)
        values (a, site, 'x', 'g', '100.64.0.10', 'fd00:2021:1111::a');
      insert into resources (account_id, name, type, address) values (a, 'r', 'cidr', '10.0.0.0/8') returning id into resource;
      insert into resource_connections values (resource, site, a);
      insert into policies (account_id, actor_group_id, resource_id, conditions) values (a, grp, resource, array[
        '{"property":"remote_ip","operator":"is_in_cidr","values":["10.0.0.0/8","::1"]}',
        '{"property":"client_verified","operator":"is","values":["true"]}']::jsonb[]);
    end $$`);
}
