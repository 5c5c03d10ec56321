// One life of the stream: from the leader's lock to the first fault. Everything in it is built anew for each run and torn
// down with it, the lock last; nothing but the database and the objects remembers anything across runs.
import pg from 'pg';
import { randomUUID } from 'node:crypto';
import { formatPgLsn, lsnToText } from '../protocol/lsn.ts';
import { readLanes, readTermFloor } from './bookkeeping.ts';
import { FencedError } from './carry.ts';
import { ledgerPublication, publication, type Config } from './config.ts';
import { clientConfig, describeConnectFault, endClient } from './connection.ts';
import { acquireLeadership } from './leader.ts';
import { keepLogPartitions } from './log-partitions.ts';
import { messageOf, type Log } from './log.ts';
import type { Counters } from './metrics.ts';
import { Pipeline } from './pipeline.ts';
import { createPost, type Post } from './post.ts';
import { preflight, PreflightError, type Server } from './preflight.ts';
import { beginRecord, breakRecord, readPublished, readRecord, Record } from './record.ts';
import { openSlot, type Slot } from './slot.ts';
import { StreamStopError } from './stop.ts';
import type { RunStatus } from './status.ts';

export type RunOptions = {
  readonly config: Config;
  readonly log: Log;
  readonly random: () => number;
  readonly counters: Counters;
  readonly onStatus: (status: RunStatus) => void;
  /** How often what must hold in the database is asked again. */
  readonly preflightMs: number;
  /** Aborts when the process shall end. */
  readonly stop: AbortSignal;
};

const publications = [publication, ledgerPublication];

/** The edge does not take this database: the message says why and what to do. A later run may be taken. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
}

/** The database cannot be reached: a later run may find it. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError';
}

type Session = {
  readonly options: RunOptions;
  readonly client: pg.Client;
  readonly fail: (error: unknown) => void;
  /** Null until this run has a term. */
  readonly leads: { term: number | null };
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
  const { databaseUrl, leaderTimeoutMs, slot } = options.config;
  const abort = new AbortController();
  const lifetime = AbortSignal.any([options.stop, abort.signal]);
  const leads: { term: number | null } = { term: null };
  const client = new pg.Client(clientConfig(databaseUrl));
  try {
    closers.push(() => endClient(client));
    client.on('error', fault.reject);
    client.on('end', () => fault.reject(new Error('the bookkeeping session ended')));
    await connect(client, databaseUrl);
    await preflight(client, publication);
    const onStandby = (): void => {
      options.log('info', 'standby', { slot });
      options.onStatus({ type: 'standby' });
    };
    const leadership = await untilFault(
      acquireLeadership({ databaseUrl, slot, timeoutMs: leaderTimeoutMs, onStandby }, fault.reject, lifetime),
    );
    closers.push(leadership.release);
    await untilFault(lead({ options, client, fail: fault.reject, leads, lifetime }, closers, untilFault));
  } catch (error) {
    if (error instanceof StreamStopError && error.isPassable && leads.term !== null) {
      await breakRecord(client, slot, leads.term, error.message).catch((cause: unknown) => {
        options.log('warn', 'stop_not_recorded', { message: messageOf(cause) });
      });
    }
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
  const watch = setInterval(() => void preflight(client, publication).catch(session.fail), options.preflightMs);
  closers.push(() => clearInterval(watch));
  const { record, run, slot, term } = await begin(session, server, post);
  session.leads.term = term;
  closers.push(await keepLogPartitions({ client, keepDays: config.changeLogDays, log }));
  const remembered = await readLanes(client, slot.epoch, slot.opened === null ? new Map() : await post.accounts());
  lifetime.throwIfAborted();
  const pipeline = new Pipeline({
    config,
    client,
    post,
    slot,
    record,
    run,
    term,
    walSenderTimeoutMs: server.walSenderTimeoutMs,
    remembered,
    random: options.random,
    log,
    counters: options.counters,
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

type Begun = { readonly term: number; readonly run: string; readonly slot: Slot; readonly record: Record };

/**
 * Gets a term, and the epoch that the slot is in. The order matters: a database that the edge distrusts stays one that it
 * distrusts until the epoch which follows from it is on record, and only then does the edge hear of this run.
 */
async function begin({ client, options }: Session, server: Server, post: Post): Promise<Begun> {
  const { config, log, random } = options;
  const recorded = await readRecord(client, config.slot);
  const beats = recorded?.beats ?? [];
  const answer = await post.lead({
    version: 1,
    systemIdentifier: server.systemIdentifier,
    timeline: server.timeline,
    termFloor: await readTermFloor(client),
    walEnd: lsnToText(server.walEnd),
    beats: [...beats],
  });
  if (answer.type === 'refused') throw new RefusedError(answer.reason);
  const { distrust, heard, term } = answer;
  const run = randomUUID();
  const known = beats.find((beat) => beat.run === heard?.run) ?? null;
  await beginRecord(client, config.slot, { term, run, known });
  const published = await readPublished(client, publications);
  const slot = await openSlot(client, { slot: config.slot, term, server, recorded, published, distrust, random, log });
  const first = await post.beat({ version: 1, term, epoch: slot.epoch, beat: { run, count: 0 }, applied: null });
  if (first.type === 'fenced') throw new FencedError(`the worker has heard a higher term, ${first.term}, than ${term}`);
  const onRecord = slot.opened?.startsAt ?? recorded?.confirmed ?? slot.confirmed;
  const record = new Record({ client, slot: config.slot, term, publications, confirmed: onRecord });
  return { term, run, slot, record };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
