// A whole system to be hurt: Postgres, worker and replicator as processes that are killed and started alone, with a proxy on
// each of the replicator's two ways. After any treatment the rows at the edge must equal the tables, the change log the record
// that triggers have kept, and every watched device must have and let pass what the oracle says.
import { EventEmitter, on } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import * as v from 'valibot';
import { askObject } from '../../cli/status-http.ts';
import { differences as differencesOfRows, digestOfDatabase } from '../../cli/verify-rows.ts';
import { migrate } from '../../dev/migrate.ts';
import { removeDataDir, startPostgres, type RunningPostgres } from '../../dev/postgres.ts';
import { setRolePassword } from '../../dev/role-password.ts';
import { startReplicatorPart, startWorkerPart } from '../../dev/system.ts';
import type { Part } from '../../dev/process.ts';
import { digestAnswer, digestPath } from '../../protocol/digest.ts';
import { accountId } from '../../protocol/ids.ts';
import { messagePrefix } from '../../protocol/steering.ts';
import { clientConfig } from '../../replicator/connection.ts';
import { composeSteering } from '../../replicator/steering.ts';
import { randomFrom, startLoad, type Load } from './load.ts';
import { startTcpProxy, type TcpProxy } from './tcp-proxy.ts';
import { accessEdits, startWatched } from './watched.ts';
import { processGone } from './processes.ts';
import { changedAccounts, differences, installWitness, markEnd, missing, start, type Mark } from './witness.ts';

const victims = ['replicator', 'worker', 'postgres'] as const;
type Victim = (typeof victims)[number];

const ingestKey = 'i'.repeat(32);
const settleMsMax = 60_000;
const pollMs = 20;

export type Chaos = {
  readonly databaseProxy: TcpProxy;
  readonly workerProxy: TcpProxy;
  readonly accounts: string[];
  /** Those whose devices are watched. */
  readonly watched: readonly string[];
  /** The owner's URL. */
  readonly url: string;
  readonly load: (seed: number, writers?: number) => Load;
  /** Asks for a snapshot of one account, as `drawbridge resync` does. */
  readonly resync: (account: string) => Promise<void>;
  readonly kill: (victim: Victim) => Promise<void>;
  /** Starts it again and waits until it is ready. */
  readonly revive: (victim: Victim) => Promise<void>;
  /** Waits until nothing is under way, and compares everything since the last time. Every difference is a sentence. */
  readonly settle: () => Promise<readonly string[]>;
  /**
   * What the replicator has said of epochs and snapshots, which would hide that something was lost; births, the first epoch and
   * what was asked for aside.
   */
  readonly healing: () => readonly string[];
  readonly lines: readonly string[];
  /** Resolves when a part prints a line about this event, from here on. */
  readonly event: (event: string) => Promise<void>;
  readonly stop: () => Promise<void>;
};

export async function startChaos(options: { readonly accounts: number }): Promise<Chaos> {
  const stops: (() => Promise<unknown>)[] = [];
  const lines: string[] = [];
  const directory = await mkdtemp(join(tmpdir(), 'drawbridge-chaos-'));
  stops.push(() => rm(directory, { recursive: true, force: true }));
  const dataDir = join(directory, 'data');
  const settings = { fsync: 'off', full_page_writes: 'off', max_connections: '40' };
  let postgres: RunningPostgres = await startPostgres({ dataDir, settings });
  stops.push(async () => {
    await postgres.stop();
    await removeDataDir(dataDir);
  });
  const { url, port } = postgres;
  await migrate(url);
  const replicatorUrl = new URL(await setRolePassword(url, 'drawbridge_replicator', 'secret'));
  const databaseProxy = await startTcpProxy(() => port);
  replicatorUrl.port = String(databaseProxy.port);
  let workerPort = 0;
  const workerProxy = await startTcpProxy(() => workerPort);
  stops.push(workerProxy.close, databaseProxy.close);

  const events = new EventEmitter();
  const onLine = (part: string, line: string) => {
    lines.push(`${part}: ${line}`);
    events.emit('line', line);
  };
  const tokenKeys = `test:${'t'.repeat(32)}`;
  const shared = { DRAWBRIDGE_TOKEN_KEYS: tokenKeys, DRAWBRIDGE_INGEST_KEY: ingestKey };
  const edgeUrl = await setRolePassword(url, 'drawbridge_edge', 'secret');
  const parts = new Map<Victim, Part>();
  const begin = {
    async worker() {
      const state = join(directory, 'worker');
      const env = { ...shared, PORT: String(workerPort), DRAWBRIDGE_WORKER_STATE: state, EDGE_DATABASE_URL: edgeUrl };
      const { part, ready } = await startWorkerPart({ env, onLine });
      workerPort = Number(new URL(ready).port);
      parts.set('worker', part);
    },
    async replicator() {
      const env = {
        ...shared,
        REPLICATOR_DATABASE_URL: replicatorUrl.href,
        WORKER_URL: `http://127.0.0.1:${workerProxy.port}`,
        DRAWBRIDGE_HTTP_PORT: '0',
        DRAWBRIDGE_SLOT: 'chaos',
      };
      parts.set('replicator', (await startReplicatorPart({ env, onLine })).part);
    },
    async postgres() {
      postgres = await startPostgres({ dataDir, settings, port });
    },
  } satisfies Record<Victim, () => Promise<void>>;
  stops.push(async () => await Promise.all([...parts.values()].map(async (part) => await part.stop())));
  await begin.worker();
  await begin.replicator();

  let mark: Mark = start;
  const accounts = await prepare(url, options.accounts);
  const workerUrl = () => `http://127.0.0.1:${workerPort}`;
  const watched = await startWatched({ url, tokenKeys, workerUrl });
  stops.push(watched.stop);
  return {
    databaseProxy,
    workerProxy,
    accounts,
    watched: watched.accounts,
    url,
    lines,
    load: (seed, writers = 3) => startLoads(url, seed, writers, accounts, watched.accounts),
    async resync(account) {
      const message = { type: 'resync', account: v.parse(accountId, account), at: Date.now() } as const;
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      await client.query('select pg_logical_emit_message(true, $1, $2)', [
        messagePrefix,
        composeSteering(message, ingestKey),
      ]);
      await client.end();
    },
    async kill(victim) {
      if (victim === 'postgres') {
        process.kill(postgres.pid, 'SIGKILL');
        await postgres.stopped;
        await processGone(postgres.pid);
      } else {
        await parts.get(victim)?.kill();
        parts.delete(victim);
      }
    },
    revive: async (victim) => await begin[victim](),
    async settle() {
      const found = await settle(url, workerUrl, mark);
      mark = found.mark;
      return [...found.differences, ...(await watched.check())];
    },
    healing: () =>
      lines.filter(
        (line) =>
          /"event":"(?:epoch_opened|snapshot_required)"/.test(line) &&
          !/no history|it was asked for|"epoch":1,/.test(line),
      ),
    async event(event) {
      for await (const [line] of on(events, 'line')) if (String(line).includes(`"event":"${event}"`)) return;
    },
    async stop() {
      for (const stop of stops.toReversed()) await stop();
    },
  };
}

/** Edits of any row of some accounts, and of what the devices of watched accounts may reach. */
function startLoads(url: string, seed: number, writers: number, accounts: string[], watched: string[]): Load {
  const any = startLoad({ url, seed, writers, accounts });
  const access = startLoad({ url, seed: seed + 1, writers: 1, accounts: watched, edits: accessEdits });
  return {
    count: () => any.count() + access.count(),
    commits: async (more) => void (await Promise.all([any.commits(more), access.commits(more)])),
    async stop() {
      await Promise.all([any.stop(), access.stop()]);
    },
  };
}

async function prepare(url: string, count: number): Promise<string[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await installWitness(client);
  const { rows } = await client.query<{ id: string }>(
    `insert into accounts (name) select 'account ' || n from generate_series(1, $1::int) n returning id::text`,
    [count],
  );
  await client.end();
  return rows.map(({ id }) => id);
}

async function settle(url: string, workerUrl: () => string, mark: Mark) {
  const deadline = performance.now() + settleMsMax;
  const client = new pg.Client(clientConfig(url));
  await client.connect();
  try {
    while ((await missing(client, mark)) > 0 && performance.now() < deadline) await delay(pollMs);
    const found = await differences(client, mark);
    // Accounts that are gone too: their objects must hold nothing.
    for (const account of await changedAccounts(client, mark)) {
      found.push(...(await untilEqual(client, workerUrl(), account, deadline)));
    }
    return { differences: found, mark: await markEnd(client) };
  } finally {
    await client.end();
  }
}

async function untilEqual(client: pg.Client, workerUrl: string, text: string, deadline: number): Promise<string[]> {
  const account = v.parse(accountId, text);
  const wanted = await digestOfDatabase(client, account);
  for (;;) {
    const held = await askObject(workerUrl, ingestKey, digestPath, { version: 1, account }, digestAnswer);
    const different = differencesOfRows(wanted, held.tables);
    if (different.length === 0) return [];
    if (performance.now() > deadline) return different.map((sentence) => `${account}: ${sentence}`);
    await delay(pollMs);
  }
}

/**
 * Kills one part at a random point under load, or two, and starts them again; then compares. Returns what was done, and every
 * difference.
 */
export async function killRound(chaos: Chaos, seed: number): Promise<{ what: string; differences: readonly string[] }> {
  const random = randomFrom(seed);
  const upTo = (count: number): number => 1 + Math.floor(random() * count);
  const load = chaos.load(seed);
  await load.commits(upTo(20));
  const first = victims[upTo(victims.length) - 1] ?? 'replicator';
  const killed: Victim[] = [first];
  // A snapshot that is under way must not keep what the crash takes back.
  if (random() < 0.5) await chaos.resync(chaos.accounts[upTo(chaos.accounts.length) - 1] ?? '');
  await chaos.kill(first);
  if (random() < 0.3) {
    const second = victims[(victims.indexOf(first) + upTo(2)) % victims.length] ?? 'worker';
    killed.push(second);
    await chaos.kill(second);
  }
  if (!killed.includes('postgres')) await load.commits(upTo(15));
  // The replicator last: it is ready once it has the others.
  for (const victim of ['postgres', 'worker', 'replicator'] as const) {
    if (killed.includes(victim)) await chaos.revive(victim);
  }
  await load.commits(upTo(10));
  await load.stop();
  const differences = await chaos.settle();
  return { what: `seed ${seed}: killed ${killed.join(' and ')} under ${load.count()} commits`, differences };
}
