// npm run db: the development database in the foreground, kept from run to run; -- --reset starts over.
import { join } from 'node:path';
import { report, runCommand, UsageError } from './command.ts';
import { developmentPort, removeDataDir, startPostgres, type RunningPostgres } from './postgres.ts';
import { madeStateDirectory } from './state-directory.ts';

await runCommand(async () => {
  const flags = process.argv.slice(2);
  const unknown = flags.find((flag) => flag !== '--reset');
  if (unknown !== undefined) throw new UsageError(`Unknown argument ${unknown}: npm run db takes only -- --reset.`);
  const port = developmentPort(process.env);
  const wantedDir = join(madeStateDirectory(process.env), 'postgres');
  if (flags.includes('--reset')) await removeDataDir(wantedDir);
  const server = await startPostgres({ dataDir: wantedDir, port });
  void reportUnaskedEnd(server);
  if (server.dataDir !== wantedDir) {
    console.log(`files  ${server.dataDir}, since the user that runs Postgres cannot reach ${wantedDir}`);
  }
  console.log(`url    ${server.url}`);
  console.log(`psql   psql '${server.url}'`);
  console.log('Ctrl-C stops it.');
  return () => server.stop();
});

async function reportUnaskedEnd(server: RunningPostgres): Promise<void> {
  const reason = await server.stopped;
  if (reason !== null) report(new Error(`Postgres has ended by itself: ${reason}`));
}
