// A program to be killed: starts a temporary Postgres, prints its process id and data directory as JSON, and stays.
import { startPostgres } from '../../dev/postgres.ts';

const { pid, dataDir } = await startPostgres();
process.stdout.write(`${JSON.stringify({ pid, dataDir })}\n`);
