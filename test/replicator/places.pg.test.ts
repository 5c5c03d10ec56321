// Where the object of an account is told that its account is no more, when that happened while no replicator ran: in its
// jurisdiction another object has the same name elsewhere, so what is sent elsewhere ends nothing.
import { expect, test } from 'vitest';
import { type TestDatabase } from '../support/replicator.ts';
import { startAll, untilRecorded, useTestServer } from './system.ts';

const { server, closers } = useTestServer();

const dropSlot = async ({ name, query }: TestDatabase) => await query('select pg_drop_replication_slot($1)', [name]);

test.each([
  ['the stream still has it', () => Promise.resolve()],
  ['its slot is lost, and the lanes table alone knows the account', dropSlot],
  [
    'the database was set back to before it, and the register at the edge alone knows the account',
    async (database: TestDatabase) => {
      await database.query('delete from drawbridge.lanes');
      await dropSlot(database);
    },
  ],
])('[P12.42] an account that is deleted while no replicator runs is ended where it lived: %s', async (_, meanwhile) => {
  const all = await startAll(server, closers);
  const { database, worker } = all;
  const { rows } = await database.query(
    `insert into accounts (name, region) values ('at home', 'eu') returning id::text`,
  );
  const account = String(rows[0]?.['id']);
  await untilRecorded(database, account);
  await all.replicator.kill('SIGKILL');
  await database.untilTrue('select not active from pg_replication_slots where slot_name = $1', [database.name]);
  await database.query(`insert into actors (account_id, type, name) values ($1, 'account_user', 'late')`, [account]);
  await database.query('delete from accounts where id = $1', [account]);
  await meanwhile(database);
  worker.forget();

  await all.restart();

  await worker.until('its end', () => worker.accounts.get(account)?.rows.size === 0);
  const places = worker.deliveries.filter((given) => given.account === account).map(({ place }) => place);
  expect(new Set(places)).toEqual(new Set(['eu']));
  expect(worker.violations).toEqual([]);
});

test('[P12.43] an account that returns after its deletion cannot enter or leave a jurisdiction', async () => {
  const { database } = await startAll(server, closers);
  const { rows } = await database.query(
    `insert into accounts (name, region) values ('at home', 'eu'), ('anywhere', 'weur') returning id::text`,
  );
  const [home, anywhere] = rows.map(({ id }) => String(id));
  for (const id of [home, anywhere]) await untilRecorded(database, String(id));
  await database.query('delete from accounts where id = any ($1)', [[home, anywhere]]);
  const back = async (id: string | undefined, region: string | null) =>
    await database.query(`insert into accounts (id, name, region) values ($1, 'back', $2)`, [id, region]);
  for (const region of [null, 'weur', 'us']) await expect(back(home, region)).rejects.toThrow(/jurisdiction/);
  await expect(back(anywhere, 'eu')).rejects.toThrow(/jurisdiction/);
  await back(home, 'eu');
  await back(anywhere, 'oc');
});
