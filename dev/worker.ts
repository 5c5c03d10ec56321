// `npm run worker`: the worker in the local runtime through Miniflare, in the foreground, as a process of its own.
//
// PORT (default 8787, 0 takes a free one) and DRAWBRIDGE_WORKER_HOST (default 127.0.0.1) are where it listens;
// DRAWBRIDGE_WORKER_STATE is where its objects live (default `.drawbridge/worker`). EDGE_DATABASE_URL is the database that it
// writes to, as the role drawbridge_edge; without it write-back waits. It needs DRAWBRIDGE_TOKEN_KEYS and DRAWBRIDGE_INGEST_KEY,
// and takes DRAWBRIDGE_CONNECT_LIMITS. Prints one line with its address.
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { mkdir } from 'node:fs/promises';
import { convertV4MiniflareOptions, Miniflare } from 'miniflare';
import { bundleWorker } from './worker-bundle.ts';
import { leashChildren } from './leash.ts';
import { parseConnectLimits } from '../worker/edge/limits.ts';
import { parseTokenKeys } from '../worker/token.ts';
import { madeStateDirectory } from './state-directory.ts';
import { runCommand, UsageError } from './command.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

await runCommand(async () => {
  const port = parsePort(process.env['PORT'] ?? '8787');
  const {
    DRAWBRIDGE_TOKEN_KEYS: tokenKeys,
    DRAWBRIDGE_INGEST_KEY: ingestKey,
    DRAWBRIDGE_CONNECT_LIMITS: connectLimits,
  } = process.env;
  parseTokenKeys(tokenKeys);
  parseConnectLimits(connectLimits);
  if ((ingestKey ?? '').length < 32) {
    throw new UsageError(
      'DRAWBRIDGE_INGEST_KEY must be set to 32 characters or more, the same for worker and replicator',
    );
  }
  const state = process.env['DRAWBRIDGE_WORKER_STATE'] ?? join(madeStateDirectory(process.env), 'worker');
  await mkdir(state, { recursive: true, mode: 0o700 });
  leashChildren('workerd');
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      name: 'drawbridge',
      modules: true,
      script: await bundleWorker(`${root}worker/index.ts`),
      compatibilityDate: '2026-10-01',
      host: process.env['DRAWBRIDGE_WORKER_HOST'] ?? '127.0.0.1',
      port,
      durableObjects: {
        ACCOUNT: { className: 'Account', useSQLite: true },
        RELAY_HUB: { className: 'RelayHub', useSQLite: true },
        STREAM: { className: 'Stream', useSQLite: true },
      },
      ...databaseOf(process.env['EDGE_DATABASE_URL'] ?? ''),
      bindings: {
        DRAWBRIDGE_TOKEN_KEYS: tokenKeys ?? '',
        DRAWBRIDGE_INGEST_KEY: ingestKey ?? '',
        DRAWBRIDGE_CONNECT_LIMITS: connectLimits ?? '',
      },
      resourcePersistencePath: state,
      cf: false,
      telemetry: { enabled: false },
    }),
  );
  const url = await ready(miniflare, port);
  process.stdout.write(`${JSON.stringify({ event: 'worker_ready', url })}\n`);
  return async () => await miniflare.dispose();
});

/** The binding of the edge's database, if there is one. */
function databaseOf(url: string): { hyperdrives?: Record<string, string> } {
  if (url === '') return {};
  if (URL.canParse(url) && /^postgres(ql)?:$/.test(new URL(url).protocol))
    return { hyperdrives: { EDGE_DATABASE: url } };
  throw new UsageError(
    'EDGE_DATABASE_URL must be set to the database of the role drawbridge_edge, like postgres://drawbridge_edge:password@127.0.0.1:5432/drawbridge, or not at all',
  );
}

async function ready(miniflare: Miniflare, port: number): Promise<string> {
  try {
    return (await miniflare.ready).origin;
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    if (!/EADDRINUSE|address already in use/i.test(message)) throw cause;
    throw new UsageError(
      `port ${port} is in use: stop what listens there, or set PORT to another one (0 takes a free one)`,
    );
  }
}

function parsePort(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port;
  throw new UsageError(`PORT must be a number from 0 to 65535, got ${JSON.stringify(text)}`);
}
