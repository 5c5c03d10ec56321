// What makes positions of the stream untrue: a slot or a publication that somebody else changed, and a database that was set
// back. Each opens an epoch, in which every known account is resynchronized.
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createAccount, nameOf, renameAccount, startAll, untilRecorded, type All } from './system.ts';
import { startTestServer, type RunningReplicator, type TestDatabase, type TestServer } from '../support/replicator.ts';

const moved = 'the slot was moved or read by somebody else';
const edited = 'the publication was edited';

/** What is done while no replicator runs; `lose` is a commit that the stream will then not bring. */
type Tampering = (database: TestDatabase, lose: () => Promise<void>) => Promise<unknown>;

const tamperings: readonly (readonly [string, Tampering, string])[] = [
  [
    '[P1.63] a slot that was dropped and made again by hand is noticed',
    async ({ name, query }, lose) => {
      await query('select pg_drop_replication_slot($1)', [name]);
      await lose();
      await query(`select pg_create_logical_replication_slot($1, 'pgoutput')`, [name]);
    },
    moved,
  ],
  [
    '[P1.64] a slot that was advanced by another is noticed',
    async ({ name, query }, lose) => {
      await lose();
      await query('select pg_replication_slot_advance($1, pg_current_wal_lsn())', [name]);
    },
    moved,
  ],
  [
    '[P1.65] a slot that another program has read is noticed',
    async ({ name, query }, lose) => {
      await lose();
      await query(
        `select count(*) from pg_logical_slot_get_binary_changes($1, null, null,
           'proto_version', '1', 'publication_names', 'drawbridge')`,
        [name],
      );
    },
    moved,
  ],
  [
    '[P1.66] a slot whose WAL the server removed is made anew [LAB-LOST]',
    async (database, lose) => {
      await lose();
      await invalidate(database);
    },
    'the server removed WAL that the slot still needed',
  ],
  [
    '[P1.67] a publication that was edited and put back is noticed',
    async ({ query }, lose) => {
      await query('alter publication drawbridge drop table accounts');
      await lose();
      await query('alter publication drawbridge add table accounts');
    },
    edited,
  ],
];

describe.each([18, 15] as const)('on Postgres %i', (version) => {
  let server: TestServer;
  const closers: (() => Promise<unknown>)[] = [];
  beforeAll(async () => {
    server = await startTestServer({ version, settings: { max_slot_wal_keep_size: '16MB', fsync: 'off' } });
  });
  afterEach(async () => {
    for (const close of closers.splice(0).toReversed()) await close();
  });
  afterAll(async () => await server.stop());

  const chosen = version === 18 ? tamperings : tamperings.slice(2, 4);
  test.each(chosen)('%s, and every account is resynchronized', async (_, tamper, reason) => {
    const all = await startAll(server, closers);
    const account = await createAccount(all.database);
    await untilRecorded(all.database, account);
    await all.replicator.kill('SIGKILL');
    await all.database.untilTrue('select not active from pg_replication_slots where slot_name = $1', [
      all.database.name,
    ]);
    await tamper(all.database, () => renameAccount(all.database, account, 'renamed'));

    const replicator = await all.restart();

    await all.worker.until('the lost rename', () => nameOf(all.worker, account) === 'renamed');
    expect(await replicator.event('epoch_opened')).toMatchObject({ reason, epoch: 2 });
    expect(all.worker.accounts.get(account)).toMatchObject({ snapshots: 1, position: { epoch: 2 } });
    await goesOn(all, replicator, account);
  });
});

/** Writes WAL until the server gives up what the slot needs. */
async function invalidate({ name, query, untilTrue }: TestDatabase): Promise<void> {
  for (let segment = 0; segment < 4; segment += 1) {
    await query(`select pg_logical_emit_message(false, 'fill', 'x'), pg_switch_wal()`);
    await query('checkpoint');
  }
  await untilTrue(`select wal_status = 'lost' from pg_replication_slots where slot_name = $1`, [name]);
}

/** What follows arrives in the stream, and a restart opens no further epoch. */
async function goesOn({ database, worker, restart }: All, running: RunningReplicator, account: string): Promise<void> {
  await untilRecorded(database, account);
  await running.kill('SIGTERM');
  const again = await restart();
  await renameAccount(database, account, 'after');
  await worker.until('what follows', () => nameOf(worker, account) === 'after');
  expect(again.lines.filter(({ event }) => event === 'epoch_opened')).toEqual([]);
  expect(worker.accounts.get(account)?.snapshots).toBe(1);
  expect(worker.violations).toEqual([]);
}
