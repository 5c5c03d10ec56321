// `npm run demo`: the main job, from nothing. Starts the whole system, opens a flow from a simulated client through a
// simulated gateway, deletes the policy with SQL, and prints how long each side took to be told. Exits 0 when both were.
import { performance } from 'node:perf_hooks';
import { Client } from 'pg';
import { createFirstAccount } from './first-account.ts';
import { report } from './command.ts';
import { startClient } from '../devices/client.ts';
import { startGateway } from '../devices/gateway.ts';
import { startSystem } from './system.ts';
import type { Device } from '../devices/device.ts';
import type { DeviceFrame } from '../devices/strict.ts';
import type { System } from './system.ts';

const startedAt = performance.now();

try {
  await main();
  process.exit(0);
} catch (cause) {
  report(cause);
}

async function main(): Promise<void> {
  say('starting Postgres, the worker and the replicator');
  const tail: string[] = [];
  const system = await startSystem({
    databaseUrl: process.env['DATABASE_URL'],
    onLine: (part, line) => {
      tail.push(`${part}: ${line}`);
      if (tail.length > 20) tail.shift();
    },
  });
  process.once('SIGINT', () => void system.stop().then(() => process.exit(130)));
  try {
    await showRevocation(system);
  } catch (cause) {
    process.stderr.write(`${tail.join('\n')}\n`);
    throw cause;
  } finally {
    await system.stop();
  }
  say('done');
}

async function showRevocation({ databaseUrl, workerUrl, tokenKeys }: System): Promise<void> {
  const db = new Client({ connectionString: databaseUrl });
  await db.connect();
  const account = await createFirstAccount(db, tokenKeys, `demo_${Date.now().toString(36)}`);
  say('an account with one user, one site, one resource and one policy is in Postgres');

  const arrivals = new Map<DeviceFrame, number>();
  const watch = (name: string) => (frame: DeviceFrame) => {
    arrivals.set(frame, performance.now());
    say(`  ${name} <- ${frame.event} ${brief(frame)}`);
  };
  const gateway = await startGateway({
    url: workerUrl,
    ...account.gateway,
    name: 'rack-1',
    onFrame: watch('gateway'),
  });
  const client = await startClient({ url: workerUrl, ...account.client, name: 'laptop', onFrame: watch('client ') });
  say('the client asks for the resource');
  const answer = await client.createFlow(account.resourceId);
  if (answer.event !== 'flow_created') throw new Error(`expected flow_created, got ${JSON.stringify(answer)}`);
  await gateway.device.waitFor("the client's candidates", isEvent('ice_candidates'));
  await client.device.waitFor("the gateway's candidates", isEvent('ice_candidates'));

  say(`psql> begin; delete from policies where id = '${account.policyId}'; commit;`);
  await db.query('begin');
  await db.query('delete from policies where id = $1', [account.policyId]);
  const committedAt = performance.now();
  await db.query('commit');
  const rejected = await gateway.device.waitFor('reject_access', isEvent('reject_access'));
  const deleted = await client.device.waitFor('resource_deleted', isEvent('resource_deleted'));
  const elapsed = (frame: DeviceFrame) => ((arrivals.get(frame) ?? Number.NaN) - committedAt).toFixed(1);
  say(`COMMIT to reject_access at the gateway:   ${elapsed(rejected)} ms`);
  say(`COMMIT to resource_deleted at the client: ${elapsed(deleted)} ms`);
  expectClean([gateway.device, client.device], gateway.access.size === 0 && client.resources.size === 0);

  client.device.close();
  gateway.device.close();
  await db.query('delete from accounts where id = $1', [account.accountId]);
  await db.end();
}

function expectClean(devices: readonly Device[], isAccessGone: boolean): void {
  const failures = devices.flatMap((device) => device.failures);
  if (failures.length > 0) throw new Error(`a real device would have dropped these frames: ${failures.join('; ')}`);
  if (!isAccessGone) throw new Error('the policy is gone, but a device still holds the access');
}

function isEvent(name: string): (frame: DeviceFrame) => boolean {
  return ({ event }) => event === name;
}

function brief({ payload }: DeviceFrame): string {
  const text = JSON.stringify(payload);
  return text.length > 100 ? `${text.slice(0, 99)}…` : text;
}

function say(line: string): void {
  console.log(`${((performance.now() - startedAt) / 1000).toFixed(2).padStart(6)} s  ${line}`);
}
