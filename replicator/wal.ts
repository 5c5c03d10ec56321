// The replication connection: bytes of the slot in, confirmed positions out. The only file that knows
// pg-logical-replication.
//
// It guarantees: a service object lives for one connection; the server resumes from the slot's own position; the position
// confirmed is exactly the one given to `confirm`, and nothing else is ever confirmed; the status goes out on a timer of
// its own, also while reading is paused, and at once when the server asks; silence of the server is an error; a fault
// while a message is handled ends the connection. It keeps nothing of a message's buffer. It does not reconnect.
import type { Client, ClientConfig } from 'pg';
import { LogicalReplicationService } from 'pg-logical-replication';
import { parsePgLsn, type Lsn } from '../protocol/lsn.ts';
import { codeOf } from './connection.ts';
import { StreamStopError } from './stop.ts';

export type WalOptions = {
  readonly connection: ClientConfig;
  readonly slot: string;
  readonly publications: readonly string[];
  /** The slot's confirmed position: what the status says until something is confirmed. */
  readonly confirmed: Lsn;
  /** The server's wal_sender_timeout; 0 when it has none. */
  readonly walSenderTimeoutMs: number;
  /** Called with one message of pgoutput at a time; the buffer is valid during the call only. */
  readonly onMessage: (bytes: Buffer) => void;
  readonly onKeepalive: (walEnd: Lsn) => void;
  /** Called once; the connection is of no use after it. */
  readonly onError: (error: Error) => void;
};

const statusIntervalMsMax = 10_000;
const silenceMsWithoutTimeout = 120_000;
const closeMsMax = 1_000;

/** Resolves when the stream has started. Rejects when it cannot. */
export async function openWal(options: WalOptions): Promise<Wal> {
  const wal = new Wal(options);
  await wal.started;
  return wal;
}

export class Wal {
  /** Settles once, when the stream has started or cannot. */
  readonly started: Promise<void>;
  readonly #options: WalOptions;
  readonly #service: LogicalReplicationService;
  readonly #plugin: ReturnType<typeof bytesPlugin>;
  readonly #timer: NodeJS.Timeout;
  readonly #silenceMsMax: number;
  #state: 'starting' | 'streaming' | 'closing' | 'ended' = 'starting';
  #confirmed: Lsn;
  #isPaused = false;
  #heardAtMs = performance.now();
  #onHeard = (): void => {};

  constructor(options: WalOptions) {
    const timeoutMs = options.walSenderTimeoutMs;
    this.#options = options;
    this.#confirmed = options.confirmed;
    this.#silenceMsMax = timeoutMs === 0 ? silenceMsWithoutTimeout : 2 * timeoutMs;
    this.#service = new LogicalReplicationService(options.connection, {
      acknowledge: { auto: false, timeoutSeconds: 0 },
      flowControl: { enabled: false },
    });
    this.#plugin = bytesPlugin(options.publications, (bytes) => this.#hear(() => options.onMessage(bytes)));
    this.#timer = setInterval(
      () => this.#tick(),
      timeoutMs === 0 ? statusIntervalMsMax : Math.min(timeoutMs / 3, statusIntervalMsMax),
    );
    this.#service.on('error', (error) => this.#fail(error));
    this.#service.on('heartbeat', (walEnd, _timestamp, isReplyRequested) => {
      this.#hear(() => options.onKeepalive(parsePgLsn(walEnd)));
      if (isReplyRequested && this.#state === 'streaming') this.#sendStatus(false);
      this.#onHeard();
    });
    this.started = this.#subscribe();
  }

  /** Tells the server that everything before `lsn` may be forgotten. Positions at or before the last one are ignored. */
  confirm(lsn: Lsn): void {
    if (lsn <= this.#confirmed) return;
    this.#confirmed = lsn;
    if (this.#state === 'streaming') this.#sendStatus(false);
  }

  pause(): void {
    this.#isPaused = true;
    this.#plugin.stream()?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#heardAtMs = performance.now();
    this.#plugin.stream()?.resume();
  }

  isPaused(): boolean {
    return this.#isPaused;
  }

  /** Whether the server was heard within the time it promises to speak, or is kept waiting by a pause of ours. */
  isFresh(): boolean {
    return this.#state === 'streaming' && (this.#isPaused || this.#silenceMs() <= this.#silenceMsMax);
  }

  /** Stops handing over messages, waits until the server has read the last status, and ends. Never throws. */
  async close(): Promise<void> {
    if (this.#state === 'streaming') {
      this.#state = 'closing';
      const heard = Promise.withResolvers<void>();
      const limit = setTimeout(heard.resolve, closeMsMax);
      this.#plugin.stream()?.resume();
      // The reply proves that the server has read the status before the socket goes.
      this.#onHeard = heard.resolve;
      this.#sendStatus(true);
      await heard.promise;
      clearTimeout(limit);
    }
    this.abort();
  }

  /** Ends at once. */
  abort(): void {
    this.#state = 'ended';
    clearInterval(this.#timer);
    this.#plugin.stream()?.destroy();
    this.#service.destroy().catch(() => {
      // The socket is gone already, and what was confirmed is with the server or will be sent again.
    });
  }

  #subscribe(): Promise<void> {
    const started = Promise.withResolvers<void>();
    this.#service.on('start', () => {
      if (this.#state === 'starting') this.#state = 'streaming';
      started.resolve();
    });
    const end = (error: Error): void => {
      this.#fail(error);
      started.reject(error);
    };
    this.#service.subscribe(this.#plugin, this.#options.slot, '0/0').then(
      () => end(new Error('the database ended the stream')),
      (error: unknown) => end(toError(error)),
    );
    return started.promise;
  }

  #hear(handle: () => void): void {
    this.#heardAtMs = performance.now();
    if (this.#state === 'closing' || this.#state === 'ended') return;
    try {
      handle();
    } catch (error) {
      this.#fail(toError(error));
    }
  }

  #tick(): void {
    if (this.#state !== 'streaming') return;
    if (!this.#isPaused && this.#silenceMs() > this.#silenceMsMax) {
      this.#fail(new Error(`the database said nothing for ${this.#silenceMsMax} ms`));
    } else {
      this.#sendStatus(!this.#isPaused);
    }
  }

  #sendStatus(isReplyWanted: boolean): void {
    this.#plugin.stream()?.write(statusOf(this.#confirmed, Date.now(), isReplyWanted));
  }

  #silenceMs(): number {
    return performance.now() - this.#heardAtMs;
  }

  #fail(error: Error): void {
    if (this.#state === 'closing' || this.#state === 'ended') return;
    this.abort();
    this.#options.onError(isUnsendable(error) ? unsendable(error) : error);
  }
}

/** Microseconds from 1970 to 2000, where Postgres counts from. */
const epochUs = 946_684_800_000_000n;

/**
 * A Standby status update in its CopyData (https://www.postgresql.org/docs/18/protocol-replication.html). The library's own adds
 * one to the position, and its time is seven days ahead.
 */
function statusOf(confirmed: Lsn, nowMs: number, isReplyWanted: boolean): Buffer {
  const frame = Buffer.alloc(39);
  frame.write('d');
  frame.writeUInt32BE(frame.length - 1, 1);
  frame.write('r', 5);
  for (const offset of [6, 14, 22]) frame.writeBigUInt64BE(confirmed, offset);
  frame.writeBigInt64BE(BigInt(nowMs) * 1000n - epochUs, 30);
  frame.writeUInt8(isReplyWanted ? 1 : 0, 38);
  return frame;
}

/** An output plugin of the library's shape, which hands the bytes on as they are. */
function bytesPlugin(publications: readonly string[], onBytes: (bytes: Buffer) => void) {
  let client: Client | null = null;
  return {
    name: 'pgoutput',
    options: {},
    /** Null before the connection exists. */
    stream: () => client?.connection.stream ?? null,
    start(connected: Client, slot: string, lsn: string): Promise<unknown> {
      client = connected;
      const names = connected.escapeLiteral(publications.map((name) => connected.escapeIdentifier(name)).join());
      return connected.query(
        `START_REPLICATION SLOT ${connected.escapeIdentifier(slot)} LOGICAL ${lsn} (proto_version '1', publication_names ${names}, messages 'true')`,
      );
    },
    parse: onBytes,
  };
}

/** Postgres can send no message of more than 1 GB, such as an update whose old and new row come to more (program_limit_exceeded). */
function isUnsendable(error: Error): boolean {
  return codeOf(error) === '54000';
}

/** It would be in the way at every attempt. */
function unsendable({ message }: Error): Error {
  return new StreamStopError(
    `the server cannot send a change that is too large, and every account is resynchronized behind it: ${message}`,
    {
      isPassable: true,
    },
  );
}

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
