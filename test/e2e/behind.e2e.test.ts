// A whole system that is two minutes behind its database, without waiting for two minutes: the commit times that the replicator
// reads are earlier than they were.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readStream } from '../../cli/status-http.ts';
import { grantMsWhileBehind } from '../../core/freshness.ts';
import { startClient } from '../../devices/client.ts';
import { startGateway, type Gateway } from '../../devices/gateway.ts';
import { createFirstAccount } from '../../dev/first-account.ts';
import { migrate } from '../../dev/migrate.ts';
import { startPostgres } from '../../dev/postgres.ts';
import { setRolePassword } from '../../dev/role-password.ts';
import { startReplicatorPart, startWorkerPart } from '../../dev/system.ts';
import { drawbridgeHere, environment, ingestKey, tokenKeys } from '../cli/drawbridge.ts';
import { startBackdatingProxy, type BackdatingProxy } from '../support/backdating-proxy.ts';
import { isEvent } from '../support/system.ts';

const behindMs = 120_000;

const closers: (() => Promise<unknown>)[] = [];
let db: Client;
let proxy: BackdatingProxy;
let workerUrl: string;
let replicatorUrl: string;
let env: Record<string, string>;

beforeAll(async () => {
  const postgres = await startPostgres();
  closers.push(() => postgres.stop());
  await migrate(postgres.url);
  const state = await mkdtemp(join(tmpdir(), 'drawbridge-worker-'));
  closers.push(() => rm(state, { recursive: true, force: true }));
  const start = (more: Record<string, string>) => ({
    env: { DRAWBRIDGE_TOKEN_KEYS: tokenKeys, DRAWBRIDGE_INGEST_KEY: ingestKey, ...more },
    onLine: () => {},
  });
  const edgeUrl = await setRolePassword(postgres.url, 'drawbridge_edge', 'secret');
  const worker = await startWorkerPart(
    start({ PORT: '0', DRAWBRIDGE_WORKER_STATE: state, EDGE_DATABASE_URL: edgeUrl }),
  );
  closers.push(worker.part.stop);
  workerUrl = worker.ready;
  proxy = await startBackdatingProxy(postgres.port, behindMs);
  closers.push(proxy.close);
  const url = new URL(await setRolePassword(postgres.url, 'drawbridge_replicator', 'secret'));
  url.port = String(proxy.port);
  const more = { WORKER_URL: workerUrl, DRAWBRIDGE_HTTP_PORT: '0', DRAWBRIDGE_SLOT: 'behind' };
  const replicator = await startReplicatorPart(start({ REPLICATOR_DATABASE_URL: url.href, ...more }));
  closers.push(replicator.part.stop);
  replicatorUrl = replicator.ready;
  env = environment(postgres.url, { WORKER_URL: workerUrl, DRAWBRIDGE_HTTP_URL: replicatorUrl });
  db = new Client({ connectionString: postgres.url });
  await db.connect();
  closers.push(() => db.end());
});
afterAll(async () => {
  for (const close of closers.toReversed()) await close();
});

test('[P5.90] a system that has fallen a minute behind says so, takes back or shortens what it grants, and grants as ever once it has caught up', async () => {
  const account = await createFirstAccount(db, tokenKeys, 'acme');
  await db.query(`update accounts set when_behind = 'deny'`);
  await until(async () => (await streamStatus()).isBehind && (await appliedTo()) !== null);
  expect((await drawbridgeHere(['status'], env)).out).toContain(problem);
  expect(Number(await appliedTo())).toBeLessThanOrEqual((Date.now() - behindMs) / 1000);

  const gateway = await startGateway({ url: workerUrl, ...account.gateway, name: 'Rack 1' });
  const client = await startClient({ url: workerUrl, ...account.client, name: 'laptop' });
  const ask = async () => await client.createFlow(account.resourceId);
  // Granted before it is known, and taken back in the middle of it or after.
  client.device.send('create_flow', { resource_id: account.resourceId, connected_gateway_ids: [] });
  await gateway.device.waitFor('the end of it', isEvent('reject_access'));
  await client.device.waitFor('the return of the resource', isEvent('resource_created_or_updated'));
  expect((await ask()).payload).toMatchObject({ reason: 'offline' });

  await db.query(`update accounts set when_behind = 'short'`);
  await until(async () => (await ask()).event === 'flow_created');
  expect(untilOf(gateway)).toBeLessThanOrEqual(Date.now() + grantMsWhileBehind);

  proxy.catchUp();
  await until(async () => !(await streamStatus()).isBehind);
  expect((await drawbridgeHere(['status'], env)).out).not.toContain(problem);
  await until(async () => {
    const { rowCount } = await db.query(
      `update flows set ended_at = now() where ended_at is null and expires_at < now() + interval '20 minutes'`,
    );
    return rowCount === 1;
  });
  await until(() => Promise.resolve(gateway.expiries.size === 0));
  expect((await ask()).event).toBe('flow_created');
  expect(untilOf(gateway)).toBeGreaterThan(Date.now() + grantMsWhileBehind * 2);
  expect([...gateway.device.failures, ...client.device.failures]).toEqual([]);
});

const problem = 'what was committed in the last minute has not been applied, so new grants are short or denied';

async function streamStatus() {
  const { facts } = await readStream(workerUrl, ingestKey);
  if (facts === null) throw new Error('the Stream object does not answer');
  return facts;
}

/** Unix seconds, by the replicator's metrics. */
async function appliedTo(): Promise<string | null> {
  const text = await (await fetch(`${replicatorUrl}/metrics`)).text();
  return /^\w*applied_to_seconds (?<seconds>\d+)$/m.exec(text)?.groups?.['seconds'] ?? null;
}

/** Milliseconds since 1970-01-01 UTC. */
function untilOf({ expiries }: Gateway): number {
  const [expiresAt = Number.NaN] = expiries.values();
  return expiresAt * 1000;
}

/** Polls: the parts announce nothing of this. */
async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setImmediate(resolve));
}
