// Removes a temporary directory once whoever made it is gone, however it went: a small process of its own waits for the
// pipe on its standard input to close, then for the Postgres in it to end.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const serverEndMsMax = 30_000;
const pollMs = 20;

/** Sweeps `dir` when this process ends, or sooner: the returned function does it at once and waits until it is done. */
export function sweepAtEnd(dir: string): () => Promise<void> {
  const sweeper = spawn(process.execPath, [fileURLToPath(import.meta.url), dir], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  const ended = new Promise<void>((resolve) => sweeper.once('close', () => resolve()));
  sweeper.unref();
  return async () => {
    sweeper.ref();
    sweeper.stdin.end();
    await ended;
  };
}

async function sweep(dir: string): Promise<void> {
  const deadline = performance.now() + serverEndMsMax;
  while (existsSync(join(dir, 'postgres', 'postmaster.pid')) && performance.now() < deadline) await delay(pollMs);
  await rm(dir, { recursive: true, force: true, maxRetries: 10 });
}

if (import.meta.main) {
  const [, , dir] = process.argv;
  if (dir === undefined) throw new Error('usage: node dev/dev-sweep.ts <directory>');
  process.stdin.resume().once('end', () => void sweep(dir));
}
