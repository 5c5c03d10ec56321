// A snapshot in parts whose object sleeps, is reset and loses answers between any two deliveries, while its devices go on; and the
// alarm by which an object that knows that its rows are behind asks for one, asleep or not.
import { env } from 'cloudflare:workers';
import {
  abortAllDurableObjects,
  evictDurableObject,
  reset,
  runDurableObjectAlarm,
  runInDurableObject,
} from 'cloudflare:test';
import { afterEach, expect, test } from 'vitest';
import * as v from 'valibot';
import { accountObjectName } from '../../worker/env.ts';
import { aloneMs } from '../../core/resync.ts';
import { delivery } from '../../protocol/commit.ts';
import { commit, commitsDelivery, id, ids, insert, row, snapshotDelivery, worldRows } from '../support/world.ts';
import { join, type Device } from './device.ts';

const account = () => env.ACCOUNT.getByName(accountObjectName(ids.account));

afterEach(async () => await reset());

const sleep = async () => await evictDurableObject(account());

test('[P3.22] a snapshot in parts whose object falls asleep or is reset after each of them, and loses each answer, takes effect once, and the devices go on meanwhile', async () => {
  await account().deliver(snapshotDelivery(100));
  const { device: gateway } = await join('gateway');
  const { device: client } = await join('client');
  const skipped: string[] = [];
  const restart = async () => {
    await abortAllDurableObjects();
    for (const device of [client, gateway]) await until(device, 'init', skipped);
  };
  const use = async (ref: number) => {
    client.send({ topic: 'client', event: 'create_flow', payload: flowRequest, ref });
    const { payload } = await until(gateway, 'authorize_flow', skipped);
    gateway.send({ topic: 'gateway', event: 'flow_authorized', payload: { ref: Object(payload).ref }, ref });
    await until(client, 'flow_created', skipped);
  };
  await use(1);

  for (const [index, rows] of [firstRows, moreRows].entries()) {
    for (const interrupt of [sleep, restart]) {
      expect(await account().deliver(part(index, rows))).toEqual({ type: 'staged', parts: index + 1 });
      await interrupt();
    }
    await use(2 + index);
  }
  const meanwhile = commit(190, insert('actors', { id: id('act', 3) }));
  const last = snapshotDelivery(200, lastRows, { staged: { stage: 'a1', parts: 2 }, commits: [meanwhile] });
  expect(await account().deliver(last)).toMatchObject({ type: 'applied' });
  const told = await until(client, 'resource_created_or_updated', skipped);
  expect(told).toMatchObject({ payload: { id: second } });
  await restart();
  expect(await account().deliver(last)).toMatchObject({ type: 'duplicate' });

  const { tables } = await account().digest();
  await account().deliver(snapshotDelivery(300, wholeRows));
  expect((await account().digest()).tables).toEqual(tables);
  for (const device of [client, gateway]) {
    device.send({ topic: device === client ? 'client' : 'gateway', event: 'no_such', payload: {}, ref: 99 });
    while ((await until(device, 'phx_reply', skipped)).ref !== 99);
  }
  expect(skipped.filter((event) => event === 'reject_access' || event === 'resource_deleted')).toEqual([]);
});

const flowRequest = { resource_id: ids.resource, connected_gateway_ids: [] };

const second = id('res', 2);
const { actors = [], resources = [], policies = [], resource_connections: connections = [], ...others } = worldRows();
const firstRows = { ...others, actors: [...actors, row('actors', { id: id('act', 2) })] };
const moreRows = { resources: [...resources, row('resources', { id: second, name: 'Second' })], policies };
const lastRows = {
  resource_connections: [...connections, row('resource_connections', { resource_id: second })],
  policies: [row('policies', { id: id('pol', 2), resource_id: second })],
};
const wholeRows = {
  ...firstRows,
  ...moreRows,
  ...lastRows,
  actors: [...firstRows.actors, row('actors', { id: id('act', 3) })],
  policies: [...policies, ...lastRows.policies],
};

function part(index: number, rows: object) {
  const sender = { version: 2, account: ids.account, term: 1, epoch: 1 };
  return v.parse(delivery, { type: 'snapshot-part', ...sender, stage: 'a1', index, rows });
}

/** The next frame of this name; the names of others before it are noted. */
async function until(device: Device, event: string, skipped: string[]) {
  for (;;) {
    const frame = await device.frame();
    if (frame.event === event) return frame;
    skipped.push(frame.event);
  }
}

test('[P1.92] a stale object that sleeps is woken by its own alarm to ask for its snapshot, and asks again until that comes', async () => {
  await becomeStale();
  const first = await alarmOf();
  const [least, most] = [aloneMs.least, aloneMs.least + aloneMs.spread];
  expect(first.at - Date.now()).toBeGreaterThan(least - 5_000);
  expect(first.at - Date.now()).toBeLessThanOrEqual(most);
  await sleep();
  expect(await runDurableObjectAlarm(account())).toBe(true);
  // It was not due yet: nothing was asked, and it still is.
  expect(await alarmOf()).toEqual(first);

  await becomeDue();
  expect(await runDurableObjectAlarm(account())).toBe(true);
  const second = (await alarmOf()).mark;
  expect(second).toMatchObject({ times: 1, aloneAt: second.notBefore });
  expect(second.notBefore).toBeGreaterThan(first.at);
  expect((await alarmOf()).at).toBe(second.notBefore);
  await becomeDue();
  expect(await runDurableObjectAlarm(account())).toBe(true);
  expect((await alarmOf()).mark.times).toBe(2);

  expect(await account().deliver(snapshotDelivery(200))).toMatchObject({ type: 'applied' });
  await sleep();
  await runDurableObjectAlarm(account());
  expect((await alarmOf()).mark).toEqual({ times: 0, notBefore: 0, aloneAt: null });
  expect((await alarmOf()).at).toBe(0);
});

test('[P14.35] an object that is woken by a question keeps its alarm, whatever else is due later', async () => {
  await becomeStale();
  const before = await alarmOf();
  await runInDurableObject(account(), (_, { storage: { sql } }) => {
    const denial = {
      clientId: ids.client,
      resourceId: ids.resource,
      reason: 'forbidden',
      minute: Date.now(),
      count: 1,
    };
    sql.exec("insert into denials (key, data) values ('one', ?)", JSON.stringify(denial));
  });
  await sleep();

  await account().status();

  expect(await alarmOf()).toEqual(before);
});

async function becomeStale(): Promise<void> {
  await account().deliver(snapshotDelivery(100));
  expect(await account().deliver(commitsDelivery(150, [commit(160)]))).toMatchObject({ type: 'gap' });
}

const mark = v.object({ times: v.number(), notBefore: v.number(), aloneAt: v.nullable(v.number()) });

/** When the object is woken next (0: never), and what it has stored of its requests. */
async function alarmOf() {
  return await runInDurableObject(account(), async (_, { storage }) => {
    const [row] = storage.sql.exec<{ value: string }>("select value from meta where name = 'resync'").toArray();
    return { at: (await storage.getAlarm()) ?? 0, mark: v.parse(mark, JSON.parse(row?.value ?? 'null')) };
  });
}

/** The object sleeps until its request is due. */
async function becomeDue(): Promise<void> {
  await runInDurableObject(account(), (_, { storage }) => {
    storage.sql.exec("update meta set value = json_set(value, '$.aloneAt', 1, '$.notBefore', 1) where name = 'resync'");
  });
  await sleep();
}
