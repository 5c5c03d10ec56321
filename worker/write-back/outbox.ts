// An account's side of write-back: takes what is due from the core and from storage, has it written, and tells the core what
// became of it. Within the account's alarm, hence one flush at a time; whatever goes wrong, the same is due again later, and
// nothing is lost.
import { flushDueAt, takeBatch } from '../../core/ledger.ts';
import { resyncDueAt } from '../../core/resync.ts';
import { accountOfObject } from '../env.ts';
import { readRecords } from '../account/ledger-storage.ts';
import * as log from '../log.ts';
import type { Batch, BatchAnswer } from '../../protocol/write-back.ts';
import type { Input } from '../../core/input.ts';
import type { State } from '../../core/state.ts';

/** A flush that has not been answered after this long counts as failed, milliseconds. */
const flushMsMax = 30_000;

/** Batches written one after the other before the object turns to other things. */
const batchesMax = 20;

export type OutboxOptions = {
  readonly state: () => State;
  readonly run: (input: Input) => void;
};

export class Outbox {
  readonly #ctx: DurableObjectState;
  readonly #account: string;
  readonly #options: OutboxOptions;

  /** `ctx` is that of the account's object. */
  constructor(ctx: DurableObjectState, options: OutboxOptions) {
    this.#ctx = ctx;
    this.#account = accountOfObject(ctx.id.name ?? '');
    this.#options = options;
  }

  /** Writes what is due, if anything is. Never throws; called by one at a time. */
  async flush(): Promise<void> {
    for (let i = 0; i < batchesMax && (await this.#flushOne()); i += 1);
    await this.#askForResync();
  }

  /** Returns whether it went well. */
  async #flushOne(): Promise<boolean> {
    const { run, state } = this.#options;
    const stored = () => readRecords(this.#ctx.storage.sql);
    const taken = isDue(state()) ? takeBatch(state(), this.#account, stored()) : null;
    if (taken === null) return false;
    try {
      const answer = await withTimeout(this.#write(taken.batch), flushMsMax);
      if ('problem' in answer) return this.#fail(answer.problem);
      run({ type: 'flushed', ...taken, answer });
      return true;
    } catch (cause) {
      return this.#fail(cause instanceof Error ? cause.message : String(cause));
    }
  }

  /** Where the core wants a snapshot, asks for it. A request that does not arrive is made again like one without effect. */
  async #askForResync(): Promise<void> {
    const { run, state } = this.#options;
    const dueAt = resyncDueAt(state());
    if (dueAt === null || dueAt > Date.now()) return;
    try {
      run({ type: 'resync-asked' });
      const refused = await withTimeout(this.#ctx.exports.WriteBack.requestResync(this.#account), flushMsMax);
      if (refused === null) log.info('resync_asked', { account: this.#account });
      else log.warn('resync_not_asked', { account: this.#account, problem: refused.problem });
    } catch (cause) {
      log.error('resync_not_asked', cause, { account: this.#account });
    }
  }

  async #write(batch: Batch): Promise<BatchAnswer | { readonly problem: string }> {
    return await this.#ctx.exports.WriteBack.flush(batch);
  }

  #fail(problem: string): false {
    log.warn('write_back_failed', { account: this.#account, problem });
    try {
      this.#options.run({ type: 'flush-failed' });
    } catch (cause) {
      log.error('flush_failed', cause);
    }
    return false;
  }
}

function isDue(state: State): boolean {
  const at = flushDueAt(state);
  return at !== null && at <= Date.now();
}

async function withTimeout<T>(promise: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | null = null;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
