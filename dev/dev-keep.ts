// Keeps one part running: one that dies is named and started again, after a wait that grows. It never gives up silently:
// after too many quick failures in a row it says so and leaves the part down.
//
//   starting ──▶ running ──died──▶ waiting ──▶ starting
//      │ failed                       ▲  │ the tenth quick failure in a row
//      └──────────────────────────────┘  └──▶ given up
//
// `stop` leads from each of them to the end.
import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';

export type Running = {
  readonly pid: number;
  /** Settles when it is gone, with how it went. */
  readonly ended: Promise<string>;
  readonly lastLines: () => readonly string[];
  readonly stop: () => Promise<void>;
};

export type KeepOptions = {
  /** As in `the worker`. */
  readonly name: string;
  /** Rejects, with nothing left, when it does not start or `signal` aborts. */
  readonly start: (signal: AbortSignal) => Promise<Running>;
  readonly say: (line: string) => void;
  /** Called once, with a sentence and the part's last lines. */
  readonly onGivenUp: (fault: Error) => void;
  /** Of [0, 1), as Math.random. */
  readonly random: () => number;
};

export type Kept = {
  /** The process id it has at present, or had last. */
  readonly pid: () => number;
  readonly stop: () => Promise<void>;
};

const quickMs = 10_000;
const quickFailuresMax = 10;
const backoffMsMin = 50;
const backoffMsMax = 5_000;

/** Starts the part and keeps it running. Rejects when its first start fails or `signal` aborts it. */
export async function keepRunning(options: KeepOptions, signal: AbortSignal): Promise<Kept> {
  const { name } = options;
  const stopping = new AbortController();
  let since = performance.now();
  let running = await options.start(signal);
  const watch = async () => {
    let failures = 0;
    const died = async () => `the ${name} died (${await running.ended})`;
    let end = await died();
    while (!stopping.signal.aborted) {
      failures = performance.now() - since < quickMs ? failures + 1 : 1;
      if (failures >= quickFailuresMax) {
        options.onGivenUp(givenUp(end, running));
        return;
      }
      options.say(`${end}; starting it again`);
      await pause(backoffMs(failures, options.random), stopping.signal);
      since = performance.now();
      try {
        running = await options.start(stopping.signal);
        // Not every start can be given up: this one is ended by `stop`, which waits for it.
        if (stopping.signal.aborted) return;
        options.say(`the ${name} is back (pid ${running.pid})`);
        end = await died();
      } catch (cause) {
        const message = cause instanceof Error ? cause.message : String(cause);
        end = message.startsWith(`the ${name} `) ? message : `the ${name} did not start: ${message}`;
      }
    }
  };
  const watching = watch();
  return {
    pid: () => running.pid,
    stop: async () => {
      stopping.abort();
      await running.stop();
      await watching;
      await running.stop();
    },
  };
}

/** Waits, for less long when `signal` aborts. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => {
    // The only way to fail is the signal, which the caller looks at.
  });
}

/** Full jitter over a range that doubles with each failure, from 50 ms to 5 s. */
export function backoffMs(failures: number, random: () => number): number {
  const max = Math.min(backoffMsMax, backoffMsMin * 2 ** Math.min(failures, 10));
  return backoffMsMin + random() * (max - backoffMsMin);
}

function givenUp(end: string, running: Running): Error {
  const lines = running.lastLines().join('\n');
  return new Error(
    `${end}. That was quick failure ${quickFailuresMax} in a row: mend it, then start again. The part's last lines:\n${lines}`,
  );
}
