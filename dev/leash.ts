// Ties processes that this one has started through a library to its own life: when it is gone, however it went, they are
// killed. A small process of its own holds the other end of a pipe and waits for it to close.
import { execFile, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Puts every present child of this process whose command contains `name` on the leash. */
export async function leashChildren(name: string): Promise<void> {
  const { stdout } = await run('ps', ['-A', '-o', 'pid=,ppid=,comm=']);
  const pids = stdout.split('\n').flatMap((line) => {
    const [pid, parent, ...command] = line.trim().split(/\s+/);
    return Number(parent) === process.pid && command.join(' ').includes(name) ? [pid ?? ''] : [];
  });
  const holder = spawn(process.execPath, [fileURLToPath(import.meta.url), ...pids], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  holder.unref();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.stdin.resume().once('end', () => {
    for (const pid of process.argv.slice(2)) kill(Number(pid));
  });
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'ESRCH')) throw cause;
  }
}
