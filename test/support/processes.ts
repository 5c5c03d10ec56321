// Waiting for what other processes do: each wait looks again until it holds, within a limit after which the test fails.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const limitMs = 20_000;
const pollMs = 10;

/** Resolves when no process has this id. */
export function processGone(pid: number): Promise<void> {
  return until(() => !isRunning(pid), `process ${pid} is gone`);
}

/** Resolves when nothing has this path. */
export function pathGone(path: string): Promise<void> {
  return until(() => !existsSync(path), `${path} is gone`);
}

async function until(holds: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`not within ${limitMs / 1000} s: ${what}`);
    await delay(pollMs);
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** Every process below `pid`. */
export function descendants(pid: number): number[] {
  const table = execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' });
  const pairs = table.split('\n').map((line) => line.trim().split(/\s+/).map(Number));
  const below = (parent: number): number[] =>
    pairs.flatMap(([child = 0, its]) => (its === parent ? [child, ...below(child)] : []));
  return below(pid);
}

/** The process id of the first one below `parent` whose command line names this. */
export function pidBelow(parent: number, command: string): number {
  const below = new Set(descendants(parent));
  const table = execFileSync('ps', ['-A', '-o', 'pid=,args='], { encoding: 'utf8' }).split('\n');
  const line = table.find((text) => below.has(Number.parseInt(text, 10)) && text.includes(command));
  return Number.parseInt(line ?? '', 10);
}
