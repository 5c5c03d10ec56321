// The leader's heartbeat: every 2 seconds a transactional message, with a number that is stored beside it.
//
// It advances an idle slot, tells the edge how far the stream has come and that this database is still the one it follows,
// and finds a publication that was edited. The number is on record here before the edge hears it, so a database that lacks
// the number the edge has heard was set back.
import { setTimeout as delay } from 'node:timers/promises';
import type { AccountId } from '../protocol/ids.ts';
import { lsnToText, type Lsn } from '../protocol/lsn.ts';
import { lateAccountsMax } from '../protocol/stream.ts';
import type { Heartbeat as Report } from '../protocol/stream.ts';
import type { Columns } from './columns.ts';
import { FencedError } from './carry.ts';
import { messageOf, type Log } from './log.ts';
import { PostError, type Post } from './post.ts';
import type { Record } from './record.ts';
import { composeSteering } from './steering.ts';

export const heartbeatMs = 2_000;

/** The publication is not what it was when the epoch began: the run must end, and the next opens another. */
export class PublicationEditedError extends Error {
  override readonly name = 'PublicationEditedError';
}

export type HeartbeatOptions = {
  readonly record: Record;
  readonly post: Pick<Post, 'beat'>;
  readonly term: number;
  readonly epoch: number;
  /** Random, of this run. */
  readonly run: string;
  readonly key: string;
  /** What was published when the epoch began. */
  readonly published: string;
  readonly confirmable: () => Lsn;
  /** Accounts with a commit at or before the position that their objects do not hold yet. */
  readonly lateAt: (lsn: Lsn) => readonly AccountId[];
  /** The columns of what is published, with each heartbeat. */
  readonly onColumns: (columns: Columns) => Promise<void>;
  /** A heartbeat is on record, and what it says may be confirmed. */
  readonly onBeat: () => void;
  /** Whether reading is paused, so that no heartbeat leaves the stream: the edge is then told that the database is there. */
  readonly isPaused: () => boolean;
  /** The edge has answered. */
  readonly onHeard: () => void;
  readonly onError: (error: Error) => void;
  readonly log: Log;
};

/** How a run stands at its last heartbeat. */
export type Pulse = {
  /** Commit time of the last heartbeat that the edge has heard, milliseconds since 1970-01-01 UTC; null before the first. */
  readonly appliedToMs: number | null;
  /** From COMMIT to durable in the canary's object. */
  readonly lagMs: number | null;
};

export class Heartbeat {
  readonly #options: HeartbeatOptions;
  readonly #stop = new AbortController();
  #count = 0;
  #lastLsn: Lsn = 0n;
  #isSending = false;
  #pulse: Pulse = { appliedToMs: null, lagMs: null };

  constructor(options: HeartbeatOptions) {
    this.#options = options;
  }

  /** Beats until closed. */
  start(): void {
    void this.#run().catch((error: unknown) => {
      if (!this.#stop.signal.aborted) this.#options.onError(new Error('a heartbeat failed', { cause: error }));
    });
  }

  pulse(): Pulse {
    return this.#pulse;
  }

  close(): void {
    this.#stop.abort();
  }

  /** A heartbeat has left the stream. Those of other runs, and copies of older ones, are nothing. */
  left(beat: { readonly run: string; readonly count: number }, lsn: Lsn, committedAtUs: number): void {
    const { run, lateAt } = this.#options;
    if (beat.run !== run || beat.count > this.#count || this.#stop.signal.aborted) return;
    const late = this.#lastLsn === 0n ? [] : lateAt(this.#lastLsn);
    this.#lastLsn = lsn;
    // Where too many are late, nobody is said to have come any further.
    if (late.length > lateAccountsMax || this.#isSending) return;
    const applied = { lsn: lsnToText(lsn), committedAtUs, late: [...late] };
    void this.#send(this.#report(beat, applied));
  }

  #report({ run, count }: Report['beat'], applied: Report['applied']): Report {
    const { term, epoch } = this.#options;
    return { version: 1, term, epoch, beat: { run, count }, applied };
  }

  async #run(): Promise<void> {
    const { confirmable, isPaused, key, onBeat, onColumns, onError, published, record, run } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      this.#count += 1;
      const content = composeSteering({ type: 'heartbeat', run, count: this.#count }, key);
      const found = await record.beat(this.#count, confirmable(), content);
      if (found.published !== published) {
        onError(new PublicationEditedError('the publication was edited: every account is resynchronized'));
        return;
      }
      onBeat();
      await onColumns(found.columns);
      if (isPaused() && !this.#isSending) void this.#send(this.#report({ run, count: this.#count }, null));
      await delay(heartbeatMs, undefined, { signal }).catch(() => {
        // Closing ends the wait, and with it the loop.
      });
    }
  }

  async #send(report: Report): Promise<void> {
    const { log, onError, onHeard, post, term } = this.#options;
    this.#isSending = true;
    try {
      const answer = await post.beat(report);
      if (answer.type === 'fenced') {
        onError(new FencedError(`the worker has heard a higher term, ${answer.term}, than ${term}`));
        return;
      }
      onHeard();
      const committedAtUs = report.applied?.committedAtUs ?? null;
      if (committedAtUs !== null) this.#pulse = { appliedToMs: Math.floor(committedAtUs / 1000), lagMs: answer.lagMs };
    } catch (error) {
      if (!(error instanceof PostError)) onError(new Error('a heartbeat failed', { cause: error }));
      else if (!this.#stop.signal.aborted) log('warn', 'heartbeat_unheard', { reason: messageOf(error) });
    } finally {
      this.#isSending = false;
    }
  }
}
