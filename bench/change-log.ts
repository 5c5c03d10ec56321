// The change log with many daily partitions beside 2, in one run: inserting a batch as the replicator does, a page of one account
// and one day as `drawbridge log` reads it, and the newest page, without bounds of time. `node bench/change-log.ts --rows N`
// (default 3000): rows a partition; `--recent N` (default: as many): rows in each of the two newest, which are those that are
// written and mostly read; `--partitions N` (default 90). 50 million rows a month make 1.7 million a day: `--rows 20000 --recent
// 1700000` takes 8 GB of disk and some minutes, and so does `--partitions 8 --rows 1700000`.
import { parseArgs } from 'node:util';
import { Client } from 'pg';
import { pageSql, pageValues, readLog, type LogRange } from '../cli/log-query.ts';
import { migrate } from '../dev/migrate.ts';
import { startPostgres } from '../dev/postgres.ts';
import { batchRowsMax, type LogRow } from '../replicator/change-log.ts';
import * as v from 'valibot';
import { accountId, type AccountId } from '../protocol/ids.ts';
import { writeRows } from '../replicator/bookkeeping.ts';
import { percentile, report } from './support/report.ts';

const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '3000' },
    recent: { type: 'string' },
    partitions: { type: 'string', default: '90' },
  },
});
const partitionsOfMany = Number(values.partitions);
const rowsOfPartition = Number(values.rows);
const rowsOfRecent = Number(values.recent ?? values.rows);
const accounts = 1_000;
const samples = 400;
const warmUp = 40;
const dayMs = 86_400_000;
let lsn = 1n << 60n;
const data = JSON.stringify({
  id: '00000000-0000-4000-8000-000000000000',
  account_id: '00000000-0000-4000-8000-000000000001',
  type: 'service_account',
  name: 'x'.repeat(60),
});
const subject = JSON.stringify({ role: 'app', application: 'app', address: '10.0.0.1' });

const names = {
  insert: 'change log: a batch of 500 rows written',
  page: 'change log: 50 rows of one account and the last day',
  newest: 'change log: the newest 50 rows of one account',
  // With more days there is more to keep in memory, whatever is made of them.
  old: 'change log: 50 rows of one account and any day',
};
type What = keyof typeof names;
const whats: readonly What[] = ['insert', 'page', 'newest', 'old'];

const server = await startPostgres({ settings: { shared_buffers: '256MB', max_wal_size: '8GB' } });
try {
  const few = await prepare(2);
  const many = await prepare(partitionsOfMany);
  const timesOf = new Map<Prepared, Record<What, number[]>>(
    [few, many].map((one) => [one, { insert: [], page: [], newest: [], old: [] }]),
  );
  for (let sample = -warmUp; sample < samples; sample += 1) {
    for (const one of sample % 2 === 0 ? [few, many] : [many, few]) {
      const taken: Record<What, number> = {
        insert: await timed(() => insertBatch(one)),
        page: await timed(() => readDay(one, 0)),
        newest: await timed(() => readNewest(one)),
        old: await timed(() => readDay(one, Math.floor(Math.random() * (one.partitions - 1)))),
      };
      if (sample >= 0) for (const what of whats) timesOf.get(one)?.[what].push(taken[what]);
    }
  }
  for (const what of whats) {
    const [two = Number.NaN, ninety = Number.NaN] = [few, many].map((one) =>
      percentile(timesOf.get(one)?.[what] ?? [], 0.95),
    );
    report(
      `${names[what]}, ${partitionsOfMany} daily partitions of ${rowsOfPartition} rows${rowsOfRecent === rowsOfPartition ? '' : `, the two newest of ${rowsOfRecent}`}`,
      `p95 ${ninety.toFixed(1)} ms, ${(ninety / two).toFixed(2)} times`,
      { beside: `2 partitions: p95 ${two.toFixed(1)} ms`, ...(what === 'old' ? {} : { budget: '1.5 times' }) },
    );
  }
  report('change log: partitions in the plan of a page of one day', `${await partitionsRead(many, dayBefore(0))}`, {
    beside: `${partitionsOfMany} partitions`,
    budget: 'pruned',
  });
  await Promise.all([few, many].map(async ({ client }) => await client.end()));
} finally {
  await server.stop();
}

type Prepared = { readonly client: Client; readonly partitions: number };

/** A database of its own with so many partitions of rows of random accounts, the last of them today. */
async function prepare(partitions: number): Promise<Prepared> {
  const admin = new Client({ connectionString: server.url });
  await admin.connect();
  await admin.query(`create database log_${partitions}`);
  await admin.end();
  const url = new URL(server.url);
  url.pathname = `/log_${partitions}`;
  await migrate(url.href);
  const client = new Client({ connectionString: url.href });
  client.on('error', () => {
    // The server ends before its sessions when something fails; that is thrown already.
  });
  await client.connect();
  for (let day = partitions - 1; day >= 0; day -= 1) {
    await client.query(
      `insert into drawbridge.change_logs (committed_at, epoch, commit_end_lsn, seq, account_id, "table", op, old_data, data, subject, vsn)
       select current_date - $1::int + n * (interval '1 day' / $2), 1, pg_lsn ('0/0') + ($1::int * 1e9 + n * 200)::numeric, 0,
              ('00000000-0000-4000-8000-' || lpad(to_hex((random() * $3)::int), 12, '0'))::uuid, 'actors', 'update', $4, $4, $5, 11
         from generate_series(0, $2 - 1) n`,
      [day, day < 2 ? rowsOfRecent : rowsOfPartition, accounts, data, subject],
    );
    await client.query('select drawbridge.make_change_log_partitions(0)');
  }
  await client.query('vacuum (analyze) drawbridge.change_logs');
  await client.query('checkpoint');
  return { client, partitions };
}

async function insertBatch({ client }: Prepared): Promise<void> {
  lsn += 1_000n;
  const rows: LogRow[] = Array.from({ length: batchRowsMax }, (_, seq) => ({
    lsn,
    committedAtUs: Date.now() * 1_000,
    seq,
    account: randomAccount(),
    table: 'actors',
    op: 'update',
    oldData: data,
    data,
    reason: null,
    subject,
  }));
  await writeRows(client, rows, [], { epoch: 1, term: 1 });
}

async function readDay({ client }: Prepared, daysAgo: number): Promise<void> {
  await readLog(client, dayBefore(daysAgo));
}

async function readNewest({ client }: Prepared): Promise<void> {
  await readLog(client, { account: randomAccount(), since: null, until: null, after: null, limit: 50 });
}

/** The 24 hours that ended so many days ago. */
function dayBefore(daysAgo: number): LogRange {
  const until = Date.now() - daysAgo * dayMs;
  return { account: randomAccount(), since: new Date(until - dayMs), until: new Date(until), after: null, limit: 50 };
}

async function partitionsRead({ client }: Prepared, range: LogRange): Promise<number> {
  const { rows } = await client.query<{ 'QUERY PLAN': string }>(`explain ${pageSql}`, pageValues(range));
  const scanned = rows.flatMap((row) => / on (?<name>change_logs_\w+)/.exec(row['QUERY PLAN'])?.groups?.['name'] ?? []);
  return new Set(scanned).size;
}

function randomAccount(): AccountId {
  return v.parse(
    accountId,
    `00000000-0000-4000-8000-${Math.floor(Math.random() * accounts)
      .toString(16)
      .padStart(12, '0')}`,
  );
}

async function timed(act: () => Promise<void>): Promise<number> {
  const begin = performance.now();
  await act();
  return performance.now() - begin;
}
