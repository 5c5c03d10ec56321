// The parts of one run, wired: bytes of the slot to transactions, transactions to lanes, answers to confirmed positions.
//
// Reading pauses while more than a window of bytes waits for answers, so a worker that is down costs bounded memory here
// and WAL on the server. A lane that cannot be delivered keeps the slot from advancing until it is parked, which it is only
// while others advance.
import type { ClientBase } from 'pg';
import { formatPgLsn, type Lsn } from '../protocol/lsn.ts';
import { Ack } from './ack.ts';
import { createAssembler, type Assembler, type Transaction, type TransactionPart } from './assemble.ts';
import { Bookkeeping, type Remembered } from './bookkeeping.ts';
import { Carrier } from './carry.ts';
import { ChangeLog } from './change-log.ts';
import type { AccountId } from '../protocol/ids.ts';
import { everyAccount, type ResyncAccount, type Steering } from '../protocol/steering.ts';
import { ledgerPublication, publication, type Config } from './config.ts';
import { ColumnWatch } from './columns.ts';
import { clientConfig } from './connection.ts';
import { createDecoder, type Decoder } from './decode.ts';
import { Heartbeat } from './heartbeat.ts';
import { Ignored } from './ignored.ts';
import { createLanes, type Lanes } from './lane.ts';
import {
  addLane,
  addLaneWithoutHistory,
  addParkedLane,
  countParked,
  countWithoutHistory,
  isDelivered,
  parkedAccounts,
  parkRecorded,
  relieve,
  resync,
} from './lanes.ts';
import type { Log } from './log.ts';
import type { Counters } from './metrics.ts';
import type { Post } from './post.ts';
import type { Record } from './record.ts';
import type { Slot } from './slot.ts';
import { Snapshots } from './snapshots.ts';
import { windowBytesMax, type PipelineReport } from './status.ts';
import { widenXid, type Xid } from '../protocol/visibility.ts';
import { openWal, type Wal } from './wal.ts';

const drainMsMax = 5_000;

export type PipelineOptions = {
  readonly config: Config;
  /** For bookkeeping and markers. */
  readonly client: ClientBase;
  readonly post: Post;
  readonly slot: Slot;
  readonly record: Record;
  /** Random, of this run. */
  readonly run: string;
  readonly term: number;
  readonly walSenderTimeoutMs: number;
  readonly remembered: Remembered;
  readonly random: () => number;
  readonly log: Log;
  readonly counters: Counters;
  readonly onError: (error: Error) => void;
};

export class Pipeline {
  readonly #options: PipelineOptions;
  readonly #lanes: Lanes;
  readonly #ack: Ack;
  readonly #changeLog = new ChangeLog();
  readonly #carrier: Carrier;
  readonly #snapshots: Snapshots;
  readonly #bookkeeping: Bookkeeping;
  readonly #columns: ColumnWatch;
  readonly #heartbeat: Heartbeat;
  readonly #ignored: Ignored;
  readonly #decoder: Decoder = createDecoder();
  readonly #assembler: Assembler;
  /** Near every transaction id that the stream may hold. */
  #newestXid: Xid;
  #receivedLsn: Lsn;
  #wal: Wal | null = null;
  #state: 'open' | 'draining' | 'closed' = 'open';

  constructor(options: PipelineOptions) {
    const { client, config, counters, log, onError, random, record, remembered, slot, term } = options;
    this.#options = options;
    this.#receivedLsn = slot.confirmed;
    this.#newestXid = remembered.snapshot.xmax;
    this.#lanes = createLanes({ term, epoch: slot.epoch, random });
    this.#ack = new Ack(slot.confirmed, remembered.positions, remembered.parked.keys());
    this.#assembler = createAssembler(() => this.#lanes.byAccount.keys(), config.ingestKeys);
    this.#bookkeeping = new Bookkeeping({
      client,
      ack: this.#ack,
      changeLog: this.#changeLog,
      places: this.#lanes.places,
      epoch: slot.epoch,
      term,
      record,
      confirm: (lsn) => this.#wal?.confirm(lsn),
      onLogged: () => this.#regulate(),
      log,
      onSnapshot: (snapshot) => {
        this.#newestXid = snapshot.xmax;
      },
      onParked: (account) => this.#carrier.perform(parkRecorded(this.#lanes, account)),
      onError,
    });
    this.#columns = new ColumnWatch({
      client,
      recorded: slot.columns,
      record: (columns) => record.columns(columns),
      resync: (accounts) => {
        for (const account of accounts) this.#carrier.perform(resync(this.#lanes, account));
      },
      isDelivered: (account) => isDelivered(this.#lanes, account),
      log,
    });
    this.#heartbeat = this.#newHeartbeat();
    this.#ignored = new Ignored(log, counters);
    this.#snapshots = new Snapshots({
      connection: clientConfig(config.databaseUrl),
      markerClient: client,
      markerKey: config.ingestKeys[0] ?? '',
      lanes: this.#lanes,
      post: options.post,
      unseen: () => this.#unseen(),
      perform: (commands) => this.#carrier.perform(commands),
      onError,
      random,
      log,
      counters,
    });
    this.#carrier = new Carrier({
      lanes: this.#lanes,
      ack: this.#ack,
      post: options.post,
      requestSnapshot: (account, afterMs, reason) => {
        this.#snapshots.request(account, afterMs, reason);
        // The lane may have been all that reading waited for.
        this.#regulate();
      },
      park: (account, park) => this.#bookkeeping.park(account, park),
      onDurable: () => {
        this.#bookkeeping.kick();
        this.#regulate();
      },
      onError,
      log,
      counters,
    });
  }

  #newHeartbeat(): Heartbeat {
    const { config, log, onError, post, record, run, slot, term } = this.#options;
    return new Heartbeat({
      record,
      post,
      term,
      epoch: slot.epoch,
      run,
      key: config.ingestKeys[0] ?? '',
      published: slot.published,
      confirmable: () => this.#ack.confirmable(),
      // The slot does not wait for a parked account.
      lateAt: (lsn) => [...this.#ack.waitingAt(lsn), ...parkedAccounts(this.#lanes)],
      onColumns: (columns) => this.#columns.check(columns),
      onBeat: () => this.#bookkeeping.kick(),
      isPaused: () => this.#wal?.isPaused() === true,
      onHeard: () => {
        if (this.#wal?.isPaused() === true) this.#regulate(true);
      },
      onError,
      log,
    });
  }

  /** Resolves when the stream has started. */
  async open(): Promise<void> {
    const { config, onError, remembered, slot, walSenderTimeoutMs } = this.#options;
    for (const [account, place] of remembered.places) this.#lanes.places.set(account, place);
    for (const [account, position] of remembered.positions) addLane(this.#lanes, account, position);
    for (const [account, reason] of remembered.parked) {
      this.#carrier.perform(addParkedLane(this.#lanes, account, reason));
    }
    for (const account of remembered.withoutHistory) {
      this.#carrier.perform(addLaneWithoutHistory(this.#lanes, account, 'no history in this epoch'));
    }
    this.#wal = await openWal({
      connection: clientConfig(config.databaseUrl),
      slot: config.slot,
      publications: [publication, ledgerPublication],
      confirmed: slot.confirmed,
      walSenderTimeoutMs,
      onMessage: (bytes) => this.#read(bytes),
      onKeepalive: (walEnd) => {
        this.#receivedLsn = walEnd;
        this.#ack.keepalive(walEnd, this.#assembler.isOpen());
        this.#bookkeeping.kick();
      },
      onError,
    });
    if (this.#state === 'closed') this.#wal.abort();
    else this.#heartbeat.start();
  }

  report(): PipelineReport {
    const { config, slot, term } = this.#options;
    return {
      isFresh: this.#wal?.isFresh() === true,
      epoch: slot.epoch,
      term,
      slot: config.slot,
      confirmedLsn: formatPgLsn(this.#ack.confirmable()),
      ...this.#heartbeat.pulse(),
      lanes: this.#lanes.byAccount.size,
      held: countWithoutHistory(this.#lanes),
      parked: countParked(this.#lanes),
      windowBytes: this.#lanes.windowBytes,
      changeLogBytes: this.#changeLog.bytes(),
      isPaused: this.#wal?.isPaused() === true,
      incompleteCommits: this.#ack.incompleteCount(),
      unconfirmedBytes: Math.max(0, Number(this.#receivedLsn - this.#ack.confirmable())),
    };
  }

  /** Reads nothing more, finishes the requests in flight, writes the lanes and confirms. Takes seconds, not forever. */
  async drain(): Promise<void> {
    this.#state = 'draining';
    this.#wal?.pause();
    this.#heartbeat.close();
    this.#snapshots.close();
    const limit = Promise.withResolvers<void>();
    const timer = setTimeout(limit.resolve, drainMsMax);
    await Promise.race([this.#carrier.stop(), limit.promise]);
    clearTimeout(timer);
    await this.#bookkeeping.finish();
    await this.#wal?.close();
  }

  /** Ends everything at once. */
  close(): void {
    this.#state = 'closed';
    this.#wal?.abort();
    this.#heartbeat.close();
    this.#carrier.close();
    this.#snapshots.close();
    this.#bookkeeping.stop();
  }

  #read(bytes: Buffer): void {
    const read = this.#assembler.push(this.#decoder.decode(bytes), bytes.length);
    for (const one of read) {
      const xid = widenXid(one.xid32, this.#newestXid);
      if (one.type === 'part') this.#takePart(one, xid);
      else this.#take(one, xid);
    }
    if (read.length > 0) this.#regulate();
  }

  #takePart(part: TransactionPart, xid: Xid): void {
    this.#options.counters.add('commit_parts');
    this.#changeLog.addPart(part);
    this.#carrier.carryPart(part, xid);
    this.#bookkeeping.kick();
  }

  /** A transaction has left the stream: it is posted before this returns. */
  #take(transaction: Transaction, xid: Xid): void {
    this.#options.counters.add('transactions');
    this.#receivedLsn = transaction.lsn;
    const { ignored, steering } = transaction.said;
    if (ignored > 0) this.#ignored.took(transaction);
    const resyncs = steering.flatMap((message) => (message.type === 'resync' ? this.#named(message.account) : []));
    // An account to resynchronize counts as concerned, so that the request outlives a crash before its snapshot.
    const accounts = new Set([...transaction.byAccount.keys(), ...resyncs]);
    this.#ack.open({ lsn: transaction.lsn, xid, accounts, isLogged: !this.#changeLog.add(transaction) });
    this.#carrier.carry(transaction, xid);
    for (const account of resyncs) this.#carrier.perform(resync(this.#lanes, account));
    for (const message of steering) this.#obey(message, transaction);
    this.#bookkeeping.kick();
  }

  /** Transactions that have left the stream, wholly or in parts, and that no snapshot has seen yet. */
  #unseen(): readonly Xid[] {
    const xid32 = this.#assembler.xid32InParts();
    return [...this.#ack.unseen(), ...(xid32 === null ? [] : [widenXid(xid32, this.#newestXid)])];
  }

  #obey(message: Steering, transaction: Transaction): void {
    const { lsn, committedAtUs } = transaction;
    if (message.type === 'marker') this.#snapshots.marker(message.id, lsn);
    else if (message.type === 'heartbeat') this.#heartbeat.left(message, lsn, committedAtUs);
  }

  #named(account: ResyncAccount): readonly AccountId[] {
    const known = this.#lanes.byAccount;
    return account === everyAccount ? [...known.keys()] : known.has(account) ? [account] : [];
  }

  /** A marker is read only by reading on: at the window reading waits for snapshots, at twice the window it gives them up. */
  #regulate(isWorkerHeard = false): void {
    const wal = this.#wal;
    if (wal === null || this.#state !== 'open') return;
    if (this.#lanes.windowBytes > windowBytesMax) {
      this.#carrier.perform(relieve(this.#lanes, windowBytesMax, isWorkerHeard));
    }
    const bytes = this.#lanes.windowBytes + this.#changeLog.bytes();
    const isFull = bytes > windowBytesMax * 2 || (bytes > windowBytesMax && !this.#snapshots.isUnderWay());
    if (wal.isPaused() && bytes <= windowBytesMax * 0.6) {
      this.#options.log('info', 'reading_resumed', { bytes });
      wal.resume();
      this.#snapshots.resume();
    } else if (!wal.isPaused() && isFull) {
      this.#options.counters.add('pauses');
      this.#options.log('warn', 'reading_paused', { bytes });
      wal.pause();
      this.#snapshots.pause();
    }
  }
}
