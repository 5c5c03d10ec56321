// `node bench/redial.ts`: an object with 1,000 devices on real sockets is reset: how long each device is without service, until
// it has its init again, how long others wait for the object meanwhile, and what that costs it. Beside it the same with every
// edge dialling at once: the most that an object takes.
import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import * as v from 'valibot';
import { accountId, tokenId } from '../protocol/ids.ts';
import { askStatus } from '../cli/status-http.ts';
import { deliverPath } from '../protocol/ingest.ts';
import { id, rowsOf } from './support/account.ts';
import { lsnToText } from '../protocol/lsn.ts';
import { parseTokenKeys, signToken } from '../worker/token.ts';
import { percentile, report } from './support/report.ts';
import { signedHeaders } from '../replicator/post.ts';
import { startClient } from '../devices/client.ts';
import { startGateway } from '../devices/gateway.ts';
import { startResettable, type Resettable } from './support/resettable.ts';
import type { Device } from '../devices/device.ts';

const clients = 999;
const quietMs = 3000;
const generations = ['A', 'C', 'B'] as const;
const ingestKey = 'a-key-of-the-benches-long-enough-to-sign';
const tokenKeys = `bench:${'k'.repeat(32)}`;
const bindings = {
  DRAWBRIDGE_TOKEN_KEYS: tokenKeys,
  DRAWBRIDGE_INGEST_KEY: ingestKey,
  DRAWBRIDGE_CONNECT_LIMITS: '1000000,1000000,1000000',
};
const account = v.parse(accountId, id('account'));

const atOnce = await measure((bundle) => {
  const changed = bundle.replace(/sockets \* [\d.]+/, 'sockets * 0').replaceAll(/(max|minValue)\(1e3/g, '$1(0');
  if (changed === bundle) throw new Error('the window of redials is not where it was');
  return changed;
});
const spread = await measure();
const at = (samples: readonly number[], part: number) => `${percentile(samples, part).toFixed(0)} ms`;
report(
  `an object with ${(clients + 1).toLocaleString('en')} devices is reset: how long until each has its init of 50 resources again`,
  `median ${at(spread.waits, 0.5)}, last ${at(spread.waits, 1)}; ${spread.closed} closed; ${Math.round(spread.processorMs)} ms of processor time, edge included`,
  {
    beside: `all dialling at once: last ${at(atOnce.waits, 1)}, ${Math.round(atOnce.processorMs)} ms of processor time`,
    budget: '0 closed, all in < 2 s',
  },
);
report(
  'others who ask that object meanwhile',
  `p50 ${at(spread.others, 0.5)}, p99 ${at(spread.others, 0.99)}, worst ${at(spread.others, 1)} of ${spread.others.length}`,
  {
    beside: `before: p50 ${at(spread.othersBefore, 0.5)}, p99 ${at(spread.othersBefore, 0.99)}`,
  },
);
process.exit(0);

type Measured = {
  /** Until each device has its init again. */
  readonly waits: readonly number[];
  readonly closed: number;
  readonly processorMs: number;
  /** How long answers of the object took, meanwhile and before. */
  readonly others: readonly number[];
  readonly othersBefore: readonly number[];
};

async function measure(change?: (bundle: string) => string): Promise<Measured> {
  const worker = await startResettable(bindings, change);
  try {
    await deliver(worker);
    const devices = await connectAll(worker);
    const othersBefore = await askUntil(worker, delay(quietMs));
    const closed: number[] = [];
    for (const device of devices) void device.closed.then(({ code }) => closed.push(code));
    const waits: number[] = [];
    const processorMsBefore = worker.processorMs();
    const began = performance.now();
    const returns = devices.map(async (device) => {
      const after = { from: device.frames.length, timeoutMs: 60_000 };
      await device.waitFor('init', ({ event }) => event === 'init', after);
      waits.push(performance.now() - began);
    });
    await worker.reset(account);
    const others = await askUntil(worker, Promise.all(returns));
    const processorMs = worker.processorMs() - processorMsBefore;
    const failures = devices.flatMap((device) => device.failures);
    if (failures.length > 0) throw new Error(`a real device would have dropped frames: ${failures[0]}`);
    return { waits, closed: closed.length, processorMs, others, othersBefore };
  } finally {
    await worker.stop();
  }
}

/** How long answers of the object take, milliseconds, one after the other. */
async function askUntil(worker: Resettable, end: Promise<unknown>): Promise<number[]> {
  const times: number[] = [];
  const state = { isOver: false };
  void end.finally(() => (state.isOver = true));
  while (!state.isOver) {
    const began = performance.now();
    await askStatus(worker.url, ingestKey, { id: account, place: null });
    times.push(performance.now() - began);
    await delay(5);
  }
  await end;
  return times;
}

async function deliver(worker: Resettable): Promise<void> {
  const rows = rowsOf({ clients, groups: 100, groupsOfClient: 10, policies: 1000, resources: 50, conditions: [] });
  const sent = {
    version: 1,
    account,
    place: null,
    type: 'snapshot',
    term: 1,
    epoch: 1,
    to: lsnToText(1n),
    rows,
    commits: [],
  };
  const body = Buffer.from(JSON.stringify(sent));
  const headers = Object.entries(signedHeaders(deliverPath, body, ingestKey, Date.now())).map(
    ([k, x]): [string, string] => [k, String(x)],
  );
  const response = await fetch(`${worker.url}${deliverPath}`, { method: 'POST', body, headers });
  const said = await response.text();
  if (!said.includes('applied')) throw new Error(`the object did not take its rows: ${said}`);
}

async function connectAll({ url }: Resettable): Promise<Device[]> {
  const token = (type: 'client' | 'gateway_group', n: number) => {
    const tokenRow = v.parse(tokenId, id(type === 'client' ? 'clientToken' : 'gatewayToken', n));
    return signToken(
      { type, accountId: account, tokenId: tokenRow, issuedAtSeconds: 0, secret: 's'.repeat(32), place: null },
      parseTokenKeys(tokenKeys)[0],
    );
  };
  const { device: gateway } = await startGateway({
    url,
    externalId: 'rack-0',
    name: 'Rack',
    token: token('gateway_group', 0),
  });
  const devices = [gateway];
  let next = 0;
  const one = async () => {
    while (next < clients) {
      const n = next;
      next += 1;
      const generation = generations[n % 3];
      devices.push(
        (await startClient({ url, generation, token: token('client', n), externalId: `laptop-${n}`, name: 'bench' }))
          .device,
      );
    }
  };
  await Promise.all(Array.from({ length: 50 }, one));
  return devices;
}
