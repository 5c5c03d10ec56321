// Runs the real `drawbridge` command as a process, in an environment that holds nothing of the machine's own Drawbridge.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import { run } from '../../cli/run.ts';

export type Ran = { readonly code: number; readonly out: string; readonly err: string };

export const tokenKeys = `test:${'t'.repeat(32)}`;
export const ingestKey = 'i'.repeat(32);

/** Where nothing listens. */
const nowhere = 'http://127.0.0.1:9';

/** Every variable that the command reads; `changes` override them, and an empty one counts as not set. */
export function environment(
  databaseUrl: string,
  changes: Readonly<Record<string, string>> = {},
): Record<string, string> {
  return {
    PATH: process.env['PATH'] ?? '',
    DATABASE_URL: databaseUrl,
    WORKER_URL: nowhere,
    DRAWBRIDGE_HTTP_URL: nowhere,
    DRAWBRIDGE_TOKEN_KEYS: tokenKeys,
    DRAWBRIDGE_INGEST_KEY: ingestKey,
    DRAWBRIDGE_STATE: '/nonexistent',
    ...changes,
  };
}

/** The same in this process, for what a process of its own would add nothing to. */
export async function drawbridgeHere(args: readonly string[], env: Readonly<Record<string, string>>): Promise<Ran> {
  const printed = { out: '', err: '' };
  const code = await run(args, {
    env,
    out: (text) => (printed.out += text),
    err: (text) => (printed.err += text),
  });
  return { code, ...printed };
}

export function drawbridge(args: readonly string[], env: Readonly<Record<string, string>>): Promise<Ran> {
  return runFile('../../cli/main.ts', args, env);
}

/** `file` is relative to this one. */
export function runFile(file: string, args: readonly string[], env: Readonly<Record<string, string>>): Promise<Ran> {
  const path = fileURLToPath(new URL(file, import.meta.url));
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [path, ...args], { env, timeout: 30_000 }, (_error, out, err) =>
      resolve({ code: child.exitCode ?? -1, out, err }),
    );
  });
}

/** What a run that printed one sentence, nothing else, no stack, and no `hunter2` complained of; else all that it printed. */
export function complaintOf({ out, err }: Ran): string {
  const isOneSentence = /^drawbridge: [^\n]*\.\n$/.test(err) && out === '';
  const isClean = !/hunter2|\bat \S+:\d+:\d+\b|node:internal/.test(err);
  return isOneSentence && isClean ? err : `not one clean sentence: ${JSON.stringify([out, err])}`;
}

const json = v.pipe(v.string(), v.parseJson());

/** The one JSON value that a run printed. */
export function jsonOf({ out }: Ran): unknown {
  return v.parse(json, out);
}
