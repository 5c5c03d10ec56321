// The whole system on this machine: database, worker and replicator, each a process that can be killed and started again
// alone. Everything it makes is temporary; what it starts ends with it.
import { mkdtemp, rm } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import * as v from 'valibot';
import { edgeRole, replicatorRole } from './dev-database.ts';
import { migrate } from './migrate.ts';
import { setRolePassword } from './role-password.ts';
import { readyOrGone, startPart } from './process.ts';
import { startPostgres } from './postgres.ts';
import type { Part, StartOptions } from './process.ts';

export type SystemOptions = {
  /** The owner's URL of a database to use; a temporary server is started when left out. */
  readonly databaseUrl?: string | undefined;
  /** Called with every line that a part prints. */
  readonly onLine?: (part: string, line: string) => void;
  /** The URL by which the worker reaches the database at `url`, where that is not directly. */
  readonly edgeWay?: (url: string) => Promise<string>;
};

export type System = {
  /** The owner's URL. */
  readonly databaseUrl: string;
  readonly workerUrl: string;
  /** `DRAWBRIDGE_TOKEN_KEYS` of the worker. */
  readonly tokenKeys: string;
  /** `DRAWBRIDGE_INGEST_KEY` of worker and replicator. */
  readonly ingestKey: string;
  readonly killReplicator: () => Promise<void>;
  /** Starts the replicator, if it is not running, and waits until it streams. */
  readonly startReplicator: () => Promise<void>;
  /** The directory of what the worker's objects store. */
  readonly workerState: string;
  readonly killWorker: () => Promise<void>;
  /** Starts the worker, if it is not running, where it listened before. */
  readonly startWorker: () => Promise<void>;
  readonly stop: () => Promise<void>;
};

/** All devices come from one address here, and connect more often than those of one address may. */
const connectLimits = '1000000,1000000,1000000';

const replicatorReadyMsMax = 30_000;
/** The slot of a local replicator. */
export const slot = 'drawbridge_local';

/** Starts everything and returns once the replicator streams. Rejects, with nothing left running, when a part does not start. */
export async function startSystem(options: SystemOptions = {}): Promise<System> {
  const { databaseUrl, onLine = () => undefined, edgeWay = async (url) => await Promise.resolve(url) } = options;
  const cleanups: (() => Promise<unknown>)[] = [];
  const stop = async () => {
    for (const clean of cleanups.splice(0).toReversed()) await clean();
  };
  try {
    const postgres = databaseUrl === undefined ? await startPostgres() : null;
    if (postgres !== null) cleanups.push(async () => await postgres.stop());
    const ownerUrl = postgres?.url ?? databaseUrl ?? '';
    await migrate(ownerUrl);
    const state = await mkdtemp(join(tmpdir(), 'drawbridge-worker-'));
    cleanups.push(async () => await rm(state, { recursive: true, force: true }));
    const secret = () => randomBytes(32).toString('hex');
    const shared = { DRAWBRIDGE_TOKEN_KEYS: `local:${secret()}`, DRAWBRIDGE_INGEST_KEY: secret() };
    const edgeUrl = await edgeWay(await setRolePassword(ownerUrl, edgeRole, secret()));
    const worker = restartable(cleanups);
    let port = '0';
    const startWorker = async () => {
      const env = { ...shared, PORT: port, DRAWBRIDGE_WORKER_STATE: state, EDGE_DATABASE_URL: edgeUrl };
      const url = await worker.start(async () => await startWorkerPart({ env, onLine }));
      if (url !== null) ({ port } = new URL(url));
    };
    await startWorker();
    const workerUrl = `http://127.0.0.1:${port}`;
    const replicator = restartable(cleanups);
    const replicatorUrl = await setRolePassword(ownerUrl, replicatorRole, secret());
    const startReplicator = async () => {
      const env = {
        ...shared,
        REPLICATOR_DATABASE_URL: replicatorUrl,
        WORKER_URL: workerUrl,
        DRAWBRIDGE_HTTP_PORT: '0',
        DRAWBRIDGE_SLOT: slot,
      };
      await replicator.start(async () => await startReplicatorPart({ env, onLine }));
    };
    await startReplicator();
    return {
      databaseUrl: ownerUrl,
      workerUrl,
      tokenKeys: shared.DRAWBRIDGE_TOKEN_KEYS,
      ingestKey: shared.DRAWBRIDGE_INGEST_KEY,
      killReplicator: replicator.kill,
      startReplicator,
      workerState: state,
      killWorker: worker.kill,
      startWorker,
      stop,
    };
  } catch (cause) {
    await stop();
    throw cause;
  }
}

type PartOptions = Pick<StartOptions<string>, 'env' | 'onLine' | 'signal'>;

/** Starts the worker; ready is its URL. It limits connects only where the environment says so. */
export async function startWorkerPart(options: PartOptions): Promise<{ part: Part; ready: string }> {
  const limits = process.env['DRAWBRIDGE_CONNECT_LIMITS'] ?? connectLimits;
  const env = { DRAWBRIDGE_CONNECT_LIMITS: limits, ...options.env };
  return await startPart({ ...options, env, name: 'worker', file: 'dev/worker.ts', readyOf: workerUrlOf });
}

/** Starts the replicator and waits until it streams; ready is the URL of its health checks. */
export async function startReplicatorPart(options: PartOptions): Promise<{ part: Part; ready: string }> {
  const start = { ...options, name: 'replicator', file: 'replicator/main.ts', readyOf: healthPortOf };
  const { part, ready: port } = await startPart(start);
  const url = `http://127.0.0.1:${port}`;
  const over = new AbortController();
  try {
    const streams = untilStreams(url, over.signal);
    await readyOrGone(part, streams, { msMax: replicatorReadyMsMax, signal: options.signal });
  } finally {
    over.abort();
  }
  return { part, ready: url };
}

/** One part at a time: starting a running one, or killing one that does not run, does nothing. */
function restartable(cleanups: (() => Promise<unknown>)[]) {
  let running: Part | null = null;
  cleanups.push(async () => await running?.stop());
  return {
    start: async <Ready>(begin: () => Promise<{ part: Part; ready: Ready }>): Promise<Ready | null> => {
      if (running !== null) return null;
      const { part, ready } = await begin();
      running = part;
      return ready;
    },
    kill: async () => {
      await running?.kill();
      running = null;
    },
  };
}

/** Resolves when the replicator at `url` leads and streams, or `over` aborts. */
async function untilStreams(url: string, over: AbortSignal): Promise<void> {
  while (!over.aborted) {
    const response = await fetch(`${url}/readyz`, { signal: over }).catch(() => null);
    await response?.body?.cancel();
    if (response?.ok === true) return;
    await delay(20);
  }
}

const workerReady = v.pipe(v.string(), v.parseJson(), v.object({ event: v.literal('worker_ready'), url: v.string() }));

function workerUrlOf(line: string): string | undefined {
  const parsed = v.safeParse(workerReady, line);
  return parsed.success ? parsed.output.url : undefined;
}

const replicatorStarted = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({ event: v.literal('started'), http_port: v.number() }),
);

function healthPortOf(line: string): number | undefined {
  const parsed = v.safeParse(replicatorStarted, line);
  return parsed.success ? parsed.output.http_port : undefined;
}
