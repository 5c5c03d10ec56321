import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import { describe, test as plainTest } from 'vitest';
import { developmentPort, removeDataDir, startPostgres } from '../../dev/postgres.ts';
import { environment, runFile } from '../cli/drawbridge.ts';
import { pathGone, processGone } from '../support/processes.ts';
import { query } from '../support/query.ts';

const isRoot = process.getuid?.() === 0;

interface Fixtures {
  /** As startPostgres, for the length of the test. */
  readonly start: typeof startPostgres;
  /** A directory for the length of the test, which only its owner may enter. */
  readonly closedDir: string;
  /** One that everybody may enter. */
  readonly openDir: string;
}

const test = plainTest.extend<Fixtures>({
  start: async ({ onTestFinished }, use) => {
    await use(async (options) => {
      const server = await startPostgres(options);
      onTestFinished(() => server.stop());
      return server;
    });
  },
  closedDir: async ({ onTestFinished }, use) => {
    const dir = mkdtempSync(join(tmpdir(), 'drawbridge-test-'));
    onTestFinished(() => rmSync(dir, { recursive: true }));
    await use(dir);
  },
  openDir: async ({ closedDir }, use) => {
    chmodSync(closedDir, 0o755);
    await use(closedDir);
  },
});

describe.concurrent.each([18, 15] as const)('Postgres %i', (version) => {
  test('answers on 127.0.0.1 with logical WAL in UTC, and leaves nothing behind at stop', async ({ start, expect }) => {
    const server = await start({ version });

    const settings = await query(
      server.url,
      `select current_setting('server_version_num')::integer / 10000, current_setting('wal_level'),
        current_setting('timezone'), current_setting('listen_addresses')`,
    );
    await server.stop();

    expect(settings).toEqual([[version, 'logical', 'UTC', '127.0.0.1']]);
    await processGone(server.pid);
    expect(existsSync(dirname(server.dataDir))).toBe(false);
    expect(await server.stopped).toBeNull();
  });
});

test.for(['dev/db.ts', 'dev/worker.ts', 'dev/dev.ts'])(
  '%s keeps its files where DRAWBRIDGE_STATE says, and says so when it cannot',
  async (program, { openDir, expect }) => {
    const file = join(openDir, 'file');
    writeFileSync(file, '');

    const ran = await runFile(`../../${program}`, [], environment('', { DRAWBRIDGE_STATE: file, PORT: '0' }));

    expect([ran.code, ran.err]).toEqual([
      2,
      expect.stringMatching(/^drawbridge: .*\/file cannot be made a directory \(E/),
    ]);
  },
);

describe.concurrent('an embedded Postgres', () => {
  test.for(['SIGKILL', 'SIGINT', 'SIGTERM'] as const)(
    'a caller ended by %s leaves neither a server nor its directory',
    async (signal, { expect }) => {
      const program = fileURLToPath(new URL('../support/hold-postgres.ts', import.meta.url));
      const caller = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'inherit'] });
      const [line] = await once(createInterface(caller.stdout), 'line');
      const held = v.parse(v.object({ pid: v.number(), dataDir: v.string() }), JSON.parse(String(line)));

      caller.kill(signal);

      await processGone(held.pid);
      await pathGone(dirname(held.dataDir));
      expect(existsSync(held.dataDir)).toBe(false);
    },
  );

  test('a data directory keeps its rows from one server to the next, also after a crash', async ({
    start,
    openDir,
    expect,
  }) => {
    const dataDir = join(openDir, 'data');
    const first = await start({ dataDir });
    await query(first.url, 'create table kept as select 1 as one');
    await first.stopImmediately();

    const second = await start({ dataDir });

    expect(await query(second.url, 'select one from kept')).toEqual([[1]]);
  });

  test('a server that is killed is reported, and its directory starts again at once', async ({
    start,
    openDir,
    expect,
  }) => {
    const dataDir = join(openDir, 'data');
    const first = await start({ dataDir });

    process.kill(first.pid, 'SIGKILL');

    expect(await first.stopped).toContain('SIGKILL');
    const second = await start({ dataDir });
    expect(await query(second.url, 'select 1')).toEqual([[1]]);
  });

  test('a lock file left by a crash does not count when its process id has gone to another program', async ({
    start,
    openDir,
    expect,
  }) => {
    const dataDir = join(openDir, 'data');
    await (await start({ dataDir })).stop();
    writeFileSync(join(dataDir, 'postmaster.pid'), `${process.pid}\n${dataDir}\n0\n54321\n\n127.0.0.1\n\nready\n`);

    const server = await start({ dataDir });

    expect(await query(server.url, 'select 1')).toEqual([[1]]);
  });

  test('a directory in use is refused in one sentence that names the server, and is not removed', async ({
    start,
    openDir,
    expect,
  }) => {
    const dataDir = join(openDir, 'data');
    const server = await start({ dataDir });
    const sentence = `A Postgres (process ${server.pid}, port ${server.port}) already runs in ${dataDir}: use that one, or stop it first.`;

    await expect(start({ dataDir })).rejects.toThrow(sentence);
    await expect(start({ dataDir, port: server.port })).rejects.toThrow(sentence);
    await expect(removeDataDir(dataDir)).rejects.toThrow(sentence);

    expect(await query(server.url, 'select 1')).toEqual([[1]]);
  });

  test('a directory with other contents is refused and left alone', async ({ start, openDir, expect }) => {
    const dataDir = join(openDir, 'data');
    const owner = await start({ dataDir });
    await owner.stop();
    rmSync(join(dataDir, 'PG_VERSION'));

    await expect(start({ dataDir })).rejects.toThrow(/neither empty nor the data directory of a Postgres/);

    expect(existsSync(join(dataDir, 'base'))).toBe(true);
  });

  test('a taken port is refused in one sentence that names the port and its variable', async ({
    start,
    onTestFinished,
    expect,
  }) => {
    const other = createServer();
    await once(other.listen(0, '127.0.0.1'), 'listening');
    onTestFinished(() => void other.close());
    const { port } = v.parse(v.object({ port: v.number() }), other.address());

    await expect(start({ port })).rejects.toThrow(
      `Port ${port} on 127.0.0.1 is taken by another program: stop that, or choose another port in DRAWBRIDGE_PG_PORT.`,
    );
  });

  test('the port of another server of ours is taken too', async ({ start, expect }) => {
    const server = await start();

    await expect(start({ port: server.port })).rejects.toThrow(`Port ${server.port} on 127.0.0.1 is taken`);
  });

  test('settings reach the server, and a refused one is reported with the end of its log', async ({
    start,
    expect,
  }) => {
    const server = await start({ settings: { max_wal_senders: '3' } });

    expect(await query(server.url, 'show max_wal_senders')).toEqual([['3']]);
    await expect(start({ settings: { wal_level: 'loud' } })).rejects.toThrow(
      /invalid value for parameter "wal_level": "loud"/,
    );
  });

  test.runIf(isRoot)(
    "a directory that the server's user cannot reach is kept elsewhere, and found again",
    async ({ start, closedDir, onTestFinished, expect }) => {
      const dataDir = join(closedDir, 'data');
      const first = await start({ dataDir });
      onTestFinished(() => removeDataDir(dataDir));
      await query(first.url, 'create table kept ()');
      await first.stop();

      const second = await start({ dataDir });

      expect(second.dataDir).not.toBe(dataDir);
      expect(second.dataDir).toBe(first.dataDir);
      expect(await query(second.url, 'select from kept')).toEqual([]);
      await second.stop();
    },
  );

  test('removing a data directory starts over', async ({ start, openDir, expect }) => {
    const dataDir = join(openDir, 'data');
    await (await start({ dataDir })).stop();

    await removeDataDir(dataDir);

    expect(existsSync(dataDir)).toBe(false);
  });

  test('the development port is 54329 unless the environment names another', ({ expect }) => {
    expect(developmentPort({})).toBe(54_329);
    expect(developmentPort({ DRAWBRIDGE_PG_PORT: '5433' })).toBe(5433);
    expect(() => developmentPort({ DRAWBRIDGE_PG_PORT: '70000' })).toThrow('DRAWBRIDGE_PG_PORT is 70000');
  });
});
