// `node bench/latency.ts`: from COMMIT to the device's socket through every real part, 20 commits a second, beside the floor
// (support/floor.ts) in the same run; how long a wrong access lasts, from the COMMIT that ends it to the gateway that is told;
// how long until the same is told once the replicator was killed, and where a standby takes over.
import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { isEvent, openFlow, startTestSystem } from '../test/support/system.ts';
import { percentile, percentiles, report } from './support/report.ts';
import { startFloor } from './support/floor.ts';
import { slot } from '../dev/system.ts';
import { startReplicator } from '../test/support/replicator.ts';
import type { LiveFlow, TestSystem } from '../test/support/system.ts';

const commits = 400;
const everyMs = 50;
const revocations = 100;
const kills = 5;

const floor = await startFloor();
const running = await startTestSystem();
try {
  const flow = await openFlow(running, 'bench_latency');
  await measureCommits(running, flow);
  await measureRevocations(running, flow);
  await measureKills(running, flow);
  await measureTakeovers(running, flow);
} finally {
  await floor.stop();
  await running.stop();
}
process.exit(0);

async function measureCommits({ db }: TestSystem, { account, client }: LiveFlow): Promise<void> {
  const rename = async (name: string) => {
    const from = client.device.frames.length;
    const began = performance.now();
    const arrival = client.device
      .waitFor('the new name', ({ payload }) => JSON.stringify(payload).includes(`"${name}"`), { from })
      .then(() => performance.now() - began);
    await db.query('update resources set name = $1 where id = $2', [name, account.resourceId]);
    return await arrival;
  };
  for (let i = 0; i < 20; i += 1) await Promise.all([rename(`warm ${i}`), floor.probe()]);
  const [ours, theirs]: Promise<number>[][] = [[], []];
  for (let i = 0; i < commits; i += 1) {
    const next = delay(everyMs / 2);
    ours?.push(rename(`name ${i}`));
    await next;
    const after = delay(everyMs / 2);
    theirs?.push(floor.probe());
    await after;
  }
  const [times, floors] = [await Promise.all(ours ?? []), await Promise.all(theirs ?? [])];
  const ratio = (part: number) => (percentile(times, part) / percentile(floors, part)).toFixed(1);
  report(
    'COMMIT to message on the device’s socket, 20 commits/s',
    `${percentiles(times, 'ms')}: ${ratio(0.5)} × and ${ratio(0.99)} × the floor`,
    {
      beside: `floor (POST, object, one durable insert, send): ${percentiles(floors, 'ms')}`,
      budget: 'p50 < 10 ms, p99 < 40 ms; p50 ≤ 2 ×, p99 ≤ 3 × the floor',
    },
  );
}

/** The policy is disabled: its flow ends. It is enabled again, and the client asks anew. */
async function measureRevocations({ db }: TestSystem, { account, client, gateway }: LiveFlow): Promise<void> {
  const times: number[] = [];
  for (let i = 0; i < revocations; i += 1) {
    const from = gateway.device.frames.length;
    const began = performance.now();
    const rejected = gateway.device.waitFor('reject_access', isEvent('reject_access'), { from });
    await db.query('update policies set disabled_at = now() where id = $1', [account.policyId]);
    await rejected;
    times.push(performance.now() - began);
    const seen = client.device.frames.length;
    await db.query('update policies set disabled_at = null where id = $1', [account.policyId]);
    await client.device.waitFor('the resource', isEvent('resource_created_or_updated'), { from: seen });
    await client.createFlow(account.resourceId);
  }
  report('time of wrong access: COMMIT to gateway told, healthy', percentiles(times, 'ms'));
}

async function measureKills(running: TestSystem, flow: LiveFlow): Promise<void> {
  const { system } = running;
  const times: number[] = [];
  for (let i = 0; i < kills; i += 1) {
    await system.killReplicator();
    times.push(await timeToTell(running, flow, `after kill ${i}`, system.startReplicator));
  }
  reportWorst('kill -9 of the replicator: from its start to caught up', times, '< 5 s');
}

/** Of two replicators the leader is killed, and what was committed before comes through the other. */
async function measureTakeovers(running: TestSystem, flow: LiveFlow): Promise<void> {
  const { databaseUrl, workerUrl, ingestKey, killReplicator } = running.system;
  await killReplicator();
  const start = () =>
    startReplicator({
      REPLICATOR_DATABASE_URL: databaseUrl,
      WORKER_URL: workerUrl,
      DRAWBRIDGE_INGEST_KEY: ingestKey,
      DRAWBRIDGE_SLOT: slot,
      DRAWBRIDGE_LEADER_TIMEOUT_MS: '2500',
    });
  let leader = start();
  await leader.event('streaming');
  const times: number[] = [];
  for (let i = 0; i < kills; i += 1) {
    const standby = start();
    await standby.event('standby');
    times.push(await timeToTell(running, flow, `after takeover ${i}`, async () => void (await leader.kill('SIGKILL'))));
    leader = standby;
  }
  await leader.kill('SIGTERM');
  reportWorst('kill -9 of the leading replicator: until the standby has caught up', times, '< 3 s');
}

/** Renames the resource, lets `recover` happen, and waits until the client is told; milliseconds from the beginning of that. */
async function timeToTell(
  { db }: TestSystem,
  { account, client }: LiveFlow,
  name: string,
  recover: () => Promise<void>,
): Promise<number> {
  const from = client.device.frames.length;
  await db.query('update resources set name = $1 where id = $2', [name, account.resourceId]);
  const began = performance.now();
  const arrival = client.device.waitFor('the new name', ({ payload }) => JSON.stringify(payload).includes(name), {
    from,
    timeoutMs: 60_000,
  });
  await recover();
  await arrival;
  return performance.now() - began;
}

function reportWorst(what: string, times: readonly number[], budget: string): void {
  const [median, worst] = [percentile(times, 0.5), Math.max(...times)].map((ms) => ms.toFixed(0));
  report(what, `median ${median} ms, worst ${worst} ms of ${times.length}`, { budget });
}
