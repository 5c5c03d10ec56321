// What is granted and written when an answer is lost on the way, or a part is killed, between any two steps: the real object,
// Postgres behind a proxy that keeps back what goes by.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Client as Database } from 'pg';
import { askStatus } from '../../cli/status-http.ts';
import { createFirstAccount, type FirstAccount } from '../../dev/first-account.ts';
import { isGranted, startClient, type Client } from '../../devices/client.ts';
import { startDevice } from '../../devices/device.ts';
import { startGateway, type Gateway } from '../../devices/gateway.ts';
import { must } from '../../protocol/assert.ts';
import { startOutage, type Outage } from '../support/outage.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { isEvent } from '../support/system.ts';
import type { Generation } from '../../protocol/device/generations.ts';
import { untilApplied } from '../support/told.ts';

/** The message that ends a statement of the extended protocol, and commits it. */
const sync = Buffer.from([0x53, 0, 0, 0, 4]);

let outage: Outage;
let proxy: TcpProxy;
let db: Database;
beforeAll(async () => {
  outage = await startOutage({
    edgeWay: async (url) => {
      const way = new URL(url);
      const port = Number(way.port);
      proxy = await startTcpProxy(() => port);
      way.port = String(proxy.port);
      return way.href;
    },
  });
  db = new Database({ connectionString: outage.system.databaseUrl });
  await db.connect();
});
afterAll(async () => {
  await db.end();
  await outage.stop();
  await proxy.close();
});

// The first of a flush and the last: with it the answer to all of it is lost, as the object sees it.
test.each(['write_devices', 'write_sessions'])(
  '[P7.53] what a flush has committed is one row each when its answer is lost, and its states follow in order: %s',
  async (part) => {
    const { account, gateway } = await prepare();
    const met = proxy.meet(part, 'after');
    const client = await connectNewcomer(account);
    expect(isGranted(await client.createFlow(account.resourceId))).toBe(true);
    await met;
    await endAccess(account, gateway);
    proxy.cut();

    await untilAllWritten(account);
    expect(await written(account)).toEqual(asOnce);
    expect(client.device.failures).toEqual([]);
    client.device.send('anything', {});
    await client.device.waitFor('that it is connected still', ({ payload }) =>
      JSON.stringify(payload).includes('unknown_message'),
    );
  },
);

test('[P7.54] a worker that is killed before it hears that a flush was committed writes nothing twice', async () => {
  const { account } = await prepare();
  const met = proxy.meet('write_flows', 'after');
  const client = await connectNewcomer(account);
  expect(isGranted(await client.createFlow(account.resourceId))).toBe(true);
  await met;
  const [before] = await flowsOf(account);
  await outage.system.killWorker();
  await outage.system.startWorker();
  await untilAllWritten(account);
  expect(await flowsOf(account)).toEqual([before]);

  await endAccess(account, await connectGateway(account, [account.resourceId]));
  await connectNewcomer(account);
  await untilAllWritten(account);
  expect(await written(account)).toEqual(asOnce);
});

test.each(['write_flows', 'write_sessions'])(
  '[P7.55] a write of a killed worker that arrives after those of the next one opens nothing: %s',
  async (part) => {
    const { account } = await prepare();
    const held = proxy.hold(part, sync);
    const client = await connectNewcomer(account);
    expect(isGranted(await client.createFlow(account.resourceId))).toBe(true);
    const { release } = await held;
    await outage.system.killWorker();
    await outage.system.startWorker();
    await endAccess(account, await connectGateway(account, [account.resourceId]));
    await connectNewcomer(account);
    await untilAllWritten(account);
    const [flows, sessions] = [await flowsOf(account), await liveSessionsOf(account)];
    const mark = outage.mark();

    release();
    await until(() => outage.statementsSince(mark).some((statement) => statement.includes(part)));
    await untilGone('drawbridge_edge');

    expect([await flowsOf(account), await liveSessionsOf(account)]).toEqual([flows, sessions]);
    expect(await written(account)).toEqual(asOnce);
  },
);

test('[P7.56] a grant whose worker is killed before its gateway hears of it, or answers, is announced again, and its row is one', async () => {
  for (const isHeard of [false, true]) {
    const account = await createFirstAccount(db, outage.system.tokenKeys, slug());
    const way = await startTcpProxy(() => Number(new URL(outage.system.workerUrl).port));
    const mute = await startDevice({
      url: `http://127.0.0.1:${way.port}`,
      role: 'gateway',
      ...account.gateway,
      name: 'Rack 1',
    });
    const client = await startClient({ url: outage.system.workerUrl, ...account.client, name: 'laptop' });
    if (!isHeard) way.stall();
    client.device.send('create_flow', { resource_id: account.resourceId, connected_gateway_ids: [] });
    if (isHeard) await mute.waitFor('the grant', isEvent('authorize_flow'));
    await outage.untilRow('select from flows where account_id = $1', [account.accountId]);
    await outage.system.killWorker();
    await way.close();
    await outage.system.startWorker();

    const gateway = await connectGateway(account, isHeard ? [account.resourceId] : []);
    const again = await startClient({ url: outage.system.workerUrl, ...account.client, name: 'laptop' });
    expect(isGranted(await again.createFlow(account.resourceId))).toBe(true);
    expect([...gateway.access]).toEqual([`${account.clientId}/${account.resourceId}`]);
    await untilAllWritten(account);
    expect((await flowsOf(account)).filter(({ ended_at: endedAt }) => endedAt === null)).toHaveLength(1);
  }
});

test('[P14.39] what is due by time comes at its time while a write waits for Postgres', async () => {
  const account = await createFirstAccount(db, outage.system.tokenKeys, slug());
  const expire = async (at: string) => {
    await db.query(`update tokens set expires_at = ${at} where account_id = $1 and type = 'client'`, [
      account.accountId,
    ]);
    await untilApplied(db);
  };
  // To one of generation A no later expiry can be told, so its access ends then, though the token lives on.
  const gateway = await connectGateway(account, [], 'A');
  await expire(`now() + interval '6 seconds'`);
  const client = await connectNewcomer(account);
  const met = proxy.meet('write_flows', 'before');
  expect(isGranted(await client.createFlow(account.resourceId))).toBe(true);
  await met;
  await expire('null');

  await gateway.device.waitFor('the reject', isEvent('reject_access'));
  const { workerUrl, ingestKey } = outage.system;
  const { writeBack } = await askStatus(workerUrl, ingestKey, { id: account.accountId, place: null });
  expect(writeBack.failures).toBe(0);
  proxy.cut();
  await untilAllWritten(account);
});

let slugs = 0;
function slug(): string {
  slugs += 1;
  return `lost_${slugs}`;
}

/** An account whose gateway is connected, and of which Postgres has everything. */
async function prepare(): Promise<{ readonly account: FirstAccount; readonly gateway: Gateway }> {
  const account = await createFirstAccount(db, outage.system.tokenKeys, slug());
  const gateway = await connectGateway(account, []);
  await untilAllWritten(account);
  return { account, gateway };
}

/** `known`: resources that the account's newcomer, or its client, may reach by what the gateway was told before. */
async function connectGateway(
  account: FirstAccount,
  known: readonly string[],
  generation: Generation = 'C',
): Promise<Gateway> {
  const { rows } = await db.query<{ client_id: string }>('select client_id::text from flows where account_id = $1', [
    account.accountId,
  ]);
  const access = new Set(known.flatMap((resource) => rows.map(({ client_id: client }) => `${client}/${resource}`)));
  return await startGateway({ url: outage.system.workerUrl, ...account.gateway, name: 'Rack 1', access, generation });
}

/** A device that has no row yet: it registers itself. */
async function connectNewcomer({ client: { token } }: FirstAccount): Promise<Client> {
  return await startClient({ url: outage.system.workerUrl, token, externalId: 'newcomer', name: 'newcomer' });
}

async function endAccess({ policyId }: FirstAccount, gateway: Gateway): Promise<void> {
  const after = { from: gateway.device.frames.length };
  await db.query('delete from policies where id = $1', [policyId]);
  await gateway.device.waitFor('the reject', isEvent('reject_access'), after);
}

/** Polls: the object says how much waits for Postgres, sessions aside. */
async function untilAllWritten({ accountId }: FirstAccount): Promise<void> {
  const { workerUrl, ingestKey } = outage.system;
  for (;;) {
    const { clients, gateways, writeBack } = await askStatus(workerUrl, ingestKey, { id: accountId, place: null });
    const sessions = await db.query(
      `select (select count(*)::int from drawbridge.client_sessions where account_id = $1 and ended_at is null) = $2
          and (select count(*)::int from drawbridge.gateway_sessions where account_id = $1 and ended_at is null) = $3 as are_written`,
      [accountId, clients, gateways],
    );
    if (writeBack.waiting === 0 && sessions.rows[0]?.are_written === true) return;
  }
}

/** Polls: a log announces nothing. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

async function untilGone(application: string): Promise<void> {
  while ((await db.query('select from pg_stat_activity where application_name = $1', [application])).rowCount !== 0);
}

type FlowRow = { readonly ended_at: unknown; readonly revision: string };

async function flowsOf({ accountId }: FirstAccount): Promise<FlowRow[]> {
  return (await db.query<FlowRow>('select * from flows where account_id = $1 order by id', [accountId])).rows;
}

async function liveSessionsOf({ accountId }: FirstAccount): Promise<unknown[]> {
  const sql = (role: string) =>
    `select id, revision from drawbridge.${role}_sessions where account_id = $1 and ended_at is null`;
  return (await db.query(`${sql('client')} union all ${sql('gateway')} order by id`, [accountId])).rows;
}

/** One flow, ended by its policy; a newcomer; one session of each device that lives. */
const asOnce = { flows: [{ told: 'sent', cause: 'policies' }], newcomers: 1, clients: 1, gateways: 1 };

async function written({ accountId }: FirstAccount): Promise<unknown> {
  const flows = await db.query(`select told, end_cause ->> 'table' as cause from flows where account_id = $1`, [
    accountId,
  ]);
  const counts = await db.query(
    `select (select count(*)::int from clients where account_id = $1 and external_id = 'newcomer') as newcomers,
            (select count(*)::int from drawbridge.client_sessions where account_id = $1 and ended_at is null) as clients,
            (select count(*)::int from drawbridge.gateway_sessions where account_id = $1 and ended_at is null) as gateways`,
    [accountId],
  );
  return { flows: flows.rows, ...must(counts.rows[0], 'a row') };
}
