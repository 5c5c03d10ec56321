// `npm run dev`: the system of the demo, staying up. Postgres, the worker and the replicator are processes of their own that
// are started again when they die; a simulated gateway and client print the frames they are sent. State is kept in
// `.drawbridge/` from run to run (DRAWBRIDGE_STATE names another directory); DATABASE_URL replaces the Postgres.
//
// With --ephemeral everything is temporary and on free ports, and standard output has one line of JSON alone:
// {"ready": {"worker", "database", "replicator", "pids": {"db", "worker", "replicator"}}}; `db` is null with DATABASE_URL.
//
// SIGINT and SIGTERM end everything in order, and the exit code is 0; a second one does not wait.
import { Client } from 'pg';
import { findOrCreateAccount } from './dev-account.ts';
import { guide } from './dev-guide.ts';
import { readSecrets, readSettings } from './dev-settings.ts';
import { report } from './command.ts';
import { startDevices } from './dev-devices.ts';
import { startParts } from './dev-parts.ts';
import { sweepAtEnd } from './dev-sweep.ts';
import type { DevAccount } from './dev-account.ts';
import type { DevSettings } from './dev-settings.ts';

const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    // What is left ends by itself, since each part holds the other end of a pipe.
    if (stopping.signal.aborted) process.exit(1);
    stopping.abort();
  });
}

let fault: Error | null = null;
const cleanups: (() => Promise<void>)[] = [];
try {
  await start(readSettings(process.argv.slice(2), process.env));
  await new Promise<void>((resolve) => stopping.signal.addEventListener('abort', () => resolve()));
} catch (cause) {
  if (!stopping.signal.aborted) fault = errorOf(cause);
}
for (const clean of cleanups.toReversed()) {
  await clean().catch((cause: unknown) => (fault ??= errorOf(cause)));
}
if (fault !== null) report(fault);
process.exit(0);

async function start(settings: DevSettings): Promise<void> {
  const { signal } = stopping;
  const output = settings.isEphemeral ? process.stderr : process.stdout;
  const say = (line: string) => void output.write(`${line}\n`);
  if (settings.isEphemeral) cleanups.push(sweepAtEnd(settings.stateDir));
  const leavesNoTrace = settings.isEphemeral && settings.givenDatabaseUrl !== null;
  const secrets = readSecrets(settings.stateDir, process.env);
  if (leavesNoTrace) cleanups.push(async () => await dropSlot(settings));
  say('starting up');
  const parts = await startParts({
    settings,
    secrets,
    say,
    random: Math.random,
    signal,
    onLine: (part, line) => {
      if (isNotable(line)) say(`${part}: ${line}`);
    },
    onGivenUp: (cause) => {
      fault = cause;
      stopping.abort();
    },
    onStarted: (stop) => cleanups.push(stop),
  });
  const account = await withDatabase(
    parts.databaseUrl,
    async (db) => await findOrCreateAccount(db, secrets.tokenKeys, settings.stateDir),
  );
  if (leavesNoTrace) cleanups.push(async () => await deleteAccount(settings, account));

  const early: string[] = [];
  let isReady = false;
  const sayOnceReady = (line: string) => void (isReady ? say(line) : early.push(line));
  await startDevices({ url: parts.workerUrl, account, say: sayOnceReady, random: Math.random, signal });
  signal.throwIfAborted();
  say(guide({ ...parts, account }));
  isReady = true;
  for (const line of early) say(line);
  if (settings.isEphemeral) {
    const { workerUrl: worker, databaseUrl: database, healthUrl: replicator } = parts;
    process.stdout.write(`${JSON.stringify({ ready: { worker, database, replicator, pids: parts.pids() } })}\n`);
  }
}

/** A slot that nobody reads keeps a server from removing its WAL, so a given database is left without ours. */
async function dropSlot({ givenDatabaseUrl, slot }: DevSettings): Promise<void> {
  const drop = 'select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1';
  await withDatabase(givenDatabaseUrl, async (db) => void (await db.query(drop, [slot])));
}

async function deleteAccount({ givenDatabaseUrl }: DevSettings, { accountId }: DevAccount): Promise<void> {
  const remove = 'delete from accounts where id = $1';
  await withDatabase(givenDatabaseUrl, async (db) => void (await db.query(remove, [accountId])));
}

async function withDatabase<Result>(url: string | null, use: (db: Client) => Promise<Result>): Promise<Result> {
  const db = new Client({ connectionString: url ?? '' });
  await db.connect();
  try {
    return await use(db);
  } finally {
    await db.end();
  }
}

/** What a part prints, but for the lines that only say that all is well. */
function isNotable(line: string): boolean {
  return !/"level":"info"|"event":"worker_ready"/.test(line);
}

function errorOf(cause: unknown): Error {
  return cause instanceof Error ? cause : new Error(String(cause));
}
