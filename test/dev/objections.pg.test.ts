// Triggers of the database's owner that object to rows which the edge writes, with one error or another.
import type { Client } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { startDatabase, type Database } from '../support/database.ts';
import { queryMsMax } from '../../worker/write-back/waits.ts';
import { acme, insertRow } from '../support/insert-row.ts';
import { id } from '../support/world.ts';

const flow = (n: number, remoteIp: string) => ({
  id: id('flow', n),
  client_id: id('cli'),
  resource_id: id('res'),
  gateway_id: id('gw'),
  policy_id: id('pol'),
  actor_id: id('act'),
  token_id: id('tok'),
  client_remote_ip: remoteIp,
  inserted_at: '2026-01-01T00:00:00Z',
  expires_at: '2026-01-02T00:00:00Z',
  revision: n,
});
const client = (n: number, name: string) => ({
  id: id('cli', n),
  actor_id: id('act'),
  external_id: `laptop-${n}`,
  name,
  ipv4: `100.64.0.${n + 1}`,
  ipv6: `fd00:2021:1111::${n + 1}`,
  psk_base: `\\x${'01'.repeat(32)}`,
  revision: n,
});

let database: Database;
let db: Client;
beforeAll(async () => {
  database = await startDatabase();
  ({ db } = database);
});
afterAll(async () => {
  await database.stop();
});
beforeEach(async () => {
  await db.query('begin');
  await insertRow(db, 'accounts', { id: acme, name: 'Acme' });
  await db.query(`insert into actors (id, account_id, type, name) values ($1, $2, 'account_user', 'Alice')`, [
    id('act'),
    acme,
  ]);
});
afterEach(async () => void (await db.query('rollback')));

/** A trigger on `table` that objects to every row of which `isOdd` is true, an expression over `new`. */
async function objectTo(table: string, isOdd: string, code: string): Promise<void> {
  await db.query(`create function objection_${table}() returns trigger language plpgsql as $$
    begin
      if ${isOdd} then raise exception using errcode = '${code}', message = 'an objection'; end if;
      return new;
    end $$`);
  await db.query(
    `create trigger objection before insert on ${table} for each row execute function objection_${table}()`,
  );
}

async function write(invocation: string, rows: readonly object[]): Promise<string[]> {
  const results = `select value ->> 'outcome' as outcome from jsonb_array_elements(drawbridge.${invocation} -> 'results')`;
  const answer = await db.query<{ outcome: string }>(results, [acme, JSON.stringify(rows)]);
  return answer.rows.map(({ outcome }) => outcome);
}

test.each(['no_data_found', 'assert_failure', 'U0001', 'cardinality_violation'])(
  '[P7.60] a row to which a trigger objects with %s is refused like one that breaks a constraint, and holds up no other',
  async (code) => {
    await objectTo('flows', `new.client_remote_ip = 'odd'`, code);
    await objectTo('clients', `new.name = 'odd'`, code);

    expect(await write('write_flows($1, $2)', [flow(1, 'odd'), flow(2, 'even')])).toEqual(['refused', 'ok']);
    const devices = [client(1, 'odd'), client(2, 'even')];
    expect(await write(`write_devices($1, $2, '[]')`, devices)).toEqual(['refused', 'ok']);
  },
);

test.each(['query_canceled', 'lock_not_available', 'serialization_failure', 'disk_full', 'undefined_column'])(
  '[P7.61] what a row meets that is no fault of its own, as %s, fails the whole, and is refused to none',
  async (code) => {
    await objectTo('flows', `new.client_remote_ip = 'odd'`, code);
    await expect(write('write_flows($1, $2)', [flow(1, 'even'), flow(2, 'odd')])).rejects.toThrow('an objection');
  },
);

test('[P7.64] Postgres ends a statement of the edge before the edge gives up the whole flush', async () => {
  const limit = `select (extract(epoch from split_part(config, '=', 2)::interval) * 1000)::int as ms
    from pg_roles, unnest(rolconfig) as config where rolname = 'drawbridge_edge' and config like 'statement_timeout=%'`;
  const { rows } = await db.query<{ ms: number }>(limit);
  expect(rows[0]?.ms).toBeLessThanOrEqual(queryMsMax - 1000);
});
