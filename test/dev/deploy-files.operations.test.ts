// docs/operations.md names every event that the replicator and the worker log, and no other.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

test.each([
  ['Replicator', ['replicator'], /\blog\((?:'\w+'|[^,()]*'error' : 'warn'), '(\w+)'/g],
  ['Worker', ['worker', 'core'], /\blog\.(?:info|warn|error)\(\s*'(\w+)'|\bnotes\.push\(\{\s*event: '(\w+)'/g],
])('the events of the %s in docs/operations.md are those in its code', (heading, folders, logs) => {
  const logged = folders.flatMap(sourcesOf).flatMap((text) => [...text.matchAll(logs)].map((m) => m[1] ?? m[2]));

  const page = readFileSync(join(root, 'docs/operations.md'), 'utf8');
  const section = page.split(/^## /m).find((text) => text.startsWith(`${heading}\n`)) ?? '';
  const documented = [...section.matchAll(/^\| `(\w+)`/gm)].map(([, event]) => event);

  expect(logged.length).toBeGreaterThan(10);
  expect(new Set(documented)).toEqual(new Set(logged));
});

function sourcesOf(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(join(root, folder, name), 'utf8'));
}
