// `node bench/latency.ts`: from COMMIT to the device's socket through every real part, 20 commits a second, beside the floor
// (support/floor.ts) in the same run; how long a wrong access lasts, from the COMMIT that ends it to the gateway that is told;
// and the same once the replicator was killed.
import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { isEvent, openFlow, startTestSystem } from '../test/support/system.ts';
import { percentile, percentiles, report } from './support/report.ts';
import { startFloor } from './support/floor.ts';
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

async function measureKills({ db, system }: TestSystem, { account, client }: LiveFlow): Promise<void> {
  const times: number[] = [];
  for (let i = 0; i < kills; i += 1) {
    const from = client.device.frames.length;
    await system.killReplicator();
    const name = `after kill ${i}`;
    await db.query('update resources set name = $1 where id = $2', [name, account.resourceId]);
    const began = performance.now();
    const arrival = client.device.waitFor('the new name', ({ payload }) => JSON.stringify(payload).includes(name), {
      from,
      timeoutMs: 60_000,
    });
    await system.startReplicator();
    await arrival;
    times.push(performance.now() - began);
  }
  const worst = Math.max(...times).toFixed(0);
  report(
    'kill -9 of the replicator: from its start to caught up',
    `median ${percentile(times, 0.5).toFixed(0)} ms, worst ${worst} ms of ${kills}`,
    {
      budget: '< 5 s',
    },
  );
}
