// A process of its own that runs one Postgres server for as long as its standard input stays open: startPostgres holds
// the other end, so the server ends with whoever asked for it, also after kill -9. It creates the data directory when
// there is none, prints the server's process id, asks the server to stop (and insists, within limits), and removes what
// was temporary. After a kill -9 of this process itself, whoever asked for the server ends it.
import { spawn, type ChildProcess } from 'node:child_process';
import { appendFileSync, chownSync, closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';

/** What a guard is told, as JSON in its only argument. */
const instructions = v.object({
  initdb: v.string(),
  postgres: v.string(),
  /** Where the server's files are; created when absent, in a folder that exists. */
  dataDir: v.string(),
  /** Removed when everything has ended. */
  temporaryDir: v.nullable(v.string()),
  /** Whom the server runs as; null means the caller. */
  user: v.nullable(v.object({ uid: v.number(), gid: v.number() })),
  password: v.string(),
  settings: v.record(v.string(), v.string()),
});
export type GuardInstructions = v.InferOutput<typeof instructions>;

const patienceMs = 10_000;
const reportBytesMax = 8_000;

/** To a server: fast shutdown, immediate shutdown, kill. A guard takes SIGTERM for the first and SIGQUIT for the second. */
const escalation = ['SIGINT', 'SIGQUIT', 'SIGKILL'] as const;

const told = v.parse(instructions, JSON.parse(process.argv[2] ?? '{}'));
let running: ChildProcess | null = null;
let stopFrom: number | null = null;

process.stdin.on('close', () => requestStop(0)).resume();
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => requestStop(0));
process.on('SIGQUIT', () => requestStop(1));
// A caller that is gone reads nothing; its end is noticed on standard input.
process.stdout.on('error', () => requestStop(0));

const failure = await initializeAndServe();
if (told.temporaryDir !== null) rmSync(told.temporaryDir, { recursive: true, force: true });
process.exitCode = failure === null ? 0 : 1;
process.stderr.on('error', () => process.exit());
process.stderr.end(failure ?? '', () => process.exit());

/** Null after a requested stop, else the reason why the server is not running, for a person. */
async function initializeAndServe(): Promise<string | null> {
  try {
    const failure = existsSync(join(told.dataDir, 'PG_VERSION')) ? null : await initialize();
    return failure ?? (stopFrom === null ? await serve() : null);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Creates the data directory beside its final place and moves it there whole, so that it is never found half made. */
async function initialize(): Promise<string | null> {
  const unfinished = `${told.dataDir}.init-${process.pid}`;
  const passwordFile = `${unfinished}.password`;
  mkdirSync(unfinished, { mode: 0o700 });
  writeFileSync(passwordFile, told.password, { mode: 0o600 });
  if (told.user !== null) {
    chownSync(unfinished, told.user.uid, told.user.gid);
    chownSync(passwordFile, told.user.uid, told.user.gid);
  }
  const output: Buffer[] = [];
  const exit = await run(
    told.initdb,
    [
      `--pgdata=${unfinished}`,
      `--pwfile=${passwordFile}`,
      '--username=postgres',
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--locale=C',
      ...(told.temporaryDir === null ? [] : ['--no-sync']),
    ],
    output,
  );
  rmSync(passwordFile);
  if (exit === 'ended') renameSync(unfinished, told.dataDir);
  else rmSync(unfinished, { recursive: true, force: true });
  if (exit === 'ended' || stopFrom !== null) return null;
  return `initdb ${exit}\n${Buffer.concat(output).toString().slice(-reportBytesMax)}`;
}

async function serve(): Promise<string | null> {
  const logFile = join(told.dataDir, 'server.log');
  appendFileSync(logFile, '');
  const logStart = statSync(logFile).size;
  const log = openSync(logFile, 'a');
  const settings = Object.entries(told.settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const exit = await run(told.postgres, ['-D', told.dataDir, ...settings], log, (pid) =>
    process.stdout.write(`${pid}`),
  );
  closeSync(log);
  if (stopFrom !== null) return null;
  return `postgres ${exit}\n${readFileSync(logFile).subarray(logStart).toString().slice(-reportBytesMax)}`;
}

/** Resolves when the command is gone: 'ended' after success, else how it ended. */
function run(
  command: string,
  args: readonly string[],
  output: number | Buffer[],
  started: (pid: number) => void = () => {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const sink = typeof output === 'number' ? output : 'pipe';
    const child = spawn(command, args, {
      cwd: '/',
      stdio: ['ignore', sink, sink],
      env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C', TZ: 'UTC' },
      ...told.user,
    });
    running = child;
    if (typeof output !== 'number') {
      child.stdout?.on('data', (chunk: Buffer) => output.push(chunk));
      child.stderr?.on('data', (chunk: Buffer) => output.push(chunk));
    }
    child.on('error', reject);
    child.on('close', (code, signal) => {
      running = null;
      resolve(code === 0 ? 'ended' : `ended with ${signal ?? `status ${code}`}`);
    });
    if (child.pid !== undefined) started(child.pid);
    if (stopFrom !== null) insist(stopFrom);
  });
}

/** Ends what runs and keeps anything else from starting; `step` is where in the escalation to begin. */
function requestStop(step: number): void {
  if (stopFrom !== null && stopFrom >= step) return;
  stopFrom = step;
  insist(step);
}

function insist(step: number): void {
  const signal = escalation[step];
  if (running === null || signal === undefined) return;
  running.kill(signal);
  setTimeout(() => insist(step + 1), patienceMs).unref();
}
