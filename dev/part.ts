// Runs one part of the system as a process of its own, in a way that it never outlives the process that started it: when the
// pipe on its standard input closes, it is asked to end, and after a while made to.
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

const graceMs = 10_000;

process.stdin.resume().once('end', () => {
  process.kill(process.pid, 'SIGTERM');
  void delay(graceMs, undefined, { ref: false }).then(() => process.exit(1));
});

const [, , file] = process.argv;
if (file === undefined) throw new Error('usage: node dev/part.ts <file>');
await import(pathToFileURL(file).href);
process.stdin.unref();
