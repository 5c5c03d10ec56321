// The change log from COMMIT to drawbridge.change_logs, with real Postgres.
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { startTestServer, type TestDatabase, type TestServer } from '../support/replicator.ts';
import { createAccount, nameOf, renameAccount, startAll, untilRecorded } from './system.ts';

let server: TestServer;
const closers: (() => Promise<unknown>)[] = [];
beforeAll(async () => {
  server = await startTestServer({ settings: { track_commit_timestamp: 'on' } });
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});
afterAll(() => server.stop());

test('[P1.40] what was committed while the replicator was killed is logged once it is back, each change once', async () => {
  const { database, replicator, restart } = await startAll(server, closers);
  const account = await createAccount(database);
  await untilRecorded(database, account);
  // So that what is logged already comes again.
  await database.query('revoke update on drawbridge.lanes from drawbridge_replicator');
  await renameAccount(database, account, 'before');
  await replicator.event('run_failed');
  await replicator.kill('SIGKILL');
  await renameAccount(database, account, 'while killed');
  await database.query('grant update on drawbridge.lanes to drawbridge_replicator');

  await restart();
  await untilLogged(database, 3);
  await renameAccount(database, account, 'after');
  await untilLogged(database, 4);

  expect(await logOf(database, account)).toMatchObject([
    { op: 'insert', old_data: null, data: { name: 'an account' } },
    { op: 'update', old_data: { name: 'an account' }, data: { name: 'before' } },
    { op: 'update', old_data: { name: 'before' }, data: { name: 'while killed' } },
    { op: 'update', old_data: { name: 'while killed' }, data: { name: 'after' } },
  ]);
});

test('[P1.46] a row of the log has the commit time of the WAL to the microsecond, and its position', async () => {
  const { database } = await startAll(server, closers);
  await database.query('create table witness (xid xid8)');
  const account = await createAccount(database);
  await database.query('begin');
  await database.query('insert into witness values (pg_current_xact_id())');
  await database.query(
    `insert into actors (account_id, type, name) values ($1, 'service_account', 'one'), ($1, 'service_account', 'two')`,
    [account],
  );
  await database.query('commit');
  await untilLogged(database, 3);
  // The log is written without waiting for the object's answer, the lane after it.
  await database.untilTrue(
    `select to_lsn >= (select max(commit_end_lsn) from drawbridge.change_logs) from drawbridge.lanes where account_id = $1`,
    [account],
  );

  const { rows } = await database.query(
    `select l.seq::int, l.committed_at = pg_xact_commit_timestamp(w.xid::text::xid) as is_exact,
            l.commit_end_lsn = lane.to_lsn as is_at_end, l.epoch = lane.epoch as is_in_epoch
       from witness w, drawbridge.change_logs l join drawbridge.lanes lane using (account_id)
      where l."table" = 'actors' order by seq`,
  );
  expect(rows).toEqual([
    { seq: 0, is_exact: true, is_at_end: true, is_in_epoch: true },
    { seq: 1, is_exact: true, is_at_end: true, is_in_epoch: true },
  ]);
});

test('[P1.94] each row of the log has its own data, whatever characters that holds', async () => {
  const { database } = await startAll(server, closers);
  const account = await createAccount(database);
  const names = ['a\u001eb', '\u001e', '\\x1e', 'two\nlines', '{"}', `it's`, '\\', 'é𝄞', 'null'];
  await database.query(
    `insert into actors (account_id, type, name) select $1, 'service_account', name from unnest($2::text[]) as name`,
    [account, names],
  );
  await database.query(`delete from actors where account_id = $1`, [account]);
  await untilLogged(database, 1 + 2 * names.length);

  const [, ...log] = await logOf(database, account);
  const expected = names.map((name) => expect.objectContaining({ name }));
  expect(log.map((row) => row['data'] ?? row['old_data'])).toEqual([...expected, ...expected]);
});

test('[P1.54] the log writes the vsn that is asked for by position', async () => {
  const { database } = await startAll(server, closers);
  const account = await createAccount(database);
  await untilLogged(database, 1);
  await database.query(
    `insert into drawbridge.published_shapes select 998, pg_current_wal_insert_lsn(), columns from drawbridge.published_shapes limit 1`,
  );
  await renameAccount(database, account, 'by another shape');
  await untilLogged(database, 2);
  await database.query(`update drawbridge.published_shapes set since = 'FFFFFFFF/0'`);
  await renameAccount(database, account, 'where positions began anew');
  await untilLogged(database, 3);
  await database.query(`update drawbridge.published_shapes set since = '0/0' where vsn < 998`);
  await renameAccount(database, account, 'by the shape before');
  await untilLogged(database, 4);

  const [first, ...later] = await logOf(database, account);
  const before = first?.['vsn'];
  const { rows } = await database.query(`select drawbridge.vsn_at(pg_current_wal_insert_lsn()) as vsn`);
  expect(later.map(({ vsn }) => vsn)).toEqual([998, 998, before]);
  expect(rows).toEqual([{ vsn: before }]);
});

test('[P1.56] a transaction that comes in parts is logged whole, each row once, under its one subject', async () => {
  const { database, replicator, restart } = await startAll(server, closers);
  const account = await createAccount(database);
  await database.query('begin');
  await database.query(
    `insert into actors (account_id, type, name) select $1, 'service_account', rpad(n::text, 500, 'x') from generate_series(1, 12000) n`,
    [account],
  );
  await database.query(`select drawbridge.act_as('alice')`);
  await database.query('commit');
  await renameAccount(database, account, 'after it');
  await database.untilTrue(`select count(*) > 1 from drawbridge.change_logs where op <> 'hole'`);
  await replicator.kill('SIGKILL');
  await restart();
  await untilLogged(database, 12_002);

  const { rows } = await database.query(
    `select count(*)::int as rows, count(distinct seq)::int as seqs, max(seq)::int as last, count(distinct l.commit_end_lsn)::int as commits,
            array_agg(distinct subject ->> 'name') as names, count(distinct data ->> 'id')::int as ids
       from drawbridge.change_logs l where "table" = 'actors'`,
  );
  expect(rows).toEqual([{ rows: 12_000, seqs: 12_000, last: 11_999, commits: 1, names: ['alice'], ids: 12_000 }]);
});

test('[P5.95] a session that says of itself what the log cannot store holds nobody up', async () => {
  const { database } = await startAll(server, closers);
  const account = await createAccount(database);
  const says = (role: string) => `{"type":"subject","subject":{"role":"${role}","name":"mallory"}}`;
  await database.query('begin');
  await database.query(`select pg_logical_emit_message(true, 'drawbridge', $1)`, [says(String.raw`a\u0000b`)]);
  await database.query(`select pg_logical_emit_message(true, 'drawbridge', $1)`, [says(String.raw`\ud800`)]);
  await renameAccount(database, account, 'said badly');
  await database.query('commit');
  await renameAccount(database, account, 'after it');
  await untilLogged(database, 3);

  const log = await logOf(database, account);
  expect(log.map(({ data }) => data)).toMatchObject([{}, { name: 'said badly' }, { name: 'after it' }]);
  const { rows } = await database.query(
    `select subject ->> 'role' as role, subject ->> 'name' as name from drawbridge.change_logs where data ->> 'name' = 'said badly'`,
  );
  expect(rows).toEqual([{ role: 'postgres', name: null }]);
});

test('[P1.42][D15] the deletion of an account is logged, with everything that goes with it', async () => {
  const { database } = await startAll(server, closers);
  const account = await createAccount(database);
  await database.query(`insert into actors (account_id, type, name) values ($1, 'service_account', 'one')`, [account]);
  await database.query('delete from accounts where id = $1', [account]);
  await untilLogged(database, 4);

  const log = await logOf(database, account);
  expect(log.map((row) => [row['table'], row['op']])).toEqual([
    ['accounts', 'insert'],
    ['actors', 'insert'],
    ['accounts', 'delete'],
    ['actors', 'delete'],
  ]);
  expect(log.at(-1)).toMatchObject({ old_data: { name: 'one' }, data: null });
});

test('[P1.43] a truncate is logged once, for every account', async () => {
  const { database } = await startAll(server, closers);
  await createAccount(database);
  await createAccount(database);
  await database.query('truncate actors cascade');
  await untilLogged(database, 2 + 5);

  const { rows } = await database.query(
    `select "table", account_id, old_data, data from drawbridge.change_logs where op = 'truncate' order by "table"`,
  );
  expect(rows.map((row) => row['table'])).toEqual([
    'actor_group_memberships',
    'actors',
    'auth_identities',
    'clients',
    'tokens',
  ]);
  expect(rows[0]).toMatchObject({ account_id: null, old_data: null, data: null });
});

test('[P1.44] where an epoch is opened the log has a row that says what it may lack, and why', async () => {
  const { database, replicator, restart } = await startAll(server, closers);
  await createAccount(database);
  await untilLogged(database, 1);
  await replicator.kill('SIGTERM');
  await database.untilTrue('select not active from pg_replication_slots where slot_name = $1', [database.name]);
  await database.query('select pg_drop_replication_slot($1)', [database.name]);
  await restart();

  const { rows } = await database.query(
    `select l.op, l.account_id, l."table", l.reason, l.epoch = e.epoch as is_of_epoch
       from drawbridge.change_logs l join drawbridge.epochs e using (epoch) where l.op = 'hole' order by l.committed_at`,
  );
  expect(rows).toEqual([
    { op: 'hole', account_id: null, table: null, reason: 'the slot was missing', is_of_epoch: true },
    { op: 'hole', account_id: null, table: null, reason: 'the slot was missing', is_of_epoch: true },
  ]);
});

test('[P1.45] a row that the log refuses stands there without its data and with the reason, and delays nobody', async () => {
  const { database, worker, replicator } = await startAll(server, closers);
  await database.query(
    `alter table drawbridge.change_logs add constraint no_bad_names check (data ->> 'name' <> 'a bad name')`,
  );
  const [one, other] = [await createAccount(database), await createAccount(database)];
  await renameAccount(database, one, 'a bad name');
  await renameAccount(database, other, 'a good name');
  await renameAccount(database, one, 'a better name');
  await worker.until('both', () => nameOf(worker, one) === 'a better name' && nameOf(worker, other) === 'a good name');
  await untilLogged(database, 5);

  const reason = 'Postgres refused it: SQLSTATE 23514, no_bad_names';
  expect(await logOf(database, one)).toMatchObject([
    { op: 'insert', reason: null },
    { op: 'update', old_data: null, data: null, reason, subject: { role: 'postgres' } },
    { op: 'update', old_data: { name: 'a bad name' }, data: { name: 'a better name' }, reason: null },
  ]);
  expect(await replicator.event('change_log_row_refused')).toMatchObject({ level: 'error', table: 'accounts', reason });
  await untilRecorded(database, one);
});

test('[P1.47] a snapshot writes nothing to the log', async () => {
  const { database, worker, replicator, restart } = await startAll(server, closers);
  const account = await createAccount(database);
  await untilLogged(database, 1);
  await replicator.kill('SIGTERM');
  await database.untilTrue('select not active from pg_replication_slots where slot_name = $1', [database.name]);
  await database.query('select pg_drop_replication_slot($1)', [database.name]);
  await restart();
  await worker.until('the snapshot', () => worker.accounts.get(account)?.snapshots === 1);
  await renameAccount(database, account, 'after it');
  await untilLogged(database, 2);

  expect((await logOf(database, account)).map((row) => row['op'])).toEqual(['insert', 'update']);
});

test('[P1.48][D16] each row of a transaction names the session that made it', async () => {
  const { database, connect } = await startAll(server, closers);
  await database.query(`drop role if exists editor`);
  await database.query(`create role editor`);
  await database.query('grant insert, select, update on accounts, actors to editor');
  const account = await createAccount(database);
  const session = await connect();
  await session.query(`set application_name = 'the editor'`);
  await session.query('set role editor');
  await session.query('begin');
  await session.query(`update accounts set name = 'edited' where id = $1`, [account]);
  await session.query(`insert into actors (account_id, type, name) values ($1, 'service_account', 'one')`, [account]);
  await session.query('commit');
  await session.query(`update actors set name = 'two'`);
  await untilLogged(database, 4);

  const subject = { role: 'postgres', application: 'the editor', address: '127.0.0.1' };
  const log = await logOf(database, account);
  expect(log.slice(1).map((row) => row['subject'])).toEqual([subject, subject, subject]);
  await database.query('revoke all on accounts, actors from editor; drop role editor');
});

test('[P1.50] act_as puts a name and a reason in its transaction, however it is placed, and in no other', async () => {
  const { database, connect } = await startAll(server, closers);
  const account = await createAccount(database);
  const session = await connect();
  const rename = (name: string) => session.query('update accounts set name = $2 where id = $1', [account, name]);
  await session.query('begin');
  await session.query(`select drawbridge.act_as('alice', 'INC-42')`);
  await rename('by alice');
  await session.query('commit');
  await session.query('begin');
  await rename('by bob');
  await session.query(`select drawbridge.act_as('bob')`);
  await session.query('savepoint before');
  await session.query(`select drawbridge.act_as('mallory')`);
  await session.query('rollback to before');
  await session.query('commit');
  await rename('by nobody');
  await untilLogged(database, 4);

  const subjects = (await logOf(database, account)).map((row) => row['subject']);
  expect(subjects.slice(1)).toMatchObject([
    { name: 'alice', reason: 'INC-42', role: 'postgres' },
    { name: 'bob', reason: null, role: 'postgres' },
    { role: 'postgres' },
  ]);
  expect(subjects[3]).not.toHaveProperty('name');
  await expect(session.query(`select drawbridge.act_as(' ')`)).rejects.toThrow('a name of 1 to 200 characters');
});

test('[P1.51] a transaction tells its session once, and a statement that changes no row tells nothing', async () => {
  const { database } = await startAll(server, closers);
  const account = await createAccount(database);
  const before = await database.query('select pg_current_wal_insert_lsn() as lsn');
  await database.query(`select pg_create_logical_replication_slot('witness_${database.name}', 'test_decoding')`);
  await database.query(`update accounts set name = 'nobody' where id = gen_random_uuid()`);
  await database.query('begin');
  for (const name of ['one', 'two', 'three']) await renameAccount(database, account, name);
  await database.query('commit');
  expect(before.rowCount).toBe(1);

  const { rows } = await database.query(
    `select count(*)::int as messages from pg_logical_slot_get_changes('witness_${database.name}', null, null)
      where data like 'message:%"type": "subject"%'`,
  );
  await database.query(`select pg_drop_replication_slot('witness_${database.name}')`);
  expect(rows).toEqual([{ messages: 1 }]);
});

test('[P15.33] rows that the log cannot take yet hold reading back, and are all logged in the end', async () => {
  const { database, worker, replicator, connect } = await startAll(server, closers);
  const account = await createAccount(database);
  await worker.until('the birth', () => nameOf(worker, account) === 'an account');
  const blocker = await connect();
  await blocker.query('begin');
  await blocker.query('lock table drawbridge.change_logs in share mode');
  for (let number = 1; number <= 25; number += 1) {
    await database.query(`update accounts set config = jsonb_build_object('note', repeat($2, 900000)) where id = $1`, [
      account,
      String(number % 10),
    ]);
  }
  await replicator.event('reading_paused');
  await blocker.query('commit');
  await replicator.event('reading_resumed');
  await untilLogged(database, 26);

  expect(await logOf(database, account)).toHaveLength(26);
});

async function logOf(database: TestDatabase, account: string) {
  const { rows } = await database.query(
    `select "table", op, old_data, data, reason, subject, vsn from drawbridge.change_logs
      where account_id = $1 order by commit_end_lsn, seq`,
    [account],
  );
  return rows;
}

/** Polls until so many changes are in the log, holes aside. */
function untilLogged(database: TestDatabase, count: number): Promise<void> {
  return database.untilTrue(`select count(*) >= $1 from drawbridge.change_logs where op <> 'hole'`, [count]);
}
