// What a transaction of many rows costs the replicator: `node bench/large-transaction.ts [ROWS]`, a million by default, all of
// one account. How long it takes from COMMIT until it has left in parts and been confirmed, the most memory that the
// replicator's process held, and how long another account's commit right behind it waited. The worker only checks and counts.
import { readFileSync } from 'node:fs';
import { report } from './support/report.ts';
import { startFakeWorker } from '../test/support/fake-worker.ts';
import { ingestKey, startReplicator, startTestServer } from '../test/support/replicator.ts';
import { createAccount, renameAccount } from '../test/replicator/system.ts';
import type { Answer, Delivery } from '../protocol/commit.ts';

const rows = Number(process.argv[2] ?? 1_000_000);
const server = await startTestServer();
const database = await server.createDatabase();
const worker = await startFakeWorker(ingestKey);
const replicator = startReplicator({
  REPLICATOR_DATABASE_URL: database.replicatorUrl,
  WORKER_URL: worker.url,
  DRAWBRIDGE_SLOT: database.name,
});
await replicator.event('streaming');
const [large, other] = [await createAccount(database), await createAccount(database)];
await worker.until('both', () => worker.accounts.size === 2);
let parts = 0;
let otherAt = 0;
worker.intercept = (delivery) => {
  if (delivery.type === 'commits' && delivery.account === other) otherAt = performance.now();
  return delivery.account === large ? count(delivery) : null;
};

await database.query(
  `insert into actors (account_id, type, name) select $1, 'service_account', 'actor ' || n from generate_series(1, $2::int) n`,
  [large, rows],
);
const committedAt = performance.now();
await renameAccount(database, other, 'behind it');
await worker.until('the other account', () => otherAt > 0, 600_000);
const { rows: ends } = await database.query('select pg_current_wal_lsn()::text as lsn');
await untilConfirmed(String(ends[0]?.['lsn']));
const confirmedAt = performance.now();

const peakMb = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${replicator.pid}/status`, 'utf8'))?.[1]) / 1024;
report(
  `replicator memory during a transaction of ${rows.toLocaleString('en')} rows`,
  `at most ${Math.round(peakMb)} MB resident; ${parts} parts, confirmed ${seconds(confirmedAt)} after COMMIT, the commit of another account behind it delivered ${seconds(otherAt)} after`,
  { budget: 'RSS < 300 MB' },
);
await replicator.kill('SIGTERM');
await worker.close();
await server.stop();

function count(delivery: Delivery): Answer | null {
  worker.forget();
  if (delivery.type === 'commit-part') {
    parts += 1;
    return { type: 'staged', parts: delivery.index + 1 };
  }
  return delivery.type === 'commits'
    ? { type: 'applied', position: { epoch: delivery.epoch, lsn: delivery.to } }
    : null;
}

async function untilConfirmed(lsn: string): Promise<void> {
  for (;;) {
    const result = await database.query(
      'select confirmed_flush_lsn >= $2::pg_lsn as is_confirmed from pg_replication_slots where slot_name = $1',
      [database.name, lsn],
    );
    if (result.rows[0]?.['is_confirmed'] === true) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function seconds(at: number): string {
  return `${((at - committedAt) / 1000).toFixed(1)} s`;
}
