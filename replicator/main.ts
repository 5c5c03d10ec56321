// The replicator's process: `node replicator/main.ts`. Runs the stream again after every fault, with jittered backoff,
// until SIGTERM or SIGINT.
//
// Exit status: 0 after a signal, 1 when something must be mended first, 2 for a wrong environment. The last line on
// standard error says what and how.
import { setTimeout as delay } from 'node:timers/promises';
import { parseConfig, type Config } from './config.ts';
import { startHealth } from './health.ts';
import { log, messageOf } from './log.ts';
import { Counters } from './metrics.ts';
import { PreflightError } from './preflight.ts';
import { run } from './run.ts';
import type { RunStatus } from './status.ts';

const backoffMsMin = 50;
const backoffMsMax = 10_000;
const preflightMs = 60_000;

async function main(): Promise<number> {
  const parsed = parseConfig(process.env);
  if (parsed.type === 'error') {
    log('error', 'environment', { message: parsed.message });
    return 2;
  }
  const { config } = parsed;
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());
  const counters = new Counters();
  let status: RunStatus = { type: 'down' };
  try {
    const health = await startHealth({ host: config.httpHost, port: config.httpPort }, () => status, counters);
    log('info', 'started', { http_host: config.httpHost, http_port: health.port, slot: config.slot });
    const exitCode = await runUntilStopped(config, stop.signal, counters, (next) => {
      status = next;
    });
    health.close();
    return exitCode;
  } catch (error) {
    log('error', 'start_failed', { message: messageOf(error) });
    return 1;
  }
}

async function runUntilStopped(
  config: Config,
  stop: AbortSignal,
  counters: Counters,
  onStatus: (status: RunStatus) => void,
): Promise<number> {
  let hasStreamed = false;
  let attempt = 0;
  const watchStatus = (status: RunStatus): void => {
    if (status.type === 'streaming') {
      hasStreamed = true;
      attempt = 0;
    }
    onStatus(status);
  };
  while (!stop.aborted) {
    try {
      await run({ config, log, random: Math.random, counters, onStatus: watchStatus, preflightMs, stop });
    } catch (error) {
      logFault(error);
      if (error instanceof PreflightError && !hasStreamed) return 1;
      attempt += 1;
      const afterMs = backoffMs(attempt, Math.random);
      log('info', 'run_again', { after_ms: afterMs, attempt });
      await delay(afterMs, undefined, { signal: stop }).catch(() => {
        // A signal ends the wait, and with it the loop.
      });
    }
  }
  log('info', 'stopped');
  return 0;
}

function logFault(error: unknown): void {
  if (error instanceof PreflightError) {
    for (const message of error.problems) log('error', 'preflight', { message });
    return;
  }
  const cause = error instanceof Error && error.cause !== undefined ? messageOf(error.cause) : null;
  log('error', 'run_failed', {
    message: messageOf(error),
    kind: error instanceof Error ? error.name : 'unknown',
    cause,
  });
}

/** Full jitter over a range that doubles with each attempt, from 50 ms to 10 s. */
function backoffMs(attempt: number, random: () => number): number {
  const max = Math.min(backoffMsMax, backoffMsMin * 2 ** Math.min(attempt, 10));
  return Math.round(backoffMsMin + random() * (max - backoffMsMin));
}

process.exitCode = await main();
