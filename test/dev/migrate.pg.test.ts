import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { migrate } from '../../dev/migrate.ts';
import { startPostgres, type RunningPostgres } from '../../dev/postgres.ts';
import { setRolePassword } from '../../dev/role-password.ts';
import { query } from '../support/query.ts';

let server: RunningPostgres;
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(() => server.stop());

describe('the migrations of this repository', () => {
  test('two databases of one cluster, which share its roles, migrate at once', async () => {
    const urls = [await createDatabase(), await createDatabase(), await createDatabase()];

    const results = await Promise.all(urls.map((url) => migrate(url)));

    expect(new Set(results.map(({ applied }) => applied.length)).size).toBe(1);
  });

  test('two runs at once on one database apply each migration once', async () => {
    const url = await createDatabase();

    const results = await Promise.all([migrate(url), migrate(url), migrate(url)]);

    const applied = results.flatMap((result) => result.applied);
    expect(applied).toEqual(await namesIn(url));
    expect(applied[0]).toBe('0001_row_checks.sql');
  });

  test('a second run applies nothing and says so', async () => {
    const url = await createDatabase();
    await migrate(url);
    const lines: string[] = [];

    const { applied } = await migrate(url, { log: (line) => lines.push(line) });

    expect(applied).toEqual([]);
    expect(lines).toEqual(['nothing to apply']);
  });

  test("someone who may not create the replicator's role is told what is needed", async () => {
    const url = await createDatabase();
    await query(server.url, `create role limited login`);
    onTestFinished(async () => void (await query(server.url, `drop owned by limited; drop role limited`)));
    await query(
      url,
      `grant create on database ${databaseOf(url)} to limited; grant create on schema public to limited`,
    );
    // As on a cluster where no database is migrated yet.
    await query(server.url, `alter role drawbridge_replicator noreplication`);
    onTestFinished(async () => void (await query(server.url, `alter role drawbridge_replicator replication`)));
    const limitedUrl = await setRolePassword(url, 'limited', 'secret');

    await expect(migrate(limitedUrl)).rejects.toThrow(
      /^Migration 0006_replicator_role\.sql is refused: .*: migrate as a superuser, or as an owner of the database who may create roles with REPLICATION\.$/,
    );
    await query(url, `drop owned by limited`);
  });

  test('a server whose WAL is not logical is migrated with a warning', async () => {
    const other = await startPostgres({ settings: { wal_level: 'replica' } });
    onTestFinished(() => other.stop());
    const lines: string[] = [];

    await migrate(other.url, { log: (line) => lines.push(line) });

    expect(lines.at(-1)).toMatch(/^warning: wal_level is replica, the replicator needs logical: /);
  });
});

describe('a history of migrations', () => {
  test('is applied in the order of names, each in its own transaction', async () => {
    const url = await createDatabase();
    const files = { '0002_b.sql': 'alter table a add b int', '0001_a.sql': 'create table a ()', '0003_c.sql': 'oops' };

    await expect(migrate(url, { directory: directoryOf(files) })).rejects.toThrow(
      'Migration 0003_c.sql, line 1, is refused: syntax error at or near "oops".',
    );

    expect(await namesIn(url)).toEqual(['0001_a.sql', '0002_b.sql']);
    expect(await query(url, 'select b from a')).toEqual([]);
  });

  test('leaves no trace of a migration that fails halfway, and names its line', async () => {
    const url = await createDatabase();
    const directory = directoryOf({ '0001_a.sql': 'create table a ();\n\nselect\n  missing;\n' });

    await expect(migrate(url, { directory })).rejects.toThrow(
      'Migration 0001_a.sql, line 4, is refused: column "missing" does not exist.',
    );

    expect(await query(url, `select to_regclass('a')`)).toEqual([[null]]);
  });

  test('is refused when an applied file has been edited', async () => {
    const url = await createDatabase();
    await migrate(url, { directory: directoryOf({ '0001_a.sql': 'create table a ()' }) });

    await expect(migrate(url, { directory: directoryOf({ '0001_a.sql': 'create table b ()' }) })).rejects.toThrow(
      'Migration 0001_a.sql has been edited since it was applied',
    );
  });

  test('is refused when an applied file is missing', async () => {
    const url = await createDatabase();
    await migrate(url, { directory: directoryOf({ '0001_a.sql': '', '0002_b.sql': '' }) });

    await expect(migrate(url, { directory: directoryOf({ '0001_a.sql': '' }) })).rejects.toThrow(
      'The database has migration 0002_b.sql, which this version does not know',
    );
  });

  test('is refused when a file comes before one that is applied', async () => {
    const url = await createDatabase();
    await migrate(url, { directory: directoryOf({ '0002_b.sql': 'create table b ()' }) });

    await expect(
      migrate(url, {
        directory: directoryOf({ '0001_a.sql': 'create table a ()', '0002_b.sql': 'create table b ()' }),
      }),
    ).rejects.toThrow('Migration 0001_a.sql comes before 0002_b.sql, which is applied already');
  });
});

describe('a database that cannot be used is told in one sentence', () => {
  test.each([
    ['nothing listens', () => changed({ port: '1' }), /^Nothing answers as Postgres at 127\.0\.0\.1:1: start it/],
    ['the password is wrong', () => changed({ password: 'wrong' }), /refuses the password of postgres: correct/],
    ['the database is missing', () => changed({ pathname: '/nowhere' }), /has no database nowhere: create it/],
    ['the URL is none', () => 'localhost', /^The database URL cannot be read: write DATABASE_URL as postgres:/],
  ])('when %s', async (_, url, sentence) => {
    await expect(migrate(url())).rejects.toThrow(sentence);
  });
});

test('a role gets a password, and the URL with which it reaches the same database', async () => {
  const url = await createDatabase();
  await migrate(url);

  const roleUrl = await setRolePassword(url, 'drawbridge_replicator', `it's "secret"/@`);

  expect(await query(roleUrl, 'select current_user, current_database()')).toEqual([
    ['drawbridge_replicator', databaseOf(url)],
  ]);
});

let databases = 0;

async function createDatabase(): Promise<string> {
  databases += 1;
  await query(server.url, `create database test_${databases}`);
  return changed({ pathname: `/test_${databases}` });
}

function databaseOf(url: string): string {
  return new URL(url).pathname.slice(1);
}

function changed(parts: Partial<Pick<URL, 'port' | 'password' | 'pathname'>>): string {
  return Object.assign(new URL(server.url), parts).href;
}

async function namesIn(url: string): Promise<unknown[]> {
  return (await query(url, 'select name from drawbridge.migrations order by name')).flat();
}

function directoryOf(files: Readonly<Record<string, string>>): string {
  const directory = mkdtempSync(join(tmpdir(), 'drawbridge-migrations-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  for (const [name, sql] of Object.entries(files)) writeFileSync(join(directory, name), sql);
  return directory;
}
