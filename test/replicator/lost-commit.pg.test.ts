// A crash takes back a commit that a snapshot had seen, since it was made with synchronous_commit off, and gives its transaction id
// to another. What was seen before the crash must count for nothing after it.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import * as v from 'valibot';
import { migrate } from '../../dev/migrate.ts';
import { removeDataDir, startPostgres, type RunningPostgres } from '../../dev/postgres.ts';
import { setRolePassword } from '../../dev/role-password.ts';
import { accountId } from '../../protocol/ids.ts';
import { messagePrefix } from '../../protocol/steering.ts';
import { composeSteering } from '../../replicator/steering.ts';
import { startFakeWorker } from '../support/fake-worker.ts';
import { ingestKey, startReplicator } from '../support/replicator.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';

const insertActor = `insert into actors (account_id, type, name) values ($1, 'service_account', $2)`;
/** Commits that nobody waits for reach the disk after this long, unless another does first. */
const settings = { wal_writer_delay: '10s', autovacuum: 'off' };
const attemptsMax = 10;

let folder: string;
let postgres: RunningPostgres;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'drawbridge-lost-'));
  postgres = await startPostgres({ dataDir: join(folder, 'data'), settings });
  await migrate(postgres.url);
});
afterAll(async () => {
  await postgres.stop();
  await removeDataDir(postgres.dataDir);
  await rm(folder, { recursive: true, force: true });
});

test('[P1.89] a commit that a snapshot saw and a crash took back is in no object, and the one that has its transaction id is', async () => {
  const { dataDir, port, url } = postgres;
  const proxy = await startTcpProxy(() => port);
  const worker = await startFakeWorker(ingestKey);
  const replicatorUrl = new URL(await setRolePassword(url, 'drawbridge_replicator', 'secret'));
  replicatorUrl.port = String(proxy.port);
  const replicator = startReplicator({ REPLICATOR_DATABASE_URL: replicatorUrl.href, WORKER_URL: worker.url });
  await replicator.event('streaming');
  const first = await connect(url);
  const { rows } = await first.query<{ id: string }>(`insert into accounts (name) values ('one') returning id::text`);
  const account = v.parse(accountId, rows[0]?.id);
  await first.end();
  await worker.until('the birth', () => worker.accounts.has(account));

  let lost = 0n;
  let survived = 0;
  for (let attempt = 1; lost === 0n; attempt += 1) {
    if (attempt > attemptsMax) throw new Error('every commit reached the disk before the crash');
    const seen = await commitBeforeSnapshot(url, account, proxy.meet('declare account_rows', 'before'));
    await postgres.stopImmediately();
    postgres = await startPostgres({ dataDir, port, settings });
    const db = await connect(url);
    const { rowCount } = await db.query(`select from actors where name = 'lost'`);
    await db.query(`update actors set name = 'survived' where name = 'lost'`);
    survived += rowCount ?? 0;
    if (rowCount === 0) lost = seen;
    await db.end();
  }
  const db = await connect(url);
  for (let xid = 0n; xid < lost;) {
    await db.query('begin');
    const { rows: current } = await db.query<{ xid: string }>('select pg_current_xact_id()::text as xid');
    xid = BigInt(current[0]?.xid ?? 0);
    await db.query(insertActor, [account, xid === lost ? 'the same id' : 'another']);
    await db.query('commit');
  }
  await db.query(`update accounts set name = 'the end' where id = $1`, [account]);
  const held = () => [...(worker.accounts.get(account)?.rows.values() ?? [])].map(({ name }) => name);
  await worker.until('the end', () => held().includes('the end'), 40_000);

  const names = (await db.query<{ name: string }>('select name from actors')).rows.map(({ name }) => name);
  expect(names).toContain('the same id');
  expect(counted(held())).toEqual(counted([...names, 'the end']));
  expect(names.filter((name) => name === 'survived')).toHaveLength(survived);
  expect(worker.violations).toEqual([]);
  await db.end();
  await replicator.kill('SIGKILL');
  await worker.close();
  await proxy.close();
}, 120_000);

/** Commits without waiting for the disk while a snapshot waits for its locks, then lets it go on; returns the transaction id. */
async function commitBeforeSnapshot(url: string, account: string, met: Promise<void>): Promise<bigint> {
  const [locking, silencing, db] = [await connect(url), await connect(url), await connect(url)];
  await locking.query('begin');
  await locking.query('lock table policies in access exclusive mode');
  const content = composeSteering({ type: 'resync', account: v.parse(accountId, account), at: Date.now() }, ingestKey);
  await db.query('select pg_logical_emit_message(true, $1, $2)', [messagePrefix, content]);
  const waits = `select from pg_locks where relation = 'policies'::regclass and not granted`;
  while ((await db.query(waits)).rowCount === 0);
  // Whatever the replicator commits would take the commit to the disk with it: it writes nothing until the crash.
  await silencing.query('begin');
  await silencing.query('lock table drawbridge.streams, drawbridge.lanes, drawbridge.change_logs, drawbridge.epochs');
  await db.query('set synchronous_commit = off');
  await db.query('begin');
  await db.query(insertActor, [account, 'lost']);
  const { rows } = await db.query<{ xid: string }>('select pg_current_xact_id()::text as xid');
  await db.query('commit');
  await locking.query('rollback');
  await met;
  return BigInt(rows[0]?.xid ?? 0);
}

function counted(names: readonly unknown[]): object {
  return Object.fromEntries([...Map.groupBy(names, String)].map(([name, all]) => [name, all.length]));
}

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {
    // Ended by the crash.
  });
  await client.connect();
  return client;
}
