// How every connection to Postgres is made: its name, its keepalives, and the settings that fix how values read as text,
// so that a row reads the same over any of them.
import type pg from 'pg';
import { messageOf } from './log.ts';

const textSettings = {
  timezone: 'UTC',
  datestyle: 'ISO',
  intervalstyle: 'postgres',
  bytea_output: 'hex',
  extra_float_digits: '3',
  // A session of ours may rightly wait, and one that hangs is found by its keepalives.
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  idle_session_timeout: '0',
  synchronous_commit: 'on',
  // A policy on a table would leave out rows of a snapshot, and the object would end what they grant: an error instead.
  row_security: 'off',
};

export const applicationName = 'drawbridge_replicator';

/** `settings` are run-time parameters of the server for this session; options in the URL are kept and overruled. */
export function clientConfig(databaseUrl: string, settings: Readonly<Record<string, string>> = {}): pg.ClientConfig {
  const url = new URL(databaseUrl);
  const ownOptions = url.searchParams.get('options');
  url.searchParams.delete('options');
  const options = Object.entries({ ...textSettings, ...settings }).map(([name, value]) => `-c ${name}=${value}`);
  return {
    connectionString: url.href,
    options: [...(ownOptions === null ? [] : [ownOptions]), ...options].join(' '),
    application_name: applicationName,
    keepAlive: true,
    keepAliveInitialDelayMillis: 1_000,
    connectionTimeoutMillis: 5_000,
  };
}

const endMsMax = 1_000;

/** Ends a session, by force when the server does not answer. Never throws. */
export async function endClient(client: pg.Client): Promise<void> {
  const limit = Promise.withResolvers<void>();
  const force = setTimeout(() => {
    client.connection.stream.destroy();
    limit.resolve();
  }, endMsMax);
  // An error of ending leaves the session over, which is all that is wanted.
  await Promise.race([client.end().catch(() => {}), limit.promise]);
  clearTimeout(force);
}

export type ConnectFault = { readonly message: string; readonly mayRetry: boolean };

/** One sentence for an error of connecting: what is wrong and what to do. Never holds the password. */
export function describeConnectFault(error: unknown, databaseUrl: string): ConnectFault {
  const { hostname, port, pathname, username } = new URL(databaseUrl);
  const code = codeOf(error);
  const detail = code ?? messageOf(error);
  if (code === '28P01' || code === '28000' || /client password must be/.test(messageOf(error))) {
    return {
      message: `The database refused the role ${username}: set its password in REPLICATOR_DATABASE_URL to the one in the database (\`alter role ${username} password '…'\`), and allow it in pg_hba.conf.`,
      mayRetry: false,
    };
  }
  if (code === '3D000') {
    return {
      message: `The server has no database ${pathname.slice(1)}: create it, or correct its name in REPLICATOR_DATABASE_URL.`,
      mayRetry: false,
    };
  }
  return {
    message: `The database at ${hostname}:${port === '' ? '5432' : port} cannot be reached (${detail}): check that Postgres runs there and that REPLICATOR_DATABASE_URL names its host and port.`,
    mayRetry: true,
  };
}

/** The error's code, of Postgres (SQLSTATE) or of the system; null when it has none. */
export function codeOf(error: unknown): string | null {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null;
}
