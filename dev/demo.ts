// `npm run demo`: the main job, from nothing. Starts the whole system, opens a flow from a simulated client through a
// simulated gateway, deletes the policy with SQL, and prints how long each side took to be told. Exits 0 when both were.
// `-- --client B --gateway C` choose the generations of the two (docs/compatibility.md), A when left out.
import { parseArgs } from 'node:util';
import { performance } from 'node:perf_hooks';
import { Client } from 'pg';
import { createFirstAccount } from './first-account.ts';
import { isGranted, startClient } from '../devices/client.ts';
import { report, UsageError } from './command.ts';
import { startGateway } from '../devices/gateway.ts';
import { startRelay } from '../devices/relay.ts';
import { startSystem } from './system.ts';
import type { Device } from '../devices/device.ts';
import type { DeviceFrame } from '../devices/strict.ts';
import type { Generation } from '../protocol/device/generations.ts';
import type { System } from './system.ts';

const startedAt = performance.now();

try {
  await main();
  process.exit(0);
} catch (cause) {
  report(cause);
}

async function main(): Promise<void> {
  const generations = readGenerations(process.argv.slice(2));
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
    await showRevocation(system, generations);
  } catch (cause) {
    process.stderr.write(`${tail.join('\n')}\n`);
    throw cause;
  } finally {
    await system.stop();
  }
  say('done');
}

type Generations = { readonly client: Generation; readonly gateway: Generation };

function readGenerations(args: readonly string[]): Generations {
  const expected = 'expected --client and --gateway with A, C or B each';
  try {
    const { client = 'A', gateway = 'A' } = parseArgs({
      args: [...args],
      options: { client: { type: 'string' }, gateway: { type: 'string' } },
    }).values;
    if (isGeneration(client) && isGeneration(gateway)) return { client, gateway };
  } catch (cause) {
    throw new UsageError(`${cause instanceof Error ? cause.message : String(cause)}: ${expected}`);
  }
  throw new UsageError(`there is no such generation: ${expected}`);
}

function isGeneration(text: string): text is Generation {
  return text === 'A' || text === 'C' || text === 'B';
}

async function showRevocation({ databaseUrl, workerUrl, tokenKeys }: System, of: Generations): Promise<void> {
  const db = new Client({ connectionString: databaseUrl });
  await db.connect();
  const account = await createFirstAccount(db, tokenKeys, `demo_${Date.now().toString(36)}`);
  say('an account with one user, one site, one resource and one policy is in Postgres');

  const arrivals = new Map<DeviceFrame, number>();
  const watch = (name: string) => (frame: DeviceFrame) => {
    arrivals.set(frame, performance.now());
    say(`  ${name} <- ${frame.event} ${brief(frame)}`);
  };
  const relay = await startRelay({ url: workerUrl, ...account.relay, ipv4: '192.0.2.7' });
  const gateway = await startGateway({
    url: workerUrl,
    generation: of.gateway,
    ...account.gateway,
    name: 'Rack 1',
    onFrame: watch('gateway'),
  });
  const client = await startClient({
    url: workerUrl,
    generation: of.client,
    ...account.client,
    name: 'laptop',
    onFrame: watch('client '),
  });
  say('the client asks for the resource');
  const answer = await client.createFlow(account.resourceId);
  if (!isGranted(answer)) throw new Error(`expected a flow, got ${JSON.stringify(answer)}`);
  await gateway.device.waitFor("the client's candidates", isCandidates);
  await client.device.waitFor("the gateway's candidates", isCandidates);

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
  expectClean([relay.device, gateway.device, client.device], gateway.access.size === 0 && client.resources.size === 0);

  relay.device.close();
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

function isCandidates({ event }: DeviceFrame): boolean {
  return event.endsWith('ice_candidates');
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
