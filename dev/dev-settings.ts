// What one `npm run dev` works with: where its state is, which ports, which secrets. Secrets are made once and kept in the
// file `env` of the state directory, lines NAME=value, so that tokens stay valid from run to run; the environment wins.
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { UsageError } from './command.ts';
import { developmentPort } from './postgres.ts';
import { madeStateDirectory } from './state-directory.ts';
import { makeTemporaryDir, serverUser } from './postgres-place.ts';
import { parseTokenKeys } from '../worker/token.ts';

export type DevSettings = {
  readonly isEphemeral: boolean;
  readonly stateDir: string;
  /** The owner's URL of a database that somebody else runs. */
  readonly givenDatabaseUrl: string | null;
  /** 0 takes a free one, here and below. */
  readonly postgresPort: number;
  readonly workerPort: string;
  readonly healthPort: string;
  readonly workerState: string;
  readonly slot: string;
};

/** Reads the command line and the environment. Throws one sentence when something in them cannot be used. */
export function readSettings(args: readonly string[], environment: NodeJS.ProcessEnv): DevSettings {
  const unknown = args.find((flag) => flag !== '--ephemeral');
  if (unknown !== undefined) {
    throw new UsageError(`Unknown argument ${unknown}: npm run dev takes only -- --ephemeral.`);
  }
  const env = withoutEmpty(environment);
  const givenDatabaseUrl = env['DATABASE_URL'] ?? null;
  if (args.includes('--ephemeral')) {
    const { temporaryDir } = makeTemporaryDir(serverUser());
    return {
      isEphemeral: true,
      stateDir: temporaryDir,
      givenDatabaseUrl,
      postgresPort: 0,
      workerPort: '0',
      healthPort: '0',
      workerState: join(temporaryDir, 'worker'),
      slot: `drawbridge_dev_${randomBytes(6).toString('hex')}`,
    };
  }
  const stateDir = madeStateDirectory(env);
  return {
    isEphemeral: false,
    stateDir,
    givenDatabaseUrl,
    postgresPort: developmentPort(environment),
    workerPort: env['PORT'] ?? '8787',
    healthPort: env['DRAWBRIDGE_HTTP_PORT'] ?? '9464',
    workerState: env['DRAWBRIDGE_WORKER_STATE'] ?? join(stateDir, 'worker'),
    slot: env['DRAWBRIDGE_SLOT'] ?? 'drawbridge',
  };
}

export type Secrets = {
  readonly tokenKeys: string;
  readonly ingestKey: string;
  readonly replicatorPassword: string;
  readonly edgePassword: string;
  /** The roles' URLs as the environment gives them; a role whose URL is given is left alone. */
  readonly givenReplicatorUrl: string | null;
  readonly givenEdgeUrl: string | null;
};

const generated = {
  DRAWBRIDGE_TOKEN_KEYS: () => `dev:${secret()}`,
  DRAWBRIDGE_INGEST_KEY: secret,
} as const;

/** The secrets of the environment, else of the file, else fresh ones that are then kept in the file. */
export function readSecrets(stateDir: string, environment: NodeJS.ProcessEnv): Secrets {
  const env = withoutEmpty(environment);
  const kept = readEnvFile(stateDir);
  const missing = Object.entries(generated).filter(([name]) => (env[name] ?? kept[name]) === undefined);
  const all = { ...kept, ...Object.fromEntries(missing.map(([name, make]) => [name, make()])) };
  if (missing.length > 0) writeEnvFile(stateDir, all);
  const valueOf = (name: keyof typeof generated) => env[name] ?? all[name] ?? '';
  const tokenKeys = valueOf('DRAWBRIDGE_TOKEN_KEYS');
  parseTokenKeys(tokenKeys);
  const passwordOf = (name: string) => {
    const url = kept[name] ?? '';
    return (URL.canParse(url) ? new URL(url).password : '') || secret();
  };
  return {
    tokenKeys,
    ingestKey: valueOf('DRAWBRIDGE_INGEST_KEY'),
    replicatorPassword: passwordOf('REPLICATOR_DATABASE_URL'),
    edgePassword: passwordOf('EDGE_DATABASE_URL'),
    givenReplicatorUrl: env['REPLICATOR_DATABASE_URL'] ?? null,
    givenEdgeUrl: env['EDGE_DATABASE_URL'] ?? null,
  };
}

/** Keeps the roles' URLs beside the other secrets, for whoever runs a part alone. */
export function keepRoleUrls(stateDir: string, urls: Readonly<Record<string, string>>): void {
  const kept = readEnvFile(stateDir);
  if (Object.entries(urls).some(([name, url]) => kept[name] !== url)) writeEnvFile(stateDir, { ...kept, ...urls });
}

/** Creates or replaces a file that only its owner may read. */
export function writePrivateFile(file: string, text: string): void {
  writeFileSync(file, text, { mode: 0o600 });
  chmodSync(file, 0o600);
}

function readEnvFile(stateDir: string): Readonly<Record<string, string | undefined>> {
  const file = join(stateDir, 'env');
  return existsSync(file) ? withoutEmpty(parseEnv(readFileSync(file, 'utf8'))) : {};
}

/** A variable that is set to nothing is not set. */
function withoutEmpty(variables: NodeJS.ProcessEnv): Readonly<Record<string, string | undefined>> {
  return Object.fromEntries(Object.entries(variables).filter(([, value]) => value !== ''));
}

function writeEnvFile(stateDir: string, values: Readonly<Record<string, string | undefined>>): void {
  mkdirSync(stateDir, { recursive: true });
  const lines = Object.entries(values).map(([name, value]) => `${name}=${value}\n`);
  writePrivateFile(join(stateDir, 'env'), lines.sort().join(''));
}

function secret(): string {
  return randomBytes(32).toString('hex');
}
