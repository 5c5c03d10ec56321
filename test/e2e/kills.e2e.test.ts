// Twenty kills of the replicator and twenty of the worker, at seeded points under some fifty commits a second. Odd commits
// rename a resource, which the client is told; even ones change the account's slug, which the gateway is told by its init.
import { setInterval as every } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import * as v from 'valibot';
import { createFirstAccount } from '../../dev/first-account.ts';
import { startClient } from '../../devices/client.ts';
import { startDevice } from '../../devices/device.ts';
import { randomFrom } from '../support/load.ts';
import { startTestSystem } from '../support/system.ts';
import type { Device } from '../../devices/device.ts';
import type { DeviceFrame } from '../../devices/strict.ts';
import type { FirstAccount } from '../../dev/first-account.ts';
import type { TestSystem } from '../support/system.ts';

const commitMs = 20;
const killsOfEach = 20;

let running: TestSystem;
beforeAll(async () => {
  running = await startTestSystem();
});
afterAll(async () => await running.stop());

test('[P2.24] through kills of the replicator, devices that stay connected receive every commit in order, once', async () => {
  const account = await createFirstAccount(running.db, running.system.tokenKeys, 'kills_0');
  const devices = await connectBoth(account);
  const kills = async () => {
    await running.system.killReplicator();
    await running.system.startReplicator();
  };
  const last = await commitThroughKills(account, 1, kills);
  await reach(devices, last);
  expect(numbersOf(devices.client)).toEqual([0, ...odds(last)]);
  expect(numbersOf(devices.gateway)).toEqual([0, ...evens(last)]);
  expect([devices.client.failures, devices.gateway.failures]).toEqual([[], []]);
}, 180_000);

test('[P2.25] through kills of the worker, devices that return receive what they missed by init, and the rest in order, once', async () => {
  const account = await createFirstAccount(running.db, running.system.tokenKeys, 'kills1_0');
  const segments = [await connectBoth(account)];
  const kills = async () => {
    await running.system.killWorker();
    const broken = segments.at(-1);
    await Promise.all([broken?.client.closed, broken?.gateway.closed]);
    await running.system.startWorker();
    segments.push(await connectBoth(account));
  };
  const last = await commitThroughKills(account, 2, kills);
  const final = segments.at(-1);
  if (final !== undefined) await reach(final, last);
  expect(segments).toHaveLength(killsOfEach + 1);
  for (const role of ['client', 'gateway'] as const) {
    const received = segments.map((segment) => numbersOf(segment[role]));
    const everyOne = [0, ...(role === 'client' ? odds(last) : evens(last))];
    expect(received.flatMap((numbers) => unexplained(numbers, everyOne))).toEqual([]);
    const starts = received.map((numbers) => numbers[0] ?? 0);
    const ends = received.map((numbers) => numbers.at(-1) ?? 0);
    expect(starts.slice(1).filter((start, i) => start < (ends[i] ?? 0))).toEqual([]);
    expect(ends.at(-1)).toBe(everyOne.at(-1));
  }
}, 180_000);

type Both = { readonly client: Device; readonly gateway: Device };

async function connectBoth(account: FirstAccount): Promise<Both> {
  const url = running.system.workerUrl;
  const gateway = await startDevice({ url, role: 'gateway', ...account.gateway, name: 'Rack 1' });
  const { device: client } = await startClient({ url, ...account.client, name: 'laptop' });
  return { client, gateway };
}

/** Commits at a steady pace while `kill` runs twenty times, each after a seeded number of commits; returns the last number. */
async function commitThroughKills(account: FirstAccount, seed: number, kill: () => Promise<void>): Promise<number> {
  const random = randomFrom(seed);
  let number = 0;
  let killing: Promise<void> | null = null;
  let killed = 0;
  let nextKillAt = 10;
  const { rows } = await running.db.query<{ slug: string }>('select slug from accounts where id = $1', [
    account.accountId,
  ]);
  const prefix = (rows[0]?.slug ?? '').replace(/\d+$/, '');
  await running.db.query(`update resources set name = '0' where id = $1`, [account.resourceId]);
  for await (const _ of every(commitMs)) {
    if (killed === killsOfEach && killing === null) return number;
    number += 1;
    await (number % 2 === 1
      ? running.db.query('update resources set name = $1 where id = $2', [String(number), account.resourceId])
      : running.db.query('update accounts set slug = $1 where id = $2', [`${prefix}${number}`, account.accountId]));
    if (killing === null && number >= nextKillAt) {
      killed += 1;
      killing = kill().finally(() => {
        killing = null;
        nextKillAt = number + 1 + Math.floor(random() * 20);
      });
    }
  }
  return number;
}

/** Waits until both devices have heard of the last commit that concerns them. */
async function reach({ client, gateway }: Both, last: number): Promise<void> {
  const isLast = (expected: number | undefined) => (frame: DeviceFrame) => numberOf(frame) === expected;
  await client.waitFor(`commit ${odds(last).at(-1)}`, isLast(odds(last).at(-1)));
  await gateway.waitFor(`commit ${evens(last).at(-1)}`, isLast(evens(last).at(-1)));
}

const clientInit = v.object({ resources: v.tuple([v.object({ name: v.string() })]) });
const gatewayInit = v.object({ account_slug: v.string() });
const renamed = v.object({ name: v.string() });

/** The commit that a frame tells of. */
function numberOf({ event, payload }: DeviceFrame): number | null {
  if (event === 'resource_created_or_updated') return Number(v.parse(renamed, payload).name);
  if (event !== 'init') return null;
  const slug = v.safeParse(gatewayInit, payload);
  if (slug.success) return Number(slug.output.account_slug.split('_')[1]);
  const [{ name }] = v.parse(clientInit, payload).resources;
  return /^\d+$/.test(name) ? Number(name) : 0;
}

/** Every commit that a device was told of, in order; the name before the first one counts as 0, once. */
function numbersOf({ frames }: Device): number[] {
  const numbers = frames.flatMap((frame) => numberOf(frame) ?? []);
  return numbers.filter((number, i) => !(number === 0 && i > 0));
}

/** Numbers in a segment that do not follow the one before them in `everyOne`. */
function unexplained(numbers: readonly number[], everyOne: readonly number[]): number[] {
  return numbers.filter((number, i) => i > 0 && number !== everyOne[everyOne.indexOf(numbers[i - 1] ?? -1) + 1]);
}

function odds(last: number): number[] {
  return Array.from({ length: Math.ceil(last / 2) }, (_, i) => 2 * i + 1);
}

function evens(last: number): number[] {
  return Array.from({ length: Math.floor(last / 2) }, (_, i) => 2 * i + 2);
}
