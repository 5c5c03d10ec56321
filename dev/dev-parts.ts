// The parts of `npm run dev`, each kept running: Postgres unless somebody else runs one, the worker, and the replicator.
// Each comes back where it was, on the same port and the same files, while the others stay up.
import { join } from 'node:path';
import { keepRunning } from './dev-keep.ts';
import { keepRoleUrls } from './dev-settings.ts';
import { migrate } from './migrate.ts';
import { edgeRole, replicatorRole } from './dev-database.ts';
import { setRolePassword } from './role-password.ts';
import { startPostgres } from './postgres.ts';
import { startReplicatorPart, startWorkerPart } from './system.ts';
import type { DevSettings, Secrets } from './dev-settings.ts';
import type { Kept, KeepOptions, Running } from './dev-keep.ts';
import type { Part } from './process.ts';

export type Parts = {
  /** The owner's URL. */
  readonly databaseUrl: string;
  readonly workerUrl: string;
  /** Of the replicator's health checks. */
  readonly healthUrl: string;
  /** At present; null without a Postgres of ours. */
  readonly pids: () => { readonly db: number | null; readonly worker: number; readonly replicator: number };
};

export type PartsOptions = {
  readonly settings: DevSettings;
  readonly secrets: Secrets;
  readonly onLine: (part: string, line: string) => void;
  /** Gives the start up. */
  readonly signal: AbortSignal;
  /** Called as each part has started, with what ends it. */
  readonly onStarted: (stop: () => Promise<void>) => void;
} & Pick<KeepOptions, 'say' | 'onGivenUp' | 'random'>;

/** Whatever is in a temporary directory need not survive a crash of the machine, only of the server. */
const temporarySettings = { fsync: 'off', full_page_writes: 'off' };

/** Starts everything; rejects with one sentence when a part does not start. Ending what has started is the caller's. */
export async function startParts(options: PartsOptions): Promise<Parts> {
  const { settings, secrets, signal } = options;
  const database = await keepDatabase(options);
  signal.throwIfAborted();
  const { edgeUrl, replicatorUrl } = await roleUrlsOf(database.url, options);
  const shared = { DRAWBRIDGE_TOKEN_KEYS: secrets.tokenKeys, DRAWBRIDGE_INGEST_KEY: secrets.ingestKey };
  const worker = await keepPart('worker', options, settings.workerPort, async (port, start) => {
    const env = {
      ...shared,
      PORT: port,
      DRAWBRIDGE_WORKER_STATE: settings.workerState,
      EDGE_DATABASE_URL: edgeUrl,
    };
    return await startWorkerPart({ ...start, env });
  });
  const replicator = await keepPart('replicator', options, settings.healthPort, async (port, start) => {
    const env = {
      ...shared,
      REPLICATOR_DATABASE_URL: replicatorUrl,
      WORKER_URL: worker.url,
      DRAWBRIDGE_HTTP_HOST: '127.0.0.1',
      DRAWBRIDGE_HTTP_PORT: port,
      DRAWBRIDGE_SLOT: settings.slot,
    };
    return await startReplicatorPart({ ...start, env });
  });
  return {
    databaseUrl: database.url,
    workerUrl: worker.url,
    healthUrl: replicator.url,
    pids: () => ({
      db: database.kept?.pid() ?? null,
      worker: worker.kept.pid(),
      replicator: replicator.kept.pid(),
    }),
  };
}

async function keepDatabase(options: PartsOptions): Promise<{ readonly url: string; readonly kept: Kept | null }> {
  const { settings, onStarted, signal } = options;
  if (settings.givenDatabaseUrl !== null) return { url: settings.givenDatabaseUrl, kept: null };
  let port = settings.postgresPort;
  let url = '';
  const start = async (): Promise<Running> => {
    const dataDir = join(settings.stateDir, 'postgres');
    const server = await startPostgres({ dataDir, port, settings: settings.isEphemeral ? temporarySettings : {} });
    ({ port, url } = server);
    let report: string | null = null;
    const ended = server.stopped.then((reason) => {
      report = reason;
      return /ended with (.*)$/m.exec(reason ?? '')?.[1] ?? 'stopped';
    });
    return { pid: server.pid, ended, lastLines: () => (report ?? '').split('\n'), stop: () => server.stop() };
  };
  const kept = await keepRunning({ ...options, name: 'database', start }, signal);
  onStarted(kept.stop);
  return { url, kept };
}

/** The URLs of the two roles; one that the environment gives is taken as it is, and its role left alone. */
async function roleUrlsOf(
  databaseUrl: string,
  { secrets, settings }: PartsOptions,
): Promise<{ readonly replicatorUrl: string; readonly edgeUrl: string }> {
  await migrate(databaseUrl);
  const replicatorUrl =
    secrets.givenReplicatorUrl ?? (await setRolePassword(databaseUrl, replicatorRole, secrets.replicatorPassword));
  const edgeUrl = secrets.givenEdgeUrl ?? (await setRolePassword(databaseUrl, edgeRole, secrets.edgePassword));
  keepRoleUrls(settings.stateDir, {
    ...(secrets.givenReplicatorUrl === null ? { REPLICATOR_DATABASE_URL: replicatorUrl } : {}),
    ...(secrets.givenEdgeUrl === null ? { EDGE_DATABASE_URL: edgeUrl } : {}),
  });
  return { replicatorUrl, edgeUrl };
}

/** Keeps a part that listens on a port, and on that one again after a restart. */
async function keepPart(
  name: string,
  options: PartsOptions,
  firstPort: string,
  begin: (
    port: string,
    start: { readonly onLine: PartsOptions['onLine']; readonly signal: AbortSignal },
  ) => Promise<{ readonly part: Part; readonly ready: string }>,
): Promise<{ readonly url: string; readonly kept: Kept }> {
  let port = firstPort;
  let url = '';
  const start = async (signal: AbortSignal): Promise<Running> => {
    let isUp = false;
    // Before that, a failure says what the part has said.
    const onLine = (part: string, line: string) => {
      if (isUp) options.onLine(part, line);
    };
    const { part, ready } = await begin(port, { onLine, signal });
    isUp = true;
    url = ready;
    ({ port } = new URL(ready));
    return part;
  };
  const kept = await keepRunning({ ...options, name, start }, options.signal);
  options.onStarted(kept.stop);
  return { url, kept };
}
