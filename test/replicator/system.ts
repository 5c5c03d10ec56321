// A migrated database, a fake worker and a replicator between them, and how tests read what has arrived.
import pg from 'pg';
import { startFakeWorker, type FakeWorker } from '../support/fake-worker.ts';
import { afterAll, afterEach, beforeAll } from 'vitest';
import { must } from '../../protocol/assert.ts';
import {
  ingestKey,
  startReplicator,
  startTestServer,
  type RunningReplicator,
  type TestDatabase,
  type TestServer,
} from '../support/replicator.ts';

export type All = {
  readonly database: TestDatabase;
  readonly worker: FakeWorker;
  readonly replicator: RunningReplicator;
  readonly restart: (options?: { isStandby?: boolean }) => Promise<RunningReplicator>;
  readonly connect: () => Promise<TestDatabase['client']>;
};

/** A server for the tests of a file, and what to end after each of them, the latest first. */
export function useTestServer(): { readonly server: TestServer; readonly closers: (() => Promise<unknown>)[] } {
  const closers: (() => Promise<unknown>)[] = [];
  let started: TestServer | null = null;
  const running = (): TestServer => must(started, 'the server, before the first test');
  beforeAll(async () => {
    started = await startTestServer();
  });
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });
  afterAll(async () => await running().stop());
  const server: TestServer = {
    get url() {
      return running().url;
    },
    stopImmediately: async () => await running().stopImmediately(),
    createDatabase: async () => await running().createDatabase(),
    stop: async () => await running().stop(),
  };
  return { server, closers };
}

/**
 * `given` is a database that has rows already; `intercept` is there from the first delivery on; `environment` is every
 * replicator's; `onPort` is told where the worker listens.
 */
export async function startAll(
  server: TestServer,
  closers: (() => Promise<unknown>)[],
  given?: TestDatabase,
  intercept: FakeWorker['intercept'] = () => null,
  environment: Readonly<Record<string, string>> = {},
  onPort: (port: number) => void = () => undefined,
): Promise<All> {
  const database = given ?? (await server.createDatabase());
  const worker = await startFakeWorker(ingestKey);
  onPort(worker.port);
  worker.intercept = intercept;
  closers.push(worker.close);
  const restart: All['restart'] = async ({ isStandby = false } = {}) => {
    const started = startReplicator({
      REPLICATOR_DATABASE_URL: database.replicatorUrl,
      WORKER_URL: worker.url,
      DRAWBRIDGE_SLOT: database.name,
      ...environment,
    });
    closers.push(() => started.kill('SIGKILL'));
    if (!isStandby) await started.event('streaming');
    return started;
  };
  const connect = async (): Promise<TestDatabase['client']> => {
    const client = new pg.Client({ connectionString: database.ownerUrl });
    await client.connect();
    closers.push(() => client.end());
    return client;
  };
  return { database, worker, replicator: await restart(), restart, connect };
}

export async function createAccount(database: TestDatabase): Promise<string> {
  const { rows } = await database.query(`insert into accounts (name) values ('an account') returning id::text`);
  return String(rows[0]?.['id']);
}

/** A token of a group of relays that serve every account. */
export async function insertSharedToken(database: TestDatabase, name: string): Promise<void> {
  await database.query(
    `with shared as (insert into relay_groups (name) values ($1) returning id)
     insert into tokens (type, relay_group_id, name, secret_salt, secret_hash) select 'relay_group', id, $1, 's', repeat('0a', 32) from shared`,
    [name],
  );
}

export async function renameAccount(database: TestDatabase, account: string, name: string): Promise<void> {
  await database.query('update accounts set name = $2 where id = $1', [account, name]);
}

export function untilRecorded(database: TestDatabase, account: string): Promise<void> {
  return database.untilTrue(
    `select l.to_lsn <= s.confirmed_flush_lsn from drawbridge.lanes l, pg_replication_slots s
      where l.account_id = $1 and s.slot_name = $2`,
    [account, database.name],
  );
}

export function changesOf(worker: FakeWorker, account: string) {
  return worker.accounts.get(account)?.commits.flatMap((commit) => commit.changes) ?? [];
}

export function newNames(worker: FakeWorker, account: string) {
  return changesOf(worker, account).flatMap((change) => ('new' in change ? [change.new['name']] : []));
}

export function nameOf(worker: FakeWorker, account: string) {
  return worker.accounts.get(account)?.rows.get(`accounts ["${account}"]`)?.['name'];
}

export function hasTruncate(worker: FakeWorker, account: string): boolean {
  return changesOf(worker, account).some((change) => change.op === 'truncate' && change.table === 'actors');
}

export function toPg(lsn: string): string {
  return `${lsn.slice(0, 8)}/${lsn.slice(8)}`;
}
