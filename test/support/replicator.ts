// The replicator as its own process, and a migrated database for it to read. Every test gets a database of its own, a
// copy of one that was migrated once.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { migrate } from '../../dev/migrate.ts';
import { startPostgres, type PostgresOptions } from '../../dev/postgres.ts';
import { setRolePassword } from '../../dev/role-password.ts';

export const ingestKey = 'a-key-of-the-tests-long-enough-to-sign';
const role = 'drawbridge_replicator';
/** On a busy machine a leader may well be silent for a while. */
const patient = { DRAWBRIDGE_HTTP_PORT: '0', DRAWBRIDGE_LEADER_TIMEOUT_MS: '30000' };

export type LogLine = { readonly level: string; readonly event: string; readonly [field: string]: unknown };

export type RunningReplicator = {
  readonly pid: number;
  readonly lines: readonly LogLine[];
  /** Resolves with the first line that satisfies `condition`, past ones included. */
  readonly line: (what: string, condition: (line: LogLine) => boolean) => Promise<LogLine>;
  readonly event: (event: string) => Promise<LogLine>;
  /** The exit status, or the signal's name. */
  readonly exited: Promise<number | string>;
  readonly kill: (signal: 'SIGTERM' | 'SIGKILL' | 'SIGINT' | 'SIGSTOP' | 'SIGCONT') => Promise<number | string>;
};

export function startReplicator(environment: Readonly<Record<string, string>>): RunningReplicator {
  const main = fileURLToPath(new URL('../../replicator/main.ts', import.meta.url));
  // The heap of the image and of `npm run replicator`.
  const child = spawn(process.execPath, ['--max-old-space-size=192', '--max-semi-space-size=4', main], {
    env: {
      PATH: process.env['PATH'],

      ...patient,
      DRAWBRIDGE_INGEST_KEY: ingestKey,
      ...environment,
    },
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  const lines: LogLine[] = [];
  const waiters = new Set<() => void>();
  createInterface({ input: child.stderr }).on('line', (text) => {
    lines.push(parseLine(text));
    for (const waiter of waiters) waiter();
  });
  const exited = once(child, 'close').then(([code, signal]: unknown[]) =>
    typeof code === 'number' ? code : String(signal),
  );
  const line = (what: string, condition: (line: LogLine) => boolean): Promise<LogLine> =>
    new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        clearTimeout(limit);
        waiters.delete(check);
        act();
      };
      const check = (): void => {
        const found = lines.find(condition);
        if (found !== undefined) settle(() => resolve(found));
      };
      const fail = (): void => settle(() => reject(new Error(`no log line: ${what}\n${lines.map(render).join('\n')}`)));
      const limit = setTimeout(fail, 20_000);
      waiters.add(check);
      check();
      void exited.then(() => (waiters.has(check) ? fail() : undefined));
    });
  return {
    pid: child.pid ?? 0,
    lines,
    line,
    event: (event) => line(event, (candidate) => candidate.event === event),
    exited,
    kill(signal) {
      child.kill(signal);
      return signal === 'SIGSTOP' || signal === 'SIGCONT' ? Promise.resolve(signal) : exited;
    },
  };
}

export type TestDatabase = {
  /** The slot's name too. */
  readonly name: string;
  readonly ownerUrl: string;
  readonly replicatorUrl: string;
  readonly client: pg.Client;
  readonly query: (text: string, values?: unknown[]) => Promise<pg.QueryResult<Record<string, unknown>>>;
  /** What the slot has confirmed, in Postgres's notation. */
  readonly confirmed: () => Promise<string | null>;
  /** Polls until the query's first column of its first row is true: for facts that Postgres does not announce. */
  readonly untilTrue: (text: string, values?: unknown[]) => Promise<void>;
};

export type TestServer = {
  readonly url: string;
  readonly stopImmediately: () => Promise<void>;
  readonly createDatabase: () => Promise<TestDatabase>;
  readonly stop: () => Promise<void>;
};

export async function startTestServer(options: PostgresOptions = {}): Promise<TestServer> {
  const postgres = await startPostgres(options);
  const admin = new pg.Client({ connectionString: postgres.url });
  admin.on('error', () => {
    // Tests stop the server on purpose.
  });
  await admin.connect();
  await admin.query('create database template_migrated');
  await migrate(withDatabase(postgres.url, 'template_migrated'));
  await setRolePassword(postgres.url, role, 'secret');
  const clients: pg.Client[] = [];
  let count = 0;
  return {
    url: postgres.url,
    stopImmediately: () => postgres.stopImmediately(),
    async createDatabase() {
      count += 1;
      const name = `test_${count}`;
      await admin.query(`create database ${name} template template_migrated`);
      const ownerUrl = withDatabase(postgres.url, name);
      const client = new pg.Client({ connectionString: ownerUrl });
      client.on('error', () => {
        // Tests stop the server on purpose.
      });
      await client.connect();
      clients.push(client);
      const replicatorUrl = new URL(ownerUrl);
      replicatorUrl.username = role;
      replicatorUrl.password = 'secret';
      return testDatabase(name, ownerUrl, replicatorUrl.href, client);
    },
    async stop() {
      await Promise.all([admin, ...clients].map((client) => client.end().catch(() => {})));
      await postgres.stop();
    },
  };
}

function testDatabase(name: string, ownerUrl: string, replicatorUrl: string, client: pg.Client): TestDatabase {
  const query: TestDatabase['query'] = (text, values = []) => client.query<Record<string, unknown>>(text, values);
  return {
    name,
    ownerUrl,
    replicatorUrl,
    client,
    query,
    async confirmed() {
      const result = await query(
        'select confirmed_flush_lsn::text as lsn from pg_replication_slots where slot_name = $1',
        [name],
      );
      const lsn = result.rows[0]?.['lsn'];
      return typeof lsn === 'string' ? lsn : null;
    },
    async untilTrue(text, values = []) {
      const deadline = performance.now() + 20_000;
      for (;;) {
        const result = await query(text, values);
        if (Object.values(result.rows[0] ?? {})[0] === true) return;
        if (performance.now() > deadline) throw new Error(`not within 20 s: ${text}`);
      }
    },
  };
}

function withDatabase(url: string, name: string): string {
  const changed = new URL(url);
  changed.pathname = `/${name}`;
  return changed.href;
}

function parseLine(text: string): LogLine {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && 'event' in value && 'level' in value) {
      return { ...value, event: String(value.event), level: String(value.level) };
    }
  } catch {
    // What is not a line of ours is kept as it is.
  }
  return { level: 'none', event: 'text', text };
}

function render(line: LogLine): string {
  return JSON.stringify(line);
}
