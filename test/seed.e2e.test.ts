// The drawbacks that this product exists to end, one test each: see docs/spec.md.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectClient, createLargeAccount, readsRows, startOutage } from './support/outage.ts';
import { isEvent } from './support/system.ts';
import { startGateway } from '../devices/gateway.ts';
import { drawbridgeHere, environment, jsonOf } from './cli/drawbridge.ts';
import type { Gateway } from '../devices/gateway.ts';
import type { LargeAccount, Outage } from './support/outage.ts';
import { firstRows } from './support/random-rows.ts';
import { RandomAccount } from './support/random-core.ts';

test('[P15.75] [seed-2] after 10,000 random events an account holds what it would hold had it just woken, and nothing else', () => {
  const { driven } = afterEvents(10_000);
  const awake = sizesOf(driven.state);
  driven.sleep();
  expect(awake).toEqual(sizesOf(driven.state));
}, 120_000);

test('[P15.76] [seed-2] once its devices have left and what was owed to them has run out, an account holds nothing of them', () => {
  const { driven } = afterEvents(10_000);
  for (const sessionId of driven.state.sessions.keys()) driven.step({ type: 'closed', sessionId });
  driven.now += 31 * 24 * 3_600_000;
  driven.step({ type: 'tick' });
  const { sessions, sessionOfDevice, announced, grants, grantsOfClient, grantsOfGateway, grantsOfResource } =
    driven.state;
  const perDevice = [sessions, sessionOfDevice, announced, grants, grantsOfClient, grantsOfGateway, grantsOfResource];
  expect(perDevice.map(({ size }) => size)).toEqual([0, 0, 0, 0, 0, 0, 0]);
  expect(driven.state.deadline).toBeNull();
}, 120_000);

describe("with Postgres behind everything, and on nobody's path", () => {
  const connected = 30;
  let outage: Outage;
  let account: LargeAccount;
  let gateway: Gateway;
  beforeAll(async () => {
    outage = await startOutage();
    account = await createLargeAccount(outage, 'seed', { clients: connected + 20, resources: 10 });
    gateway = await startGateway({ url: outage.system.workerUrl, ...account.gateway, name: 'Rack 1' });
  });
  afterAll(async () => await outage.stop());

  test('[P6.7] connects and authorizations ask the database nothing: all it hears from the edge is what is written', async () => {
    const mark = outage.mark();
    for (const externalId of account.externalIds.slice(0, 5)) {
      const client = await connectClient(outage, account, externalId);
      for (const id of account.resourceIds) expect((await client.createFlow(id)).event).toBe('flow_created');
    }
    await outage.untilRow('select from flows where account_id = $1 having count(*) = 50', [account.accountId]);
    const statements = outage.statementsSince(mark);
    const ofEdge = statements.filter((statement) => statement.startsWith('drawbridge_edge'));
    expect(ofEdge.length).toBeGreaterThan(0);
    expect(ofEdge.filter((statement) => !statement.startsWith('drawbridge_edge select drawbridge.write_'))).toEqual([]);
    expect(statements.filter(readsRows)).toEqual([]);
  });

  test('[P6.8] [seed-6] one change with many devices connected reaches all of them and causes no query', async () => {
    const clients = await Promise.all(
      account.externalIds
        .slice(5, connected)
        .map(async (externalId) => await connectClient(outage, account, externalId)),
    );
    await outage.untilRow(
      'select from drawbridge.client_sessions where account_id = $1 and ended_at is null having count(*) = $2',
      [account.accountId, connected],
    );
    const mark = outage.mark();
    await outage.query(`update resources set name = 'Renamed' where id = $1`, [account.resourceIds[0]]);
    for (const { device } of clients) await device.waitFor('the change', isEvent('resource_created_or_updated'));
    const statements = outage.statementsSince(mark);
    expect(statements.filter((statement) => statement.startsWith('drawbridge_edge') || readsRows(statement))).toEqual(
      [],
    );
  });

  test('[P6.9] [seed-5] with Postgres stopped devices connect and flows are granted, and once it is back each is written, once', async () => {
    await outage.stopPostgres();
    const before = 50;
    const newcomers = account.externalIds.slice(connected);
    for (const externalId of newcomers) {
      const client = await connectClient(outage, account, externalId);
      for (const id of account.resourceIds) expect((await client.createFlow(id)).event).toBe('flow_created');
    }
    expect(gateway.device.frames.filter(isEvent('reject_access'))).toEqual([]);
    await outage.startPostgres();
    const granted = newcomers.length * account.resourceIds.length;
    await outage.untilRow('select from flows where account_id = $1 having count(*) >= $2', [
      account.accountId,
      before + granted,
    ]);
    const [counted] = await outage.query(
      `select count(*)::int as rows, count(distinct (client_id, resource_id))::int as pairs, count(ended_at)::int as ended
         from flows where account_id = $1`,
      [account.accountId],
    );
    expect(counted).toEqual({ rows: before + granted, pairs: before + granted, ended: 0 });
    await outage.untilRow(
      'select from drawbridge.client_sessions where account_id = $1 and ended_at is null having count(*) = $2',
      [account.accountId, connected + newcomers.length],
    );
  }, 180_000);

  test('[P7.43] a hold that is placed with Postgres stopped is in force, and is logged there once it is back, once, as is its lifting', async () => {
    const [externalId = ''] = account.externalIds;
    const client = await connectClient(outage, account, externalId);
    const [row] = await outage.query('select id from clients where account_id = $1 and external_id = $2', [
      account.accountId,
      externalId,
    ]);
    const { databaseUrl, workerUrl, tokenKeys, ingestKey } = outage.system;
    const env = { WORKER_URL: workerUrl, DRAWBRIDGE_TOKEN_KEYS: tokenKeys, DRAWBRIDGE_INGEST_KEY: ingestKey };
    const run = async (...args: string[]) => await drawbridgeHere(args, environment(databaseUrl, env));
    const target = ['--account', account.accountId, '--client', String(row?.['id']), '--at-edge'];
    const logOf = 'select from drawbridge.hold_log where account_id = $1 having count(*) >= $2';
    await outage.stopPostgres();

    expect((await run('cut', ...target, '--reason', 'INC-42')).code).toBe(0);
    expect((await client.device.closed).reason).toContain('operator');
    await outage.startPostgres();
    await outage.untilRow(logOf, [account.accountId, 1]);
    // What is logged has no power over what is held.
    await outage.query(`update drawbridge.hold_log set action = 'lifted'`);
    await outage.query(`update drawbridge.hold_log set action = 'placed'`);
    await expect(connectClient(outage, account, externalId)).rejects.toThrow(/held/);
    expect((await run('cut', ...target, '--lift')).code).toBe(0);
    await outage.untilRow(logOf, [account.accountId, 2]);

    const id = row?.['id'];
    expect(jsonOf(await run('log', account.accountId, '--holds', '--json'))).toMatchObject({
      holds: [
        { action: 'lifted', kind: 'client', id, reason: null },
        { action: 'placed', kind: 'client', id, reason: 'INC-42' },
      ],
      next: null,
    });
  }, 180_000);
});

/**
 * An account whose devices come and go, ask and answer, while its policies and memberships are deleted and inserted again. It has
 * never slept, since sleep would clear away whatever had been left behind.
 */
function afterEvents(count: number): RandomAccount {
  const account = new RandomAccount();
  const random = randomFrom(2);
  const upTo = (max: number) => Math.floor(random() * max);
  const { policies = [], actor_group_memberships: memberships = [] } = firstRows();
  const edited = [
    ...policies.map((row) => ({ table: 'policies', row, isThere: true })),
    ...memberships.map((row) => ({ table: 'actor_group_memberships', row, isThere: true })),
  ];
  for (let event = 0; event < count; event += 1) {
    const kind = kinds[upTo(kinds.length)] ?? 'connect';
    const one = edited[upTo(edited.length)];
    if (kind === 'edit' && one !== undefined) {
      const { table, row } = one;
      account.driven.commit(one.isThere ? { op: 'delete', table, old: row } : { op: 'insert', table, new: row });
      one.isThere = !one.isThere;
      // One second, and no multiple of three, by which the random account sleeps.
    } else if (kind === 'time') account.happen([{ kind, a: 0, b: 1, c: 0 }]);
    else account.happen([{ kind, a: upTo(41), b: upTo(41), c: upTo(41) }]);
  }
  const { sessions, grants } = account.driven.state;
  expect([sessions.size > 0, grants.size > 0]).toEqual([true, true]);
  return account;
}

const kinds = ['connect', 'connect', 'disconnect', 'request', 'request', 'answer', 'answer', 'edit', 'time'] as const;

/** Of every map and set inside, by its path, how many entries it has; of what is kept for the living alone nothing. */
function sizesOf(state: object): Record<string, number> {
  const sizes: Record<string, number> = {};
  const measure = (path: string, value: unknown) => {
    if (value instanceof Map || value instanceof Set) {
      sizes[path] = value.size;
      if (value instanceof Map) for (const [key, inner] of value) measure(`${path}/${String(key)}`, inner);
    } else if (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
      for (const [key, inner] of Object.entries(value)) measure(`${path}.${key}`, inner);
    }
  };
  for (const [key, value] of Object.entries(state)) if (!boundedApart.has(key)) measure(key, value);
  return sizes;
}

/** Kept in memory alone, within a bound that has a test of its own. */
const boundedApart = new Set(['replacements']);

/** Uniform in [0, 1), the same sequence for the same seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
