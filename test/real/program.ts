// One program under test in its namespace: started as its makers say, killed, started again, and its log kept.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { ChildProcess } from 'node:child_process';
import type { Network, Role } from './network.ts';

export type Program = {
  readonly start: () => void;
  /** SIGKILL, and waits until it is gone. Nothing when it does not run. */
  readonly kill: () => Promise<void>;
  /** How it ended by itself; null while it runs or after a kill. */
  readonly died: () => string | null;
  /** Every line that it has printed, over all its starts. */
  readonly lines: readonly string[];
};

/** The program at `path` gets `env` over the environment of this process, and no argument. */
export function programIn(
  network: Network,
  role: Role,
  path: string,
  env: Readonly<Record<string, string>>,
  onLine: (line: string) => void,
): Program {
  const lines: string[] = [];
  let child: ChildProcess | null = null;
  let died: string | null = null;
  return {
    lines,
    died: () => died,
    start: () => {
      died = null;
      const started = spawn('ip', ['netns', 'exec', network.namespaceOf(role), path], {
        env: { ...process.env, ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      child = started;
      for (const stream of [started.stdout, started.stderr]) {
        createInterface({ input: stream }).on('line', (line) => {
          lines.push(line);
          onLine(line);
        });
      }
      started.once('close', (code, signal) => {
        if (child === started) died = signal ?? `status ${code}`;
      });
      started.once('error', (cause) => (died = cause.message));
    },
    kill: async () => {
      const running = child;
      child = null;
      if (running === null || running.exitCode !== null || running.signalCode !== null) return;
      running.kill('SIGKILL');
      await once(running, 'close');
    },
  };
}
