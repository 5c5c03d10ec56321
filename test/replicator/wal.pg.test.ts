// The replication connection against real Postgres: what is confirmed, to the byte, and what comes again.
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { formatPgLsn, parsePgLsn, type Lsn } from '../../protocol/lsn.ts';
import { clientConfig } from '../../replicator/connection.ts';
import { createDecoder, type Message } from '../../replicator/decode.ts';
import { openWal, type Wal } from '../../replicator/wal.ts';
import { startTestServer, type TestDatabase, type TestServer } from '../support/replicator.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer({ settings: { wal_sender_timeout: '1000' } });
});
afterAll(() => server.stop());

test('[P1.4][LAB-B][LAB-B3][LAB-KA] confirmed_flush_lsn is exactly the position given, and a commit whose record starts there comes again', async () => {
  const database = await createSlot();
  const first = await open(database);
  // The commit record of `two` follows that of `one` byte for byte, since its message was written before.
  const other = new pg.Client(database.ownerUrl);
  await other.connect();
  await other.query('begin');
  await other.query(`select pg_logical_emit_message(true, 'test', 'two')`);
  await emit(database, 'one');
  await other.query('commit');
  await other.end();
  const [one, two] = [await first.commit('one'), await first.commit('two')];
  first.wal.confirm(one);
  await first.wal.close();

  expect(await database.confirmed()).toBe(formatPgLsn(one));
  const second = await open(database);
  expect(await second.commit('two')).toBe(two);
  expect(second.contents()).toEqual(['two']);
  await second.wal.close();
});

test('[P1.5][LAB-J][LAB-T] a status sent before anything is confirmed moves nothing, and says the present time', async () => {
  const database = await createSlot();
  const before = await database.confirmed();
  const first = await open(database);
  await emit(database, 'one');
  await first.commit('one');
  await database.untilTrue(
    `select abs(extract(epoch from now() - reply_time)) < 60 from pg_stat_replication r join pg_replication_slots s on s.active_pid = r.pid
      where s.slot_name = $1`,
    [database.name],
  );
  await first.wal.close();

  expect(await database.confirmed()).toBe(before);
  const second = await open(database);
  await second.commit('one');
  await second.wal.close();
});

test('[P1.6][LAB-G] reading that is paused for longer than wal_sender_timeout keeps its connection', async () => {
  const database = await createSlot();
  const { wal, commit, errors } = await open(database);
  wal.pause();
  await database.query('select pg_sleep(2.5)');
  await emit(database, 'late');
  wal.resume();

  await commit('late');

  expect(errors).toEqual([]);
  await wal.close();
});

test('[P1.7] a connection that the server ends is reported once', async () => {
  const database = await createSlot();
  const { errors, failed } = await open(database);
  await database.query(`select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1`, [
    database.name,
  ]);

  await failed;

  expect(errors).toHaveLength(1);
});

test('[P5.1][LAB-F1] a message that cannot be handled ends the connection, and nothing of it is confirmed', async () => {
  const database = await createSlot();
  const before = await database.confirmed();
  const { errors, failed } = await open(database, () => {
    throw new Error('cannot be handled');
  });
  await emit(database, 'poison');

  await failed;

  expect(errors.map((error) => error.message)).toEqual(['cannot be handled']);
  expect(await database.confirmed()).toBe(before);
});

test('[P5.99] a change that the server cannot send for its size is a stop that an epoch behind it passes', async () => {
  const database = await createSlot();
  // A filter that fails as such a change does, which needs no gigabyte.
  await database.query('alter publication drawbridge set table accounts where (length(repeat(name, 2000000000)) > 0)');
  const { errors, failed } = await open(database);
  await database.query(`insert into accounts (name) values ('an account')`);

  await failed;

  expect(errors).toMatchObject([{ name: 'StreamStopError', isPassable: true }]);
  expect(errors[0]?.message).toContain('cannot send a change that is too large');
});

type Opened = {
  readonly wal: Wal;
  /** Resolves with the end of the commit that holds the message. */
  readonly commit: (content: string) => Promise<Lsn>;
  readonly contents: () => readonly string[];
  readonly errors: readonly Error[];
  readonly failed: Promise<void>;
};

async function open(database: TestDatabase, onMessage: (message: Message) => void = () => {}): Promise<Opened> {
  const decoder = createDecoder();
  const messages: Message[] = [];
  const errors: Error[] = [];
  const failed = Promise.withResolvers<void>();
  let onArrival = (): void => {};
  const wal = await openWal({
    connection: clientConfig(database.replicatorUrl),
    slot: database.name,
    publications: ['drawbridge', 'drawbridge_flows'],
    confirmed: parsePgLsn((await database.confirmed()) ?? '0/0'),
    walSenderTimeoutMs: 1_000,
    onMessage(bytes) {
      const message = decoder.decode(bytes);
      onMessage(message);
      messages.push(message);
      onArrival();
    },
    onKeepalive() {},
    onError(error) {
      errors.push(error);
      failed.resolve();
    },
  });
  const commitOf = (content: string): Lsn | null => {
    const index = messages.findIndex((message) => message.type === 'message' && message.content === content);
    const commit = messages.slice(index).find((message) => message.type === 'commit');
    return index === -1 || commit === undefined ? null : commit.endLsn;
  };
  return {
    wal,
    errors,
    failed: failed.promise,
    contents: () => messages.flatMap((message) => (message.type === 'message' ? [message.content] : [])),
    commit: (content) =>
      new Promise((resolve) => {
        onArrival = () => {
          const lsn = commitOf(content);
          if (lsn !== null) resolve(lsn);
        };
        onArrival();
      }),
  };
}

async function createSlot(): Promise<TestDatabase> {
  const database = await server.createDatabase();
  await database.query(`select pg_create_logical_replication_slot($1, 'pgoutput')`, [database.name]);
  return database;
}

async function emit(database: TestDatabase, content: string): Promise<void> {
  await database.query(`select pg_logical_emit_message(true, 'test', $1)`, [content]);
}
