// One life of the stream: from the leader's lock to the first fault. Everything in it is built anew for each run and torn
// down with it, the lock last; nothing but the database and the objects remembers anything across runs.
import pg from 'pg';
import { formatPgLsn } from '../protocol/lsn.ts';
import { readLanes, readTermFloor } from './bookkeeping.ts';
import { publication, type Config } from './config.ts';
import { clientConfig, describeConnectFault, endClient } from './connection.ts';
import { acquireLeadership } from './leader.ts';
import type { Log } from './log.ts';
import { Pipeline } from './pipeline.ts';
import { createPost } from './post.ts';
import { preflight, PreflightError } from './preflight.ts';
import { openSlot } from './slot.ts';
import type { RunStatus } from './status.ts';

export type RunOptions = {
  readonly config: Config;
  readonly log: Log;
  readonly random: () => number;
  readonly onStatus: (status: RunStatus) => void;
  /** Aborts when the process shall end. */
  readonly stop: AbortSignal;
};

/** The database cannot be reached: a later run may find it. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError';
}

type Session = {
  readonly options: RunOptions;
  readonly client: pg.Client;
  readonly fail: (error: unknown) => void;
  /** Aborts when the run is over. */
  readonly lifetime: AbortSignal;
};

/** Resolves when `stop` has aborted and what was under way is finished. Rejects with the first fault. */
export async function run(options: RunOptions): Promise<void> {
  const fault = Promise.withResolvers<never>();
  fault.promise.catch(() => {
    // Faults after the first have nothing left to end.
  });
  const untilFault = <T>(promise: Promise<T>): Promise<T> => Promise.race([promise, fault.promise]);
  const closers: (() => Promise<void> | void)[] = [];
  const { databaseUrl, slot } = options.config;
  const abort = new AbortController();
  const lifetime = AbortSignal.any([options.stop, abort.signal]);
  try {
    const client = new pg.Client(clientConfig(databaseUrl));
    closers.push(() => endClient(client));
    client.on('error', fault.reject);
    client.on('end', () => fault.reject(new Error('the bookkeeping session ended')));
    await connect(client, databaseUrl);
    await preflight(client, publication);
    const onStandby = (): void => {
      options.log('info', 'standby', { slot });
      options.onStatus({ type: 'standby' });
    };
    const leadership = await untilFault(acquireLeadership({ databaseUrl, slot, onStandby }, fault.reject, lifetime));
    closers.push(leadership.release);
    await untilFault(lead({ options, client, fail: fault.reject, lifetime }, closers, untilFault));
  } catch (error) {
    if (!options.stop.aborted) throw error;
  } finally {
    abort.abort();
    options.onStatus({ type: 'down' });
    for (const close of closers.toReversed()) await close();
  }
}

async function connect(client: pg.Client, databaseUrl: string): Promise<void> {
  try {
    await client.connect();
  } catch (error) {
    const { message, mayRetry } = describeConnectFault(error, databaseUrl);
    throw mayRetry ? new UnreachableError(message, { cause: error }) : new PreflightError([message]);
  }
}

async function lead(
  session: Session,
  closers: (() => Promise<void> | void)[],
  untilFault: <T>(promise: Promise<T>) => Promise<T>,
): Promise<void> {
  const { client, options, lifetime } = session;
  const { config, log } = options;
  const server = await preflight(client, publication);
  const post = createPost(config.workerUrl, config.ingestKeys[0] ?? '');
  closers.push(post.close);
  const { term } = await post.lead({
    version: 1,
    systemIdentifier: server.systemIdentifier,
    timeline: server.timeline,
    termFloor: await readTermFloor(client),
  });
  const slot = await openSlot(client, { slot: config.slot, term, server, random: options.random, log });
  const remembered = await readLanes(client, slot.epoch);
  lifetime.throwIfAborted();
  const pipeline = new Pipeline({
    config,
    client,
    post,
    slot,
    term,
    walSenderTimeoutMs: server.walSenderTimeoutMs,
    remembered,
    random: options.random,
    log,
    onError: session.fail,
  });
  closers.push(() => pipeline.close());
  await pipeline.open();
  lifetime.throwIfAborted();
  options.onStatus({ type: 'streaming', report: () => pipeline.report() });
  log('info', 'streaming', { slot: config.slot, term, epoch: slot.epoch, confirmed: formatPgLsn(slot.confirmed) });
  await untilFault(aborted(options.stop));
  log('info', 'draining');
  await pipeline.drain();
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
