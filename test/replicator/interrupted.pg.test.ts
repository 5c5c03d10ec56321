// A snapshot that is interrupted at any of its steps, while writers commit: the connection is cut or the replicator killed right
// before a statement reaches Postgres, or right after it was carried out and before that is known; the same for its delivery.
import { afterAll, beforeAll, expect, test } from 'vitest';
import * as v from 'valibot';
import { accountId } from '../../protocol/ids.ts';
import { messagePrefix } from '../../protocol/steering.ts';
import { tableNames } from '../../protocol/tables.ts';
import { composeSteering } from '../../replicator/steering.ts';
import { readAccount } from '../../replicator/snapshot.ts';
import { keyOf } from '../support/fake-worker.ts';
import { ingestKey, startTestServer, type TestServer } from '../support/replicator.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { createAccount, nameOf, renameAccount, startAll, untilRecorded, type All } from './system.ts';

const insertActor = `insert into actors (account_id, type, name) values ($1, 'service_account', $2)`;

/** What goes by, on the way to Postgres or to the worker, in the order in which it does. */
const steps = [
  ['the locks', 'database', 'lock table'],
  ['the first table', 'database', 'declare account_rows'],
  ['the last table', 'database', 'account_id = $1 and ended_at is null'],
  ['the marker', 'database', '"type":"marker"'],
  ['the delivery', 'worker', '"type":"snapshot"'],
] as const;

const points = steps.flatMap(([step, way, text]) =>
  (['before', 'after'] as const).flatMap((when) =>
    (['cut', 'kill'] as const).map((how) => ({ when, step, how, way, text })),
  ),
);

let server: TestServer;
let all: All;
let running: All['replicator'];
let proxies: { readonly database: TcpProxy; readonly worker: TcpProxy };
const closers: (() => Promise<unknown>)[] = [];
beforeAll(async () => {
  server = await startTestServer();
  const database = await server.createDatabase();
  const targets = { database: Number(new URL(database.replicatorUrl).port), worker: 0 };
  proxies = {
    database: await startTcpProxy(() => targets.database),
    worker: await startTcpProxy(() => targets.worker),
  };
  const url = new URL(database.replicatorUrl);
  url.port = String(proxies.database.port);
  const environment = { REPLICATOR_DATABASE_URL: url.href, WORKER_URL: `http://127.0.0.1:${proxies.worker.port}` };
  all = await startAll(server, closers, database, undefined, environment, (port) => (targets.worker = port));
  running = all.replicator;
  closers.push(proxies.database.close, proxies.worker.close);
});
afterAll(async () => {
  for (const close of closers.reverse()) await close();
  await server.stop();
});

test.each(points)(
  '[P1.88] a snapshot that is interrupted right $when $step by a $how is taken again, and nothing is lost',
  async ({ when, how, way, text }) => {
    const { database, worker } = all;
    const account = await createAccount(database);
    for (let number = 0; number < 20; number += 1) await database.query(insertActor, [account, `old ${number}`]);
    await untilRecorded(database, account);
    const old = await all.connect();
    await old.query('begin');
    await old.query(insertActor, [account, 'of a transaction that began first']);
    const met = proxies[way].meet(text, when);
    await ask(account);
    await met;
    await database.query(insertActor, [account, 'meanwhile']);
    await database.query(`update actors set name = name || '!' where account_id = $1 and name like 'old%'`, [account]);
    await database.query(`delete from actors where account_id = $1 and name = 'old 7!'`, [account]);
    if (how === 'cut') proxies[way].cut();
    else {
      await running.kill('SIGKILL');
      running = await all.restart();
    }
    await old.query('commit');
    await renameAccount(database, account, 'the end');

    await worker.until('the end', () => nameOf(worker, account) === 'the end', 40_000);
    await worker.until('the snapshot', () => (worker.accounts.get(account)?.snapshots ?? 0) > 0, 40_000);
    expect(rowsHeld(account)).toEqual(await rowsOfDatabase(account));
    expect(worker.violations).toEqual([]);
  },
);

async function ask(account: string): Promise<void> {
  const content = composeSteering({ type: 'resync', account: v.parse(accountId, account), at: Date.now() }, ingestKey);
  await all.database.query('select pg_logical_emit_message(true, $1, $2)', [messagePrefix, content]);
}

function rowsHeld(account: string): Map<string, unknown> {
  return new Map([...(all.worker.accounts.get(account)?.rows ?? [])].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

async function rowsOfDatabase(account: string): Promise<Map<string, unknown>> {
  const client = await all.connect();
  const { rows } = await readAccount(client, v.parse(accountId, account), [], () => 0);
  const found = tableNames.flatMap((table) => (rows[table] ?? []).map((row) => [keyOf(table, row), row] as const));
  return new Map(found.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
