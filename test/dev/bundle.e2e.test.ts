// The worker as it is deployed: wrangler builds it without an account, and its size stays within the budget.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'drawbridge-bundle-'));
});
afterAll(() => rmSync(dir, { recursive: true }));

test('the bundle that wrangler builds is within its budget', async () => {
  const env = { ...process.env, WRANGLER_SEND_METRICS: 'false', CLOUDFLARE_CF_FETCH_ENABLED: 'false' };
  await run('node_modules/.bin/wrangler', ['deploy', '--dry-run', '--outdir', dir], { cwd: root, env });

  const { stdout } = await budget();

  expect(stdout).toMatch(/^the bundle has \d+\.\d kB gzipped, of 250 kB\n$/);
});

test('a bundle over the budget, or none, is a failure with one sentence', async () => {
  const file = join(dir, 'large.js');
  writeFileSync(file, randomBytes(260_000));
  await expect(budget()).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^drawbridge: The bundle has \d+\.\d kB gzipped, of 250 kB: find what has grown/),
  });

  await expect(budget(join(root, 'migrations'))).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^drawbridge: There is no bundle in .*: run npm run build\.\n$/),
  });
});

async function budget(of = dir): Promise<{ stdout: string; stderr: string }> {
  return await run(process.execPath, [join(root, 'dev/bundle-budget.ts'), of]);
}
