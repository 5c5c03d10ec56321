// The shape of the project, read from its files: which folder may import which, and what core/ may not contain.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

/** By folder: folders it may import besides itself, and packages it may import. */
const allowed: Readonly<Record<string, { readonly folders: readonly string[]; readonly packages: RegExp }>> = {
  protocol: { folders: [], packages: /^valibot$/ },
  core: { folders: ['protocol'], packages: /^(?:valibot|semver)$/ },
  worker: { folders: ['protocol', 'core'], packages: /^(?:valibot|hono|pg|node:crypto|cloudflare:workers)$/ },
  replicator: { folders: ['protocol'], packages: /^(?:valibot|pg|pg-logical-replication|node:[a-z_/]+)$/ },
  devices: { folders: ['protocol'], packages: /^(?:valibot|ws|node:[a-z_/]+)$/ },
  cli: { folders: ['protocol', 'core', 'worker', 'replicator', 'devices', 'dev'], packages: /./ },
  dev: { folders: ['protocol', 'core', 'worker', 'replicator', 'devices', 'cli'], packages: /./ },
};

describe.each(Object.keys(allowed))('%s/', (folder) => {
  const files = filesOf(folder);

  test(`imports only what stands below it`, () => {
    const { folders = [], packages = /^$/ } = allowed[folder] ?? {};
    const wrong = files.flatMap((file) =>
      importsOf(file).flatMap((specifier) => {
        const isOk = specifier.startsWith('.')
          ? [folder, ...folders].includes(folderOf(file, specifier))
          : packages.test(specifier);
        return isOk ? [] : [`${relative(root, file)} imports ${specifier}`];
      }),
    );
    expect(wrong).toEqual([]);
  });

  test('has one subject a file: no barrels, no grab-bags', () => {
    const names = files.map((file) => relative(root, file));
    expect(names.filter((name) => /(?:^|\/)(?:utils?|helpers?|types|common)\.ts$/.test(name))).toEqual([]);
    const reexporting = files.filter((file) => /^export \* from/m.test(readFileSync(file, 'utf8')));
    expect(reexporting).toEqual([]);
  });
});

test('core/ waits for nothing, knows no time and no chance', () => {
  const forbidden = /\basync\b|\bawait\b|\bPromise\b|\bnew Date\b|\bDate\.|\bMath\.random\b|\bcrypto\b|\bsetTimeout\b/;
  const wrong = filesOf('core').flatMap((file) =>
    codeOf(file).flatMap((line, i) =>
      forbidden.test(line) ? [`${relative(root, file)}:${i + 1} ${line.trim()}`] : [],
    ),
  );
  expect(wrong).toEqual([]);
});

test('every source file opens by saying what it is', () => {
  const silent = Object.keys(allowed)
    .flatMap(filesOf)
    .filter((file) => !readFileSync(file, 'utf8').startsWith('//'))
    .map((file) => relative(root, file));
  expect(silent).toEqual([]);
});

test('a lint rule is switched off in one place at a time, never for a file', () => {
  const wide = Object.keys(allowed)
    .flatMap(filesOf)
    .filter((file) => /(?:oxlint|eslint)-disable(?!-next-line)/.test(readFileSync(file, 'utf8')));
  expect(wide).toEqual([]);
});

function filesOf(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(root, folder, name));
}

function importsOf(file: string): string[] {
  return [...readFileSync(file, 'utf8').matchAll(/(?:from|import)\s*\(?'([^']+)'/g)].map(
    ([, specifier = '']) => specifier,
  );
}

function folderOf(file: string, specifier: string): string {
  return relative(root, join(dirname(file), specifier)).split('/')[0] ?? '';
}

/** The lines of a file with comments blanked. */
function codeOf(file: string): string[] {
  const blank = (comment: string) => comment.replaceAll(/[^\n]/g, ' ');
  return readFileSync(file, 'utf8')
    .replaceAll(/\/\*[\s\S]*?\*\/|\/\/[^\n]*/g, blank)
    .split('\n');
}
