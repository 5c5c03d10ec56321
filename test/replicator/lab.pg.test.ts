// What was measured to go wrong in readers of this kind, each by its name, with real Postgres: commits that touch each other,
// old transactions that commit last, prepared ones, commits that are read before they are visible, rewrites, crashes.
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { FakeWorker } from '../support/fake-worker.ts';
import { startTestServer, type TestServer } from '../support/replicator.ts';
import { createAccount, nameOf, newNames, renameAccount, startAll, untilRecorded, type All } from './system.ts';

describe.each([18, 15] as const)('on Postgres %i', (version) => {
  let server: TestServer;
  const closers: (() => Promise<unknown>)[] = [];
  beforeAll(async () => {
    server = await startTestServer({ version, settings: { max_prepared_transactions: '10' } });
  });
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });
  afterAll(() => server.stop());

  test("[P3.19] [LAB-B'] a prepared transaction arrives whole at COMMIT PREPARED, next to a commit that it touches, over a restart", async () => {
    const all = await startAll(server, closers);
    const { database, worker } = all;
    const account = await createAccount(database);
    await worker.until('the birth', () => nameOf(worker, account) === 'an account');
    await untilRecorded(database, account);
    const client = await all.connect();
    await client.query('begin');
    await client.query(insertActor, [account, 'prepared 1']);
    await client.query(insertActor, [account, 'prepared 2']);
    await client.query(`prepare transaction 'prepared'`);
    await renameAccount(database, account, 'meanwhile');
    await worker.until('what came meanwhile', () => nameOf(worker, account) === 'meanwhile');
    await all.replicator.kill('SIGKILL');
    await client.query(`commit prepared 'prepared'`);
    await all.restart();

    await worker.until('the prepared', () => worker.accounts.get(account)?.commits.length === 3);
    expect(newNames(worker, account)).toEqual(['an account', 'meanwhile', 'prepared 1', 'prepared 2']);
    expect(worker.violations).toEqual([]);
  });

  test('[P1.85] [LAB-B] [LAB-B2] commits of many writers, which touch each other, each take effect once over kills of the replicator', async () => {
    const all = await startAll(server, closers);
    const { database, worker } = all;
    const account = await createAccount(database);
    await worker.until('the birth', () => nameOf(worker, account) === 'an account');
    await untilRecorded(database, account);
    let running = all.replicator;
    const writers = startWriters(all, account);
    for (let kill = 1; kill <= (version === 18 ? 2 : 1); kill += 1) {
      const before = worker.deliveries.length;
      await worker.until('some deliveries', () => worker.deliveries.length > before + 5);
      await running.kill('SIGKILL');
      running = await all.restart();
    }
    const written = await writers.stop();
    await renameAccount(database, account, 'the end');

    await worker.until('the end', () => nameOf(worker, account) === 'the end', 40_000);
    expect(worker.accounts.get(account)?.commits).toHaveLength(written + 2);
    expect(new Set(newNames(worker, account)).size).toBe(written + 2);
    expect(worker.accounts.get(account)?.snapshots).toBe(0);
    expect(worker.violations).toEqual([]);
  });

  test('[P3.20] [LAB-K] a transaction that began first and commits last is delivered last, with its early changes, over a restart', async () => {
    const all = await startAll(server, closers);
    const { database, worker } = all;
    const account = await createAccount(database);
    await worker.until('the birth', () => nameOf(worker, account) === 'an account');
    await untilRecorded(database, account);
    const old = await all.connect();
    await old.query('begin');
    await old.query(insertActor, [account, 'old, first']);
    for (let number = 1; number <= 20; number += 1) await database.query(insertActor, [account, `short ${number}`]);
    await worker.until('the short ones', () => newNames(worker, account).length === 21);
    await untilRecorded(database, account);
    await all.replicator.kill('SIGKILL');
    await database.query(insertActor, [account, 'short 21']);
    await old.query(insertActor, [account, 'old, last']);
    await old.query('commit');
    await all.restart();

    await worker.until('the old one', () => newNames(worker, account).includes('old, last'));
    const short = Array.from({ length: 21 }, (_, n) => `short ${n + 1}`);
    expect(newNames(worker, account)).toEqual(['an account', ...short, 'old, first', 'old, last']);
    expect(worker.violations).toEqual([]);
  });

  test('[P1.86] [LAB-1] snapshots that are taken while many writers commit never take back what was delivered before', async () => {
    const all = await startAll(server, closers);
    const { database, worker } = all;
    const account = await createAccount(database);
    await worker.until('the birth', () => nameOf(worker, account) === 'an account');
    const held = worker.accounts.get(account);
    const writers = startWriters(all, account);
    for (let loss = 1; loss <= 3; loss += 1) {
      await worker.until(
        'a snapshot',
        () => held?.snapshots === loss - 1 && actorsOf(worker, account).length > loss * 5,
      );
      const known = actorsOf(worker, account);
      // The object loses everything, in the midst of traffic.
      if (held !== undefined) Object.assign(held, { position: null, rows: new Map(), stage: null });
      await worker.until('the next snapshot', () => held?.snapshots === loss, 40_000);
      const after = new Set(actorsOf(worker, account));
      expect(known.filter((name) => !after.has(name))).toEqual([]);
    }
    const written = await writers.stop();
    await renameAccount(database, account, 'the end');

    await worker.until('the end', () => nameOf(worker, account) === 'the end', 40_000);
    expect(actorsOf(worker, account)).toHaveLength(written);
    expect(worker.violations).toEqual([]);
  });

  test('[P1.87] [LAB-11] a table that is rewritten while snapshots are taken loses no row of them', async () => {
    const all = await startAll(server, closers);
    const { database, worker } = all;
    const account = await createAccount(database);
    for (let number = 1; number <= 20; number += 1) await database.query(insertActor, [account, `actor ${number}`]);
    await worker.until('all', () => actorsOf(worker, account).length === 20);
    const held = worker.accounts.get(account);
    const migration = await all.connect();
    for (const [round, type] of ['varchar(600)', 'text', 'varchar(700)', 'text'].entries()) {
      if (held !== undefined) Object.assign(held, { position: null, rows: new Map() });
      const rewriting = migration.query(`alter table actors alter column name type ${type} using name || ''`);
      await renameAccount(database, account, `round ${round}`);
      await rewriting;
      await worker.until('the snapshot', () => nameOf(worker, account) === `round ${round}`, 40_000);
      expect(actorsOf(worker, account)).toHaveLength(20);
    }
    expect(worker.violations).toEqual([]);
  });
});

const insertActor = `insert into actors (account_id, type, name) values ($1, 'service_account', $2)`;

/** Eight sessions that insert actors, each in a transaction of its own, until stopped; `stop` resolves with how many. */
function startWriters(all: All, account: string): { readonly stop: () => Promise<number> } {
  const over = new AbortController();
  const writing = Array.from({ length: 8 }, async (_, writer) => {
    const client = await all.connect();
    let number = 0;
    for (; !over.signal.aborted; number += 1) await client.query(insertActor, [account, `writer ${writer} ${number}`]);
    return number;
  });
  return {
    async stop() {
      over.abort();
      return (await Promise.all(writing)).reduce((sum, count) => sum + count, 0);
    },
  };
}

function actorsOf(worker: FakeWorker, account: string): string[] {
  const rows = [...(worker.accounts.get(account)?.rows ?? [])];
  return rows.filter(([key]) => key.startsWith('actors ')).map(([, row]) => String(row['name']));
}
