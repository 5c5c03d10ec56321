// The command against a whole system: what it hands out admits, what it takes back signs out, and what it shows is so.
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import * as v from 'valibot';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startClient } from '../../devices/client.ts';
import { Refused } from '../../devices/device.ts';
import { startGateway } from '../../devices/gateway.ts';
import { startRelay } from '../../devices/relay.ts';
import { createFirstAccount, type FirstAccount } from '../../dev/first-account.ts';
import { migrate } from '../../dev/migrate.ts';
import { startPostgres } from '../../dev/postgres.ts';
import { seed } from '../../dev/seed.ts';
import { setRolePassword } from '../../dev/role-password.ts';
import { startReplicatorPart, startWorkerPart } from '../../dev/system.ts';
import { isEvent } from '../support/system.ts';
import { recipeLines, wordsOf } from './recipes.ts';
import { drawbridge, drawbridgeHere, environment, ingestKey, jsonOf, tokenKeys, type Ran } from './drawbridge.ts';

const replicatorLines: string[] = [];
const stops: (() => Promise<unknown>)[] = [];
let db: Client;
let account: FirstAccount;
let workerUrl: string;
let env: Record<string, string>;
let killReplicator: () => Promise<void>;

beforeAll(async () => {
  const postgres = await startPostgres();
  stops.push(() => postgres.stop());
  await migrate(postgres.url);
  const state = await mkdtemp(join(tmpdir(), 'drawbridge-worker-'));
  stops.push(() => rm(state, { recursive: true, force: true }));
  const start = (more: Record<string, string>) => ({
    env: { DRAWBRIDGE_TOKEN_KEYS: tokenKeys, DRAWBRIDGE_INGEST_KEY: ingestKey, ...more },
    onLine: (part: string, line: string) => {
      if (part === 'replicator') replicatorLines.push(line);
    },
  });
  const edgeUrl = await setRolePassword(postgres.url, 'drawbridge_edge', 'secret');
  const worker = await startWorkerPart(
    start({ PORT: '0', DRAWBRIDGE_WORKER_STATE: state, EDGE_DATABASE_URL: edgeUrl }),
  );
  stops.push(worker.part.stop);
  workerUrl = worker.ready;
  const replicatorDatabaseUrl = await setRolePassword(postgres.url, 'drawbridge_replicator', 'secret');
  const replicator = await startReplicatorPart(
    start({
      REPLICATOR_DATABASE_URL: replicatorDatabaseUrl,
      WORKER_URL: workerUrl,
      DRAWBRIDGE_HTTP_PORT: '0',
      DRAWBRIDGE_SLOT: 'cli',
    }),
  );
  stops.push(replicator.part.stop);
  killReplicator = replicator.part.kill;
  env = environment(postgres.url, { WORKER_URL: workerUrl, DRAWBRIDGE_HTTP_URL: replicator.ready });
  db = new Client({ connectionString: postgres.url });
  await db.connect();
  stops.push(() => db.end());
  account = await createFirstAccount(db, tokenKeys, 'acme');
});
afterAll(async () => {
  for (const stop of stops.toReversed()) await stop();
});

test('a token that the command minted admits a client, and signs it out once it is revoked', async () => {
  const minted = await run(
    'token',
    'create',
    '--account',
    'acme',
    '--type',
    'client',
    '--actor',
    'Alice',
    '--expires',
    '1h',
  );
  expect([minted.code, minted.err]).toEqual([0, '']);
  const token = minted.out.trim();
  const client = await startClient({ url: workerUrl, token, externalId: 'laptop', name: 'laptop' });

  const revoked = await run('token', 'revoke', token);

  expect(revoked.out).toMatch(/^Revoked the client token [0-9a-f-]{36} of Alice in the account acme\.\n$/);
  const signedOut = await client.device.waitFor('disconnect', isEvent('disconnect'));
  expect(signedOut.payload).toEqual({ reason: 'token_expired' });
  await client.device.closed;
  expect(client.device.failures).toEqual([]);
});

test('a token of type api admits no device', async () => {
  const { out } = await run('token', 'create', '--account', 'acme', '--type', 'api', '--actor', 'Alice');
  const device = { url: workerUrl, token: out.trim(), externalId: 'laptop', name: 'laptop' };

  for (const start of [startClient, startGateway]) {
    const refused = await start(device).catch((cause: unknown) => cause);
    expect(refused).toBeInstanceOf(Refused);
    expect(refused).toMatchObject({ status: 401 });
  }
});

test('[P15.104] status shows all parts, who is connected, the flows that are open, and the relays', async () => {
  const gateway = await startGateway({ url: workerUrl, ...account.gateway, name: 'Rack 1' });
  const client = await startClient({ url: workerUrl, ...account.client, name: 'laptop' });
  expect((await client.createFlow(account.resourceId)).event).toBe('flow_created');
  const relay = await startRelay({ url: workerUrl, ...account.relay, ipv4: '192.0.2.7' });
  await untilLaneIsRecorded();

  const ran = await run('status', '--json');
  expect([ran.code, ran.err]).toEqual([0, '']);
  expect(jsonOf(ran)).toMatchObject({
    isWell: true,
    database: { isReachable: true, missingMigrations: [], problem: null },
    slot: { name: 'cli', active: true, problem: null },
    replicator: { leader: true, streaming: true, lanes: 1, held: 0, problem: null },
    worker: { url: workerUrl, problem: null },
    sharedRelays: { relays: 0, problem: null },
    accounts: [
      {
        id: account.accountId,
        slug: 'acme',
        lane: { state: 'live' },
        object: { stale: false, clients: 1, gateways: 1, flows: 1, relays: 1, rejectsOwed: 0, registrations: 0 },
        problem: null,
      },
    ],
    accountsTotal: 1,
  });
  const human = await run('status', '--account', 'acme');
  expect(human.out).toMatch(/^stream +ok +epoch \d+, accounts 1, applied to .*, lag -?\d+ ms$/m);
  expect(human.out).toMatch(/^replicator +ok +leads, streams, epoch \d+, term \d+, lanes 1, held 0, parked 0$/m);
  expect(human.out).toMatch(new RegExp(`^acme +${account.accountId} +live .* fresh +1 +1 +1 +1 +0 +0 +0$`, 'm'));
  expect(human.out).toMatch(/^shared relays +ok +0 of 1000$/m);
  relay.device.close();
  client.device.close();
  gateway.device.close();
});

test('explain tells the path of an access, on the facts of the live connection, and what is missing once it is denied', async () => {
  const gateway = await startGateway({ url: workerUrl, ...account.gateway, name: 'Rack 1' });
  const client = await startClient({ url: workerUrl, ...account.client, name: 'laptop' });
  const why = ['explain', '--client', 'laptop', '--resource', 'Database network'];

  const allowed = await run(...why, '--ip', '192.0.2.1');
  expect([allowed.code, allowed.err]).toEqual([0, '']);
  expect(allowed.out).toMatch(/^ALLOWED/);
  expect(allowed.out).toMatch(/^ {2}token +\S+, never expires; of its live connection$/m);
  expect(allowed.out).toMatch(/^ {2}not used +--ip: the client is connected/m);
  expect(allowed.out).toMatch(/^ {2}policy +Engineers reach the database network .*, decides$/m);
  expect(allowed.out).toMatch(/^ {2}gateway +Rack 1 \(\S+\), connected, 1\.4\.13, compatible, would carry the flow$/m);

  await db.query('update policies set disabled_at = now() where id = $1', [account.policyId]);
  await client.device.waitFor('the resource gone', isEvent('resource_deleted'));
  const denied = await run(...why);
  expect(denied.out).toMatch(/^DENIED \(not_found\).*Missing\n {2}- the policy Engineers .* is disabled\n/s);
  const { clientId, resourceId, accountId, policyId } = account;
  const byId = ['explain', '--account', accountId, '--client', clientId, '--resource', resourceId, '--json'];
  const away = await drawbridgeHere(byId, { ...env, DATABASE_URL: 'postgres://u:p@127.0.0.1:9/d' });
  expect(jsonOf(away)).toMatchObject({
    accountId,
    slug: null,
    verdict: 'not_found',
    missing: [{ type: 'policy_disabled', policyId }],
    facts: { token: { source: 'session' } },
    names: {},
  });

  await db.query('update policies set disabled_at = null where id = $1', [account.policyId]);
  await client.device.waitFor('the resource back', isEvent('resource_created_or_updated'));
  const list = await run('access', '--resource', 'Database network');
  expect(list.out).toMatch(
    /^1 of 1 that policies bring together are allowed.*^Alice's laptop +Alice +Database network +allow /ms,
  );
  client.device.close();
  gateway.device.close();
});

test('an id of another account is answered like one that does not exist, in words and by the object', async () => {
  const other = await createFirstAccount(db, tokenKeys, 'other');
  const ask = async (client: string, resource: string) => {
    const ran = await here('explain', '--account', account.accountId, '--client', client, '--resource', resource);
    return { ...ran, err: ran.err.replaceAll(client, 'CLIENT').replaceAll(resource, 'RESOURCE') };
  };

  const foreign = await ask(other.clientId, account.resourceId);
  expect(foreign).toEqual(await ask(randomUUID(), account.resourceId));
  expect([foreign.code, foreign.out]).toEqual([1, '']);
  expect(foreign.err).toMatch(/The object of the account .* holds no client "CLIENT": if Postgres has it, `.* status/);
  const resource = await ask(account.clientId, other.resourceId);
  expect(resource).toEqual(await ask(account.clientId, randomUUID()));
  expect(resource.err).toMatch(/holds no resource "RESOURCE"/);
  for (const kind of ['resource', 'actor', 'client'] as const) {
    const [theirs, nobodys] = [other[`${kind}Id`], randomUUID()];
    const [one, two] = await Promise.all(
      [theirs, nobodys].map(async (named) => {
        const ran = await here('access', '--account', account.accountId, `--${kind}`, named);
        return ran.err.replaceAll(named, 'ID');
      }),
    );
    expect(one).toBe(two);
    expect(one).toMatch(new RegExp(`holds no ${kind} "ID"`));
  }
  await db.query('delete from accounts where id = $1', [other.accountId]);
});

test('the questions of the recipes are answered in the account that they are written for', async () => {
  await seed(db, { tokenKeys, slug: 'seeded' });
  await run('resync', 'seeded', '--wait');
  const questions = recipeLines.filter((line) => /^(?:explain|access|status) /.test(line));
  const answers = [];
  for (const question of questions) {
    const ran = await here(...wordsOf(question.replace('--account acme', '--account seeded')));
    expect([question, ran.code, ran.err]).toEqual([question, 0, '']);
    answers.push(ran.out);
  }
  expect(answers).toEqual([
    expect.stringMatching(
      /^DENIED.*Missing\n.*a condition on remote_ip_location_region of the policy Engineers .*no gateway/s,
    ),
    expect.stringMatching(/^DENIED.*Missing\n {2}- no gateway of the resource's sites is connected\n/s),
    expect.stringMatching(/^0 of \d+ .*^Bob's laptop +Bob Builder +Lab machines +forbidden /ms),
    expect.stringMatching(/^0 of \d+ .*^Bob's laptop +Bob Builder +Git hosts +offline /ms),
    expect.stringMatching(/^seeded /m),
  ]);
  await db.query(`delete from accounts where slug = 'seeded'`);
});

test('resync --wait has the account delivered again by snapshot, and says so', async () => {
  const ran = await run('resync', 'acme', '--wait');

  expect(ran).toEqual({ code: 0, out: 'Delivered again: the account acme.\n', err: '' });
  expect(replicatorLines.join('\n')).toMatch(/"snapshot_required".*it was asked for/);
});

test('status with a key that the worker does not have says so and shows the rest', async () => {
  const { code, out, err } = await drawbridge(['status'], { ...env, DRAWBRIDGE_INGEST_KEY: 'x'.repeat(32) });

  expect([code, err]).toEqual([
    1,
    'drawbridge: Not all is well: look at the stream, the shared relays, the account acme.\n',
  ]);
  expect(out).toMatch(/^acme: The worker refuses the signature: DRAWBRIDGE_INGEST_KEY must begin with a key/m);
  expect(out).toMatch(/^worker +ok/m);
});

test('[P9.17] verify says whether the edge holds the rows of the database, and of which table it does not', async () => {
  const equal = await run('verify', 'acme');
  expect([equal.code, equal.out]).toEqual([0, expect.stringMatching(/^The edge holds the \d+ rows of acme\.\n$/)]);

  await killReplicator();
  await db.query(`update policies set description = 'unseen' where account_id = $1`, [account.accountId]);
  await db.query(`insert into actors (account_id, type, name) values ($1, 'account_user', 'Unseen')`, [
    account.accountId,
  ]);
  const different = await run('verify', 'acme');

  expect(different.code).toBe(1);
  expect(different.out).toMatch(/^actors: \d+ rows, the database has \d+\npolicies: \d+ rows, with other contents\n$/);
  expect(different.err).toContain('resync acme --wait` mends it');
});

test('status says that nobody reads the slot once the replicator is dead', async () => {
  await killReplicator();
  await untilTrue(`select not active from pg_replication_slots where slot_name = 'cli'`);

  const { code, out } = await run('status');

  expect(code).toBe(1);
  expect(out).toMatch(/^slot +unwell +cli, inactive, .* behind, .* of WAL kept; Nobody reads the slot/m);
  expect(out).toMatch(/^replicator +away/m);
  expect(out).toMatch(/^acme .* live .* fresh /m);
});

function run(...args: string[]): Promise<Ran> {
  return drawbridge(args, env);
}

function here(...args: string[]): Promise<Ran> {
  return drawbridgeHere(args, env);
}

function untilLaneIsRecorded(): Promise<void> {
  return untilTrue('select count(*) = 1 from drawbridge.lanes');
}

/** Polls, since Postgres does not announce either fact. */
async function untilTrue(sql: string): Promise<void> {
  const deadline = performance.now() + 20_000;
  for (;;) {
    const { rows } = await db.query<unknown[]>({ text: sql, rowMode: 'array' });
    if (v.is(v.tuple([v.tuple([v.literal(true)])]), rows)) return;
    if (performance.now() > deadline) throw new Error(`not within 20 s: ${sql}`);
  }
}
