// The owner's session of one command. Whatever goes wrong with it is one sentence that says what to do; it never holds the
// password.
import { Client, DatabaseError } from 'pg';
import { UsageError } from '../dev/command.ts';

/** No session could be had, so nothing was asked. */
export class NoDatabaseError extends Error {
  override readonly name = 'NoDatabaseError';
}

const connectMsMax = 5_000;

export type DatabaseOptions = {
  /** A statement that takes longer is given up. */
  readonly statementMsMax?: number;
};

/** Runs `use` with a session that ends afterwards. Refusals by Postgres come out as sentences for a person. */
export async function withDatabase<T>(
  url: string,
  use: (db: Client) => Promise<T>,
  { statementMsMax = 30_000 }: DatabaseOptions = {},
): Promise<T> {
  const db = await connect(url, statementMsMax);
  try {
    return await use(db);
  } catch (cause) {
    throw explain(cause, url);
  } finally {
    await db.end();
  }
}

async function connect(url: string, statementMsMax: number): Promise<Client> {
  if (!URL.canParse(url) || !/^postgres(?:ql)?:$/.test(new URL(url).protocol)) {
    throw new UsageError('DATABASE_URL cannot be read: write it as postgres://user:password@host:port/database.');
  }
  const db = new Client({
    connectionString: url,
    application_name: 'drawbridge',
    connectionTimeoutMillis: connectMsMax,
    ...(statementMsMax === Infinity ? {} : { statement_timeout: statementMsMax }),
  });
  // A session that is lost rejects the query that waits for it.
  db.on('error', () => {});
  try {
    await db.connect();
    return db;
  } catch (cause) {
    throw new NoDatabaseError(connectProblem(cause, url), { cause });
  }
}

function connectProblem(cause: unknown, url: string): string {
  const { hostname, pathname, username } = new URL(url);
  const server = serverOf(url);
  const problems: Readonly<Record<string, string>> = {
    ECONNREFUSED: `Nothing answers as ${server}: check that it runs and that DATABASE_URL names it; \`npm run dev\` or \`npm run db\` starts the development one.`,
    ENOTFOUND: `The host ${hostname} is not known: correct DATABASE_URL.`,
    '28P01': `${server} refuses the password of ${username}: correct DATABASE_URL.`,
    '28000': `${server} does not let ${username} in: correct DATABASE_URL, or create that role.`,
    '3D000': `${server} has no database ${pathname.slice(1)}: create it, or correct DATABASE_URL.`,
  };
  const advice = 'check that it runs and that DATABASE_URL names it';
  return problems[codeOf(cause)] ?? `${server} cannot be used (${codeOf(cause) || messageOf(cause)}): ${advice}.`;
}

/** Undefined table, undefined column, invalid schema name: https://www.postgresql.org/docs/18/errcodes-appendix.html */
const schemaIsOlder = new Set(['42P01', '42703', '3F000']);

function explain(cause: unknown, url: string): unknown {
  const server = serverOf(url);
  if (cause instanceof DatabaseError) {
    if (schemaIsOlder.has(codeOf(cause))) {
      const advice = 'run `npm run migrate` with the same DATABASE_URL';
      return new Error(`The migrations are not applied to ${server} (${cause.message}): ${advice}.`, { cause });
    }
    if (codeOf(cause) === '42501') {
      return new Error(`${server} says ${cause.message}: give the owner's URL in DATABASE_URL.`, { cause });
    }
    return new Error(`${server} refuses this: ${cause.message}.`, { cause });
  }
  if (/Connection terminated|ECONNRESET|not queryable/.test(`${messageOf(cause)} ${codeOf(cause)}`)) {
    return new Error(`The connection to ${server} broke off: check that it runs, and try again.`, { cause });
  }
  return cause;
}

function serverOf(url: string): string {
  const { hostname, port } = new URL(url);
  return `Postgres at ${hostname}:${port === '' ? 5432 : port}`;
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
