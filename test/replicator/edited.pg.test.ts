// Catalogue edits by hand while the replicator reads: of the publication, and of what a table logs of its old rows.
import { expect, test } from 'vitest';
import * as v from 'valibot';
import { accountId } from '../../protocol/ids.ts';
import { composeSteering } from '../../replicator/steering.ts';
import { createAccount, nameOf, renameAccount, startAll, untilRecorded, useTestServer } from './system.ts';
import { ingestKey } from '../support/replicator.ts';

const { server, closers } = useTestServer();

test('[P1.68] [LAB-5] a publication that is edited and put back while it is read is noticed at the next heartbeat', async () => {
  const { database, worker, replicator } = await startAll(server, closers);
  const account = await createAccount(database);
  await untilRecorded(database, account);
  await database.query('alter publication drawbridge drop table accounts');
  await renameAccount(database, account, 'renamed');
  await database.query('alter publication drawbridge add table accounts');

  await worker.until('the lost rename', () => nameOf(worker, account) === 'renamed');

  expect(await replicator.event('epoch_opened')).toMatchObject({ epoch: 1 });
  const opened = replicator.lines.filter(({ event }) => event === 'epoch_opened');
  expect(opened.map(({ reason }) => reason)).toEqual(['the slot was missing', 'the publication was edited']);
  expect(worker.accounts.get(account)?.snapshots).toBe(1);
  expect(worker.violations).toEqual([]);
});

test('[P5.42] [LAB-10] a replica identity edited by hand stops the reader with its fix, and once mended every account is resynchronized', async () => {
  const { database, worker, replicator } = await startAll(server, closers);
  const account = await createAccount(database);
  const { rows } = await database.query(
    `insert into actors (account_id, type, name) values ($1, 'account_user', 'one') returning id::text`,
    [account],
  );
  await untilRecorded(database, account);
  await database.query('alter table actors replica identity default');
  await database.query('delete from actors where id = $1', [rows[0]?.['id']]);
  await replicator.line('the stop', ({ kind }) => kind === 'StreamStopError');
  const told = await replicator.event('preflight');
  expect(told['message']).toContain('`alter table actors replica identity full`');
  expect(worker.accounts.get(account)?.snapshots).toBe(0);

  await database.query('alter table actors replica identity full');

  await worker.until('the snapshot', () => worker.accounts.get(account)?.snapshots === 1);
  const keys = [...(worker.accounts.get(account)?.rows.keys() ?? [])];
  expect(keys.filter((key) => key.startsWith('actors '))).toEqual([]);
  const reasons = replicator.lines.filter(({ event }) => event === 'epoch_opened').map(({ reason }) => String(reason));
  expect(reasons.at(-1)).toContain('the stream could not be read on: a change of actors came without its old row');
  await renameAccount(database, account, 'after');
  await worker.until('what follows', () => nameOf(worker, account) === 'after');
  expect(worker.violations).toEqual([]);
});

test('[P5.91] a row that names no account stops the reader with its fix, and once mended every account is resynchronized', async () => {
  const { database, worker, replicator } = await startAll(server, closers);
  const account = await createAccount(database);
  await untilRecorded(database, account);
  await database.query('alter table actors alter column account_id drop not null');
  await database.query(`insert into actors (type, name) values ('service_account', 'of nobody')`);
  await renameAccount(database, account, 'behind the stop');
  const stop = await replicator.line('the stop', ({ kind }) => kind === 'StreamStopError');
  expect(stop['message']).toContain('a row of actors names no account');
  const told = await replicator.event('preflight');
  expect(told['message']).toContain('`delete from actors where account_id is null`');
  expect(told['message']).toContain('`alter table actors alter column account_id set not null`');
  expect(nameOf(worker, account)).toBe('an account');

  await database.query('delete from actors where account_id is null');
  await database.query('alter table actors alter column account_id set not null');

  await worker.until('what was behind the stop', () => nameOf(worker, account) === 'behind the stop');
  const reasons = replicator.lines.filter(({ event }) => event === 'epoch_opened').map(({ reason }) => String(reason));
  expect(reasons.at(-1)).toContain('the stream could not be read on: a row of actors names no account');
  await renameAccount(database, account, 'after');
  await worker.until('what follows', () => nameOf(worker, account) === 'after');
  expect(worker.violations).toEqual([]);
});

test('[P5.96] rows that row security hides are in no snapshot that an object is given: the reader stops with the fix, and goes on once mended', async () => {
  const { database, worker, replicator } = await startAll(server, closers);
  const account = await createAccount(database);
  await database.query(`insert into actors (account_id, type, name) values ($1, 'account_user', 'one')`, [account]);
  await untilRecorded(database, account);
  await database.query('alter table actors enable row level security');
  const message = { type: 'resync', account: v.parse(accountId, account), at: 1 } as const;
  await database.query(`select pg_logical_emit_message(true, 'drawbridge', $1)`, [composeSteering(message, ingestKey)]);
  const told = await replicator.event('preflight');
  expect(told['message']).toContain('`alter table actors disable row level security`');
  const actors = () =>
    [...(worker.accounts.get(account)?.rows.keys() ?? [])].filter((key) => key.startsWith('actors '));
  expect([actors().length, worker.accounts.get(account)?.snapshots]).toEqual([1, 0]);

  await database.query('alter table actors disable row level security');

  await worker.until('the snapshot', () => worker.accounts.get(account)?.snapshots === 1);
  expect(actors()).toHaveLength(1);
  expect(worker.violations).toEqual([]);
});
