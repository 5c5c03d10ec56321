// Which accounts get a snapshot when: a few at a time, each from the hold of its lane to its marker.
//
// It guarantees that a snapshot is delivered only by its own marker, within the run that took it; whatever else ends a
// run throws all of them away. It does not decide which lane needs one.
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import type { AccountId } from '../protocol/ids.ts';
import type { Lsn } from '../protocol/lsn.ts';
import { FencedError } from './carry.ts';
import { type Command, type Lanes } from './lane.ts';
import { abandonSnapshot, deliverSnapshot, holdForSnapshot, isHeldFor, type Taken } from './lanes.ts';
import { senderTo } from './places.ts';
import type { Log } from './log.ts';
import type { Counters } from './metrics.ts';
import { PostError, type Post } from './post.ts';
import { snapshotPartBody } from './request.ts';
import { emitMarker, readAccount, UnseenError, type RowsByTable } from './snapshot.ts';
import type { Xid } from '../protocol/visibility.ts';

export type SnapshotsOptions = {
  readonly connection: pg.ClientConfig;
  /** Emits the markers. */
  readonly markerClient: pg.ClientBase;
  /** Signs the markers. */
  readonly markerKey: string;
  readonly lanes: Lanes;
  /** Delivers the parts of what is large, while the lane is held and sends nothing itself. */
  readonly post: Post;
  /** Transactions that have left the stream and that no snapshot has seen yet. */
  readonly unseen: () => readonly Xid[];
  readonly perform: (commands: readonly Command[]) => void;
  readonly onError: (error: Error) => void;
  readonly random: () => number;
  readonly log: Log;
  readonly counters: Counters;
};

/** Snapshots under way. */
export const atOnceMax = 4;

type UnderWay = { readonly account: AccountId; taken: Taken | null };

/** The object does not take a part, or its lane is not held for it any more. */
class PartError extends Error {
  override readonly name = 'PartError';
}

export class Snapshots {
  readonly #options: SnapshotsOptions;
  readonly #pool: pg.Pool;
  readonly #clients = new Set<pg.PoolClient>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #queue: AccountId[] = [];
  readonly #underWayById = new Map<string, UnderWay>();
  #state: 'open' | 'paused' | 'closed' = 'open';

  constructor(options: SnapshotsOptions) {
    this.#options = options;
    this.#pool = new pg.Pool({ ...options.connection, max: atOnceMax });
    this.#pool.on('connect', (client) => {
      this.#clients.add(client);
      // While a client is in use the pool does not listen for the end of its session.
      client.on('error', (error) => this.#fail(error));
    });
    this.#pool.on('remove', (client) => this.#clients.delete(client));
    this.#pool.on('error', (error) => this.#fail(error));
  }

  request(account: AccountId, afterMs: number, reason: string): void {
    if (this.#state === 'closed') return;
    this.#options.log('info', 'snapshot_required', { account, reason, after_ms: afterMs });
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#queue.push(account);
      this.#pump();
    }, afterMs);
    this.#timers.add(timer);
  }

  /** A message of ours has left the stream; ids of others are ignored. */
  marker(id: string, to: Lsn): void {
    const underWay = this.#underWayById.get(id);
    if (underWay === undefined || underWay.taken === null) return;
    this.#underWayById.delete(id);
    this.#options.counters.add('snapshots');
    this.#options.perform(deliverSnapshot(this.#options.lanes, underWay.account, { id, to, ...underWay.taken }));
    this.#pump();
  }

  /** Whether one is under way, so that reading must go on for it to end. */
  isUnderWay(): boolean {
    return this.#underWayById.size > 0;
  }

  /** Gives up those under way, and starts none until `resume`. */
  pause(): void {
    if (this.#state === 'open') this.#state = 'paused';
    for (const id of this.#underWayById.keys()) this.#abandon(id, 'reading is paused');
  }

  resume(): void {
    if (this.#state === 'paused') this.#state = 'open';
    this.#pump();
  }

  close(): void {
    this.#state = 'closed';
    for (const timer of this.#timers) clearTimeout(timer);
    for (const client of this.#clients) client.connection.stream.destroy();
    this.#pool.end().catch(() => {
      // Its sockets are gone, and with them every snapshot under way.
    });
  }

  #pump(): void {
    while (this.#state === 'open' && this.#underWayById.size < atOnceMax) {
      const account = this.#queue.shift();
      if (account === undefined) return;
      const id = randomUUID();
      if (!holdForSnapshot(this.#options.lanes, account, id)) continue;
      this.#underWayById.set(id, { account, taken: null });
      this.#take(account, id, this.#options.unseen()).catch((error: unknown) => this.#fail(error));
    }
  }

  async #take(account: AccountId, id: string, mustSee: readonly Xid[]): Promise<void> {
    const client = await this.#pool.connect();
    let parts = 0;
    const onPart = async (rows: RowsByTable): Promise<void> => {
      await this.#deliverPart(account, id, parts, rows);
      parts += 1;
    };
    try {
      const { seen, rows } = await readAccount(client, account, mustSee, this.#options.random, onPart);
      client.release();
      const underWay = this.#underWayById.get(id);
      if (underWay === undefined) return;
      const staged = parts === 0 ? null : { stage: id, parts };
      underWay.taken = { seen, staged, rowsJson: JSON.stringify(rows) };
    } catch (error) {
      client.release(true);
      if (!(error instanceof UnseenError || error instanceof PartError || error instanceof PostError)) throw error;
      this.#abandon(id, error.message);
      this.#pump();
      return;
    }
    await emitMarker(this.#options.markerClient, id, this.#options.markerKey);
  }

  async #deliverPart(account: AccountId, id: string, index: number, rows: RowsByTable): Promise<void> {
    const { lanes, onError, post } = this.#options;
    if (!isHeldFor(lanes, account, id)) throw new PartError('the snapshot was given up while it was read');
    const body = snapshotPartBody(senderTo(lanes, { account }), id, index, JSON.stringify(rows));
    this.#options.counters.add('snapshot_parts');
    const answer = await post.deliver(body);
    if (answer.type === 'staged' && answer.parts > index) return;
    if (answer.type === 'fenced') {
      onError(new FencedError(`the worker has heard a higher term, ${answer.term}, than ${lanes.term}`));
    }
    throw new PartError(`the object did not take part ${index} of its snapshot: it answered ${answer.type}`);
  }

  #abandon(id: string, reason: string): void {
    const underWay = this.#underWayById.get(id);
    if (underWay === undefined) return;
    this.#underWayById.delete(id);
    this.#options.perform(abandonSnapshot(this.#options.lanes, underWay.account, id, reason));
  }

  #fail(error: unknown): void {
    if (this.#state === 'closed') return;
    this.#options.onError(new Error('a snapshot could not be taken', { cause: error }));
  }
}
