// `node bench/wake.ts`: how long an object takes to wake. One of 100,000 rows, most of them memberships, asked for its status
// after the worker was started again, beside one of a few rows; and COMMIT to the device's socket while the object of 5,000
// rows that holds it sleeps. Nothing outside says that an object sleeps: it is left alone for longer than the runtime keeps one.
import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { askStatus } from '../cli/status-http.ts';
import { createFirstAccount } from '../dev/first-account.ts';
import { grow } from './support/grow.ts';
import { openFlow, startTestSystem } from '../test/support/system.ts';
import { percentile, report } from './support/report.ts';
import { untilConfirmed, walEnd } from './support/confirmed.ts';
import type { Growth } from './support/grow.ts';
import type { TestSystem } from '../test/support/system.ts';

const large: Growth = { actors: 10_000, groups: 500, groupsOfActor: 7, resources: 500, policies: 8000 };
const middle: Growth = { actors: 500, groups: 100, groupsOfActor: 7, resources: 50, policies: 300 };
const wakes = 5;
const asleepMs = 13_000;

const running = await startTestSystem();
try {
  await measureAsleep(running);
  await measureWakes(running);
} finally {
  await running.stop();
}
process.exit(0);

async function measureWakes({ db, system }: TestSystem): Promise<void> {
  const big = await createFirstAccount(db, system.tokenKeys, 'bench_wake_large');
  const little = await createFirstAccount(db, system.tokenKeys, 'bench_wake_small');
  await grow(db, big, large);
  const ask = async (account: string) => {
    const began = performance.now();
    await askStatus(system.workerUrl, system.ingestKey, { id: account, place: null });
    return performance.now() - began;
  };
  await system.killReplicator();
  const [times, floors]: number[][] = [[], []];
  for (let i = 0; i < wakes; i += 1) {
    await system.killWorker();
    await system.startWorker();
    floors?.push(await ask(little.accountId));
    times?.push(await ask(big.accountId));
  }
  await system.startReplicator();
  const median = (values: number[] = []) => `median ${percentile(values, 0.5).toFixed(0)} ms of ${wakes}`;
  report('wake of an object with 100,000 rows, 70,000 of them memberships', median(times), {
    beside: `one with 12 rows, the first request of the worker: ${median(floors)}`,
    budget: '< 500 ms',
  });
}

async function measureAsleep(running: TestSystem): Promise<void> {
  const { db } = running;
  const { account, client } = await openFlow(running, 'bench_asleep');
  await grow(db, account, middle);
  const times: number[] = [];
  for (let i = 0; i < wakes; i += 1) {
    await untilConfirmed(db, await walEnd(db));
    await delay(asleepMs);
    const from = client.device.frames.length;
    const began = performance.now();
    const name = `asleep ${i}`;
    const arrival = client.device.waitFor('the new name', ({ payload }) => JSON.stringify(payload).includes(name), {
      from,
    });
    await db.query('update resources set name = $1 where id = $2', [name, account.resourceId]);
    await arrival;
    times.push(performance.now() - began);
  }
  const worst = Math.max(...times).toFixed(0);
  report(
    `COMMIT to message on the device’s socket, object left alone for ${asleepMs / 1000} s, 5,000 rows`,
    `median ${percentile(times, 0.5).toFixed(0)} ms, worst ${worst} ms of ${wakes}`,
    { budget: 'p99 < 250 ms' },
  );
}
