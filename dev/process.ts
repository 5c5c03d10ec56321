// Starts a part as a process and knows when it is ready, what it printed, and how it ended.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import type { ChildProcess } from 'node:child_process';

export type Part = {
  readonly name: string;
  readonly pid: number;
  /** Settles when the process is gone, with how it went: `SIGKILL`, `status 1`. */
  readonly ended: Promise<string>;
  /** What it printed last, line by line. */
  readonly lastLines: () => readonly string[];
  /** SIGTERM, then waits; insists when it takes too long. */
  readonly stop: () => Promise<void>;
  /** SIGKILL, then waits: what a crash leaves behind, this leaves behind. */
  readonly kill: () => Promise<void>;
};

export type StartOptions<Ready> = {
  readonly name: string;
  /** Path below the project's root. */
  readonly file: string;
  readonly env: Readonly<Record<string, string>>;
  /** What a line of output says of readiness; undefined as long as it says nothing. */
  readonly readyOf: (line: string) => Ready | undefined;
  readonly onLine: (name: string, line: string) => void;
  /** Gives the start up. */
  readonly signal?: AbortSignal | undefined;
};

const root = fileURLToPath(new URL('..', import.meta.url));
const linesKept = 20;
const readyMsMax = 60_000;
const stopMsMax = 15_000;

/** Starts the part and waits until a line of its output says that it is ready; rejects, with it gone, when none does. */
export async function startPart<Ready>(options: StartOptions<Ready>): Promise<{ part: Part; ready: Ready }> {
  const { name, file, env, readyOf, onLine, signal } = options;
  // Detached: a Ctrl-C in the terminal reaches the caller alone, which ends the parts in their order.
  const child = spawn(process.execPath, [`${root}dev/part.ts`, root + file], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  });
  const ended = new Promise<string>((resolve) =>
    child.once('close', (code, cause) => resolve(cause ?? `status ${code}`)),
  );
  const lines: string[] = [];
  const ready = new Promise<Ready>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        lines.push(line);
        if (lines.length > linesKept) lines.shift();
        onLine(name, line);
        const found = readyOf(line);
        if (found !== undefined) resolve(found);
      });
    }
    child.once('error', reject);
  });
  const part: Part = {
    name,
    pid: child.pid ?? 0,
    ended,
    lastLines: () => [...lines],
    stop: async () => await end(child, ended, 'SIGTERM'),
    kill: async () => await end(child, ended, 'SIGKILL'),
  };
  return { part, ready: await readyOrGone(part, ready, { msMax: readyMsMax, signal }) };
}

/**
 * What `ready` gives. When the part ends first, or `signal` aborts, or nothing comes within the limit: rejects, with the
 * part gone, and says what the part said.
 */
export async function readyOrGone<Ready>(
  part: Part,
  ready: Promise<Ready>,
  { msMax, signal }: { readonly msMax: number; readonly signal?: AbortSignal | undefined },
): Promise<Ready> {
  const over = new AbortController();
  const limit = AbortSignal.any([over.signal, ...(signal === undefined ? [] : [signal])]);
  try {
    return await Promise.race([
      ready,
      part.ended.then((how) => {
        throw new Error(`the ${part.name} did not start (${how}): ${reasonOf(part.lastLines())}`);
      }),
      delay(msMax, undefined, { signal: limit }).then(() => {
        throw new Error(
          `the ${part.name} is not ready after ${msMax / 1000} s, and is ended: ${reasonOf(part.lastLines())}`,
        );
      }),
    ]);
  } catch (cause) {
    await part.stop();
    throw cause;
  } finally {
    over.abort();
  }
}

const errorLine = v.pipe(v.string(), v.parseJson(), v.object({ level: v.literal('error'), message: v.string() }));

/** The sentences for a person among these lines; without any, all of them. */
function reasonOf(lines: readonly string[]): string {
  const sentences = lines.flatMap((line) => {
    const parsed = v.safeParse(errorLine, line);
    if (parsed.success) return [parsed.output.message];
    return line.startsWith('drawbridge: ') ? [line.slice('drawbridge: '.length)] : [];
  });
  return sentences.length > 0 ? [...new Set(sentences)].join(' ') : `its last lines are\n${lines.join('\n')}`;
}

async function end(child: ChildProcess, ended: Promise<string>, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  child.kill(signal);
  const insist = setTimeout(() => child.kill('SIGKILL'), stopMsMax);
  await ended;
  clearTimeout(insist);
}
