// What must hold before the stream is read: each fault gives one sentence with its fix, and the process the status that
// belongs to it.
import { once } from 'node:events';
import { createServer } from 'node:net';
import pg from 'pg';
import { expect, test } from 'vitest';
import { migrate } from '../../dev/migrate.ts';
import { parseConfig } from '../../replicator/config.ts';
import { Counters } from '../../replicator/metrics.ts';
import { preflight, PreflightError } from '../../replicator/preflight.ts';
import { run } from '../../replicator/run.ts';
import type { RunStatus } from '../../replicator/status.ts';
import { startFakeWorker } from '../support/fake-worker.ts';
import { ingestKey, startReplicator, startTestServer, type TestDatabase } from '../support/replicator.ts';
import { useTestServer } from './system.ts';

const { server, closers } = useTestServer();

test('[P15.2] a migrated database has no problem', async () => {
  const database = await server.createDatabase();

  expect(await problemsOf(database)).toEqual([]);
});

test.each([
  [
    'a table without full old rows',
    'alter table actors replica identity default',
    ['alter table actors replica identity full'],
  ],
  [
    'a table taken out',
    'alter publication drawbridge drop table policies',
    ['alter publication drawbridge add table policies'],
  ],
  [
    'a foreign table',
    'create table notes (id int primary key); alter table notes replica identity full; grant select on notes to public; alter publication drawbridge add table notes',
    ['alter publication drawbridge drop table notes'],
  ],
  [
    'operations left out',
    `alter publication drawbridge set (publish = 'insert, update, delete')`,
    [`set (publish = 'insert, update, delete, truncate')`],
  ],
  [
    'columns left out',
    'alter publication drawbridge drop table actors; alter publication drawbridge add table actors (id, account_id, name)',
    ['leaves out rows or columns of actors'],
  ],
  [
    '[LAB-18b] a generated column',
    'alter table policies add column label text generated always as (upper(description)) stored',
    ['alter publication drawbridge set (publish_generated_columns = stored)'],
  ],
  [
    '[LAB-18] no publication',
    'drop publication drawbridge',
    ['The publication drawbridge is missing: run `npm run migrate`'],
  ],
  ['no bookkeeping', 'drop table drawbridge.lanes', ['The migrations are not applied: run `npm run migrate`']],
  [
    'a ledger that publishes inserts',
    `alter publication drawbridge_flows set (publish = 'insert, update, delete, truncate')`,
    [`create publication drawbridge_flows for table flows where (ended_at is null)`],
  ],
  [
    'a ledger without its filter',
    'alter publication drawbridge_flows set table flows',
    [`create publication drawbridge_flows for table flows where (ended_at is null)`],
  ],
  [
    'no publication of the ledger',
    'drop publication drawbridge_flows',
    [`create publication drawbridge_flows for table flows where (ended_at is null)`],
  ],
  [
    'a ledger that may not be read',
    'revoke select on flows from drawbridge_replicator',
    ['grant select on flows to drawbridge_replicator'],
  ],
  [
    'rows that may name no account',
    'alter table actors alter column account_id drop not null; alter table tokens alter column account_id drop not null',
    ['alter table actors alter column account_id set not null'],
  ],
  [
    'flows that may name no account',
    'alter table flows alter column account_id drop not null',
    ['alter table flows alter column account_id set not null'],
  ],
  [
    'no key',
    'alter table policies drop constraint policies_pkey; alter table resource_connections drop constraint resource_connections_pkey',
    [
      'alter table resource_connections add primary key (resource_id, gateway_group_id)',
      'alter table policies add primary key (id)',
    ],
  ],
  [
    'row security',
    'alter table policies enable row level security; alter table flows enable row level security',
    ['alter table flows disable row level security', 'alter role drawbridge_replicator bypassrls'],
  ],
  [
    'no right to make temporary tables',
    `do $$ begin execute format('revoke temporary on database %I from public', current_database()); end $$`,
    ['grant temporary on database'],
  ],
  [
    'no right to read',
    'revoke select on tokens from drawbridge_replicator',
    ['grant select on tokens to drawbridge_replicator'],
  ],
])('[P15.3] %s gives one sentence with its fix', async (_, breakIt, fixes) => {
  const database = await server.createDatabase();
  await database.query(breakIt);

  const problems = await problemsOf(database);

  expect(problems).toHaveLength(fixes.length);
  for (const [index, fix] of fixes.entries()) expect(problems[index]).toContain(fix);
});

test('[P5.100] a database in another encoding than UTF8 is named with its fix', async () => {
  const database = await server.createDatabase();
  await database.query(`create database ascii encoding 'SQL_ASCII' locale 'C' template template0`);
  const inAscii = (url: string) => Object.assign(new URL(url), { pathname: '/ascii' }).href;
  await migrate(inAscii(database.ownerUrl));

  const problems = await problemsOf({ ...database, replicatorUrl: inAscii(database.replicatorUrl) });

  expect(problems).toHaveLength(1);
  expect(problems[0]).toContain(`encoding is SQL_ASCII`);
  expect(problems[0]).toContain(`encoding 'UTF8' template template0`);
});

test('[P15.90] [LAB-18b] with its fix carried out a generated column hinders no update, and the stream is read', async () => {
  const database = await server.createDatabase();
  await database.query(`insert into accounts (name) values ('an account')`);
  await database.query(
    'alter table accounts add column label text generated always as (upper(name)) stored; alter publication drawbridge set (publish_generated_columns = stored)',
  );

  expect(await problemsOf(database)).toEqual([]);
  await database.query(`update accounts set name = 'another'`);
});

test('[P15.4] a role that may not replicate gives one sentence with its fix, and the process exits with 1', async () => {
  const database = await server.createDatabase();
  await database.query(`create role reader login password 'secret' in role drawbridge_replicator`);
  const url = new URL(database.replicatorUrl);
  url.username = 'reader';

  const replicator = startReplicator({ REPLICATOR_DATABASE_URL: url.href });

  expect(await replicator.exited).toBe(1);
  expect(replicator.lines.at(-1)).toMatchObject({
    message: expect.stringContaining('`alter role reader replication`'),
  });
});

test('[P15.5] a server without logical WAL is told how to change it, and the process exits with 1', async () => {
  const other = await startTestServer({ settings: { wal_level: 'replica' } });
  closers.push(() => other.stop());
  const database = await other.createDatabase();

  const replicator = startReplicator({ REPLICATOR_DATABASE_URL: database.replicatorUrl });

  expect(await replicator.exited).toBe(1);
  expect(replicator.lines.at(-1)).toMatchObject({
    message: expect.stringContaining('`alter system set wal_level = logical` and restart Postgres'),
  });
});

test('[P15.6] a wrong password says so without repeating it, and the process exits with 1', async () => {
  const database = await server.createDatabase();
  const url = new URL(database.replicatorUrl);
  url.password = 'not-the-one';

  const replicator = startReplicator({ REPLICATOR_DATABASE_URL: url.href });

  expect(await replicator.exited).toBe(1);
  expect(replicator.lines.at(-1)).toMatchObject({
    message: expect.stringContaining('refused the role drawbridge_replicator'),
  });
  expect(JSON.stringify(replicator.lines)).not.toContain('not-the-one');
});

test('[P15.7] a database that cannot be reached is tried again, each time with a sentence that says what to check', async () => {
  const replicator = startReplicator({
    REPLICATOR_DATABASE_URL: 'postgres://drawbridge_replicator:x@127.0.0.1:1/none',
  });
  closers.push(() => replicator.kill('SIGKILL'));

  await replicator.line('a second attempt', (line) => line.event === 'run_again' && line['attempt'] === 2);

  expect(replicator.lines.find((line) => line.event === 'run_failed')?.['message']).toContain(
    'The database at 127.0.0.1:1 cannot be reached (ECONNREFUSED): check',
  );
  expect(await replicator.kill('SIGTERM')).toBe(0);
});

test('[P15.8] a port that is taken gives one sentence and status 1', async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  closers.push(() => taken[Symbol.asyncDispose]());
  const address = taken.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const database = await server.createDatabase();

  const replicator = startReplicator({
    REPLICATOR_DATABASE_URL: database.replicatorUrl,
    DRAWBRIDGE_HTTP_PORT: String(port),
  });

  expect(await replicator.exited).toBe(1);
  expect(replicator.lines).toHaveLength(1);
  expect(replicator.lines[0]).toMatchObject({
    message: expect.stringContaining(`Port ${port} on 127.0.0.1 is in use`),
  });
});

test('[P15.9] a missing variable gives one sentence that names it, and status 2', async () => {
  const replicator = startReplicator({});

  expect(await replicator.exited).toBe(2);
  expect(replicator.lines).toHaveLength(1);
  expect(replicator.lines[0]).toMatchObject({
    message: expect.stringContaining('REPLICATOR_DATABASE_URL is missing: set it to'),
  });
});

test('[P15.10] readyz answers 200 only while the stream is read, healthz while the process runs', async () => {
  const database = await server.createDatabase();
  const worker = await startFakeWorker(ingestKey);
  closers.push(worker.close);
  const environment = {
    REPLICATOR_DATABASE_URL: database.replicatorUrl,
    WORKER_URL: worker.url,
    DRAWBRIDGE_SLOT: database.name,
  };
  const leader = startReplicator(environment);
  closers.push(() => leader.kill('SIGKILL'));
  await leader.event('streaming');
  const standby = startReplicator(environment);
  closers.push(() => standby.kill('SIGKILL'));
  await standby.event('standby');

  const ready = await get(leader, '/readyz');
  expect(ready).toMatchObject({
    status: 200,
    body: { leader: true, streaming: true, epoch: 1, term: 1, slot: database.name, lanes: 0, held: 0 },
  });
  expect(await get(standby, '/readyz')).toEqual({ status: 503, body: { leader: false, streaming: false } });
  expect((await get(standby, '/healthz')).status).toBe(200);
});

test('[P15.42] what stops holding while the stream is read ends the run with its fix', async () => {
  const database = await server.createDatabase();
  const worker = await startFakeWorker(ingestKey);
  closers.push(worker.close);
  const parsed = parseConfig({
    REPLICATOR_DATABASE_URL: database.replicatorUrl,
    WORKER_URL: worker.url,
    DRAWBRIDGE_INGEST_KEY: ingestKey,
    DRAWBRIDGE_SLOT: database.name,
    DRAWBRIDGE_LEADER_TIMEOUT_MS: '30000',
  });
  if (parsed.type === 'error') throw new Error(parsed.message);
  const streaming = Promise.withResolvers<void>();
  const onStatus = ({ type }: RunStatus): void => (type === 'streaming' ? streaming.resolve() : undefined);
  const stop = new AbortController();
  const running = run({
    config: parsed.config,
    log: () => {},
    random: Math.random,
    counters: new Counters(),
    onStatus,
    preflightMs: 50,
    stop: stop.signal,
  });
  running.catch(() => {
    // It is awaited below.
  });
  await Promise.race([streaming.promise, running]);

  await database.query('revoke select on tokens from drawbridge_replicator');

  await expect(running).rejects.toThrow('grant select on tokens to drawbridge_replicator');
});

async function get(replicator: ReturnType<typeof startReplicator>, path: string) {
  const { http_port: port } = await replicator.event('started');
  const response = await fetch(`http://127.0.0.1:${String(port)}${path}`);
  const body: unknown = await response.json();
  return { status: response.status, body };
}

async function problemsOf(database: TestDatabase): Promise<readonly string[]> {
  const client = new pg.Client({ connectionString: database.replicatorUrl });
  await client.connect();
  try {
    await preflight(client, 'drawbridge');
    return [];
  } catch (error) {
    if (error instanceof PreflightError) return error.problems;
    throw error;
  } finally {
    await client.end();
  }
}
