// The files for containers, run without containers: the command of each service of docker-compose.yml is started with that
// service's own environment, until its own health check passes. Only what a container changes is substituted: host names,
// ports, and the state directory. The replicator runs as its image has it, with no other file and no other package.
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Client } from 'pg';
import * as v from 'valibot';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { startPostgres } from '../../dev/postgres.ts';
import type { RunningPostgres } from '../../dev/postgres.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const healthMsMax = 30_000;

const environment = v.record(v.string(), v.nullable(v.string()));
const service = v.object({
  image: v.optional(v.string()),
  build: v.optional(v.object({ context: v.literal('.'), target: v.string() })),
  command: v.optional(v.array(v.string())),
  environment,
  ports: v.optional(v.array(v.pipe(v.string(), v.regex(/^127\.0\.0\.1:\d+:\d+$/)))),
  healthcheck: v.optional(v.object({ test: v.array(v.string()) })),
});
type Service = v.InferOutput<typeof service>;

const { services } = v.parse(
  v.object({
    services: v.object({ postgres: service, migrate: service, worker: service, replicator: service }),
  }),
  readYaml(read('docker-compose.yml')),
);
const image = readImage(read('Dockerfile'));

/** What whoever starts the services has in the environment. */
const secrets = { DRAWBRIDGE_TOKEN_KEYS: `test:${'t'.repeat(32)}`, DRAWBRIDGE_INGEST_KEY: 'i'.repeat(32) };

let postgres: RunningPostgres;
let state = '';
const ports = { worker: 0, replicator: 0 };
beforeAll(async () => {
  state = mkdtempSync(join(tmpdir(), 'drawbridge-compose-'));
  ports.worker = await freePort();
  ports.replicator = await freePort();
  postgres = await startPostgres({ settings: settingsOf(services.postgres) });
});
afterAll(async () => {
  await postgres.stop();
  rmSync(state, { recursive: true });
});

test('the database is reached at the port and with the password that the other commands expect', () => {
  expect(services.postgres.ports).toEqual(['127.0.0.1:54329:5432']);
  expect(services.postgres.environment['POSTGRES_PASSWORD']).toBe(new URL(postgres.url).password);
  expect(services.postgres.healthcheck?.test[1]).toBe('pg_isready');
});

test('each service does its work with its own command and environment', async () => {
  const { migrate, worker, replicator } = services;
  const migrated = await run(process.execPath, commandOf(migrate).slice(1), { cwd: root, env: environmentOf(migrate) });
  expect(migrated.stdout).toBe(
    'the database is migrated, and drawbridge_replicator and drawbridge_edge have their passwords\n',
  );

  start(commandOf(worker), environmentOf(worker), root);
  await untilHealthy(worker.healthcheck?.test ?? [], environmentOf(worker));

  const env = environmentOf({ ...replicator, environment: { ...image.environment, ...replicator.environment } });
  const carrier = start(image.command, env, imageOfReplicator());
  await untilHealthy(image.health, env);
  await untilTrue('the replicator streams', async () => (await fetch(`${replicatorUrl()}/readyz`)).ok);
  const db = new Client({ connectionString: postgres.url });
  await db.connect();
  const slots = await db.query(`select from pg_replication_slots where slot_name = 'drawbridge' and active`);
  await db.end();
  expect(slots.rowCount).toBe(1);

  carrier.kill('SIGTERM');
  const [status]: unknown[] = await once(carrier, 'close');
  expect(status).toBe(0);
});

test('a part without its secret says which one it lacks', async () => {
  const { DRAWBRIDGE_INGEST_KEY: _missing, ...env } = environmentOf(services.replicator);
  await expect(run(process.execPath, image.command.slice(1), { cwd: root, env })).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringContaining('DRAWBRIDGE_INGEST_KEY is missing: set it to'),
  });
});

test('images and actions have exact versions, and the Node of the images is the one of the project', () => {
  const { devDependencies } = v.parse(
    v.object({ devDependencies: v.record(v.string(), v.string()) }),
    JSON.parse(read('package.json')),
  );
  const node = devDependencies['node'];
  expect(image.bases).toEqual([`node:${node}-bookworm`, `node:${node}-bookworm-slim`]);
  expect(services.postgres.image).toMatch(/^postgres:\d+\.\d+-bookworm$/);
  const workflow = read('.github/workflows/ci.yml');
  expect(workflow).toContain(`node-version: ${node}\n`);
  for (const [, version] of workflow.matchAll(/uses: \S+@(\S+)/g)) expect(version).toMatch(/^v\d+\.\d+\.\d+$/);
  expect(workflow.match(/- run: .*/g)).toEqual(['- run: bash .ci/run']);
});

function settingsOf({ command = [] }: Service): Record<string, string> {
  return Object.fromEntries(
    command.flatMap((word, index) => {
      if (command[index - 1] !== '-c') return [];
      const [name = '', value = ''] = word.split('=');
      return [[name, value]];
    }),
  );
}

function commandOf({ command = [] }: Service): readonly string[] {
  expect(command[0]).toBe('node');
  return command;
}

/** The service's environment as its container would have it, a name without a value being passed on. */
function environmentOf({ environment: values }: Pick<Service, 'environment'>): Record<string, string> {
  const given: Readonly<Record<string, string>> = secrets;
  const entries = Object.entries(values).map(([name, value]) => [name, substitute(value ?? given[name] ?? '')]);
  return { PATH: process.env['PATH'] ?? '', ...Object.fromEntries(entries) };
}

function substitute(text: string): string {
  return text
    .replaceAll('postgres:5432', `127.0.0.1:${postgres.port}`)
    .replaceAll('worker:8787', `127.0.0.1:${ports.worker}`)
    .replaceAll('8787', `${ports.worker}`)
    .replaceAll('9464', `${ports.replicator}`)
    .replace(/^0\.0\.0\.0$/, '127.0.0.1')
    .replace(/^\/state$/, state);
}

function start(command: readonly string[], env: Record<string, string>, cwd: string) {
  const child = spawn(process.execPath, command.slice(1), { cwd, env, stdio: 'inherit' });
  onTestFinished(async () => {
    if (child.exitCode !== null) return;
    child.kill('SIGTERM');
    await once(child, 'close');
  });
  return child;
}

async function untilHealthy([kind, ...command]: readonly string[], env: Record<string, string>): Promise<void> {
  expect([kind, command[0]]).toEqual(['CMD', 'node']);
  const check = async () => await run(process.execPath, command.slice(1).map(substitute), { env }).then(() => true);
  await untilTrue(command.join(' '), check);
}

async function untilTrue(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + healthMsMax;
  while (!(await holds().catch(() => false))) {
    if (performance.now() > deadline) throw new Error(`not within ${healthMsMax / 1000} s: ${what}`);
    await delay(50);
  }
}

function replicatorUrl(): string {
  return `http://127.0.0.1:${ports.replicator}`;
}

/** A directory with what the replicator's image copies, and the packages that `npm ci --omit=dev` would install. */
function imageOfReplicator(): string {
  const dir = join(state, 'image');
  for (const { from, to } of image.copied) cpSync(join(root, from), join(dir, to), { recursive: true });
  const lock = v.parse(
    v.object({ packages: v.record(v.string(), v.object({ dev: v.optional(v.boolean(), false) })) }),
    JSON.parse(read('package-lock.json')),
  );
  for (const [path, { dev }] of Object.entries(lock.packages)) {
    if (dev || !/^node_modules\/(?:@[^/]+\/)?[^/]+$/.test(path)) continue;
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    symlinkSync(join(root, path), join(dir, path));
  }
  return dir;
}

type Image = {
  readonly bases: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly copied: readonly { readonly from: string; readonly to: string }[];
  readonly health: readonly string[];
  readonly command: readonly string[];
};

/** The last stage of a Dockerfile whose lists are JSON and whose instructions have a line each. */
function readImage(text: string): Image {
  const words = v.pipe(v.string(), v.parseJson(), v.array(v.string()));
  const last = text.slice(text.lastIndexOf('\nFROM '));
  const valuesOf = (instruction: string): string[] =>
    [...last.matchAll(new RegExp(`^${instruction} (.*)$`, 'gm'))].map(([, value = '']) => value);
  expect(valuesOf('USER')).toEqual(['node']);
  const [health = ''] = valuesOf('HEALTHCHECK');
  return {
    bases: [...text.matchAll(/^FROM (\S+)/gm)].map(([, base = '']) => base),
    environment: Object.fromEntries(valuesOf('ENV').map((pair) => [pair.split('=')[0], pair.split('=')[1]])),
    copied: valuesOf('COPY').flatMap((line) => {
      const names = line.split(' ');
      const to = names.pop() ?? '';
      return names.map((from) => ({ from, to: to === './' ? from : to }));
    }),
    health: ['CMD', ...v.parse(words, health.slice(health.indexOf('CMD ') + 4))],
    command: v.parse(words, valuesOf('CMD')[0]),
  };
}

type Yaml = null | string | string[] | { [key: string]: Yaml };

/** The part of YAML that docker-compose.yml keeps to: mappings by indentation, lists on one line, text. Throws on the rest. */
function readYaml(text: string): Yaml {
  const lines = text.split('\n').filter((line) => !/^\s*(?:#.*)?$/.test(line));
  const mapping = (indent: number): Yaml => {
    const entries: [string, Yaml][] = [];
    for (;;) {
      const [, spaces = '', key, value = ''] = /^( *)([\w-]+):(?: (.*))?$/.exec(lines[0] ?? '') ?? [];
      if (key === undefined || spaces.length < indent) {
        if (lines.length > 0 && key === undefined) throw new Error(`not of the YAML that is read here: ${lines[0]}`);
        return entries.length === 0 ? null : Object.fromEntries(entries);
      }
      if (spaces.length !== indent) throw new Error(`unexpected indentation: ${lines[0]}`);
      lines.shift();
      entries.push([key, value === '' ? mapping(indent + 2) : scalarOrList(value)]);
    }
  };
  return mapping(0);
}

function scalarOrList(text: string): string | string[] {
  if (!text.startsWith('[')) return scalar(text);
  const words = text.slice(1, -1).match(/'[^']*'|"[^"]*"|[^,\s]+/g) ?? [];
  expect(`[${words.join(', ')}]`).toBe(text);
  return words.map(scalar);
}

function scalar(text: string): string {
  const [, quote, quoted = ''] = /^(['"])(.*)\1$/.exec(text) ?? [];
  if (quote !== undefined) return quoted;
  if (!/^[\w./][^#"'{}[\]&*!|>%@`]*(?:@[^#"'{}[\]]*)?$/.test(text)) throw new Error(`not a plain text: ${text}`);
  return text;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('a port was expected');
  return address.port;
}
