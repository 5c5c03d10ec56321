// Everything that can be missing or wrong in the database and around it: one sentence that says what and the way out, and
// exit status 1.
import { Client } from 'pg';
import { createServer } from 'node:http';
import { once } from 'node:events';
import * as v from 'valibot';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { migrate } from '../../dev/migrate.ts';
import { startPostgres, type RunningPostgres } from '../../dev/postgres.ts';
import { acme, insertRow, other } from '../support/insert-row.ts';
import { complaintOf, drawbridgeHere, environment } from './drawbridge.ts';

let server: RunningPostgres;
let bareUrl: string;

beforeAll(async () => {
  server = await startPostgres();
  await migrate(server.url);
  const db = new Client({ connectionString: server.url });
  await db.connect();
  await db.query('create database bare');
  const bare = new URL(server.url);
  bare.pathname = '/bare';
  bareUrl = bare.href;
  await insertRow(db, 'accounts', { id: acme, name: 'Acme', slug: 'acme' });
  await insertRow(db, 'accounts', { id: other, name: 'Other', slug: 'other' });
  await insertRow(db, 'actors', { name: 'Alice' });
  await insertRow(db, 'actors', { name: 'Twin' });
  await insertRow(db, 'actors', { name: 'Twin' });
  await insertRow(db, 'gateway_groups', { name: 'Internet' });
  await insertRow(db, 'gateway_groups', { name: 'Internet', managed_by: 'system' });
  await insertRow(db, 'clients', { external_id: 'phone' });
  await insertRow(db, 'auth_identities', { id: someId, actor_id: await insertRow(db, 'actors', { name: 'Bob' }) });
  await db.end();
});
afterAll(async () => await server.stop());

const someId = '00000000-0000-4000-8000-00000000abcd';
const create = ['token', 'create', '--account', 'acme'];
const client = [...create, '--type', 'client'];
const site = [...create, '--type', 'gateway_group'];

const mint = [...client, '--actor', 'Alice'];
const revoke = ['token', 'revoke', someId];

const failures: readonly (readonly [readonly string[], RegExp])[] = [
  [['status', '--account', 'nobody'], /There is no account "nobody": give the slug or the id of one/],
  [['resync', someId], /There is no account "00000000-0000-4000-8000-00000000abcd"/],
  [['token', 'create', '--account', 'nobody', '--type', 'client', '--actor', 'x'], /There is no account "nobody"/],
  [
    [...client, '--actor', 'Nobody'],
    /The account acme has no actor "Nobody": give an exact name or an id from `.* sql/,
  ],
  [[...client, '--actor', 'Twin'], /has several actors named "Twin": give the id of one, among .*\(account_user\)/],
  [[...client, '--identity', 'x'], /has no identity with the id "x": take one from `.* sql/],
  [
    [...client, '--identity', someId, '--actor', 'Alice'],
    /belongs to another actor of acme than Alice: leave --actor out/,
  ],
  [[...site, '--group', 'Nowhere'], /The account acme has no site "Nowhere"/],
  [[...site, '--group', 'Internet'], /has several sites named "Internet": .*\(managed by the /],
  [['token', 'revoke', someId], /There is no token 00000000-0000-4000-8000-00000000abcd: it may be revoked already/],
  [['token', 'revoke', someId, '--account', 'acme'], /There is no token .* in the account acme/],
  [['explain', '--account', 'nobody', '--client', 'x', '--resource', 'y'], /There is no account "nobody"/],
  [
    ['explain', '--client', 'x', '--resource', 'y'],
    /The database has no client "x": give an exact name or an id from `/,
  ],
  [['explain', '--client', 'phone', '--resource', 'y'], /The account acme has no resource "y": give an exact name/],
  [
    ['explain', '--account', 'other', '--client', 'phone', '--resource', 'y'],
    /The account other has no client "phone"/,
  ],
  [['access', '--actor', 'Twin'], /The database has several actors named "Twin": .* \(of acme\)/],
  [['access', '--resource', someId], /The database has no resource "00000000-0000-4000-8000-00000000abcd"/],
  [['access', '--actor', 'Alice'], /Nothing answers at http:\/\/127.0.0.1:9 .*: check the worker/],
  [['access', '--account', acme, '--client', someId], /Nothing answers at http:\/\/127.0.0.1:9 .*: check the worker/],
  [['sql', 'selekt'], /refuses the statement at character 1: syntax error at or near "selekt"/],
  [['sql', 'select nam from accounts'], /column "nam" does not exist; hint: Perhaps you meant/],
  [
    ['sql', `insert into accounts (slug, name) values ('hunter2 ', 'x')`],
    /refuses the statement: .* violates check constraint "accounts_slug_check"\.\n$/,
  ],
  [
    ['sql', `insert into accounts (slug, name) values ('acme', 'x')`],
    /accounts_slug_key"; Key \(slug\)=\(acme\) already exists/,
  ],
  [['sql', 'select 1; select 2'], /cannot insert multiple commands/],
];

test.each(failures)('%j is answered with one sentence and status 1', async (args, sentence) => {
  const ran = await drawbridgeHere(args, environment(server.url));

  expect(complaintOf(ran)).toMatch(sentence);
  expect(ran.code).toBe(1);
});

test.each([
  [
    'postgres://u:hunter2@127.0.0.1:9/d',
    {},
    /Nothing answers as Postgres at 127.0.0.1:9: check that it runs and that DATABASE_URL names it; /,
  ],
  ['', { DRAWBRIDGE_PG_PORT: '9' }, /`npm run dev` or `npm run db` starts the development one\.\n$/],
] as const)(
  'a database that is not there is answered with one sentence and status 1: %s',
  async (url, env, sentence) => {
    const ran = await drawbridgeHere(revoke, environment(url, env));

    expect(complaintOf(ran)).toMatch(sentence);
    expect(ran.code).toBe(1);
  },
);

test.each([
  ['cut', '--client', acme, '--at-edge'],
  ['cut', '--account', 'acme', '--client', acme, '--at-edge'],
  ['explain', '--account', acme, '--client', 'phone', '--resource', acme],
])(
  'while the database is away, what is named by a name is answered with the way that needs none: %s %s %s',
  async (...args) => {
    const ran = await drawbridgeHere(args, environment('postgres://u:hunter2@127.0.0.1:9/d'));

    expect(complaintOf(ran)).toMatch(
      /Nothing answers as Postgres .* without it this works with ids alone, the account's too/,
    );
  },
);

test('a database that refuses the login is answered with one sentence', async () => {
  const refused = `postgres://postgres:hunter2@127.0.0.1:${server.port}/postgres`;
  expect(complaintOf(await drawbridgeHere(revoke, environment(refused)))).toMatch(/refuses the password of postgres/);
  const missing = server.url.replace(/postgres$/, 'nodatabase');
  expect(complaintOf(await drawbridgeHere(revoke, environment(missing)))).toMatch(/has no database nodatabase/);
});

test('a database without migrations is answered with one sentence', async () => {
  const sentence = /The migrations are not applied to Postgres at .*: run `npm run migrate`/;
  for (const args of [revoke, mint, ['resync', 'acme']]) {
    expect(complaintOf(await drawbridgeHere(args, environment(bareUrl)))).toMatch(sentence);
  }
});

test('status shows each part that is away with the way out, and the others still', async () => {
  const { code, out, err } = await drawbridgeHere(['status'], environment(server.url));

  expect(code).toBe(1);
  expect(out).toMatch(/^database +ok +Postgres 1\d\.\d/m);
  expect(out).toMatch(/^slot +away +No replicator has ever streamed from this database/m);
  expect(out).toMatch(/^replicator +away +Nothing answers at http:\/\/127.0.0.1:9 .*npm run replicator/m);
  expect(out).toMatch(/^worker +away +Nothing answers at http:\/\/127.0.0.1:9 .*npm run worker/m);
  expect(out).toContain(`acme     ${acme}  none`);
  expect(out).toContain('acme: its object was not asked: the worker cannot be reached');
  expect(err).toBe(
    'drawbridge: Not all is well: look at the slot, the replicator, the worker, the stream, the shared relays, 2 more.\n',
  );
});

test('what answers in the place of the worker is not called the worker', async () => {
  const stranger = createServer((_, response) => response.end('{"ok":true}')).listen(0, '127.0.0.1');
  onTestFinished(() => void stranger.close());
  await once(stranger, 'listening');
  const address = v.parse(v.object({ port: v.number() }), stranger.address());
  const env = environment(server.url, { WORKER_URL: `http://127.0.0.1:${address.port}` });

  const { out } = await drawbridgeHere(['status'], env);

  expect(out).toMatch(/^worker +away +What answers at http:\/\/127.0.0.1:\d+ is not the worker: start it/m);
});

test('status without a database, or without migrations, still shows the rest', async () => {
  const away = await drawbridgeHere(['status', '--account', acme], environment('postgres://u:hunter2@127.0.0.1:9/d'));
  expect(away.code).toBe(1);
  expect(away.out).toMatch(/^database +away +Nothing answers as Postgres/m);
  expect(away.out).toMatch(/^worker +away/m);
  expect(away.out).toMatch(new RegExp(`^- +${acme} +unknown +- `, 'm'));
  expect(away.out).not.toContain('has not delivered it');
  expect(away.out + away.err).not.toContain('hunter2');
  const slug = await drawbridgeHere(['status', '--account', 'acme'], environment('postgres://u:hunter2@127.0.0.1:9/d'));
  expect(slug.out).toMatch(/^database +away +Nothing answers .* name the account by its id\.$/m);

  const bare = await drawbridgeHere(['status'], environment(bareUrl));
  expect(bare.out).toMatch(/^database +unwell +Postgres .*; The migrations are not applied \(\d+ missing\)/m);
});
