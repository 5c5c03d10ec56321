// `npm run worker`: the worker in the local runtime through Miniflare, in the foreground, as a process of its own.
//
// PORT (default 8787, 0 takes a free one) and DRAWBRIDGE_WORKER_HOST (default 127.0.0.1) are where it listens; DRAWBRIDGE_WORKER_STATE is where its objects live (default
// `.drawbridge/worker`). It needs DRAWBRIDGE_TOKEN_KEYS and DRAWBRIDGE_INGEST_KEY, and takes DRAWBRIDGE_CONNECT_LIMITS. Prints
// one line with its address.
import { fileURLToPath } from 'node:url';
import { mkdir } from 'node:fs/promises';
import { build } from 'esbuild';
import { convertV4MiniflareOptions, Miniflare } from 'miniflare';
import { leashChildren } from './leash.ts';
import { parseConnectLimits } from '../worker/edge/limits.ts';
import { parseTokenKeys } from '../worker/token.ts';
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
  const state = process.env['DRAWBRIDGE_WORKER_STATE'] ?? `${root}.drawbridge/worker`;
  await mkdir(state, { recursive: true, mode: 0o700 });
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      name: 'drawbridge',
      modules: true,
      script: await bundle(),
      compatibilityDate: '2026-10-01',
      host: process.env['DRAWBRIDGE_WORKER_HOST'] ?? '127.0.0.1',
      port,
      durableObjects: {
        ACCOUNT: { className: 'Account', useSQLite: true },
        RELAY_HUB: { className: 'RelayHub', useSQLite: true },
        STREAM: { className: 'Stream', useSQLite: true },
      },
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
  await leashChildren('workerd');
  process.stdout.write(`${JSON.stringify({ event: 'worker_ready', url })}\n`);
  return async () => await miniflare.dispose();
});

/** The worker as one module, as it is deployed. */
async function bundle(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [`${root}worker/index.ts`],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2024',
    external: ['node:*', 'cloudflare:*'],
    logLevel: 'silent',
  });
  return outputFiles[0]?.text ?? '';
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
