// What the environment says, read when a command needs it, so that a command asks only for what it uses. A key that is not
// set is looked up in the file that `npm run dev` leaves for the person beside it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { UsageError } from '../dev/command.ts';
import { developmentUrl } from '../dev/postgres.ts';
import { stateDirectory } from '../dev/state-directory.ts';
import { parseTokenKeys } from '../worker/token.ts';

/** Each throws a {@link UsageError} when its variable is not usable; none repeats a value, which may be a secret. */
export type Settings = {
  /** The owner's URL. */
  readonly databaseUrl: () => string;
  readonly workerUrl: () => string;
  /** Where the replicator serves its health. */
  readonly replicatorUrl: () => string;
  /** As in DRAWBRIDGE_TOKEN_KEYS; the first key signs. */
  readonly tokenKeys: () => string;
  /** The ingest key that signs. */
  readonly ingestKey: () => string;
};

type Environment = Readonly<Record<string, string | undefined>>;

/** Characters of an ingest key, at least. */
const ingestKeyLengthMin = 32;

export function readSettings(env: Environment): Settings {
  const set = (name: string) => (env[name] === '' ? undefined : env[name]);
  const key = (name: string) => {
    const value = set(name) ?? readKeysFile(stateDirectory(env))[name];
    if (value !== undefined && value !== '') return value;
    const advice = 'set it to the value that the worker has, or start the development system with `npm run dev`';
    throw new UsageError(`${name} is missing from the environment and from .drawbridge/env: ${advice}.`);
  };
  return {
    databaseUrl: () => set('DATABASE_URL') ?? developmentUrl(env),
    workerUrl: () => httpUrl('WORKER_URL', set('WORKER_URL') ?? 'http://127.0.0.1:8787', 'the worker listens'),
    replicatorUrl: () => {
      const url = set('DRAWBRIDGE_HTTP_URL') ?? 'http://127.0.0.1:9464';
      return httpUrl('DRAWBRIDGE_HTTP_URL', url, 'the replicator serves its health');
    },
    tokenKeys: () => {
      const keys = key('DRAWBRIDGE_TOKEN_KEYS');
      try {
        parseTokenKeys(keys);
        return keys;
      } catch (cause) {
        throw new UsageError(`${cause instanceof Error ? cause.message : String(cause)}.`, { cause });
      }
    },
    ingestKey: () => {
      const [first = ''] = key('DRAWBRIDGE_INGEST_KEY').split(',');
      if (first.length >= ingestKeyLengthMin) return first;
      const advice = `set it to keys of ${ingestKeyLengthMin} characters or more, separated by commas, as the worker has them`;
      throw new UsageError(`The first key in DRAWBRIDGE_INGEST_KEY is too short: ${advice}.`);
    },
  };
}

function httpUrl(name: string, text: string, what: string): string {
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return text;
  throw new UsageError(`${name} cannot be read: set it to the http address where ${what}.`);
}

/** Lines `NAME=value`, as `npm run dev` writes them; nothing when it never ran. */
function readKeysFile(directory: string): NodeJS.Dict<string> {
  try {
    return parseEnv(readFileSync(join(directory, 'env'), 'utf8'));
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    if (code === 'ENOENT') return {};
    throw new UsageError(`.drawbridge/env cannot be read (${code}): run this as its owner, or set the variable.`, {
      cause,
    });
  }
}
