// Starts a part as a process and knows when it is ready, what it printed, and how it ended.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { ChildProcess } from 'node:child_process';

export type Part = {
  readonly name: string;
  readonly pid: number;
  /** Settles when the process is gone. */
  readonly ended: Promise<void>;
  /** SIGTERM, then waits. */
  readonly stop: () => Promise<void>;
  /** SIGKILL, then waits: what a crash leaves behind, this leaves behind. */
  readonly kill: () => Promise<void>;
};

type StartOptions<Ready> = {
  readonly name: string;
  /** Path below the project's root. */
  readonly file: string;
  readonly env: Readonly<Record<string, string>>;
  /** What a line of output says of readiness; undefined as long as it says nothing. */
  readonly readyOf: (line: string) => Ready | undefined;
  readonly onLine: (name: string, line: string) => void;
};

const root = fileURLToPath(new URL('..', import.meta.url));
const linesKept = 20;

/** Starts the part and waits until a line of its output says that it is ready; rejects with its last lines if it ends first. */
export async function startPart<Ready>(options: StartOptions<Ready>): Promise<{ part: Part; ready: Ready }> {
  const { name, file, env, readyOf, onLine } = options;
  const child = spawn(process.execPath, [`${root}dev/part.ts`, root + file], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
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
    void ended.then(() => reject(new Error(`the ${name} ended before it was ready:\n${lines.join('\n')}`)));
  });
  const part: Part = {
    name,
    pid: child.pid ?? 0,
    ended,
    stop: async () => await end(child, ended, 'SIGTERM'),
    kill: async () => await end(child, ended, 'SIGKILL'),
  };
  return { part, ready: await ready };
}

async function end(child: ChildProcess, ended: Promise<void>, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  child.kill(signal);
  await ended;
}
