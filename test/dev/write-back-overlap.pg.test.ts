// Two flushes of one account at the same moment, as when the first was given up by the edge and still runs in Postgres.
import { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { migrate } from '../../dev/migrate.ts';
import { startPostgres, type RunningPostgres } from '../../dev/postgres.ts';
import { acme, insertRow } from '../support/insert-row.ts';
import { id } from '../support/world.ts';

const granted = {
  id: id('flow'),
  client_id: id('cli'),
  resource_id: id('res'),
  gateway_id: id('gw'),
  policy_id: id('pol'),
  actor_id: id('act'),
  token_id: id('tok'),
  inserted_at: '2026-01-01T00:00:00Z',
  expires_at: '2026-01-02T00:00:00Z',
  revision: 10,
  is_known: false,
};
const ended = {
  ...granted,
  ended_at: '2026-01-01T12:00:00Z',
  end_cause: { table: 'policies', id: id('pol'), commit: null },
  told: 'sent',
  told_at: '2026-01-01T12:00:00Z',
  revision: 11,
};

let server: RunningPostgres;
let db: Client;
let edges: readonly [Client, Client];
beforeAll(async () => {
  server = await startPostgres();
  await migrate(server.url);
  const connect = async () => {
    const client = new Client({ connectionString: server.url });
    await client.connect();
    return client;
  };
  [db, edges] = [await connect(), [await connect(), await connect()]];
  for (const edge of edges) await edge.query('set role drawbridge_edge');
  await insertRow(db, 'accounts', { id: acme, name: 'Acme' });
});
beforeEach(async () => void (await db.query('delete from flows')));
afterAll(async () => {
  for (const client of [db, ...edges]) await client.end();
  await server.stop();
});

test.each([
  ['the older state commits first', [granted], [ended]],
  ['the newer state commits first', [ended], [granted]],
  ['both are the same', [granted, ended], [granted, ended]],
])(
  '[P7.52] of two flushes that overlap in time the second waits, and the row is one, in its newest state: %s',
  async (_, first, second) => {
    const [one, two] = edges;
    await one.query('begin');
    await write(one, first);
    const waiting = write(two, second);
    await untilWaiting();
    await one.query('commit');
    expect(await waiting).toEqual(second.map(() => 'ok'));
    expect(await rows()).toEqual([{ revision: 11, told: 'sent', is_over: true }]);
  },
);

test('[P7.52] what a flush wrote that never commits is written by the one that overlaps it', async () => {
  const [one, two] = edges;
  await one.query('begin');
  await write(one, [granted, ended]);
  const waiting = write(two, [granted]);
  await untilWaiting();
  await one.query('rollback');
  await waiting;
  expect(await rows()).toEqual([{ revision: 10, told: null, is_over: false }]);
});

async function write(edge: Client, items: readonly object[]): Promise<unknown[]> {
  const { rows: answers } = await edge.query<{ outcomes: unknown[] }>(
    `select jsonb_path_query_array(drawbridge.write_flows($1, $2), '$.results[*].outcome') as outcomes`,
    [acme, JSON.stringify(items)],
  );
  return answers[0]?.outcomes ?? [];
}

/** Polls until a session waits for the turn of another: Postgres announces no locks. */
async function untilWaiting(): Promise<void> {
  const waits = `select from pg_locks where locktype = 'advisory' and not granted`;
  while ((await db.query(waits)).rowCount === 0);
}

async function rows(): Promise<unknown[]> {
  return (await db.query('select revision::int, told, ended_at is not null as is_over from flows')).rows;
}
