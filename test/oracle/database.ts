// A migrated database with the oracle in it, for the tests of the oracle itself.
import { Client } from 'pg';
import { migrate } from '../../dev/migrate.ts';
import { startPostgres } from '../../dev/postgres.ts';
import { loadOracle } from './oracle.ts';

export interface OracleDatabase {
  /** A superuser's session. */
  readonly db: Client;
  stop(): Promise<void>;
}

/** On a server of its own. */
export async function startOracleDatabase(): Promise<OracleDatabase> {
  const server = await startPostgres();
  await migrate(server.url);
  const db = new Client({ connectionString: server.url });
  await db.connect();
  await loadOracle(db);
  return {
    db,
    stop: async () => {
      await db.end();
      await server.stop();
    },
  };
}
