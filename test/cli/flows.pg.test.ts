// `drawbridge flows`: the ledger of one account, as people and programs read it.
import type { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startDatabase, type Database } from '../support/database.ts';
import { acme, insertRow } from '../support/insert-row.ts';
import { id } from '../support/world.ts';
import { drawbridgeHere, environment, jsonOf } from './drawbridge.ts';

let database: Database;
let db: Client;
let client = '';
beforeAll(async () => {
  database = await startDatabase();
  ({ db } = database);
  await insertRow(db, 'accounts', { id: acme, name: 'Acme', slug: 'acme' });
  client = await insertRow(db, 'clients', { name: 'Laptop' });
  for (const [n, granted, ended] of [
    [1, '2026-01-01', '2026-01-02'],
    [2, '2026-01-03', null],
    [3, '2026-01-04', null],
  ] as const) {
    await db.query(
      `insert into flows (id, account_id, client_id, resource_id, gateway_id, policy_id, actor_id, token_id, inserted_at,
         expires_at, ended_at, end_cause, told, told_at, revision)
       values ($1, $2, $3, $4, $4, $4, $4, $4, $5, $6, $7::timestamptz, $8, $9, $7::timestamptz, 1)`,
      [
        id('flow', n),
        acme,
        client,
        id('x'),
        granted,
        n === 2 ? '2026-02-01' : 'infinity',
        ended,
        ended === null ? null : { table: 'policies', id: id('x'), commit: null },
        ended === null ? null : 'sent',
      ],
    );
  }
});
afterAll(async () => {
  await database.stop();
});

const flows = async (...args: string[]) => await drawbridgeHere(['flows', ...args], environment(database.url));

test('flows are listed newest first, with the names of what is there and the ids of what is not', async () => {
  expect(jsonOf(await flows('acme', '--json'))).toMatchObject({
    account: acme,
    flows: [
      { id: id('flow', 3), client: 'Laptop', resource: id('x'), endedAt: null, cause: null },
      { id: id('flow', 2) },
      { id: id('flow', 1), cause: { table: 'policies' }, told: 'sent' },
    ],
  });
  expect((await flows(acme, '--limit', '1')).out.split('\n')).toHaveLength(3);
});

test('--live leaves out what has ended or expired', async () => {
  expect(jsonOf(await flows('acme', '--live', '--json'))).toMatchObject({ flows: [{ id: id('flow', 3) }] });
});

test('a limit that is none is answered with one sentence', async () => {
  expect(await flows('acme', '--limit', '0')).toMatchObject({ code: 2, err: expect.stringContaining('1 to 1000') });
});
