// Who reads the slot: one leader, a standby, and what happens when the leader loses its place.
import { expect, test } from 'vitest';
import { startReplicator } from '../support/replicator.ts';
import {
  createAccount,
  nameOf,
  newNames,
  renameAccount,
  startAll,
  untilRecorded,
  type All,
  useTestServer,
} from './system.ts';

const { server, closers } = useTestServer();
const endLockHolder = `
  select pg_terminate_backend(pid) from pg_locks
   where locktype = 'advisory' and granted
     and database = (select oid from pg_database where datname = current_database())`;

test('[P2.5] a fenced replicator ends its run and goes on under a term of its own', async () => {
  const { database, worker, replicator } = await startAll(server, closers);
  const account = await createAccount(database);
  await worker.until('the birth', () => nameOf(worker, account) === 'an account');
  worker.stream = { ...worker.stream, term: worker.stream.term + 10 };
  await renameAccount(database, account, 'renamed');

  await worker.until('the rename', () => nameOf(worker, account) === 'renamed');

  expect(replicator.lines.some((line) => line['kind'] === 'FencedError')).toBe(true);
  expect(worker.deliveries.at(-1)?.term).toBe(12);
});

test('[P2.6] a second replicator stands by, and takes over when the first is killed', async () => {
  const { database, worker, replicator, restart } = await startAll(server, closers);
  const standby = await restart({ isStandby: true });
  await standby.event('standby');
  const account = await createAccount(database);
  await worker.until('the birth', () => nameOf(worker, account) === 'an account');
  await replicator.kill('SIGKILL');
  await standby.event('streaming');
  await renameAccount(database, account, 'renamed');

  await worker.until('the rename', () => nameOf(worker, account) === 'renamed');

  expect(worker.deliveries.at(-1)?.term).toBe(2);
  expect(worker.violations).toEqual([]);
});

test('[P2.43] a second replicator with a slot of its own is refused with words while the first is heard, and fences the first once it leads', async () => {
  const { database, worker, replicator } = await startAll(server, closers);
  const account = await createAccount(database);
  await worker.until('the birth', () => nameOf(worker, account) === 'an account');
  const second = startReplicator({
    REPLICATOR_DATABASE_URL: database.replicatorUrl,
    WORKER_URL: worker.url,
    DRAWBRIDGE_SLOT: `${database.name}_second`,
  });
  closers.push(() => second.kill('SIGKILL'));
  const refusal = await second.line('the refusal', ({ kind }) => kind === 'RefusedError');
  expect(refusal['message']).toContain('another replicator of this system feeds the edge');
  expect(refusal['message']).toContain('start this one with its database and its DRAWBRIDGE_SLOT');
  await second.line('a second attempt', ({ event, attempt }) => event === 'run_again' && attempt === 2);
  await renameAccount(database, account, 'led by the first');
  await worker.until('the rename', () => nameOf(worker, account) === 'led by the first');
  expect([worker.stream.term, replicator.lines.some(({ event }) => event === 'run_failed')]).toEqual([1, false]);

  await replicator.kill('SIGSTOP');
  // It has not been heard for a while.
  const { heard } = worker.stream;
  worker.stream = { ...worker.stream, heard: heard === null ? null : { ...heard, atMs: 0 } };
  await second.event('streaming');
  await replicator.kill('SIGCONT');
  await replicator.line('the refusal', ({ kind }) => kind === 'RefusedError');
  await renameAccount(database, account, 'led by the second');

  await worker.until('the rename', () => nameOf(worker, account) === 'led by the second');
  expect(second.lines.some(({ event }) => event === 'epoch_opened')).toBe(true);
  expect(worker.deliveries.at(-1)?.term).toBe(2);
  expect(worker.violations).toEqual([]);
});

const losses: readonly (readonly [string, (all: All) => Promise<unknown>])[] = [
  ['killed', async ({ replicator }) => await replicator.kill('SIGKILL')],
  ['paused', async ({ replicator }) => await replicator.kill('SIGSTOP')],
  ['cut from its lock only', async ({ database }) => await database.query(endLockHolder)],
];

test.each(losses)(
  '[P2.37] a standby takes over from a leader that is %s, and every commit arrives once, in order',
  async (how, lose) => {
    const all = await startAll(server, closers, undefined, undefined, { DRAWBRIDGE_LEADER_TIMEOUT_MS: '1500' });
    const { database, worker, replicator, restart } = all;
    const standby = await restart({ isStandby: true });
    await standby.event('standby');
    const account = await createAccount(database);
    await untilRecorded(database, account);
    const names = Array.from({ length: 60 }, (_, index) => `name ${index}`);
    const writing = (async () => {
      for (const name of names) await renameAccount(database, account, name);
    })();
    await worker.until('the first names', () => newNames(worker, account).length > 5);
    await lose(all);

    await standby.event('streaming');
    await writing;
    await worker.until('the last name', () => nameOf(worker, account) === names.at(-1));
    if (how !== 'killed') {
      await replicator.kill('SIGCONT');
      await replicator.line('the loss', (line) => line.event === 'run_failed');
      await replicator.event('standby');
    }
    await renameAccount(database, account, 'after');
    await worker.until('what follows', () => nameOf(worker, account) === 'after');

    expect(newNames(worker, account)).toEqual(['an account', ...names, 'after']);
    expect(worker.accounts.get(account)?.snapshots).toBe(0);
    expect(worker.violations).toEqual([]);
  },
);

test("[P2.21] a leader whose lock's session is ended stops at once and begins again under another term", async () => {
  const { database, worker, replicator } = await startAll(server, closers);
  const account = await createAccount(database);
  await worker.until('the birth', () => nameOf(worker, account) === 'an account');
  await database.query(endLockHolder);
  await replicator.line('the loss', (line) => String(line['message']).includes("leader's lock was lost"));
  await renameAccount(database, account, 'renamed');

  await worker.until('the rename', () => nameOf(worker, account) === 'renamed');

  expect(worker.deliveries.at(-1)?.term).toBe(2);
  expect(worker.violations).toEqual([]);
});

test('[P1.30] a slot that another session reads is taken over', async () => {
  const { database, worker, replicator, restart } = await startAll(server, closers);
  const account = await createAccount(database);
  await worker.until('the birth', () => nameOf(worker, account) === 'an account');
  await replicator.kill('SIGSTOP');
  await database.query(endLockHolder);
  const second = await restart();
  await renameAccount(database, account, 'renamed');

  await worker.until('the rename', () => nameOf(worker, account) === 'renamed');

  expect(second.lines.some((line) => line.event === 'slot_taken_over')).toBe(true);
  expect(worker.violations).toEqual([]);
});
