// `drawbridge log`: pages by account and time over a log that is written as the replicator writes it.
import { Client } from 'pg';
import * as v from 'valibot';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { pageSql, pageValues, parseCursor, readLog, type LogEntry } from '../../cli/log-query.ts';
import { startDatabase, type Database } from '../support/database.ts';
import { acme, insertRow, other } from '../support/insert-row.ts';
import { complaintOf, drawbridgeHere, environment, jsonOf } from './drawbridge.ts';

let database: Database;
let db: Client;

beforeAll(async () => {
  database = await startDatabase();
  ({ db } = database);
  await insertRow(db, 'accounts', { id: acme, name: 'Acme', slug: 'acme' });
  // Days 1 to 30 of a month, three commits of two changes each at one time a day; every tenth day a truncate for all.
  await db.query(
    `insert into drawbridge.change_logs (committed_at, epoch, commit_end_lsn, seq, account_id, "table", op, old_data, data, subject, vsn)
     select timestamptz '2026-03-01 12:00:00.000001Z' + (day - 1) * interval '1 day', 1, ('0/' || to_hex(day * 16 + commit))::pg_lsn, seq,
            account, 'actors', 'update', jsonb_build_object('id', 'x', 'name', 'old'),
            jsonb_build_object('id', 'x', 'name', format('%s.%s.%s', day, commit, seq)),
            jsonb_build_object('role', 'app', 'application', 'psql', 'address', null), 10
       from generate_series(1, 30) day, generate_series(1, 3) commit, generate_series(0, 1) seq,
            (values ($1::uuid), ($2)) as accounts (account)
      where (account = $1) = (commit < 3)`,
    [acme, other],
  );
  await db.query(
    `insert into drawbridge.change_logs (committed_at, epoch, commit_end_lsn, seq, "table", op, vsn)
     select timestamptz '2026-03-01 18:00:00Z' + (day - 1) * interval '1 day', 1, ('0/' || to_hex(day * 16 + 9))::pg_lsn, 0, 'clients', 'truncate', 10
       from generate_series(10, 30, 10) day`,
  );
  await db.query(
    `insert into drawbridge.change_logs (committed_at, epoch, commit_end_lsn, seq, op, reason, vsn)
     values ('2026-03-01 00:00:00Z', 1, '0/1', 0, 'hole', 'the slot was missing', 10)`,
  );
});
afterAll(async () => {
  await database.stop();
});

const pageSchema = v.object({
  entries: v.array(v.object({ committedAt: v.string(), commitEndLsn: v.string(), seq: v.number(), op: v.string() })),
  next: v.nullable(v.string()),
});

test('[P15.38] pages of the log hold every change of the account and of all accounts once, newest first, whatever is added meanwhile', async () => {
  const positions: string[] = [];
  let after: readonly string[] = [];
  for (;;) {
    const page = v.parse(pageSchema, jsonOf(await log('acme', '--limit', '7', '--json', ...after)));
    positions.push(...page.entries.map((entry) => `${entry.committedAt} ${entry.commitEndLsn} ${entry.seq}`));
    if (page.next === null) break;
    after = ['--after', page.next];
    await db.query(
      `insert into drawbridge.change_logs (committed_at, epoch, commit_end_lsn, seq, account_id, "table", op, data, vsn)
       values (now(), 2, '0/1', $1, $2, 'actors', 'insert', '{}', 10)`,
      [positions.length, acme],
    );
  }
  await db.query('delete from drawbridge.change_logs where epoch = 2');

  expect(positions).toHaveLength(30 * 2 * 2 + 3 + 1);
  expect(new Set(positions).size).toBe(positions.length);
  const { rows } = await db.query<{ position: string }>(
    `select to_char(committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || ' ' || commit_end_lsn || ' ' || seq as position
       from drawbridge.change_logs where account_id = $1 or account_id is null
      order by committed_at desc, commit_end_lsn desc, seq desc`,
    [acme],
  );
  expect(positions).toEqual(rows.map(({ position }) => position));
});

test('[P15.39] a page of the log holds what was committed from since on and before until', async () => {
  const days = async (...args: string[]) => {
    const page = v.parse(pageSchema, jsonOf(await log('acme', '--json', '--limit', '1000', ...args)));
    return [...new Set(page.entries.map(({ committedAt }) => committedAt.slice(8, 10)))];
  };

  expect(await days('--since', '2026-03-29')).toEqual(['30', '29']);
  expect(await days('--since', '2026-03-05', '--until', '2026-03-07')).toEqual(['06', '05']);
  expect(await days('--until', '2026-03-02T12:00:00.000Z')).toEqual(['01']);
  expect(await days('--since', '1m')).toEqual([]);
});

test('[P15.40] a page of the log reads the partitions of its time only, by the index, also from a cursor', async () => {
  await db.query(`select drawbridge.make_change_log_partitions(0)`);
  const last = v.parse(
    pageSchema,
    jsonOf(await log('acme', '--since', '2026-03-09', '--until', '2026-03-11', '--json', '--limit', '3')),
  );
  // A table as small as this one is read whole sooner than by any index.
  await db.query('set enable_seqscan = off');
  const plan = await db.query<{ 'QUERY PLAN': string }>(
    `explain (costs off) ${pageSql}`,
    pageValues({
      account: acme,
      since: new Date('2026-03-10T00:00:00Z'),
      until: new Date('2026-03-11T00:00:00Z'),
      after: parseCursor(last.next ?? ''),
      limit: 50,
    }),
  );

  const scans = plan.rows.map((row) => row['QUERY PLAN'].trim()).filter((line) => line.includes('Scan'));
  const scan = /Index Scan Backward using change_logs_20260310_\S+ on change_logs_20260310/;
  expect(scans.filter((line) => /change_logs/.test(line))).toEqual([
    expect.stringMatching(scan),
    expect.stringMatching(scan),
  ]);
});

test('[P15.97] the newest page of the log looks into no day before those that fill it, and pages without bounds still reach them all', async () => {
  await db.query(`select drawbridge.make_change_log_partitions(0)`);
  const now = Date.parse('2026-03-31T00:00:00Z');
  const unbounded = { account: acme, since: null, until: null, after: null };
  const read: LogEntry[] = [];
  for (let after: string | null | undefined = undefined; after !== null;) {
    const cursor = after === undefined ? null : parseCursor(after);
    const page = await readLog(db, { ...unbounded, after: cursor, limit: 7 }, now);
    read.push(...page.entries);
    after = page.next;
  }
  const whole = await db.query<LogEntry>(pageSql, pageValues({ ...unbounded, limit: 1_000 }));
  expect(read).toEqual(whole.rows);
  expect(read).toHaveLength(30 * 2 * 2 + 3 + 1);

  const holder = new Client({ connectionString: database.url });
  await holder.connect();
  await holder.query('begin');
  await holder.query('lock table only drawbridge.change_logs_20260305 in access exclusive mode');
  await db.query(`set lock_timeout = '200ms'`);
  expect((await readLog(db, { ...unbounded, limit: 60 }, now)).entries).toEqual(whole.rows.slice(0, 60));
  await expect(readLog(db, { ...unbounded, limit: 1_000 }, now)).rejects.toThrow('lock timeout');
  await db.query('reset lock_timeout');
  await holder.end();
});

test('[P15.79] a page of the log of holds has what was placed and lifted in its time, newest first, and goes on by its cursor', async () => {
  await db.query(
    `insert into drawbridge.hold_log (account_id, revision, action, kind, target_id, at, by, reason)
     select $1, n, case n % 2 when 1 then 'placed' else 'lifted' end, 'client', $1,
            timestamptz '2026-03-01 00:00:00.25Z' + n * interval '1 day', 'alice', case n % 2 when 1 then 'INC-42' end
       from generate_series(1, 5) n`,
    [acme],
  );
  const page = v.object({ holds: v.array(v.object({ revision: v.string() })), next: v.nullable(v.string()) });
  const read = async (...args: string[]) => {
    const { holds, next } = v.parse(page, jsonOf(await log('acme', '--holds', '--json', ...args)));
    return { revisions: holds.map(({ revision }) => revision).join(' '), next };
  };

  expect(await read('--limit', '3')).toEqual({ revisions: '5 4 3', next: '3' });
  expect(await read('--limit', '3', '--after', '3')).toEqual({ revisions: '2 1', next: null });
  expect(await read('--since', '2026-03-03', '--until', '2026-03-05')).toEqual({ revisions: '3 2', next: null });
  const [heading, first, second, more] = (await log('acme', '--holds', '--limit', '2')).out.split('\n');
  expect(heading).toMatch(/^time +by +hold +kind +id +reason$/);
  expect(first).toMatch(new RegExp(`^2026-03-06T00:00:00\\.250Z +alice +placed +client +${acme} +INC-42$`));
  expect(second).toMatch(/ lifted /);
  expect(more).toMatch(/ log acme --holds --after 4, with the same options$/);
  expect((await log(other, '--holds')).out).toBe('No hold.\n');
  expect(complaintOf(await log('acme', '--holds', '--after', 'x'))).toMatch(/not a cursor of --holds/);
});

test('log prints a line for each change: when, by whom, what', async () => {
  await db.query(
    `insert into drawbridge.change_logs (committed_at, epoch, commit_end_lsn, seq, account_id, "table", op, old_data, data, subject, vsn)
     values ('2026-04-01 08:00:00Z', 1, '0/FFFF', 0, $1, 'accounts', 'update', '{"id": "1", "name": "a", "slug": "s"}',
             '{"id": "1", "name": "b", "slug": "s"}', '{"role": "app", "name": "alice", "reason": "INC-42"}', 10)`,
    [acme],
  );
  const ran = await log('acme', '--limit', '2');

  const [heading, first, second, more] = ran.out.split('\n');
  expect(heading).toMatch(/^time +by +op +table +change$/);
  expect(first).toMatch(/^2026-04-01T08:00:00\.000000Z +alice \(INC-42\) +update +accounts +b: name: a → b$/);
  expect(second).toMatch(/^2026-03-30T18:00:00\.000000Z +truncate +clients +every row$/);
  expect(more).toMatch(/^More: npm run -s drawbridge -- log acme --after \S+, with the same options$/);
  expect((await log('acme', '--until', '2026-03-01T06:00:00Z')).out).toMatch(/ hole +the slot was missing\n$/);
});

test('log takes the id of an account that is gone, and no other name of it', async () => {
  expect((await log(other, '--limit', '2')).out).toContain('app with psql');
  expect(complaintOf(await log('gone'))).toContain('There is no account "gone"');
});

function log(...args: string[]) {
  return drawbridgeHere(['log', ...args], environment(database.url));
}
