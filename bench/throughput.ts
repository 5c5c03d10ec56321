// `node bench/throughput.ts`: changes a second from the slot to durable in the objects, for one, a hundred and a thousand
// accounts, and for one with a hundred connected clients that are told of each. Beside it pg_recvlogical on the same WAL, which
// only receives and throws away (it is said clearly where it is missing), and a floor: the same bytes decoded and posted to an
// object that keeps nothing. And decoding and assembling alone, on the same bytes.
import { performance } from 'node:perf_hooks';
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { spawn } from 'node:child_process';
import { createAssembler } from '../replicator/assemble.ts';
import { createDecoder } from '../replicator/decode.ts';
import { createFirstAccount } from '../dev/first-account.ts';
import { mintToken } from '../cli/mint-token.ts';
import { startClient } from '../devices/client.ts';
import { startTestSystem } from '../test/support/system.ts';
import { untilConfirmed, walEnd } from './support/confirmed.ts';
import { report } from './support/report.ts';
import { startStreamFloor } from './support/stream-floor.ts';
import type { StreamFloor } from './support/stream-floor.ts';
import type { TestSystem } from '../test/support/system.ts';

type Database = Pick<TestSystem, 'db'>;

type Case = { readonly accounts: number; readonly clients: number; readonly changes: number };

const cases: readonly Case[] = [
  { accounts: 1, clients: 0, changes: 20_000 },
  { accounts: 100, clients: 0, changes: 20_000 },
  { accounts: 1000, clients: 0, changes: 20_000 },
  { accounts: 1, clients: 100, changes: 1000 },
];
const changesOfCommit = 10;
const resourcesOfAccount = 10;
const peerSlot = 'bench_peer';
const publication = 'drawbridge';

const running = await startTestSystem();
const floor = await startStreamFloor();
try {
  for (const only of cases) await measure(running, floor, only);
} finally {
  await floor.stop();
  await running.stop();
}
process.exit(0);

async function measure(test: TestSystem, floor: StreamFloor, { accounts, clients, changes }: Case): Promise<void> {
  const { db, system } = test;
  const accountIds = await createAccounts(test, accounts);
  const devices = await connectClients(test, accountIds[0] ?? '', clients);
  await untilConfirmed(test.db, await walEnd(test.db));
  await system.killReplicator();
  await db.query(`select pg_create_logical_replication_slot($1, 'pgoutput')`, [peerSlot]);
  await makeChanges(test, accountIds, changes);
  const end = await walEnd(db);
  const alone = await decodeAlone(test);
  const least = rate(changes, await floor.carry(system.databaseUrl, peerSlot, publication, changes));
  await untilFree(test);
  const peer = await receiveOnly(system.databaseUrl, end, changes);
  await db.query('select pg_drop_replication_slot($1)', [peerSlot]);

  const began = performance.now();
  const started = system.startReplicator();
  await untilConfirmed(db, end);
  const wholeMs = performance.now() - began;
  await started;
  await system.killReplicator();
  const idleSince = performance.now();
  const restarted = system.startReplicator();
  await restarted;
  const startMs = performance.now() - idleSince;
  const perSecond = rate(changes, wholeMs - startMs);
  const told = clients === 0 ? 'nobody connected' : `${clients} clients told of each`;
  const failures = devices.flatMap(({ device }) => device.failures);
  if (failures.length > 0) throw new Error(`a real device would have dropped frames: ${failures[0]}`);
  for (const { device } of devices) device.close();
  report(
    `slot to durable in objects, ${accounts} account${accounts === 1 ? '' : 's'}, ${told}, ${changesOfCommit} changes a commit`,
    `${perSecond} (${wholeMs.toFixed(0)} ms with the start, ${startMs.toFixed(0)} ms without work)`,
    {
      beside: `pg_recvlogical: ${peer}; decoded and posted, nothing kept: ${least}`,
      budget: '≥ 40 % of pg_recvlogical',
    },
  );
  report(`decode and assemble alone, the WAL of ${accounts} account${accounts === 1 ? '' : 's'}`, alone, {
    beside: `pg_recvlogical: ${peer}`,
    budget: '≥ pg_recvlogical',
  });
}

/** Accounts of one user, one policy and ten resources, all of them in view. */
async function createAccounts({ db, system }: TestSystem, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let n = 0; n < count; n += 1) {
    const { accountId, groupId, siteId } = await createFirstAccount(
      db,
      system.tokenKeys,
      `bench_${randomUUID().slice(0, 8)}`,
    );
    ids.push(accountId);
    await db.query(
      `with made as (
         insert into resources (account_id, name, type, address)
         select $1, 'Resource ' || n, 'cidr', '10.' || n || '.0.0/24' from generate_series(1, $2::int) as n returning id
       ), connected as (
         insert into resource_connections (account_id, resource_id, gateway_group_id) select $1, id, $3 from made
       )
       insert into policies (account_id, actor_group_id, resource_id, description) select $1, $4, id, 'all' from made`,
      [accountId, resourcesOfAccount - 1, siteId, groupId],
    );
  }
  return ids;
}

async function connectClients({ db, system }: TestSystem, accountId: string, count: number) {
  if (count === 0) return [];
  const { rows } = await db.query<{ actor_id: string }>('select actor_id from clients where account_id = $1', [
    accountId,
  ]);
  const actorId = rows[0]?.actor_id ?? '';
  await db.query(
    `insert into clients (account_id, actor_id, external_id, name, ipv4, ipv6)
     select $1, $2, 'bench-' || n, 'Bench ' || n, ('100.64.1.' || n)::inet, ('fd00:2021:1111::1:' || n)::inet
     from generate_series(1, $3::int) as n`,
    [accountId, actorId, count],
  );
  const token = await mintToken(db, system.tokenKeys, accountId, { type: 'client', actorId });
  await untilConfirmed(db, await walEnd(db));
  return await Promise.all(
    Array.from({ length: count }, async (_, n) =>
      startClient({ url: system.workerUrl, token, externalId: `bench-${n + 1}`, name: 'bench', tokenIn: 'header' }),
    ),
  );
}

/** Commits of ten changes, one account after the other. */
async function makeChanges({ db }: Database, accountIds: readonly string[], changes: number): Promise<void> {
  await db.query(`do $$
    declare accounts uuid[] := '{${accountIds.join(',')}}';
    begin
      for n in 1 .. ${changes / changesOfCommit} loop
        update resources set name = 'Name ' || n where account_id = accounts[1 + n % ${accountIds.length}];
        commit;
      end loop;
    end $$`);
}

/** Resolves when nobody reads from the peer's slot. */
async function untilFree({ db }: Database): Promise<void> {
  for (;;) {
    const { rows } = await db.query('select 1 from pg_replication_slots where slot_name = $1 and active', [peerSlot]);
    if (rows.length === 0) return;
    await delay(10);
  }
}

/** The rate at which pg_recvlogical takes the same WAL. */
async function receiveOnly(databaseUrl: string, end: string, changes: number): Promise<string> {
  const options = ['proto_version=1', `publication_names=${publication}`].flatMap((option) => ['-o', option]);
  const place = ['-d', databaseUrl, '-S', peerSlot, '--start', `--endpos=${end}`, '-F', '0', '-f', '/dev/null'];
  const began = performance.now();
  const child = spawn('pg_recvlogical', [...place, ...options], { stdio: ['ignore', 'ignore', 'inherit'] });
  return await new Promise((resolve) => {
    child.on('error', () => resolve('missing (apt-get install postgresql-client)'));
    child.on('exit', (code) => resolve(code === 0 ? rate(changes, performance.now() - began) : `failed with ${code}`));
  });
}

/** The rate at which this process decodes and assembles the same WAL. */
async function decodeAlone({ db }: TestSystem): Promise<string> {
  const { rows } = await db.query<{ data: Buffer }>(
    `select data from pg_logical_slot_peek_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', $2)`,
    [peerSlot, publication],
  );
  const decoder = createDecoder();
  const assembler = createAssembler(() => []);
  let changes = 0;
  const began = performance.now();
  for (const { data } of rows) {
    for (const done of assembler.push(decoder.decode(data), data.length)) {
      if (done.type === 'transaction') for (const held of done.byAccount.values()) changes += held.length;
    }
  }
  return rate(changes, performance.now() - began);
}

function rate(changes: number, ms: number): string {
  return `${Math.round((changes * 1000) / ms)} changes/s`;
}
