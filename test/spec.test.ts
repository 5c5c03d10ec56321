// Ties docs/spec.md to the tests, both ways: every rule has a test that names it, and every name in a test title is a rule.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const spec = readFileSync(join(root, 'docs/spec.md'), 'utf8');
const rules = [...spec.matchAll(/^- \*\*(P\d+\.\d+)\*\* /gm)].map(([, id = '']) => id);
const promises = [...spec.matchAll(/^\| (P\d+) +\| /gm)].map(([, id = '']) => id);
const titles = testTitles();
const tagged = new Set(titles.flatMap((title) => [...title.matchAll(/\[(P\d+\.\d+)\]/g)].map(([, id = '']) => id)));

/** Promises that have no rule yet. A promise is taken out when its first rule is written; none is ever added. */
const withoutRules: readonly string[] = [];

test('every rule of the spec is named by a test', () => {
  expect(rules.filter((id) => !tagged.has(id))).toEqual([]);
});

test('every rule that a test names stands in the spec', () => {
  expect([...tagged].filter((id) => !rules.includes(id))).toEqual([]);
});

test('no rule stands twice, and each stands under its promise in order', () => {
  const numbers = rules.map((id) => id.slice(1).split('.').map(Number));
  const ordered = numbers.toSorted(([a = 0, b = 0], [c = 0, d = 0]) => a - c || b - d);
  expect(numbers).toEqual(ordered);
  expect(new Set(rules).size).toBe(rules.length);
});

test('fifteen promises open the spec, and each has rules or is listed as having none yet', () => {
  expect(promises).toEqual(Array.from({ length: 15 }, (_, i) => `P${i + 1}`));
  const bare = promises.filter((promise) => !rules.some((rule) => rule.startsWith(`${promise}.`)));
  expect(bare).toEqual(withoutRules);
});

/** Every text in a test file that begins like a tagged title. */
function testTitles(): string[] {
  return readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .flatMap((name) => readFileSync(join(root, 'test', name), 'utf8').match(/['"`]\[P\d+\.\d+\][^\n]*/g) ?? []);
}
