// A migrated database with the oracle in it, for the tests of the oracle itself.
import { loadOracle } from './oracle.ts';
import { startDatabase, type Database } from '../support/database.ts';

export async function startOracleDatabase(): Promise<Database> {
  const database = await startDatabase();
  await loadOracle(database.db);
  return database;
}
