// `npm run dev` as a process: what it prints, what it survives, what it leaves behind, and what it says to wrong input.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { keepRunning } from '../../dev/dev-keep.ts';
import { descendants, pathGone, pidBelow, processGone } from '../support/processes.ts';
import { startPostgres } from '../../dev/postgres.ts';
import type { RunningPostgres } from '../../dev/postgres.ts';

const program = fileURLToPath(new URL('../../dev/dev.ts', import.meta.url));
const lineMsMax = 30_000;

const started: Dev[] = [];
afterAll(async () => {
  for (const dev of started) dev.signal('SIGTERM');
  await Promise.all(started.map(({ exited }) => exited));
});

/** Somebody else's database. */
let given: RunningPostgres;
beforeAll(async () => {
  given = await startPostgres();
});
afterAll(async () => await given.stop());

describe('a temporary system', () => {
  const parts = ['worker', 'replicator', 'db'] as const;
  let dev: Dev;
  let ready: Ready;
  let pids: Ready['pids'];
  beforeAll(async () => {
    dev = startDev(['--ephemeral']);
    ({ ready } = await dev.ready());
    pids = { ...ready.pids };
  });

  test('says where it is, and an edit shows as frames of its devices', async () => {
    const db = await connect(ready.database);
    await dev.line('relay <- init');

    await deletePolicy(dev, db);
    await insertPolicy(dev, db);

    expect((await fetch(`${ready.worker}/healthz`)).status).toBe(200);
    expect((await fetch(`${ready.replicator}/readyz`)).status).toBe(200);
  });

  test.each(parts)('starts the %s again when it is killed alone, and edits show as before', async (part) => {
    const mark = dev.mark();
    const name = part === 'db' ? 'database' : part;

    process.kill(pids[part], 'SIGKILL');

    await dev.line(`the ${name} died (SIGKILL); starting it again`, mark);
    pids[part] = pidIn(await dev.line(`the ${name} is back`, mark));
    if (part === 'worker') {
      await dev.line('gateway: its socket was closed', mark);
      await dev.line('client: its socket was closed', mark);
      await dev.line('relay <- init', mark);
      await dev.line('gateway <- init', mark);
      await dev.line('client <- flow_created', mark);
    }
    const db = await connect(ready.database);
    await deletePolicy(dev, db);
    await insertPolicy(dev, db);
    expect(descendants(dev.pid)).toEqual(expect.arrayContaining(Object.values(pids)));
    expect(
      dev
        .said()
        .slice(mark)
        .filter((line) => line.includes('died')),
    ).toHaveLength(1);
  });

  test('has the worker back after its runtime was killed and started anew', async () => {
    const mark = dev.mark();
    process.kill(pidBelow(dev.pid, 'workerd serve'), 'SIGKILL');
    await dev.line('client <- flow_created', mark);
    const again = dev.mark();

    process.kill(pids.worker, 'SIGKILL');

    pids.worker = pidIn(await dev.line('the worker is back', again));
    await dev.line('client <- flow_created', again);
    expect(descendants(dev.pid)).toContain(pids.worker);
  });

  test('has the database back after the guard of its server was killed', async () => {
    const mark = dev.mark();

    process.kill(pidBelow(dev.pid, 'postgres-guard'), 'SIGKILL');

    pids.db = pidIn(await dev.line('the database is back', mark));
    const db = await connect(ready.database);
    await deletePolicy(dev, db);
    await insertPolicy(dev, db);
    expect(descendants(dev.pid)).toContain(pids.db);
  });

  test('prints nothing but its one line of JSON on standard output, and leaves nothing behind after SIGTERM', async () => {
    const dir = await directoryOf(ready.database);
    const processes = descendants(dev.pid);
    expect(processes).toEqual(expect.arrayContaining(Object.values(pids)));

    dev.signal('SIGTERM');

    expect(await dev.exited).toBe(0);
    for (const pid of [dev.pid, ...processes]) await processGone(pid);
    await pathGone(dir);
    expect(dev.output()).toHaveLength(1);
  });

  test('leaves nothing behind either when it is killed itself', async () => {
    const killed = startDev(['--ephemeral']);
    const { database } = (await killed.ready()).ready;
    const dir = await directoryOf(database);
    const processes = descendants(killed.pid);

    killed.signal('SIGKILL');

    expect(await killed.exited).toBe('SIGKILL');
    for (const pid of processes) await processGone(pid);
    await pathGone(dir);
  });

  test('leaves a database that was given without its slot and its account', async () => {
    const onGiven = startDev(['--ephemeral'], { DATABASE_URL: given.url });
    await onGiven.line('drawbridge ready');

    onGiven.signal('SIGTERM');

    expect(await onGiven.exited).toBe(0);
    const db = await connect(given.url);
    expect((await db.query('select from pg_replication_slots')).rowCount).toBe(0);
    expect((await db.query('select from accounts')).rowCount).toBe(0);
  });
});

test('secrets, account and tokens are kept from run to run, for their owner alone', async () => {
  const state = temporaryDir();
  const files = [join(state, 'env'), join(state, 'dev-account.json')];
  const run = async () => {
    const dev = startDev([], { ...kept(state), DATABASE_URL: given.url });
    await dev.line('drawbridge ready');
    await dev.line('client <- flow_created');
    dev.signal('SIGINT');
    expect(await dev.exited).toBe(0);
    return files.map((file) => readFileSync(file, 'utf8'));
  };

  const first = await run();
  const second = await run();

  expect(second).toEqual(first);
  expect(files.map((file) => (statSync(file).mode & 0o777).toString(8))).toEqual(['600', '600']);
  expect(first[0]?.replaceAll(/=.*/g, '').trim().split('\n')).toEqual([
    'DRAWBRIDGE_INGEST_KEY',
    'DRAWBRIDGE_TOKEN_KEYS',
    'EDGE_DATABASE_URL',
    'REPLICATOR_DATABASE_URL',
  ]);
});

describe('wrong input gets one sentence, and nothing is left running', () => {
  test('an unknown flag', async () => {
    expect(await failureOf(startDev(['--forever']))).toEqual([
      2,
      'drawbridge: Unknown argument --forever: npm run dev takes only -- --ephemeral.',
    ]);
  });

  test('a database that does not answer', async () => {
    const port = await withTakenPort((taken) => Promise.resolve(taken));
    expect(await failureOf(startDev(['--ephemeral'], { DATABASE_URL: `postgres://u:p@127.0.0.1:${port}/d` }))).toEqual([
      1,
      `drawbridge: Nothing answers as Postgres at 127.0.0.1:${port}: start it (npm run db), or correct DATABASE_URL.`,
    ]);
  });

  test('a database whose wal_level is not logical', async () => {
    const postgres = await startPostgres({ settings: { wal_level: 'replica' } });
    onTestFinished(async () => await postgres.stop());
    expect(await failureOf(startDev(['--ephemeral'], { DATABASE_URL: postgres.url }))).toEqual([
      1,
      'drawbridge: the replicator did not start (status 1): wal_level is replica and must be logical: run `alter system set wal_level = logical` and restart Postgres.',
    ]);
  });

  test.each(['PORT', 'DRAWBRIDGE_HTTP_PORT', 'DRAWBRIDGE_PG_PORT'])(
    'a port in %s that another program has',
    async (variable) => {
      const database = { DATABASE_URL: variable === 'DRAWBRIDGE_PG_PORT' ? '' : given.url };
      await withTakenPort(async (port) => {
        const environment = { ...kept(temporaryDir()), ...database, [variable]: `${port}` };
        const [status, sentence] = await failureOf(startDev([], environment));
        expect(status).toBe(1);
        expect(sentence).toMatch(new RegExp(`^drawbridge: .*port ${port} .*${variable}`, 'i'));
      });
    },
  );
});

test('a part that fails ten times in a row is given up with its last lines', async () => {
  const said: string[] = [];
  const givenUp = Promise.withResolvers<Error>();
  let starts = 0;
  const start = async () => {
    starts += 1;
    if (starts % 2 === 0) throw new Error('no memory');
    return await Promise.resolve({
      pid: starts,
      ended: Promise.resolve('status 3'),
      lastLines: () => ['a last line'],
      stop: () => Promise.resolve(),
    });
  };
  const options = { name: 'worker', start, random: () => 0, onGivenUp: givenUp.resolve };
  const part = await keepRunning({ ...options, say: (line) => said.push(line) }, AbortSignal.timeout(lineMsMax));

  const fault = await givenUp.promise;

  await part.stop();
  expect(starts).toBe(10);
  expect(said.slice(0, 3)).toEqual([
    'the worker died (status 3); starting it again',
    'the worker did not start: no memory; starting it again',
    'the worker is back (pid 3)',
  ]);
  expect(fault.message).toBe(
    "the worker did not start: no memory. That was quick failure 10 in a row: mend it, then start again. The part's last lines:\na last line",
  );
});

async function deletePolicy(dev: Dev, db: Client): Promise<void> {
  const mark = dev.mark();
  await db.query('delete from policies');
  await dev.line('gateway <- reject_access {', mark);
  await dev.line('client <- resource_deleted "', mark);
}

async function insertPolicy(dev: Dev, db: Client): Promise<void> {
  const mark = dev.mark();
  await db.query(`insert into policies (account_id, actor_group_id, resource_id)
                  select account_id, g.id, r.id from actor_groups g join resources r using (account_id)`);
  await dev.line('client <- resource_created_or_updated', mark);
  await dev.line('gateway <- authorize_flow', mark);
  await dev.line('client <- flow_created', mark);
}

const readyLine = v.pipe(
  v.string(),
  v.parseJson(),
  v.strictObject({
    ready: v.strictObject({
      worker: v.string(),
      database: v.string(),
      replicator: v.string(),
      pids: v.strictObject({ db: v.number(), worker: v.number(), replicator: v.number() }),
    }),
  }),
);

type Ready = v.InferOutput<typeof readyLine>['ready'];

type Dev = {
  readonly pid: number;
  readonly signal: (signal: NodeJS.Signals) => void;
  /** The exit status, or the signal's name. */
  readonly exited: Promise<number | string>;
  /** Lines of standard output. */
  readonly output: () => readonly string[];
  /** Everything printed so far, in lines. */
  readonly said: () => readonly string[];
  /** Where the next line will be. */
  readonly mark: () => number;
  /** Waits for a line with this text, at or after `from`. */
  readonly line: (text: string, from?: number) => Promise<string>;
  readonly ready: () => Promise<{ readonly ready: Ready }>;
};

function startDev(args: readonly string[], environment: Readonly<Record<string, string>> = {}): Dev {
  const child = spawn(process.execPath, [program, ...args], {
    env: { PATH: process.env['PATH'], TMPDIR: process.env['TMPDIR'], ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said: string[] = [];
  const output: string[] = [];
  const waiters = new Set<() => void>();
  const hear = (lines: string[]) => (line: string) => {
    lines.push(line);
    if (lines !== said) said.push(line);
    for (const waiter of waiters) waiter();
  };
  createInterface({ input: child.stdout }).on('line', hear(output));
  createInterface({ input: child.stderr }).on('line', hear(said));
  const exited = once(child, 'close').then(([code, signal]: unknown[]) =>
    typeof code === 'number' ? code : String(signal),
  );
  const line = (text: string, from = 0): Promise<string> =>
    new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        clearTimeout(limit);
        waiters.delete(check);
        act();
      };
      const check = (): void => {
        const found = said.slice(from).find((candidate) => candidate.includes(text));
        if (found !== undefined) settle(() => resolve(found));
      };
      const fail = (): void => settle(() => reject(new Error(`no line with ${text} in\n${said.join('\n')}`)));
      const limit = setTimeout(fail, lineMsMax);
      waiters.add(check);
      check();
      void exited.then(() => (waiters.has(check) ? fail() : undefined));
    });
  const dev: Dev = {
    pid: child.pid ?? 0,
    signal: (signal) => void child.kill(signal),
    exited,
    output: () => output,
    said: () => said,
    mark: () => said.length,
    line,
    ready: async () => v.parse(readyLine, await line('{"ready":')),
  };
  started.push(dev);
  return dev;
}

/** The exit status and the last sentence of one that does not start; the lines before it only tell that it tried. */
async function failureOf(dev: Dev): Promise<[number | string, string]> {
  const status = await dev.exited;
  for (const pid of descendants(dev.pid)) await processGone(pid);
  const sentences = dev.said().filter((line) => line !== 'starting up');
  expect(sentences).toHaveLength(1);
  return [status, sentences[0] ?? ''];
}

function kept(state: string): Record<string, string> {
  return { DRAWBRIDGE_STATE: state, PORT: '0', DRAWBRIDGE_HTTP_PORT: '0' };
}

function temporaryDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'drawbridge-test-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  return dir;
}

/** The temporary directory in which everything of the system with this database is. */
async function directoryOf(database: string): Promise<string> {
  const db = await connect(database);
  const { rows } = await db.query<{ dir: string }>(`select current_setting('data_directory') as dir`);
  return dirname(rows[0]?.dir ?? '');
}

async function connect(url: string): Promise<Client> {
  const client = new Client({ connectionString: url });
  client.on('error', () => {
    // Tests end the server on purpose.
  });
  await client.connect();
  onTestFinished(async () => await client.end().catch(() => {}));
  return client;
}

/** Runs `use` with a port on which this process listens. */
async function withTakenPort<Result>(use: (port: number) => Promise<Result>): Promise<Result> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('a port was expected');
  const result = await use(address.port);
  await new Promise((resolve) => server.close(resolve));
  return result;
}

function pidIn(line: string): number {
  return Number(/\(pid (\d+)\)/.exec(line)?.[1]);
}
