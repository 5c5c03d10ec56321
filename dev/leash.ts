// Ties processes that a library starts for this one to its own life: when it is gone, however it went, they are killed, also
// those started a moment before and those that the library started anew. A small process of its own holds the other end of a
// pipe and waits for it to close; what has no parent then was ours, and so was the holder: both have been given the same one.
import { execFile, spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const pollMs = 5;

/** To be called before the first of them is started. Those are meant whose command contains `name`. */
export function leashChildren(name: string): void {
  const holder = spawn(process.execPath, [fileURLToPath(import.meta.url), name, `${process.pid}`], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  holder.unref();
  // It outlives this process unless somebody kills it.
  holder.once('exit', () => leashChildren(name));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , name = '', owner = ''] = process.argv;
  const group = processes().then((all) => all.find(({ pid }) => pid === Number(owner))?.group);
  process.stdin.resume().once('end', () => void killOrphans(name, Number(owner), group));
}

/** They stay in the group of the process that started them. */
async function killOrphans(name: string, owner: number, group: Promise<number | undefined>): Promise<void> {
  // The pipe closes a moment before its children are given away.
  while (process.ppid === owner) await delay(pollMs);
  const ownersGroup = await group;
  for (const each of await processes()) {
    if (each.parent === process.ppid && each.group === ownersGroup && each.command.includes(name)) kill(each.pid);
  }
}

async function processes() {
  const { stdout } = await run('ps', ['-A', '-o', 'pid=,ppid=,pgid=,comm=']);
  return stdout.split('\n').map((line) => {
    const [pid, parent, group, ...command] = line.trim().split(/\s+/);
    return { pid: Number(pid), parent: Number(parent), group: Number(group), command: command.join(' ') };
  });
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'ESRCH')) throw cause;
  }
}
