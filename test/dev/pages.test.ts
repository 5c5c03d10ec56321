// The pages name what there is, and nothing else: events with their levels, metrics and bounds, variables, scripts, commands and
// their options. And the order in which docs/deploy.md has the ingest key replaced lets no part distrust another at any time.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { commands } from '../../cli/run.ts';
import { commonOptions } from '../../cli/arguments.ts';
import { overview } from '../../cli/help.ts';
import { Counters, renderMetrics } from '../../replicator/metrics.ts';
import { composeSteering, parseSteering } from '../../replicator/steering.ts';
import { streamingReport as report } from '../replicator/streaming-report.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const operations = read('docs/operations.md');
const deploy = read('docs/deploy.md');
const pages = ['README.md', 'CONTRIBUTING.md', ...filesOf('docs', '.md').filter((path) => !path.includes('decisions'))];

test.each([
  ['Replicator', ['replicator'], /\blog\((?:'(\w+)'|[^,()]*'error' : 'warn'), '(\w+)'/g],
  ['Worker', ['worker', 'core'], /\blog\.(info|warn|error)\(\s*'(\w+)'|\bnotes\.push\(\{\s*event: '(\w+)'/g],
])('the events of the %s in docs/operations.md are those in its code, with their levels', (heading, folders, logs) => {
  const logged = folders
    .flatMap((folder) => filesOf(folder, '.ts'))
    .flatMap((path) => [...read(path).matchAll(logs)])
    .flatMap(([, level, event, note]) => {
      if (note !== undefined) return [`${note} warn`];
      return (level === undefined ? ['warn', 'error'] : [level]).map((one) => `${event} ${one}`);
    });

  const documented = [...section(heading).matchAll(/^\| `(\w+)` *\| ([a-z, ]+?) *\|/gm)].flatMap(
    ([, event, levels = '']) => levels.split(', ').map((level) => `${event} ${level}`),
  );

  expect(logged.length).toBeGreaterThan(10);
  expect(sorted(documented)).toEqual(sorted(logged));
});

test('the metrics and bounds in docs/operations.md are those that the replicator serves', () => {
  const text = renderMetrics({ type: 'streaming', report: () => report }, new Counters());
  const served = [...text.matchAll(/^# TYPE drawbridge_replicator_(\w+)/gm)].map(([, name]) => name);
  const bounds = [...text.matchAll(/^drawbridge_replicator_bound\{name="(\w+)"\}/gm)].map(([, name]) => name);
  const [metricTable = '', boundTable = ''] = section('Metrics').split(/^\| `bound\{name\}` +\| value/m);

  expect(sorted(namesInFirstColumn(metricTable))).toEqual(sorted(served));
  expect(sorted(namesInFirstColumn(boundTable))).toEqual(sorted(bounds));
});

test('every variable that a part reads is on a page or in --help, and every one there is read', () => {
  const variable = /\b(?:DRAWBRIDGE_[A-Z_]*[A-Z]|[A-Z]+_DATABASE_URL|DATABASE_URL|WORKER_URL)\b/g;
  const code = ['replicator', 'worker', 'cli', 'dev', 'test/real.ts', 'test/real', 'Dockerfile', 'docker-compose.yml'];
  const named: readonly string[] = [...pages.map(read), overview(commands)].join('\n').match(variable) ?? [];
  const used = code
    .flatMap((path) => (/\.|file$/.test(path) ? [path] : filesOf(path, '.ts')))
    .map(read)
    .join('\n');

  expect(sorted(named).filter((name) => !new RegExp(`\\b${name}\\b`).test(used))).toEqual([]);
  expect(sorted(used.match(variable) ?? []).filter((name) => !named.includes(name))).toEqual([]);
});

test('every script of package.json is on a page, and every one there is a script', () => {
  const scripts = [...(/"scripts": \{([^}]*)\}/.exec(read('package.json'))?.[1] ?? '').matchAll(/^ *"([a-z:]+)":/gm)];
  const named = pages.flatMap((path) => [
    ...read(path).matchAll(/\bnpm (?:run |run -s )?(test:real|test|(?<=run |-s )[a-z:]+)/g),
  ]);

  const names = sorted(scripts.map(([, name]) => name));
  expect(names.length).toBeGreaterThan(10);
  expect(sorted(named.map(([, name]) => name))).toEqual(names.filter((name) => !/^check:|^format$/.test(name)));
});

test('every command and option of drawbridge on a page is one', () => {
  const mentions = pages.flatMap((path) => [
    ...read(path).matchAll(/(?:`drawbridge|npm run -s drawbridge --) ((?:token \w+|\w+)(?: [^`|#\n]*)?)/g),
  ]);

  expect(mentions.length).toBeGreaterThan(30);
  for (const [, mention = ''] of mentions) {
    const command = commands.find(
      ({ name }) => `${mention} `.startsWith(`${name} `) || mention.startsWith(`${name}\n`),
    );
    expect([mention, command?.name]).toEqual([mention, expect.any(String)]);
    const options = Object.keys({ ...commonOptions, ...command?.options });
    const text = command?.name === 'sql' ? '' : mention;
    expect([
      mention,
      ...[...text.matchAll(/ --([a-z-]+)/g)].map(([, name]) => options.includes(name ?? '')),
    ]).not.toContain(false);
  }
});

test('the ingest key is replaced in an order in which each part believes the others at every step', () => {
  const row = /^\| ingest key .*$/m.exec(deploy)?.[0] ?? '';
  const steps = [...row.matchAll(/(worker|replicators) `([a-z,]+)`/g)].map(([, part, keys = '']) => ({
    part,
    keys: keys.split(','),
  }));
  const believes = (all: readonly string[], first = '') =>
    parseSteering(
      { prefix: 'drawbridge', content: composeSteering({ type: 'resync', account: '*', at: 1 }, first) },
      all,
    ) !== null;
  let [worker, replicators] = [['old'], ['old']];

  for (const { part, keys } of steps) {
    const earlier = replicators;
    if (part === 'worker') worker = keys;
    else replicators = keys;
    for (const replicator of [earlier, replicators]) {
      expect([worker, replicator, believes(replicator, worker[0]), believes(worker, replicator[0])]).toEqual([
        worker,
        replicator,
        true,
        true,
      ]);
    }
  }
  expect([worker, replicators]).toEqual([['new'], ['new']]);
});

function section(heading: string): string {
  return operations.split(/^## /m).find((text) => text.startsWith(`${heading}\n`)) ?? '';
}

/** `a` of the cell "`a{label}`, `b`". */
function namesInFirstColumn(table: string): string[] {
  return [...table.matchAll(/^\| (`[^|]*?) *\|/gm)].flatMap(([, cell = '']) =>
    [...cell.matchAll(/`(\w+)/g)].map(([, name = '']) => name),
  );
}

function sorted(names: Iterable<string | undefined>): string[] {
  return [...new Set([...names].map(String))].sort();
}

function filesOf(folder: string, ending: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(ending))
    .map((name) => join(folder, name));
}
