// Applies migrations/ to a database: each file once, in the order of its name, in a transaction of its own. A session
// advisory lock makes it safe to run several at once. What has been applied is recorded with its checksum, and a history
// that differs from the files is refused, since nobody can tell what such a database looks like.
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, DatabaseError } from 'pg';
import { report, UsageError } from './command.ts';
import { developmentUrl } from './postgres.ts';

export interface MigrateOptions {
  /** Told what happens, a line at a time. */
  readonly log?: (line: string) => void;
  /** Where the migrations are, if not in migrations/. */
  readonly directory?: string;
}

interface Migration {
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
}

const migrationsDirectory = fileURLToPath(new URL('../migrations', import.meta.url));
const fileName = /^\d{4}_[a-z0-9_]+\.sql$/;

/** Names the advisory lock; any constant that nothing else in the database uses. */
const lockKey = 7_236_104_551;

const connectionSettings = { application_name: 'drawbridge migrate', connectionTimeoutMillis: 10_000 };

/** What is recorded, and the schema that holds it, are needed before the first migration. */
const bookkeeping = `
  create schema if not exists drawbridge;
  create table drawbridge.migrations (
    name text primary key,
    checksum text not null,
    applied_at timestamptz not null default now()
  );
  comment on table drawbridge.migrations is 'The migrations applied to this database.';
`;

/**
 * Brings a database up to date and returns the names of the migrations that this took. Throws one sentence for a person
 * when the database cannot be reached or entered, when a migration is refused (it then leaves no trace), and when what
 * was applied earlier is not what the files say.
 */
export async function migrate(databaseUrl: string, options: MigrateOptions = {}): Promise<{ applied: string[] }> {
  const log = options.log ?? (() => {});
  const migrations = readMigrations(options.directory ?? migrationsDirectory);
  const client = await connect(databaseUrl);
  try {
    await client.query('set search_path to public; set client_min_messages to warning');
    await lock(client, log);
    const waiting = await waitingMigrations(client, migrations);
    for (const migration of waiting) {
      await apply(client, migration);
      log(`applied ${migration.name}`);
    }
    if (waiting.length === 0) log('nothing to apply');
    await warnOfWalLevel(client, log);
    return { applied: waiting.map(({ name }) => name) };
  } finally {
    // Ending the session gives the lock back.
    await client.end();
  }
}

function readMigrations(directory: string): Migration[] {
  const names = readdirSync(directory).filter((name) => fileName.test(name));
  return names.sort().map((name) => {
    const sql = readFileSync(join(directory, name), 'utf8');
    return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') };
  });
}

async function lock(client: Client, log: (line: string) => void): Promise<void> {
  const { rows } = await client.query<{ free: boolean }>('select pg_try_advisory_lock($1) as free', [lockKey]);
  if (rows[0]?.free === true) return;
  log('another migration of this database is running: waiting for it');
  await client.query('select pg_advisory_lock($1)', [lockKey]);
}

async function waitingMigrations(client: Client, migrations: readonly Migration[]): Promise<Migration[]> {
  const { rows: known } = await client.query(`select where to_regclass('drawbridge.migrations') is not null`);
  if (known.length === 0) {
    await client.query(bookkeeping).catch((error: unknown) => {
      throw explain(error, 'The table of applied migrations');
    });
  }
  const { rows } = await client.query<{ name: string; checksum: string }>(
    'select name, checksum from drawbridge.migrations order by name',
  );
  const checksums = new Map(migrations.map(({ name, checksum }) => [name, checksum]));
  for (const { name, checksum } of rows) {
    const expected = checksums.get(name);
    if (expected === undefined) {
      throw new Error(
        `The database has migration ${name}, which this version does not know: update the program, or use another database.`,
      );
    }
    if (expected !== checksum) {
      throw new Error(
        `Migration ${name} has been edited since it was applied: restore the file and write the change as a further migration.`,
      );
    }
  }
  const applied = new Set(rows.map(({ name }) => name));
  const last = rows.at(-1)?.name ?? '';
  const late = migrations.find(({ name }) => !applied.has(name) && name < last);
  if (late !== undefined) {
    throw new Error(`Migration ${late.name} comes before ${last}, which is applied already: give it a later number.`);
  }
  return migrations.filter(({ name }) => !applied.has(name));
}

async function apply(client: Client, migration: Migration): Promise<void> {
  try {
    await client.query('begin');
    await client.query(migration.sql);
    await client.query('insert into drawbridge.migrations (name, checksum) values ($1, $2)', [
      migration.name,
      migration.checksum,
    ]);
    await notePublishedShape(client, migration);
    await client.query('commit');
  } catch (error) {
    await client.query('rollback');
    throw explain(error, `Migration ${migration.name}${lineOf(error, migration.sql)}`);
  }
}

/** Records which columns the published tables have from here on; the first migrations come before there is a place for it. */
async function notePublishedShape(client: Client, { name }: Migration): Promise<void> {
  const { rows } = await client.query(`select where to_regclass('drawbridge.published_shapes') is not null`);
  if (rows.length > 0) await client.query('select drawbridge.note_published_shape($1)', [name]);
}

/** Migrating needs no particular level; the replicator refuses to start without `logical`. */
async function warnOfWalLevel(client: Client, log: (line: string) => void): Promise<void> {
  const { rows } = await client.query<{ wal_level: string }>('show wal_level');
  const level = rows[0]?.wal_level;
  if (level === 'logical') return;
  log(
    `warning: wal_level is ${level}, the replicator needs logical: alter system set wal_level to logical, and restart Postgres`,
  );
}

async function connect(databaseUrl: string): Promise<Client> {
  if (!URL.canParse(databaseUrl)) {
    throw new Error(
      'The database URL cannot be read: write DATABASE_URL as postgres://user:password@host:port/database.',
    );
  }
  const { hostname, port, pathname, username } = new URL(databaseUrl);
  const server = `Postgres at ${hostname}:${port || 5432}`;
  const client = new Client({ connectionString: databaseUrl, ...connectionSettings });
  try {
    await client.connect();
    return client;
  } catch (cause) {
    const reasons: Readonly<Record<string, string>> = {
      ECONNREFUSED: `Nothing answers as ${server}: start it (npm run db), or correct DATABASE_URL.`,
      ENOTFOUND: `The host ${hostname} is not known: correct DATABASE_URL.`,
      '28P01': `${server} refuses the password of ${username}: correct DATABASE_URL.`,
      '28000': `${server} does not let ${username} in: correct DATABASE_URL, or create that role.`,
      '3D000': `${server} has no database ${pathname.slice(1)}: create it, or correct DATABASE_URL.`,
    };
    throw new Error(reasons[codeOf(cause)] ?? `${server} cannot be used: ${messageOf(cause)}.`, { cause });
  }
}

function explain(cause: unknown, subject: string): Error {
  const isDenied = codeOf(cause) === '42501';
  const advice = isDenied
    ? ': migrate as a superuser, or as an owner of the database who may create roles with REPLICATION'
    : '';
  return new Error(`${subject} is refused: ${messageOf(cause)}${advice}.`, { cause });
}

function lineOf(error: unknown, sql: string): string {
  if (!(error instanceof DatabaseError) || error.position === undefined) return '';
  return `, line ${sql.slice(0, Number(error.position)).split('\n').length},`;
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

if (import.meta.main) {
  try {
    const [unknown] = process.argv.slice(2);
    if (unknown !== undefined) throw new UsageError(`Unknown argument ${unknown}: name the database by DATABASE_URL.`);
    await migrate(process.env['DATABASE_URL'] ?? developmentUrl(process.env), { log: (line) => console.log(line) });
  } catch (cause) {
    report(cause);
  }
}
