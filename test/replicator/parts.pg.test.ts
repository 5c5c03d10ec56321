// Transactions and snapshots too large for one delivery, with real Postgres: they arrive whole, in one step, once, whatever
// is killed meanwhile, and the replicator never holds them.
import { expect, test } from 'vitest';
import type { Delivery } from '../../protocol/commit.ts';
import type { FakeWorker } from '../support/fake-worker.ts';
import { type TestDatabase } from '../support/replicator.ts';
import { createAccount, nameOf, renameAccount, startAll, untilRecorded, useTestServer } from './system.ts';

const rows = 3_000;
const { server, closers } = useTestServer();

test('[P3.18] a large transaction travels in parts and takes effect in one step, and others go on after it', async () => {
  const { database, worker } = await startAll(server, closers);
  const [large, other] = [await createAccount(database), await createAccount(database)];
  await worker.until('both', () => [large, other].every((account) => nameOf(worker, account) === 'an account'));
  const seen = new Set<number>();
  worker.intercept = () => {
    seen.add(actorsOf(worker, large));
    return null;
  };
  await insertActors(database, large);
  await renameAccount(database, large, 'after it');
  await renameAccount(database, other, 'other');

  await worker.until('the end', () => nameOf(worker, large) === 'after it' && nameOf(worker, other) === 'other');

  expect(partsOf(worker, large).length).toBeGreaterThan(1);
  expect([...seen].filter((count) => count !== 0 && count !== rows)).toEqual([]);
  const seqs = worker.accounts.get(large)?.commits[1]?.changes.map(({ seq }) => seq);
  expect(seqs).toEqual(Array.from({ length: rows }, (_, n) => n));
  expect(worker.violations).toEqual([]);
});

test('[P1.74] a replicator that is killed between two parts sends the transaction again from its first, and it arrives once', async () => {
  const { database, worker, replicator, restart } = await startAll(server, closers);
  const account = await createAccount(database);
  await worker.until('the birth', () => nameOf(worker, account) === 'an account');
  await untilRecorded(database, account);
  worker.intercept = (delivery) => (delivery.type === 'commit-part' && delivery.index === 1 ? 'hang' : null);
  await insertActors(database, account);
  await worker.until('the second part', () => partsOf(worker, account).some(({ index }) => index === 1));
  await replicator.kill('SIGKILL');
  worker.intercept = () => null;

  await restart();
  await worker.until('all', () => actorsOf(worker, account) === rows);

  expect(partsOf(worker, account).map(({ index }) => index)).toContain(0);
  expect(worker.accounts.get(account)?.snapshots).toBe(0);
  expect(worker.violations).toEqual([]);
});

test('[P1.75] a part whose answer is lost is sent again, and staged once', async () => {
  const { database, worker } = await startAll(server, closers);
  const account = await createAccount(database);
  await worker.until('the birth', () => nameOf(worker, account) === 'an account');
  const failed = new Set<number>();
  worker.intercept = (delivery) => {
    if (delivery.type !== 'commit-part' || failed.has(delivery.index)) return null;
    failed.add(delivery.index);
    return 503;
  };
  await insertActors(database, account);

  await worker.until('all', () => actorsOf(worker, account) === rows);

  expect(failed.size).toBeGreaterThan(1);
  expect(worker.violations).toEqual([]);
});

test('[P1.76] a large snapshot travels in parts while writers go on, and ends as the database has it', async () => {
  const database = await server.createDatabase();
  const account = await createAccount(database);
  await insertActors(database, account);
  const { worker } = await startAll(server, closers, database);
  await database.query(`update actors set name = 'during' where account_id = $1 and name like '% 1'`, [account]);
  await renameAccount(database, account, 'the end');

  await worker.until('the end', () => nameOf(worker, account) === 'the end');

  const parts = worker.deliveries.filter((delivery) => delivery.type === 'snapshot-part');
  expect(parts.length).toBeGreaterThan(1);
  expect(actorsOf(worker, account)).toBe(rows);
  expect(worker.violations).toEqual([]);
});

test.each([
  [
    'a part is refused',
    (delivery: Delivery) => (delivery.type === 'snapshot-part' && delivery.index === 1 ? 503 : null),
  ],
  [
    'parts are lost',
    (delivery: Delivery) => (delivery.type === 'snapshot-part' && delivery.index === 1 ? missing : null),
  ],
  ['it is refused', (delivery: Delivery) => (delivery.type === 'snapshot' ? missing : null)],
] as const)('[P1.77] a large snapshot is taken anew when %s', async (_, fault) => {
  const database = await server.createDatabase();
  const account = await createAccount(database);
  await insertActors(database, account);
  let faults = 0;
  const { worker } = await startAll(server, closers, database, (delivery) => {
    const answer = faults === 0 ? fault(delivery) : null;
    if (answer !== null) faults += 1;
    return answer;
  });

  await worker.until('the snapshot', () => actorsOf(worker, account) === rows);

  expect(faults).toBe(1);
  expect(worker.violations).toEqual([]);
});

const missing = { type: 'need-snapshot', reason: 'parts are missing', position: null } as const;

async function insertActors(database: TestDatabase, account: string): Promise<void> {
  await database.query(
    `insert into actors (account_id, type, name)
     select $1, 'service_account', repeat('€', 500) || ' ' || n from generate_series(1, $2::int) n`,
    [account, rows],
  );
}

function actorsOf(worker: FakeWorker, account: string): number {
  return [...(worker.accounts.get(account)?.rows.keys() ?? [])].filter((key) => key.startsWith('actors ')).length;
}

function partsOf(worker: FakeWorker, account: string) {
  const parts = worker.deliveries.filter((delivery) => delivery.type === 'commit-part');
  return parts.filter((part) => part.account === account);
}
