// Accounts that fail, alone and all together, with real Postgres and a worker that refuses.
import { expect, test } from 'vitest';
import type { Delivery } from '../../protocol/commit.ts';
import { type TestDatabase } from '../support/replicator.ts';
import { createAccount, nameOf, renameAccount, startAll, useTestServer } from './system.ts';

const { server, closers } = useTestServer();

test('[P12.21] [P5.50] [LAB-9] an account that fails while 100 others flow is parked, the slot goes on, and it returns by snapshot', async () => {
  const { database, worker, replicator } = await startAll(server, closers);
  const failing = await createAccount(database);
  await database.query(`insert into accounts (name) select 'other' from generate_series(1, 100)`);
  await worker.until('all', () => worker.accounts.size === 101);
  worker.intercept = (delivery) => (delivery.account === failing ? 503 : null);
  await renameAccount(database, failing, 'while failing');
  const parked = renameOthersUntil(database, replicator.event('account_parked'));

  await parked;
  await database.query(`update accounts set name = 'the end' where id <> $1`, [failing]);
  const { rows } = await database.query(`select pg_current_wal_lsn()::text as lsn`);
  await database.untilTrue(`select state = 'parked' and reason <> '' from drawbridge.lanes where account_id = $1`, [
    failing,
  ]);
  await database.untilTrue(`select confirmed_flush_lsn >= $2::pg_lsn from pg_replication_slots where slot_name = $1`, [
    database.name,
    rows[0]?.['lsn'],
  ]);
  expect(nameOf(worker, failing)).toBe('an account');
  const lateAccounts = () => Object.keys(worker.stream.applied?.lateToMs ?? {});
  await worker.until('the heartbeat that says so', () => lateAccounts().includes(failing));
  expect(lateAccounts()).toEqual([failing]);
  worker.intercept = () => null;

  await worker.until('the snapshot', () => nameOf(worker, failing) === 'while failing', 40_000);
  await database.untilTrue(`select state = 'live' from drawbridge.lanes where account_id = $1`, [failing]);
  await renameAccount(database, failing, 'afterwards');
  await worker.until('the next commit', () => nameOf(worker, failing) === 'afterwards');
  await worker.until('the heartbeat after', () => lateAccounts().length === 0);
  expect(worker.accounts.get(failing)?.snapshots).toBe(1);
  expect(worker.violations).toEqual([]);
});

test('[P12.22] [LAB-9] when all accounts fail at once none is parked, and all go on without a snapshot', async () => {
  const { database, worker, replicator } = await startAll(server, closers);
  const accounts = [await createAccount(database), await createAccount(database), await createAccount(database)];
  await worker.until('all', () => accounts.every((account) => nameOf(worker, account) === 'an account'));
  worker.intercept = () => 503;
  const attempts = new Map<string, number>();
  worker.intercept = (delivery: Delivery) => {
    attempts.set(delivery.account, (attempts.get(delivery.account) ?? 0) + 1);
    return 503;
  };
  for (const account of accounts) await renameAccount(database, account, 'during');
  await worker.until('attempts', () => accounts.every((account) => (attempts.get(account) ?? 0) >= 7), 60_000);
  worker.intercept = () => null;

  await worker.until('all', () => accounts.every((account) => nameOf(worker, account) === 'during'));

  expect(replicator.lines.filter(({ event }) => event === 'account_parked')).toEqual([]);
  expect(accounts.map((account) => worker.accounts.get(account)?.snapshots)).toEqual([0, 0, 0]);
}, 90_000);

test('[P1.82] an account that was parked when the replicator was killed is delivered by snapshot after it', async () => {
  const { database, worker, replicator, restart } = await startAll(server, closers);
  const [parked, other] = [await createAccount(database), await createAccount(database)];
  await worker.until('both', () => [parked, other].every((account) => nameOf(worker, account) === 'an account'));
  await database.untilTrue('select count(*) = 2 from drawbridge.lanes');
  await replicator.kill('SIGKILL');
  await renameAccount(database, parked, 'before');
  await database.query(`update drawbridge.lanes set state = 'parked', reason = 'a test' where account_id = $1`, [
    parked,
  ]);

  await restart();
  await renameAccount(database, parked, 'after');
  await worker.until('the snapshot', () => nameOf(worker, parked) === 'after');

  expect(worker.accounts.get(parked)?.snapshots).toBe(1);
  expect(worker.accounts.get(other)?.snapshots).toBe(0);
  expect(worker.violations).toEqual([]);
});

/** Lets the others advance, one edit after another, until `end`. */
async function renameOthersUntil(database: TestDatabase, end: Promise<unknown>): Promise<void> {
  const over = new AbortController();
  const watch = end.finally(() => over.abort());
  for (let number = 0; !over.signal.aborted; number += 1) {
    await database.query(
      `update accounts set name = 'other ' || $1 where id = (select id from accounts where name like 'other%' order by random() limit 1)`,
      [number],
    );
  }
  await watch;
}
