// The drawbacks that this product exists to end, one test each: see docs/spec.md.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as v from 'valibot';
import { Client } from 'pg';
import * as ids from '../protocol/ids.ts';
import { askObject } from '../cli/status-http.ts';
import { clientConfig } from '../replicator/connection.ts';
import { connectClient, createLargeAccount, readsRows, startOutage } from './support/outage.ts';
import { differences, digestOfDatabase } from '../cli/verify-rows.ts';
import { digestAnswer, digestPath } from '../protocol/digest.ts';
import { createResource, isEvent, openFlow } from './support/system.ts';
import { randomFrom } from './support/load.ts';
import { toldOf, untilApplied } from './support/told.ts';
import { startClient } from '../devices/client.ts';
import { startGateway } from '../devices/gateway.ts';
import type { DeviceFrame } from '../devices/strict.ts';
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

describe('whatever is edited, however, whatever runs meanwhile', () => {
  let outage: Outage;
  let db: Client;
  beforeAll(async () => {
    outage = await startOutage();
    db = new Client({ connectionString: outage.system.databaseUrl });
    await db.connect();
  });
  afterAll(async () => {
    await db.end();
    await outage.stop();
  });
  const open = async (slug: string) => await openFlow({ system: outage.system, db, stop: outage.stop }, slug);

  test('[P3.23] [seed-1] a policy that moves from a resource to another and back, and again, is told event by event, in the order of the commits', async () => {
    const { account, client, gateway } = await open('moved');
    const { accountId, clientId, policyId, resourceId: a, siteId } = account;
    const b = await createResource(db, accountId, siteId, 'Other');
    await toldOf(client.device, 0);
    const [ofClient, ofGateway] = [client.device.frames.length, gateway.device.frames.length];

    for (const to of [b, a, b, a]) await db.query('update policies set resource_id = $2 where id = $1', [policyId, to]);
    await untilApplied(db);

    expect(await toldOf(client.device, ofClient)).toEqual(
      [a, b, a, b].flatMap((from, move) => [
        `resource_deleted ${from}`,
        `resource_created_or_updated ${move % 2 === 0 ? b : a}`,
      ]),
    );
    expect(await toldOf(gateway.device, ofGateway)).toEqual([`reject_access ${clientId} ${a}`]);
  });

  test('[P3.24] [seed-3] 10,000 memberships that come in one transaction and go in another cost no query, and each device one message each', async () => {
    const bulk = await createLargeAccount(outage, 'bulk', { clients: 10, resources: 0 });
    const { accountId, siteId } = bulk;
    const shared = await createResource(db, accountId, siteId, 'Shared');
    const groups = `select id from actor_groups where account_id = $1 and name like 'bulk %'`;
    for (const sql of [
      `insert into actor_groups (account_id, name) select $1, 'bulk ' || n from generate_series(1, 10) n`,
      `insert into actors (account_id, type, name) select $1, 'service_account', 'bulk' from generate_series(1, 999)`,
    ])
      await db.query(sql, [accountId]);
    await db.query(
      `insert into policies (account_id, actor_group_id, resource_id) select $1, id, $2 from (${groups}) g`,
      [accountId, shared],
    );
    await untilApplied(db);
    const clients = await Promise.all(
      bulk.externalIds.map(async (externalId) => await connectClient(outage, bulk, externalId)),
    );
    const from = clients.map(({ device }) => device.frames.length);
    await outage.untilRow(
      'select from drawbridge.client_sessions where account_id = $1 and ended_at is null having count(*) = 10',
      [accountId],
    );
    const mark = outage.mark();

    const added = await db.query(
      `insert into actor_group_memberships (account_id, actor_id, group_id)
       select $1, a.id, g.id from actors a, (${groups}) g where a.account_id = $1`,
      [accountId],
    );
    await db.query(`delete from actor_group_memberships where group_id in (${groups})`, [accountId]);
    await untilApplied(db);

    expect(added.rowCount).toBe(10_000);
    for (const [n, { device }] of clients.entries()) {
      expect(await toldOf(device, from[n] ?? 0)).toEqual([
        `resource_created_or_updated ${shared}`,
        `resource_deleted ${shared}`,
      ]);
    }
    const statements = outage.statementsSince(mark);
    expect(statements.filter((statement) => statement.startsWith('drawbridge_edge') || readsRows(statement))).toEqual(
      [],
    );
  });

  test('[P3.25] [seed-7] an edit by hand, a migration that rewrites a column, a row deleted and made again, and one transaction over 1,000 accounts reach the devices', async () => {
    const { account, client, gateway } = await open('hand');
    const { accountId, clientId, groupId, policyId, resourceId } = account;
    const told = async (what: string, from: number) =>
      await client.device.waitFor(what, isNamed(what), { from, timeoutMs: 100_000 });
    const env = environment(outage.system.databaseUrl);
    const from = client.device.frames.length;

    const edit = `update resources set name = 'by hand' where id = '${resourceId}'`;
    expect((await drawbridgeHere(['sql', edit], env)).code).toBe(0);
    await told('by hand', from);
    await db.query('alter table resources alter column name type text using upper(name)');
    await told('BY HAND', from);

    await db.query('delete from policies where id = $1', [policyId]);
    await db.query(
      `insert into policies (id, account_id, actor_group_id, resource_id, description) values ($1, $2, $3, $4, 'again')`,
      [policyId, accountId, groupId, resourceId],
    );
    await untilApplied(db);
    expect(await toldOf(gateway.device, 0)).toContain(`reject_access ${clientId} ${resourceId}`);
    expect((await toldOf(client.device, from)).slice(-2)).toEqual([
      `resource_deleted ${resourceId}`,
      `resource_created_or_updated ${resourceId}`,
    ]);

    await db.query('begin');
    const { rows } = await db.query<{ id: string }>(
      `insert into accounts (name) select 'one of many' from generate_series(1, 1000) returning id::text`,
    );
    await db.query(`update resources set name = 'everywhere' where account_id = $1`, [accountId]);
    await db.query('commit');
    await told('everywhere', from);
    await untilApplied(db, 100_000);
    for (const { id } of rows.filter((_, n) => n % 100 === 0)) expect(await lacking(id)).toEqual([]);
    expect(client.device.failures).toEqual([]);
  }, 120_000);

  test('[P1.93] [seed-4] replicator and worker replaced in the middle of changes lose none: the log has each once, in order, and the device that returns the last', async () => {
    const { account } = await open('deploy');
    const { accountId, resourceId } = account;
    const deploy = { isOver: false };
    const replaced = (async () => {
      await outage.system.killReplicator();
      await outage.system.startReplicator();
      await outage.system.killWorker();
      await outage.system.startWorker();
      deploy.isOver = true;
    })();
    let number = 0;
    while (!deploy.isOver) {
      number += 1;
      await db.query('update resources set name = $2 where id = $1', [resourceId, String(number)]);
    }
    await replaced;
    await untilApplied(db);

    const { rows } = await db.query<{ name: string }>(
      `select data ->> 'name' as name from drawbridge.change_logs
        where account_id = $1 and "table" = 'resources' and op = 'update' order by commit_end_lsn, seq`,
      [accountId],
    );
    expect(rows.map(({ name }) => name)).toEqual(Array.from({ length: number }, (_, n) => String(n + 1)));
    expect(await lacking(accountId)).toEqual([]);
    const client = await startClient({ url: outage.system.workerUrl, ...account.client, name: 'laptop' });
    expect(client.device.frames.filter(isNamed(String(number)))).toHaveLength(1);
  }, 120_000);

  /** Sentences on what the account's object holds otherwise than the tables. */
  async function lacking(text: string): Promise<string[]> {
    const id = v.parse(ids.accountId, text);
    const held = await askObject(
      outage.system.workerUrl,
      outage.system.ingestKey,
      digestPath,
      { version: 1, account: id },
      digestAnswer,
    );
    const reading = new Client(clientConfig(outage.system.databaseUrl));
    await reading.connect();
    const wanted = await digestOfDatabase(reading, id);
    await reading.end();
    return differences(wanted, held.tables);
  }
});

/** Whether a frame names a resource so: an update of it, or the init that has it alone. */
function isNamed(name: string): (frame: DeviceFrame) => boolean {
  return ({ payload }) => JSON.stringify(payload).includes(`"name":${JSON.stringify(name)}`);
}

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
