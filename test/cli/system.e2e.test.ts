// The command against a whole system: what it hands out admits, what it takes back signs out, and what it shows is so.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import * as v from 'valibot';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startClient } from '../../devices/client.ts';
import { Refused } from '../../devices/device.ts';
import { startGateway } from '../../devices/gateway.ts';
import { createFirstAccount, type FirstAccount } from '../../dev/first-account.ts';
import { migrate } from '../../dev/migrate.ts';
import { startPostgres } from '../../dev/postgres.ts';
import { setRolePassword } from '../../dev/role-password.ts';
import { startReplicatorPart, startWorkerPart } from '../../dev/system.ts';
import { isEvent } from '../support/system.ts';
import { drawbridge, environment, ingestKey, jsonOf, tokenKeys, type Ran } from './drawbridge.ts';

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
  const worker = await startWorkerPart(start({ PORT: '0', DRAWBRIDGE_WORKER_STATE: state }));
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

test('status shows all parts, who is connected, and the flows that are open', async () => {
  const gateway = await startGateway({ url: workerUrl, ...account.gateway, name: 'rack-1' });
  const client = await startClient({ url: workerUrl, ...account.client, name: 'laptop' });
  expect((await client.createFlow(account.resourceId)).event).toBe('flow_created');
  await untilLaneIsRecorded();

  const ran = await run('status', '--json');
  expect([ran.code, ran.err]).toEqual([0, '']);
  expect(jsonOf(ran)).toMatchObject({
    isWell: true,
    database: { isReachable: true, missingMigrations: [], problem: null },
    slot: { name: 'cli', active: true, problem: null },
    replicator: { leader: true, streaming: true, lanes: 1, held: 0, problem: null },
    worker: { url: workerUrl, problem: null },
    accounts: [
      {
        id: account.accountId,
        slug: 'acme',
        lane: { state: 'live' },
        object: { stale: false, clients: 1, gateways: 1, flows: 1, rejectsOwed: 0, unreadableRows: [] },
        problem: null,
      },
    ],
    accountsTotal: 1,
  });
  const human = await run('status', '--account', 'acme');
  expect(human.out).toMatch(/^replicator +ok +leads, streams, epoch \d+, term \d+, lanes 1, held 0$/m);
  expect(human.out).toMatch(new RegExp(`^acme +${account.accountId} +live .* fresh +1 +1 +1 +0 +0$`, 'm'));
  client.device.close();
  gateway.device.close();
});

test('resync --wait has the account delivered again by snapshot, and says so', async () => {
  const ran = await run('resync', 'acme', '--wait');

  expect(ran).toEqual({ code: 0, out: 'Delivered again: the account acme.\n', err: '' });
  expect(replicatorLines.join('\n')).toMatch(/"snapshot_required".*an operator asked for it/);
});

test('status with a key that the worker does not have says so and shows the rest', async () => {
  const { code, out, err } = await drawbridge(['status'], { ...env, DRAWBRIDGE_INGEST_KEY: 'x'.repeat(32) });

  expect([code, err]).toEqual([1, 'drawbridge: Not all is well: look at the account acme.\n']);
  expect(out).toMatch(/^acme: The worker refuses the signature: DRAWBRIDGE_INGEST_KEY must begin with a key/m);
  expect(out).toMatch(/^worker +ok/m);
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
