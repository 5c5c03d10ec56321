// The environment, parsed once. A wrong or missing variable gives one sentence that names it and says how to set it.
import * as v from 'valibot';

const port = v.pipe(v.string(), v.regex(/^\d{1,5}$/), v.transform(Number), v.maxValue(65_535));
const httpUrl = v.pipe(v.string(), v.url(), v.regex(/^https?:/));
const keyList = v.pipe(
  v.string(),
  v.transform((text) => text.split(',')),
  v.array(v.pipe(v.string(), v.minLength(32))),
  v.minLength(1),
);

const variables = {
  REPLICATOR_DATABASE_URL: {
    schema: v.pipe(v.string(), v.url(), v.regex(/^postgres(ql)?:\/\//)),
    advice:
      'set it to the database of the role drawbridge_replicator, like postgres://drawbridge_replicator:password@127.0.0.1:5432/drawbridge',
  },
  WORKER_URL: {
    schema: v.optional(httpUrl, 'http://127.0.0.1:8787'),
    advice: 'set it to where the worker listens, like http://127.0.0.1:8787',
  },
  DRAWBRIDGE_INGEST_KEY: {
    schema: keyList,
    advice:
      "set it to the worker's ingest key, 32 characters or more, like the output of `openssl rand -hex 32`; of several, separated by commas, the first signs",
  },
  DRAWBRIDGE_HTTP_HOST: {
    schema: v.optional(v.pipe(v.string(), v.minLength(1)), '127.0.0.1'),
    advice: 'set it to the address that health checks reach, like 127.0.0.1',
  },
  DRAWBRIDGE_HTTP_PORT: {
    schema: v.optional(port, '9464'),
    advice: 'set it to a port number from 0 (any free one) to 65535',
  },
  DRAWBRIDGE_LEADER_TIMEOUT_MS: {
    schema: v.optional(
      v.pipe(v.string(), v.regex(/^\d{1,6}$/), v.transform(Number), v.minValue(500), v.maxValue(60_000)),
      '2500',
    ),
    advice: 'set it to the milliseconds, 500 to 60000, that a leader may be silent before a standby takes over',
  },
  DRAWBRIDGE_SLOT: {
    schema: v.optional(v.pipe(v.string(), v.regex(/^[a-z0-9_]{1,63}$/)), 'drawbridge'),
    advice: 'set it to a slot name of 1 to 63 lower-case letters, digits and underscores',
  },
  DRAWBRIDGE_CHANGE_LOG_DAYS: {
    schema: v.optional(v.pipe(v.string(), v.regex(/^[1-9]\d{0,3}$/), v.transform(Number)), '90'),
    advice: 'set it to the number of days that the change log is kept, from 1 to 9999',
  },
} as const;

export type Config = {
  readonly databaseUrl: string;
  readonly workerUrl: string;
  readonly ingestKeys: readonly string[];
  readonly httpHost: string;
  readonly httpPort: number;
  readonly slot: string;
  readonly leaderTimeoutMs: number;
  readonly changeLogDays: number;
};

/** What is streamed: the tables that decide, and apart from them the ledger of flows. */
export const publication = 'drawbridge';
export const ledgerPublication = 'drawbridge_flows';

export type ParsedConfig =
  | { readonly type: 'ok'; readonly config: Config }
  | { readonly type: 'error'; readonly message: string };

/** Never repeats a variable's value: it may hold a password. */
export function parseConfig(env: Readonly<Record<string, string | undefined>>): ParsedConfig {
  const faults: string[] = [];
  const read = <Name extends keyof typeof variables>(name: Name, fallback: Parsed<Name>): Parsed<Name> => {
    const value = env[name] === '' ? undefined : env[name];
    const parsed = v.safeParse(variables[name].schema, value);
    if (parsed.success) return parsed.output;
    faults.push(`${name} is ${value === undefined ? 'missing' : 'not usable'}: ${variables[name].advice}.`);
    return fallback;
  };
  const config: Config = {
    databaseUrl: read('REPLICATOR_DATABASE_URL', ''),
    workerUrl: read('WORKER_URL', ''),
    ingestKeys: read('DRAWBRIDGE_INGEST_KEY', []),
    httpHost: read('DRAWBRIDGE_HTTP_HOST', ''),
    httpPort: read('DRAWBRIDGE_HTTP_PORT', 0),
    slot: read('DRAWBRIDGE_SLOT', ''),
    leaderTimeoutMs: read('DRAWBRIDGE_LEADER_TIMEOUT_MS', 0),
    changeLogDays: read('DRAWBRIDGE_CHANGE_LOG_DAYS', 0),
  };
  const [message] = faults;
  return message === undefined ? { type: 'ok', config } : { type: 'error', message };
}

type Parsed<Name extends keyof typeof variables> = v.InferOutput<(typeof variables)[Name]['schema']>;
