// The account of `npm run seed`: complete, readable by the edge, and the same every time when asked to be.
import { Client } from 'pg';
import * as v from 'valibot';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { migrate } from '../../dev/migrate.ts';
import { startPostgres, type RunningPostgres } from '../../dev/postgres.ts';
import { seed, type SeedOptions } from '../../dev/seed.ts';
import { accountId } from '../../protocol/ids.ts';
import { rowSchemas } from '../../protocol/rows.ts';
import { tableNames } from '../../protocol/tables.ts';
import { clientConfig } from '../../replicator/connection.ts';
import { readAccount } from '../../replicator/snapshot.ts';
import { parseTokenKeys, verifyToken } from '../../worker/token.ts';
import { environment, jsonOf, runFile, tokenKeys } from '../cli/drawbridge.ts';
import { withSession } from '../support/query.ts';

let server: RunningPostgres;
let db: Client;

beforeAll(async () => {
  server = await startPostgres();
  await migrate(server.url);
  db = new Client(clientConfig(server.url));
  await db.connect();
});
afterEach(async () => {
  await db.query('delete from accounts');
});
afterAll(async () => {
  await db.end();
  await server.stop();
});

test('the account has rows in every published table, and the edge can read each of them', async () => {
  const { account } = await seed(db, { tokenKeys });

  const { rows } = await readAccount(db, v.parse(accountId, account.id), [], Math.random);
  const unreadable = tableNames.flatMap((table) =>
    (rows[table] ?? []).flatMap((row) => v.safeParse(rowSchemas[table], row).issues ?? []),
  );
  expect(unreadable).toEqual([]);
  expect(Object.fromEntries(tableNames.map((table) => [table, rows[table]?.length]))).toEqual({
    accounts: 1,
    actors: 4,
    actor_groups: 4,
    actor_group_memberships: 9,
    auth_providers: 2,
    auth_identities: 3,
    gateway_groups: 3,
    tokens: 6,
    clients: 4,
    gateways: 3,
    resources: 8,
    resource_connections: 9,
    policies: 11,
  });
});

test('the rows cover every type of resource and every kind of condition', async () => {
  await seed(db, { tokenKeys });

  expect(
    await list(`select type || coalesce(' ' || ip_stack, ' ' || family(address::inet), '') from resources`),
  ).toEqual(['cidr 4', 'cidr 6', 'dns dual', 'dns ipv4_only', 'dns ipv6_only', 'internet', 'ip 4', 'ip 6']);
  expect(
    await list(`select distinct c ->> 'property' || ' ' || (c ->> 'operator') from policies, unnest(conditions) as c`),
  ).toEqual([
    'client_verified is',
    'current_utc_datetime is_in_day_of_week_time_ranges',
    'provider_id is_in',
    'provider_id is_not_in',
    'remote_ip is_in_cidr',
    'remote_ip is_not_in_cidr',
    'remote_ip_location_region is_in',
    'remote_ip_location_region is_not_in',
  ]);
  expect(await list('select count(*) from policies where disabled_at is not null')).toEqual(['1']);
  expect(await list('select count(*) from clients where verified_at is not null')).toEqual(['1']);
  expect(await list(`select name from gateway_groups where managed_by = 'system'`)).toEqual(['Internet']);
  const sitesPerResource = `select max(n) from (select count(*) as n from resource_connections group by resource_id) as t`;
  expect(await list(sitesPerResource)).toEqual(['2']);
});

test('every token that is handed out is signed and has its row', async () => {
  const { clients, sites } = await seed(db, { tokenKeys });

  const keys = parseTokenKeys(tokenKeys);
  const tokens = [...clients, ...sites].map(({ token }) => verifyToken(token, keys));
  expect(tokens.map((token) => token?.type)).toEqual([
    ...Array<string>(4).fill('client'),
    ...Array<string>(2).fill('gateway_group'),
  ]);
  expect(tokens.map((token) => String(token?.tokenId)).sort()).toEqual(await list('select id from tokens'));
});

test('a second run with --static changes nothing and hands out the same tokens', async () => {
  const first = await seedStatic();
  const before = await contents();

  const second = await seedStatic();

  expect(first.changed).toBe(67);
  expect(second).toEqual({ ...first, changed: 0 });
  expect(await contents()).toEqual(before);
});

test('a run with --static brings back what was deleted and leaves what was edited', async () => {
  const { account } = await seedStatic();
  await db.query(`delete from policies where description = 'Everyone reads the wiki'`);
  await db.query(`update accounts set name = 'Edited'`);

  expect((await seedStatic()).changed).toBe(1);

  expect(await list('select name from accounts')).toEqual(['Edited']);
  expect(account.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

test('a run with --static under another key hands out tokens that work under that key', async () => {
  const before = await seedStatic();
  const after = await seedStatic({ tokenKeys: `other:${'o'.repeat(32)}` });

  expect(after.changed).toBe(6);
  expect(after.clients.map(({ token }) => token)).not.toEqual(before.clients.map(({ token }) => token));
});

test('the command prints tokens as JSON, and two accounts of different slugs live side by side', async () => {
  const ran = await runFile('../../dev/seed.ts', ['--json', '--static'], environment(server.url));
  expect([ran.code, ran.err]).toEqual([0, '']);
  expect(jsonOf(ran)).toEqual(await seedStatic().then((seeded) => ({ ...seeded, changed: 67 })));

  const human = await runFile('../../dev/seed.ts', ['--slug', 'other'], environment(server.url));
  expect(human.out).toMatch(/^The account other \([0-9a-f-]+\): 67 rows written\.\n/);
  expect(human.out).toMatch(/^gateways of Headquarters +hq-1, hq-2 +drawbridge\.test\./m);
});

test('a slug that is taken, or cannot be one, is refused with the way out and without a trace', async () => {
  await seed(db, { tokenKeys });

  const taken = await runFile('../../dev/seed.ts', [], environment(server.url));
  expect([taken.code, taken.out]).toEqual([1, '']);
  expect(taken.err).toMatch(
    /^drawbridge: There is an account acme already: choose another with --slug, .*--reset`\.\n$/,
  );
  await expect(seedStatic()).rejects.toThrow(/There is an account acme already/);
  expect(await list('select count(*) from accounts')).toEqual(['1']);

  const wrong = await runFile('../../dev/seed.ts', ['--slug', 'Not One'], environment(server.url));
  expect([wrong.code, wrong.err]).toEqual([2, expect.stringMatching(/The slug "Not One" cannot be used/)]);
});

test('a database without migrations is answered with one sentence', async () => {
  await db.query('create database bare');
  const url = new URL(server.url);
  url.pathname = '/bare';

  const ran = await runFile('../../dev/seed.ts', [], environment(url.href));

  expect([ran.code, ran.err]).toEqual([1, expect.stringMatching(/The migrations are not applied .*npm run migrate/)]);
});

function seedStatic(changes: Partial<SeedOptions> = {}) {
  return seed(db, { tokenKeys, isStatic: true, ...changes });
}

/** Every row of every table, as text. */
async function contents(): Promise<string[][]> {
  return await withSession(server.url, async (session) => {
    const tables: string[][] = [];
    for (const table of tableNames) {
      const { rows } = await session.query<{ text: string }>(`select t::text as text from ${table} t order by 1`);
      tables.push(rows.map(({ text }) => text));
    }
    return tables;
  });
}

async function list(sql: string): Promise<string[]> {
  const { rows } = await db.query<unknown[]>({ text: sql, rowMode: 'array' });
  return rows.flat().map(String).sort();
}
