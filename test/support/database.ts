// A migrated database on a server of its own, for the tests of one file.
import { Client } from 'pg';
import { migrate } from '../../dev/migrate.ts';
import { startPostgres, type PostgresOptions } from '../../dev/postgres.ts';

export type Database = {
  readonly url: string;
  /** A superuser's session. */
  readonly db: Client;
  readonly stop: () => Promise<void>;
};

export async function startDatabase(options: PostgresOptions = {}): Promise<Database> {
  const server = await startPostgres(options);
  const { url } = server;
  await migrate(url);
  const db = new Client({ connectionString: url });
  await db.connect();
  return {
    url,
    db,
    async stop() {
      await db.end();
      await server.stop();
    },
  };
}
