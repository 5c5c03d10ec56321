// Which test runs where is told by its suffix: .test.ts in plain Node, .pg.test.ts with real Postgres, .worker.test.ts
// in workerd, .e2e.test.ts with every part running as a process of its own.
import { cloudflareTest } from '@cloudflare/vitest-plugin';
import { ClosingLine } from './test/closing-line.ts';
import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

// Limits for what has gone wrong, not for what is slow: a busy machine must not fail a test.
const inProcess = { testTimeout: 30_000 };
const withProcesses = { testTimeout: 60_000, hookTimeout: 60_000 };

// Worker tests have no Postgres: nothing listens there, so what is to be written back waits.
process.env['CLOUDFLARE_HYPERDRIVE_LOCAL_CONNECTION_STRING_EDGE_DATABASE'] ??=
  'postgres://nobody:none@127.0.0.1:1/none';

// Random histories of the object: how many, and which. More of them, and others, are for whoever asks (CONTRIBUTING.md).
const histories = {
  seed: Number(process.env['HISTORIES_SEED'] ?? 1),
  runs: Number(process.env['HISTORIES'] ?? 10),
};

export default defineConfig({
  test: {
    // Files that drive other processes mostly wait for them, so there is one more at work than there are cores.
    maxWorkers: Math.min(availableParallelism() + 1, 8),
    silent: 'passed-only',
    reporters: ['default', new ClosingLine()],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/**/*.{pg,worker,e2e}.test.ts'],
          ...inProcess,
        },
      },
      { test: { name: 'pg', include: ['test/**/*.pg.test.ts'], ...withProcesses } },
      { test: { name: 'e2e', include: ['test/**/*.e2e.test.ts'], ...withProcesses } },
      {
        plugins: [
          cloudflareTest({
            wrangler: { configPath: './wrangler.toml' },
            miniflare: {
              bindings: {
                DRAWBRIDGE_TOKEN_KEYS: `test:${'t'.repeat(32)}`,
                DRAWBRIDGE_INGEST_KEY: `${'i'.repeat(32)},${'j'.repeat(32)}`,
                // A test connects more often, from one address, than any device.
                DRAWBRIDGE_CONNECT_LIMITS: '1000000,1000000,1000000',
              },
            },
          }),
        ],
        test: { name: 'worker', include: ['test/**/*.worker.test.ts'], provide: { histories }, ...inProcess },
      },
    ],
  },
});
