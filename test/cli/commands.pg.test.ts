// What the commands do to a database; minting, revoking and resync run as the processes that people run.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from 'pg';
import * as v from 'valibot';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startDatabase, type Database } from '../support/database.ts';
import { hashSecret, parseTokenKeys, verifyToken } from '../../worker/token.ts';
import { sharedAccountId } from '../../protocol/ids.ts';
import { acme, insertRow } from '../support/insert-row.ts';
import { drawbridge, drawbridgeHere, environment, ingestKey, jsonOf, tokenKeys, type Ran } from './drawbridge.ts';

let database: Database;
let db: Client;
let actor: string;
let identity: string;
let site: string;

beforeAll(async () => {
  database = await startDatabase();
  ({ db } = database);
  await insertRow(db, 'accounts', { id: acme, name: 'Acme', slug: 'acme' });
  actor = await insertRow(db, 'actors', { name: 'Alice' });
  identity = await insertRow(db, 'auth_identities', { actor_id: actor });
  site = await insertRow(db, 'gateway_groups', { name: 'Headquarters' });
});
afterAll(async () => {
  await database.stop();
});

test('[P12.30] token create signs the place where the account lives', async () => {
  const home = await insertRow(db, 'accounts', { name: 'Home', slug: 'home', region: 'eu' });
  await insertRow(db, 'actors', { name: 'Eve', account_id: home });
  for (const [account, name, place] of [
    ['home', 'Eve', 'eu'],
    ['acme', 'Alice', null],
  ] as const) {
    const ran = await drawbridgeHere(
      ['token', 'create', '--account', account, '--type', 'client', '--actor', name],
      environment(database.url),
    );
    expect(verifyToken(ran.out.trim(), parseTokenKeys(tokenKeys))).toMatchObject({ place });
  }
});

test.each([
  ['client', ['--actor', 'Alice'], () => ({ actor_id: actor, identity_id: null, gateway_group_id: null })],
  ['api', ['--actor', 'Alice'], () => ({ actor_id: actor, identity_id: null, gateway_group_id: null })],
  ['gateway_group', ['--group', 'Headquarters'], () => ({ actor_id: null, identity_id: null, gateway_group_id: site })],
])('token create prints a token of type %s alone, and keeps a hash of its secret', async (type, holder, expected) => {
  const before = Date.now();
  const ran = await runProcess(
    'token',
    'create',
    '--account',
    'acme',
    '--type',
    type,
    ...holder,
    '--name',
    'n',
    '--expires',
    '1d',
  );

  expect([ran.code, ran.err]).toEqual([0, '']);
  expect(ran.out).toMatch(/^drawbridge\.test\.[\w-]+\.[\w-]+\n$/);
  const token = verifyToken(ran.out.trim(), parseTokenKeys(tokenKeys));
  expect(token).toMatchObject({ type, accountId: acme });
  const { rows } = await db.query('select * from tokens where id = $1', [token?.tokenId]);
  const row = v.parse(tokenRow, rows[0]);
  expect(row).toMatchObject({ type, name: 'n', account_id: acme, ...expected() });
  expect(row.secret_hash).toBe(hashSecret(row.secret_salt, token?.secret ?? ''));
  expect(JSON.stringify(rows)).not.toContain(token?.secret);
  expect(row.expires_at.getTime() - 86_400_000).toBeGreaterThanOrEqual(before);
});

test('token create takes ids in place of names, and an identity in place of an actor', async () => {
  const of = ['token', 'create', '--account', acme.toUpperCase(), '--json', '--type'];
  const forIdentity = jsonOf(await run(...of, 'client', '--identity', identity));
  expect(forIdentity).toMatchObject({ actorId: actor, identityId: identity, holderName: 'Alice', expiresAt: null });
  expect(jsonOf(await run(...of, 'client', '--actor', actor))).toMatchObject({ actorId: actor, identityId: null });
  expect(jsonOf(await run(...of, 'gateway_group', '--group', site))).toMatchObject({ siteId: site });
});

test('token revoke deletes a token by its text or its id, and says whose it was', async () => {
  const mint = () => run('token', 'create', '--account', 'acme', '--type', 'client', '--actor', 'Alice', '--json');
  const [first, second] = [v.parse(minted, jsonOf(await mint())), v.parse(minted, jsonOf(await mint()))];

  expect(await runProcess('token', 'revoke', first.token)).toEqual({
    code: 0,
    out: `Revoked the client token ${first.id} of Alice in the account acme.\n`,
    err: '',
  });
  expect(jsonOf(await run('token', 'revoke', second.id, '--account', 'acme', '--json'))).toEqual({
    id: second.id,
    type: 'client',
    name: null,
    holder: 'Alice',
    account: { id: acme, slug: 'acme' },
  });
  const { rowCount } = await db.query('select from tokens where id in ($1, $2)', [first.id, second.id]);
  expect(rowCount).toBe(0);
  expect((await run('token', 'revoke', first.token)).err).toContain('it may be revoked already');
});

test('[P5.93] token keys counts by signing key the tokens that are left, those that have expired and were revoked not', async () => {
  const earlier = `earlier:${'e'.repeat(32)}`;
  const mintUnder = async (keys: string, ...more: string[]) => {
    const args = ['token', 'create', '--account', 'acme', '--type', 'client', '--actor', 'Alice', '--json', ...more];
    return v.parse(
      minted,
      jsonOf(await drawbridgeHere(args, environment(database.url, { DRAWBRIDGE_TOKEN_KEYS: keys }))),
    );
  };
  const left = async (key: string | null) =>
    v.parse(counted, jsonOf(await run('token', 'keys', '--json'))).keys.find((one) => one.key === key)?.tokens ?? 0;
  const old = [await mintUnder(earlier), await mintUnder(earlier, '--expires', '1d')];
  const others = await left('test');
  await mintUnder(`${tokenKeys},${earlier}`);
  expect([await left('earlier'), await left('test')]).toEqual([2, others + 1]);
  await db.query(`update tokens set expires_at = now() where id = $1`, [old[1]?.id]);
  expect((await run('token', 'keys')).out).toMatch(/^KEY +TOKENS +NEWEST\n[^]*^earlier +1 +\S+Z$/m);
  await run('token', 'revoke', old[0]?.id ?? '');
  expect(await left('earlier')).toBe(0);
  const unknown = await left(null);
  await insertRow(db, 'tokens', { actor_id: actor });
  expect(await left(null)).toBe(unknown + 1);
});

test('tokens of relays are made and revoked, of the account or of none', async () => {
  for (const [account, group] of [
    ['acme', 'Frankfurt'],
    [null, 'Everywhere'],
  ] as const) {
    const owner = account === null ? null : acme;
    await db.query('insert into relay_groups (account_id, name) values ($1, $2)', [owner, group]);
    const named = account === null ? [] : ['--account', account];
    const made = await drawbridgeHere(
      ['token', 'create', ...named, '--type', 'relay_group', '--group', group],
      environment(database.url),
    );
    const token = verifyToken(made.out.trim(), parseTokenKeys(tokenKeys));
    expect(token).toMatchObject({ type: 'relay_group', accountId: owner ?? sharedAccountId });
    const { rows } = await db.query('select account_id::text from tokens where id = $1', [token?.tokenId]);
    expect(rows).toEqual([{ account_id: owner }]);
    const revoked = await drawbridgeHere(['token', 'revoke', token?.tokenId ?? ''], environment(database.url));
    expect(revoked.out).toContain(`of ${group} in ${account === null ? 'no account' : 'the account acme'}.`);
    expect((await db.query('select from tokens where id = $1', [token?.tokenId])).rowCount).toBe(0);
  }
  const unknown = await drawbridgeHere(
    ['token', 'create', '--type', 'relay_group', '--group', 'Frankfurt'],
    environment(database.url),
  );
  expect([unknown.code, unknown.err]).toEqual([1, expect.stringContaining('There is no shared relay group')]);
});

test('a key that is not set comes from the file that npm run dev writes', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'drawbridge-cli-'));
  writeFileSync(join(directory, 'env'), `DRAWBRIDGE_TOKEN_KEYS=kept:${'k'.repeat(32)}\n`);
  const args = ['token', 'create', '--account', 'acme', '--type', 'client', '--actor', 'Alice'];

  const ran = await drawbridge(
    args,
    environment(database.url, { DRAWBRIDGE_TOKEN_KEYS: '', DRAWBRIDGE_STATE: directory }),
  );

  rmSync(directory, { recursive: true });
  expect(ran.out).toMatch(/^drawbridge\.kept\./);
});

test('sql prints an aligned table and the number of rows', async () => {
  const ran = await run('sql', `select * from (values ('a', 1.5, null), (E'b\nc', 20, true)) as t (word, n, flag)`);

  expect(ran.out.split('\n')).toEqual(['word    n  flag', 'a     1.5  null', 'b\\nc   20  t', '(2 rows)', '']);
});

test('sql prints rows as JSON with the values that JSON has', async () => {
  const ran = await run(
    'sql',
    `select true as flag, 7 as n, 9007199254740993 as big, 'infinity'::float8 as x, '{"a": [1]}'::jsonb as doc, null as gone`,
    '--json',
  );

  const row = { flag: true, n: 7, big: '9007199254740993', x: 'Infinity', doc: { a: [1] }, gone: null };
  expect(jsonOf(ran)).toEqual({ command: 'SELECT', rowCount: 1, rows: [row] });
});

test('sql that writes says how many rows it wrote', async () => {
  await insertRow(db, 'actor_groups', { name: 'Short-lived' });
  const ran = await run('sql', `delete from actor_groups where name = 'Short-lived'`);
  expect(ran).toEqual({ code: 0, out: 'DELETE 1\n', err: '' });
});

test('resync emits one signed message into the stream, for one account or for all', async () => {
  await db.query(`select pg_create_logical_replication_slot('reader', 'pgoutput', true)`);

  const one = await runProcess('resync', 'acme');
  const all = await run('resync', '--all', '--json');

  expect(one.out).toMatch(/^Asked for at [0-9A-F]+\/[0-9A-F]+: a snapshot of the account acme\.\n/);
  expect(jsonOf(all)).toMatchObject({ account: '*', isDelivered: null });
  const { rows } = await db.query<{ data: Buffer }>(
    `select data from pg_logical_slot_get_binary_changes('reader', null, null,
       'proto_version', '1', 'publication_names', 'drawbridge', 'messages', 'true') where get_byte(data, 0) = ascii('M')`,
  );
  const messages = rows.map(({ data }) => data.toString('latin1'));
  expect(messages).toEqual([
    expect.stringMatching(
      /drawbridge\0.*\{"type":"resync","account":"00000000-[0-9a-f-]+","at":\d+,"mac":"[0-9a-f]{64}"\}$/s,
    ),
    expect.stringMatching(/drawbridge\0.*\{"type":"resync","account":"\*","at":\d+,"mac":"[0-9a-f]{64}"\}$/s),
  ]);
  expect(messages.join()).not.toContain(ingestKey);
});

test('resync --wait ends once the lane has passed the message, and fails when it does not', async () => {
  const waiting = ['resync', 'acme', '--wait', '--timeout'];
  await db.query(`insert into drawbridge.lanes (account_id, epoch, to_lsn, term) values ($1, 1, '0/1', 1)`, [acme]);
  const late = await run(...waiting, '0');
  expect([late.code, late.err]).toEqual([1, expect.stringMatching(/Not delivered within 0 s: the account acme; /)]);

  await db.query(`update drawbridge.lanes set to_lsn = 'FFFFFFFF/0'`);
  expect(await run(...waiting, '20')).toMatchObject({ code: 0, out: 'Delivered again: the account acme.\n' });
});

const minted = v.object({ token: v.string(), id: v.string() });
const counted = v.object({ keys: v.array(v.object({ key: v.nullable(v.string()), tokens: v.number() })) });
const tokenRow = v.looseObject({ secret_salt: v.string(), secret_hash: v.string(), expires_at: v.date() });

function run(...args: string[]): Promise<Ran> {
  return drawbridgeHere(args, environment(database.url));
}

function runProcess(...args: string[]): Promise<Ran> {
  return drawbridge(args, environment(database.url));
}
