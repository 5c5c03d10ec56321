// Performs what lanes.ts decides: posts deliveries, keeps the retry timers, asks for snapshots, reports what is durable.
//
// A delivery is posted in the same tick in which its commit left the stream. Anything that is not the contract's answer
// leaves the lane where it was, to be sent again. Once stopped, nothing more is sent.
import type { AccountId } from '../protocol/ids.ts';
import type { Commit } from '../protocol/commit.ts';
import { lsnToText, type Lsn } from '../protocol/lsn.ts';
import { unreachable } from '../protocol/assert.ts';
import type { Ack } from './ack.ts';
import type { Transaction, TransactionPart } from './assemble.ts';
import { type Command, type Lanes } from './lane.ts';
import { answered, enqueue, retryDue, unanswered } from './lanes.ts';
import { notePlace } from './places.ts';
import { messageOf, type Log } from './log.ts';
import type { Counters } from './metrics.ts';
import { PostError, type Post } from './post.ts';
import { laneCommit, lanePart, stageOf } from './request.ts';
import type { Xid } from '../protocol/visibility.ts';

/** A higher term has spoken: this run must end, and the next asks for a term of its own. */
export class FencedError extends Error {
  override readonly name = 'FencedError';
}

export type CarrierOptions = {
  readonly lanes: Lanes;
  readonly ack: Ack;
  readonly post: Post;
  readonly requestSnapshot: (account: AccountId, afterMs: number, reason: string) => void;
  /** To be recorded in the lanes table. */
  readonly park: (account: AccountId, park: { readonly position: Lsn | null; readonly reason: string }) => void;
  /** An object has made something durable. */
  readonly onDurable: () => void;
  readonly onError: (error: Error) => void;
  readonly log: Log;
  readonly counters: Counters;
};

export class Carrier {
  readonly #options: CarrierOptions;
  readonly #timers = new Set<NodeJS.Timeout>();
  #isStopped = false;
  #inFlight = 0;
  #onIdle = (): void => {};

  constructor(options: CarrierOptions) {
    this.#options = options;
  }

  /** The account's lane gets some changes of a transaction that is not complete. */
  carryPart(part: TransactionPart, xid: Xid): void {
    notePlace(this.#options.lanes, part.account, part.changes);
    this.perform(
      enqueue(this.#options.lanes, part.account, lanePart({ ...part, xid }), part.isBorn && part.index === 0),
    );
  }

  /** Every lane that the transaction concerns gets its share, or what its parts have left of it. */
  carry(transaction: Transaction, xid: Xid): void {
    for (const [account, changes] of transaction.byAccount) {
      const parts = transaction.partsByAccount.get(account);
      notePlace(this.#options.lanes, account, changes);
      const commit: Commit = {
        lsn: lsnToText(transaction.lsn),
        xid: xid.toString(),
        committedAtUs: transaction.committedAtUs,
        changes: [...changes],
        ...(parts === undefined ? {} : { staged: { stage: stageOf(transaction.start), parts } }),
      };
      const isBorn = parts === undefined && transaction.born.has(account);
      this.perform(enqueue(this.#options.lanes, account, laneCommit(commit), isBorn));
    }
  }

  perform(commands: readonly Command[]): void {
    for (const command of commands) this.#performOne(command);
  }

  /** Sends nothing more; resolves when no request is in flight. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    if (this.#inFlight === 0) return;
    const idle = Promise.withResolvers<void>();
    this.#onIdle = idle.resolve;
    await idle.promise;
  }

  /** Stops the timers too. */
  close(): void {
    this.#isStopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }

  #performOne(command: Command): void {
    const { ack, counters, lanes, log, onDurable, onError, park, requestSnapshot } = this.#options;
    switch (command.type) {
      case 'send':
        if (!this.#isStopped) this.#deliver(command.account, command.body).catch(onError);
        return;
      case 'retry':
        counters.add('retries');
        if (!this.#isStopped) this.#retryLater(command.account, command.afterMs);
        return;
      case 'snapshot':
        counters.add('snapshots_required');
        requestSnapshot(command.account, command.afterMs, command.reason);
        return;
      case 'durable':
        ack.durable(command.account, command.lsn);
        onDurable();
        return;
      case 'park':
        counters.add('parkings');
        log('error', 'account_parked', { account: command.account, reason: command.reason });
        park(command.account, command);
        return;
      case 'expect':
        ack.expect(command.account);
        return;
      case 'release':
        ack.release(command.account);
        return;
      case 'fenced':
        onError(new FencedError(`the worker has heard a higher term, ${command.term}, than ${lanes.term}`));
        return;
      default:
        unreachable(command);
    }
  }

  async #deliver(account: AccountId, body: string): Promise<void> {
    const { counters, lanes, log, post } = this.#options;
    this.#inFlight += 1;
    counters.add('delivery_bytes', body.length);
    try {
      const answer = await post.deliver(body);
      counters.add('deliveries', 1, answer.type);
      if (!['applied', 'duplicate', 'staged'].includes(answer.type)) {
        const reason = 'reason' in answer ? answer.reason : null;
        log(answer.type === 'poison' ? 'error' : 'warn', 'delivery_refused', { account, answer: answer.type, reason });
      }
      this.perform(answered(lanes, account, answer));
    } catch (error) {
      if (!(error instanceof PostError)) throw error;
      counters.add('deliveries', 1, 'none');
      if (!this.#isStopped) log('warn', 'delivery_unanswered', { account, reason: messageOf(error) });
      this.perform(unanswered(lanes, account));
    } finally {
      this.#inFlight -= 1;
      if (this.#inFlight === 0) this.#onIdle();
    }
  }

  #retryLater(account: AccountId, afterMs: number): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.perform(retryDue(this.#options.lanes, account));
    }, afterMs);
    this.#timers.add(timer);
  }
}
