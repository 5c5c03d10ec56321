// Messages under our prefix that nobody who may steer the stream has signed: forged, or signed under a key that is no longer
// in force. Any role may emit them, as fast as it can commit, so each is counted and a minute's are one line of the log.
import { formatPgLsn } from '../protocol/lsn.ts';
import type { Transaction } from './assemble.ts';
import type { Log } from './log.ts';
import type { Counters } from './metrics.ts';

const quietUs = 60_000_000;

export class Ignored {
  readonly #log: Log;
  readonly #counters: Counters;
  #loggedAtUs: number | null = null;
  #unlogged = 0;

  constructor(log: Log, counters: Counters) {
    this.#log = log;
    this.#counters = counters;
  }

  /** Takes a transaction that held some; the times are those of the commits. */
  took({ committedAtUs, lsn, said, xid32 }: Pick<Transaction, 'committedAtUs' | 'lsn' | 'said' | 'xid32'>): void {
    this.#counters.add('messages_ignored', said.ignored);
    this.#unlogged += said.ignored;
    const sinceUs = this.#loggedAtUs === null ? quietUs : committedAtUs - this.#loggedAtUs;
    if (sinceUs >= 0 && sinceUs < quietUs) return;
    this.#loggedAtUs = committedAtUs;
    this.#log('warn', 'messages_ignored', { messages: this.#unlogged, lsn: formatPgLsn(lsn), xid: xid32 });
    this.#unlogged = 0;
  }
}
