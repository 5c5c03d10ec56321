// A real Postgres for development, demonstrations and tests, from the binaries that npm installs: nothing to download or
// configure, and nothing left running afterwards, since a guard process (postgres-guard.ts) ends the server together
// with its caller. Listens on 127.0.0.1 only, with a fixed password: never for production.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';
import { UsageError } from './command.ts';
import type { GuardInstructions } from './postgres-guard.ts';
import { checkDataDir, locatePrograms, makeTemporaryDir, placeOfDataDir, serverUser } from './postgres-place.ts';
import type { PostgresVersion, ServerUser } from './postgres-place.ts';

export interface PostgresOptions {
  /** Kept from run to run and created when absent; none means a temporary directory, removed at stop. */
  readonly dataDir?: string;
  /** 1 to 65535; none or 0 means a free one. */
  readonly port?: number;
  readonly version?: PostgresVersion;
  /** Server settings by name, over the defaults below. */
  readonly settings?: Readonly<Record<string, string>>;
}

export interface RunningPostgres {
  /** The owner's URL: a superuser's, with the development password. */
  readonly url: string;
  readonly port: number;
  /** The postmaster's process id. */
  readonly pid: number;
  /** Where the server's files really are; below a temporary directory when its user cannot reach yours. */
  readonly dataDir: string;
  /** Resolves when the server is gone: with null after a stop, else with the reason and the end of its log. */
  readonly stopped: Promise<string | null>;
  /** Fast shutdown: sessions are ended, the data is consistent. */
  stop(): Promise<void>;
  /** As in a crash: the next start recovers from the WAL. */
  stopImmediately(): Promise<void>;
}

const developmentPassword = 'drawbridge';
const defaultPort = 54_329;

const readyWithinMs = 60_000;
const attemptMs = 1_000;
const pollMs = 10;
const attemptsMax = 20;

const defaultSettings = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  wal_level: 'logical',
  max_replication_slots: '20',
  max_wal_senders: '20',
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_checkpoints: 'off',
};

/** Commits still wait for the WAL, since a walsender sends no more than has been written; the disk waits for nobody. */
const temporarySettings = { fsync: 'off', full_page_writes: 'off' };

/**
 * Starts a server and waits until it answers. Throws one sentence for a person when the port is taken, when another
 * server uses the directory, and else with the end of the server's log.
 */
export async function startPostgres(options: PostgresOptions = {}): Promise<RunningPostgres> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await startOnce(options);
    } catch (error) {
      if (attempt === attemptsMax || !(error instanceof StartFailure) || !error.mayPass) throw error;
    }
  }
}

/** The development database's port: DRAWBRIDGE_PG_PORT, else 54329. Throws one sentence when it is not a port. */
export function developmentPort(environment: NodeJS.ProcessEnv): number {
  const text = environment['DRAWBRIDGE_PG_PORT'] ?? '';
  const port = text === '' ? defaultPort : Number(text);
  if (Number.isInteger(port) && port >= 1 && port <= 65_535) return port;
  throw new UsageError(`DRAWBRIDGE_PG_PORT is ${text}, which is not a port: a number from 1 to 65535 was expected.`);
}

/** The owner's URL of the development database. */
export function developmentUrl(environment: NodeJS.ProcessEnv): string {
  return ownerUrl(developmentPort(environment));
}

function ownerUrl(port: number): string {
  return `postgres://postgres:${developmentPassword}@127.0.0.1:${port}/postgres`;
}

/** Why a server did not start. `mayPass`: another attempt has a chance. */
class StartFailure extends Error {
  readonly mayPass: boolean;
  constructor(message: string, mayPass: boolean) {
    super(message);
    this.mayPass = mayPass;
  }
}

async function startOnce(options: PostgresOptions): Promise<RunningPostgres> {
  const user = serverUser();
  const port = options.port === undefined || options.port === 0 ? await listenOnce(0) : options.port;
  const programs = await locatePrograms(options.version ?? 18, user);
  const keptDir = options.dataDir === undefined ? null : await preparedDataDir(options.dataDir, user);
  if (options.port === port) await requireFree(port, keptDir);
  const { dataDir, temporaryDir } =
    keptDir === null ? makeTemporaryDir(user) : { dataDir: keptDir, temporaryDir: null };
  const guard = startGuard({
    ...programs,
    dataDir,
    temporaryDir,
    user,
    password: developmentPassword,
    settings: {
      ...defaultSettings,
      ...(temporaryDir === null ? {} : temporarySettings),
      port: `${port}`,
      ...options.settings,
    },
  });
  const url = ownerUrl(port);
  const pid = await untilReady(url, dataDir, guard).catch(async (error: unknown) => {
    const report = await guard.stop('SIGTERM');
    if (temporaryDir !== null) rmSync(temporaryDir, { recursive: true, force: true });
    throw report === null ? error : failureFrom(report, port, options.port === port, dataDir);
  });
  return {
    url,
    port,
    pid,
    dataDir,
    stopped: guard.ended,
    stop: async () => void (await guard.stop('SIGTERM')),
    stopImmediately: async () => void (await guard.stop('SIGQUIT')),
  };
}

interface Guard {
  /** Null after a stop, else why the server is gone. */
  readonly ended: Promise<string | null>;
  isOver(): boolean;
  /** The postmaster's process id, once there is one. */
  serverPid(): number | undefined;
  stop(signal: 'SIGTERM' | 'SIGQUIT'): Promise<string | null>;
}

function startGuard(instructions: GuardInstructions): Guard {
  const script = fileURLToPath(new URL('postgres-guard.ts', import.meta.url));
  // Detached: a Ctrl-C in the terminal reaches the caller alone, which decides what happens to the server.
  const guard = spawn(process.execPath, [script, JSON.stringify(instructions)], {
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let pid = '';
  let output = '';
  let isOver = false;
  guard.stdout.on('data', (chunk: Buffer) => (pid += chunk.toString()));
  guard.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const ended = new Promise<string | null>((done) => {
    const finish = (report: string | null): void => {
      isOver = true;
      done(report);
    };
    guard.on('error', (error) => finish(`its guard cannot be started: ${error.message}`));
    guard.on('close', (code, signal) => {
      // A guard that is killed leaves its server behind, which would keep the next from starting.
      if (signal !== null && pid !== '') endServer(Number(pid));
      if (code === 0) finish(null);
      else finish(output === '' ? `its guard ended with ${signal ?? `status ${code}`}` : output.trim());
    });
  });
  return {
    ended,
    isOver: () => isOver,
    serverPid: () => (pid === '' ? undefined : Number(pid)),
    stop: (signal) => {
      guard.kill(signal);
      return ended;
    },
  };
}

function endServer(pid: number): void {
  try {
    if (isPostgres(pid)) process.kill(pid, 'SIGQUIT');
  } catch {
    // Gone by itself meanwhile.
  }
}

/** The postmaster's process id, once the server accepts connections and is ours and not another one on the same port. */
async function untilReady(url: string, dataDir: string, guard: Guard): Promise<number> {
  const deadline = performance.now() + readyWithinMs;
  let lastError: unknown = null;
  while (performance.now() < deadline && !guard.isOver()) {
    const client = new Client({ connectionString: url, connectionTimeoutMillis: attemptMs });
    client.on('error', (error) => (lastError = error));
    try {
      await client.connect();
      const { rows } = await client.query<{ directory: string }>(
        `select current_setting('data_directory') as directory`,
      );
      const pid = guard.serverPid();
      const isOurs = rows[0]?.directory === dataDir && readLockFile(dataDir)?.pid === pid;
      if (isOurs && pid !== undefined) return pid;
    } catch (error) {
      lastError = error;
    } finally {
      await client.end();
    }
    await delay(pollMs);
  }
  throw new Error(`Postgres does not answer within ${readyWithinMs / 1000} s.`, { cause: lastError });
}

function failureFrom(report: string, port: number, portIsGiven: boolean, dataDir: string): StartFailure {
  if (report.includes('could not create any TCP/IP sockets')) {
    return new StartFailure(portTaken(port), !portIsGiven);
  }
  if (report.includes('lock file "postmaster.pid" already exists')) {
    const lock = readLockFile(dataDir);
    return new StartFailure(inUse(dataDir, lock), lock === null || lock.isStopping);
  }
  // Workers of a server that was killed, on their way out.
  const mayPass = report.includes('pre-existing shared memory block');
  return new StartFailure(`Postgres did not start in ${dataDir}: ${report}`, mayPass);
}

/** Removes what `startPostgres({ dataDir })` keeps. Throws one sentence when a server uses it. */
export async function removeDataDir(dataDir: string): Promise<void> {
  const place = placeOfDataDir(dataDir, serverUser());
  const lock = await lockOnceSettled(place);
  if (lock !== null) throw new Error(inUse(place, lock));
  rmSync(place, { recursive: true, force: true });
}

/** The real place of a data directory, ready for a server to start there. */
async function preparedDataDir(wanted: string, user: ServerUser | null): Promise<string> {
  const dataDir = placeOfDataDir(wanted, user);
  checkDataDir(dataDir, user);
  // Left by a crash: Postgres itself would be misled when the process id has since gone to another program.
  if ((await lockOnceSettled(dataDir)) === null) rmSync(join(dataDir, 'postmaster.pid'), { force: true });
  return dataDir;
}

interface Lock {
  readonly pid: number;
  readonly port: string;
  readonly isStopping: boolean;
}

function inUse(dataDir: string, lock: Lock | null): string {
  const server = lock === null ? 'A Postgres' : `A Postgres (process ${lock.pid}, port ${lock.port})`;
  return `${server} already runs in ${dataDir}: use that one, or stop it first.`;
}

/** The lock, after waiting for a server that is shutting down, as it does when its caller has just been killed. */
async function lockOnceSettled(dataDir: string): Promise<Lock | null> {
  const deadline = performance.now() + readyWithinMs;
  for (;;) {
    const lock = readLockFile(dataDir);
    if (lock === null || !lock.isStopping || performance.now() > deadline) return lock;
    await delay(pollMs);
  }
}

/** postmaster.pid of a live server: process id on line 1, port on line 4, status on line 8. Null when there is none. */
function readLockFile(dataDir: string): Lock | null {
  const file = join(dataDir, 'postmaster.pid');
  if (!existsSync(file)) return null;
  const lines = readFileSync(file, 'utf8').split('\n');
  const pid = Number(lines[0]);
  if (!Number.isInteger(pid) || pid <= 0 || !isPostgres(pid)) return null;
  return { pid, port: lines[3] ?? '', isStopping: lines[7]?.trim() === 'stopping' };
}

function isPostgres(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !existsSync('/proc/self/comm') || readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'postgres';
  } catch {
    // Gone, or another user's, which a server of ours is not.
    return false;
  }
}

function portTaken(port: number): string {
  const advice = 'stop that, or choose another port in DRAWBRIDGE_PG_PORT';
  return `Port ${port} on 127.0.0.1 is taken by another program: ${advice}.`;
}

/** Spares the creation of a data directory whose server could not listen. A server of that directory may hold the port. */
async function requireFree(port: number, dataDir: string | null): Promise<void> {
  if (dataDir !== null && readLockFile(dataDir) !== null) return;
  await listenOnce(port).catch((cause: unknown) => {
    if (cause instanceof Error && 'code' in cause && cause.code === 'EADDRINUSE') throw new Error(portTaken(port));
    throw cause;
  });
}

/** Opens a port and closes it: the given one, or for 0 a free one. Returns its number. */
async function listenOnce(port: number): Promise<number> {
  const server = createServer();
  await new Promise<void>((done, fail) => server.on('error', fail).listen(port, '127.0.0.1', done));
  const address = server.address();
  await new Promise<void>((done) => server.close(() => done()));
  return address === null || typeof address === 'string' ? port : address.port;
}
