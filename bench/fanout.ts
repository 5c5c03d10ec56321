// `node bench/fanout.ts`: one account with 1,000 real sockets, which is what this machine carries beside everything else: from
// COMMIT to the last of them, and how long all of them take to connect again, with 50 resources each.
import { performance } from 'node:perf_hooks';
import { createFirstAccount } from '../dev/first-account.ts';
import { mintToken } from '../cli/mint-token.ts';
import { percentile, report } from './support/report.ts';
import { startClient } from '../devices/client.ts';
import { startTestSystem } from '../test/support/system.ts';
import { untilConfirmed, walEnd } from './support/confirmed.ts';
import type { Client as Device } from '../devices/client.ts';
import type { FirstAccount } from '../dev/first-account.ts';
import type { TestSystem } from '../test/support/system.ts';

const clients = 1000;
const resources = 50;
const atOnce = 100;
const rounds = 10;

const running = await startTestSystem();
try {
  const account = await createFirstAccount(running.db, running.system.tokenKeys, 'bench_fanout');
  const connect = await prepare(running, account);
  await connect();
  const devices = await measureReconnects(connect);
  await measureFanOut(running, account, devices);
  const failures = devices.flatMap(({ device }) => device.failures);
  if (failures.length > 0) throw new Error(`a real device would have dropped frames: ${failures[0]}`);
} finally {
  await running.stop();
}
process.exit(0);

/** Makes the rows; returns what connects everybody, in place of any connection before. */
async function prepare({ db, system }: TestSystem, account: FirstAccount): Promise<() => Promise<Device[]>> {
  const { accountId, actorId, groupId, siteId } = account;
  await db.query(
    `insert into clients (account_id, actor_id, external_id, name, ipv4, ipv6)
     select $1, $2, 'bench-' || n, 'Bench', '100.64.16.0'::inet + n, 'fd00:2021:1111::1:0'::inet + n
     from generate_series(1, $3) n`,
    [accountId, actorId, clients],
  );
  await db.query(
    `with made as (
       insert into resources (account_id, name, type, address)
       select $1, 'Resource ' || n, 'cidr', '10.' || n || '.0.0/24' from generate_series(1, $2) as n returning id
     ), connected as (
       insert into resource_connections (account_id, resource_id, gateway_group_id) select $1, id, $3 from made
     )
     insert into policies (account_id, actor_group_id, resource_id, description) select $1, $4, id, 'all' from made`,
    [accountId, resources - 1, siteId, groupId],
  );
  const token = await mintToken(db, system.tokenKeys, accountId, { type: 'client', actorId });
  await untilConfirmed(db, await walEnd(db));
  return async () => {
    const devices: Device[] = [];
    let next = 1;
    const one = async () => {
      while (next <= clients) {
        const externalId = `bench-${next}`;
        next += 1;
        devices.push(await startClient({ url: system.workerUrl, token, externalId, name: 'bench', tokenIn: 'header' }));
      }
    };
    await Promise.all(Array.from({ length: atOnce }, one));
    return devices;
  };
}

async function measureReconnects(connect: () => Promise<Device[]>): Promise<Device[]> {
  const began = performance.now();
  const cpuBefore = process.cpuUsage();
  const devices = await connect();
  const { user, system } = process.cpuUsage(cpuBefore);
  report(
    `${clients.toLocaleString('en')} clients connecting again to one account, ${atOnce} at once, until each has its init of ${resources} resources`,
    `${((performance.now() - began) / 1000).toFixed(1)} s, in which the devices took ${((user + system) / 1e6).toFixed(1)} s of processor time; 0 database reads`,
    { budget: '10,000 in < 20 s' },
  );
  return devices;
}

async function measureFanOut(
  { db }: TestSystem,
  { resourceId }: FirstAccount,
  devices: readonly Device[],
): Promise<void> {
  const times: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const name = `round ${round}`;
    const began = performance.now();
    const arrivals = devices.map(async ({ device }) => {
      const fits = ({ payload }: { readonly payload: unknown }) => JSON.stringify(payload).includes(name);
      await device.waitFor('the new name', fits, { from: device.frames.length });
    });
    await db.query('update resources set name = $1 where id = $2', [name, resourceId]);
    await Promise.all(arrivals);
    times.push(performance.now() - began);
  }
  const worst = Math.max(...times).toFixed(0);
  report(
    `a change that reaches ${clients.toLocaleString('en')} connected clients, COMMIT to last socket`,
    `median ${percentile(times, 0.5).toFixed(0)} ms, worst ${worst} ms of ${rounds}`,
    { budget: '10,000 in < 2 s' },
  );
}
