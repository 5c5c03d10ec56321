// The change log's table: who may do what with it, its partitions, and what a query of it reads.
import { Client, type DatabaseError } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { migrate } from '../../dev/migrate.ts';
import { startPostgres, type RunningPostgres } from '../../dev/postgres.ts';
import { setRolePassword } from '../../dev/role-password.ts';
import { tableNames } from '../../protocol/tables.ts';
import { acme } from '../support/insert-row.ts';

describe.each([18, 15] as const)('the change log on Postgres %i', (version) => {
  let server: RunningPostgres;
  let db: Client;
  let replicator: Client;

  beforeAll(async () => {
    server = await startPostgres({ version });
    await migrate(server.url);
    db = new Client({ connectionString: server.url });
    const url = await setRolePassword(server.url, 'drawbridge_replicator', 'secret');
    replicator = new Client({ connectionString: url });
    await Promise.all([db.connect(), replicator.connect()]);
  });
  afterAll(async () => {
    await Promise.all([db.end(), replicator.end()]);
    await server.stop();
  });
  beforeEach(async () => {
    for (const name of await partitions()) await db.query(`drop table drawbridge.${name}`);
    await db.query('truncate drawbridge.change_logs');
  });

  test('[P12.14] the replicator may add to the log, and neither read, change nor remove what is in it', async () => {
    await insertRow(replicator, 'now()');

    for (const statement of [
      'select from drawbridge.change_logs',
      `update drawbridge.change_logs set subject = '{}'`,
      'delete from drawbridge.change_logs',
      'truncate drawbridge.change_logs',
      'insert into drawbridge.change_logs_default select from drawbridge.change_logs_default',
    ]) {
      await expect(replicator.query(statement)).rejects.toThrow('permission denied');
    }
    await expect(replicator.query('drop table drawbridge.change_logs')).rejects.toThrow('must be owner');
  });

  test('[P12.15] the op of a row in the log says which data it has', async () => {
    const row = { insert: ['data'], update: ['old_data', 'data'], delete: ['old_data'], truncate: [], hole: [] };
    for (const [op, expected] of Object.entries(row)) {
      const concernsAll = op === 'truncate' || op === 'hole';
      const good: Record<string, string | null> = {
        op: `'${op}'`,
        account_id: concernsAll ? 'null' : `'${acme}'`,
        '"table"': op === 'hole' ? 'null' : `'actors'`,
        reason: op === 'hole' ? `'a reason'` : 'null',
        old_data: 'null',
        data: 'null',
      };
      for (const column of expected) good[column] = `'{}'`;
      expect(await refusal(good)).toBe(null);
      for (const column of ['old_data', 'data']) {
        expect(await refusal({ ...good, [column]: good[column] === 'null' ? `'{}'` : 'null' })).toBe(
          'change_logs_data_fits_op',
        );
      }
      const reasoned = { ...good, reason: `'a reason'`, old_data: 'null', data: 'null' };
      expect([op, await refusal(reasoned)]).toEqual([op, op === 'truncate' ? 'change_logs_data_fits_op' : null]);
    }
    expect(await refusal({ op: `'upsert'`, data: `'{}'` })).toBe('change_logs_data_fits_op');
  });

  test('[P15.34] a row without a partition is taken, and moves when its day gets one', async () => {
    for (const at of [`now()`, `now() - interval '20 days'`, `'2150-01-01'`]) await insertRow(replicator, at);
    expect(await made('make_change_log_partitions', 7)).toBe(9);
    expect(await made('make_change_log_partitions', 7)).toBe(0);

    const { rows } = await db.query(
      `select tableoid::regclass::text = 'drawbridge.change_logs_' || to_char(committed_at, 'YYYYMMDD') as is_moved
         from drawbridge.change_logs order by committed_at`,
    );
    expect(rows.map((row: { is_moved: boolean }) => row.is_moved)).toEqual([true, true, false]);
    await insertRow(replicator, `now() + interval '7 days'`);
    const { rows: strays } = await db.query(
      'select committed_at::date::text as day from drawbridge.change_logs_default',
    );
    expect(strays).toEqual([{ day: '2150-01-01' }]);
  });

  test('[P15.35] what is older than the days kept is dropped, and nothing younger', async () => {
    for (const days of [100, 91, 90, 0]) await insertRow(replicator, `now() - interval '${days} days'`);
    expect(await made('make_change_log_partitions', 0)).toBe(4);
    await insertRow(replicator, `now() - interval '2000 days'`);
    expect(await made('drop_change_log_partitions', 90)).toBe(2);

    const { rows } = await db.query(
      `select current_date - committed_at::date as days from drawbridge.change_logs order by committed_at`,
    );
    expect(rows).toEqual([{ days: 90 }, { days: 0 }]);
    await expect(made('drop_change_log_partitions', 0)).rejects.toThrow('a number of days from 1');
    await expect(made('make_change_log_partitions', 101)).rejects.toThrow('a number of days from 0 to 100');
  });

  test('[P15.36] partitions wait 2 seconds for a lock at most, and rows are taken meanwhile', async () => {
    await made('make_change_log_partitions', 0);
    await insertRow(replicator, `now() - interval '100 days'`);
    await made('make_change_log_partitions', 0);
    await db.query('begin');
    await db.query('select from drawbridge.change_logs');

    await expect(made('make_change_log_partitions', 1)).rejects.toThrow('lock timeout');
    await expect(made('drop_change_log_partitions', 90)).rejects.toThrow('lock timeout');
    await insertRow(replicator, `now() + interval '1 day'`);
    await db.query('commit');
    expect(await made('make_change_log_partitions', 1)).toBe(1);
    expect(await made('drop_change_log_partitions', 90)).toBe(1);
  });

  test('[P15.37] a query by account and time reads the partitions of that time only, each by the index', async () => {
    await made('make_change_log_partitions', 90);
    const plan = await db.query<{ 'QUERY PLAN': string }>(
      `explain (costs off) select * from drawbridge.change_logs
        where account_id = '${acme}' and committed_at >= current_date + 3 and committed_at < current_date + 4
        order by committed_at, commit_end_lsn, seq limit 100`,
    );
    // The bounds are known when the plan is run: what is pruned then is counted as removed.
    const atStart = plan.rows.map((row) => row['QUERY PLAN']).join('\n');
    expect(atStart).toMatch(/Subplans Removed: 91/);

    const { rows } = await db.query<{ today: string; tomorrow: string }>(
      `select (current_date + 3)::text as today, (current_date + 4)::text as tomorrow`,
    );
    const [day] = rows;
    const constant = await db.query<{ 'QUERY PLAN': string }>(
      `explain (costs off) select * from drawbridge.change_logs
        where account_id = '${acme}' and committed_at >= '${day?.today}' and committed_at < '${day?.tomorrow}'
        order by committed_at, commit_end_lsn, seq limit 100`,
    );
    const lines = constant.rows.map((row) => row['QUERY PLAN']).filter((line) => line.includes('change_logs'));
    expect(lines).toEqual([
      expect.stringMatching(
        new RegExp(`Index Scan using change_logs_${day?.today.replaceAll('-', '')}_account_id_\\S+ on`),
      ),
    ]);
  });

  test('[P1.53] every published table tells the session that changes it', async () => {
    const { rows } = await db.query<{ table: string }>(
      `select tgrelid::regclass::text as table from pg_trigger where tgname = 'tell_subject' order by 1`,
    );

    expect(rows.map((row) => row.table)).toEqual([...tableNames].sort());
  });

  test('[P1.54] vsn is the number of the last migration that changed a published table, by position', async () => {
    await db.query('begin');
    const { rows: before } = await db.query(
      `select drawbridge.vsn_at(pg_current_wal_insert_lsn()) as vsn, pg_current_wal_insert_lsn() as lsn`,
    );
    await db.query(`select drawbridge.note_published_shape('0998_nothing_published.sql')`);
    await db.query('alter table actors add column nickname text');
    await db.query(`select drawbridge.note_published_shape('0999_nickname.sql')`);
    const { rows: after } = await db.query(
      `select drawbridge.vsn_at(pg_current_wal_insert_lsn()) as vsn, drawbridge.vsn_at($1) as vsn_before,
              drawbridge.vsn_at('0/1') as vsn_of_another_history,
              (select columns -> 'actors' ->> 'nickname' from drawbridge.published_shapes where vsn = 999) as type`,
      [before[0].lsn],
    );
    await db.query('rollback');

    expect(after).toEqual([{ vsn: 999, vsn_before: before[0].vsn, vsn_of_another_history: 999, type: 'text' }]);
    expect(before[0].vsn).toBeGreaterThanOrEqual(10);
  });

  async function insertRow(client: Client, committedAt: string): Promise<void> {
    await client.query(
      `insert into drawbridge.change_logs (committed_at, epoch, commit_end_lsn, seq, account_id, "table", op, data, vsn)
       values (${committedAt}, 1, '0/1', 0, '${acme}', 'actors', 'insert', '{}', 10) on conflict do nothing`,
    );
  }

  let seq = 0;

  /** The constraint that refuses a row, null when it is taken. */
  async function refusal(columns: Readonly<Record<string, string | null>>): Promise<string | null> {
    seq += 1;
    const given = { committed_at: 'now()', epoch: '1', commit_end_lsn: `'0/1'`, seq: `${seq}`, vsn: '1', ...columns };
    const insert = `insert into drawbridge.change_logs (${Object.keys(given).join()}) values (${Object.values(given).join()})`;
    return await db.query(insert).then(
      () => null,
      (error: DatabaseError) => error.constraint ?? error.message,
    );
  }

  async function made(name: string, days: number): Promise<number> {
    const { rows } = await replicator.query<{ count: number }>(`select drawbridge.${name}($1) as count`, [days]);
    return rows[0]?.count ?? -1;
  }

  async function partitions(): Promise<string[]> {
    const { rows } = await db.query<{ name: string }>(
      `select relname as name from pg_class where relkind = 'r' and relname ~ '^change_logs_\\d{8}$'`,
    );
    return rows.map(({ name }) => name);
  }
});
