// A database that goes back to an earlier point, or on to another timeline, while the objects at the edge do not.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { migrate } from '../../dev/migrate.ts';
import { removeDataDir, startPostgres, type RunningPostgres } from '../../dev/postgres.ts';
import { setRolePassword } from '../../dev/role-password.ts';
import { startFakeWorker, type FakeWorker } from '../support/fake-worker.ts';
import { query } from '../support/query.ts';
import { ingestKey, startReplicator, type RunningReplicator } from '../support/replicator.ts';

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

test('[P1.69] [LAB-6] a database put back from a copy of its directory is noticed, and every account is resynchronized, those too that it has lost', async () => {
  const { all, start } = await startKept();
  const kept = await create(all.postgres.url, 'kept');
  const replicator = await start();
  await all.worker.until('the account', () => nameOf(all.worker, kept) === 'kept');
  await replicator.kill('SIGTERM');
  await all.stop();
  const copy = `${all.postgres.dataDir}.copy`;
  closers.push(() => Promise.resolve(rmSync(copy, { recursive: true, force: true })));
  execFileSync('cp', ['-a', all.postgres.dataDir, copy]);

  await all.restart();
  const later = await start();
  await query(all.postgres.url, `update accounts set name = 'taken back' where id = '${kept}'`);
  const lost = await create(all.postgres.url, 'lost');
  await all.worker.until('both', () => nameOf(all.worker, kept) === 'taken back' && all.worker.accounts.has(lost));
  await later.kill('SIGTERM');
  await all.stop();
  rmSync(all.postgres.dataDir, { recursive: true });
  execFileSync('cp', ['-a', copy, all.postgres.dataDir]);
  await all.restart();
  // The WAL overtakes every position that the edge has seen.
  await query(all.postgres.url, `select pg_switch_wal()`);
  // The database that is gone has not been heard for a while.
  const { heard } = all.worker.stream;
  all.worker.stream = { ...all.worker.stream, heard: heard === null ? null : { ...heard, atMs: 0 } };
  const restored = await start();

  expect((await restored.event('epoch_opened'))['reason']).toContain('the database was set back');
  await all.worker.until('the account as it was', () => nameOf(all.worker, kept) === 'kept');
  await all.worker.until('the lost account', () => nameOf(all.worker, lost) === undefined);
  expect(all.worker.violations).toEqual([]);
});

test('[P1.70] a promoted standby, on a timeline of its own, opens an epoch, and the one it was copied from is refused', async () => {
  const { all, start } = await startKept();
  const account = await create(all.postgres.url, 'before');
  const replicator = await start();
  await all.worker.until('the account', () => nameOf(all.worker, account) === 'before');
  await replicator.kill('SIGTERM');
  await all.stop();
  const copy = `${all.postgres.dataDir}.copy`;
  closers.push(() => Promise.resolve(rmSync(copy, { recursive: true, force: true })));
  execFileSync('cp', ['-a', all.postgres.dataDir, copy]);
  writeFileSync(join(all.postgres.dataDir, 'standby.signal'), '');

  await all.restart();
  await query(all.postgres.url, 'select pg_promote()');
  await query(all.postgres.url, `update accounts set name = 'after' where id = '${account}'`);
  const promoted = await start();

  expect((await promoted.event('epoch_opened'))['reason']).toBe('the database is on another timeline');
  await all.worker.until('the rename', () => nameOf(all.worker, account) === 'after');
  await promoted.kill('SIGTERM');
  await all.stop();
  rmSync(all.postgres.dataDir, { recursive: true });
  execFileSync('cp', ['-a', copy, all.postgres.dataDir]);
  await all.restart();
  const old = await start({ isRefused: true });
  expect((await old.line('the refusal', ({ kind }) => kind === 'RefusedError'))['message']).toContain('timeline 1');
  expect(nameOf(all.worker, account)).toBe('after');
});

type Kept = {
  readonly worker: FakeWorker;
  readonly postgres: RunningPostgres;
  readonly stop: () => Promise<void>;
  readonly restart: () => Promise<void>;
};

/** A server whose directory outlives it, and what starts a replicator of it. */
async function startKept(): Promise<{
  readonly all: Kept;
  readonly start: (options?: { isRefused?: boolean }) => Promise<RunningReplicator>;
}> {
  const dataDir = join(mkdtempSync(join(tmpdir(), 'drawbridge-restored-')), 'data');
  closers.push(async () => {
    await removeDataDir(dataDir);
    rmSync(dirname(dataDir), { recursive: true, force: true });
  });
  let postgres = await startPostgres({ dataDir });
  closers.push(async () => await postgres.stop());
  await migrate(postgres.url);
  const replicatorUrl = await setRolePassword(postgres.url, 'drawbridge_replicator', 'secret');
  const worker = await startFakeWorker(ingestKey);
  closers.push(worker.close);
  const all: Kept = {
    worker,
    get postgres() {
      return postgres;
    },
    stop: async () => await postgres.stop(),
    async restart() {
      postgres = await startPostgres({ dataDir, port: postgres.port });
    },
  };
  return {
    all,
    async start({ isRefused = false } = {}) {
      const started = startReplicator({ REPLICATOR_DATABASE_URL: replicatorUrl, WORKER_URL: worker.url });
      closers.push(() => started.kill('SIGKILL'));
      if (!isRefused) await started.event('streaming');
      return started;
    },
  };
}

async function create(url: string, name: string): Promise<string> {
  const [row] = await query(url, `insert into accounts (name) values ('${name}') returning id::text`);
  return String(row?.[0]);
}

function nameOf(worker: FakeWorker, account: string): unknown {
  return worker.accounts.get(account)?.rows.get(`accounts ["${account}"]`)?.['name'];
}
