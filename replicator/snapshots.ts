// Which accounts get a snapshot when: a few at a time, each from the hold of its lane to its marker.
//
// It guarantees that a snapshot is delivered only by its own marker, within the run that took it; whatever else ends a
// run throws all of them away. It does not decide which lane needs one.
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import type { AccountId } from '../protocol/ids.ts';
import type { Lsn } from '../protocol/lsn.ts';
import { abandonSnapshot, deliverSnapshot, holdForSnapshot, type Command, type Lanes } from './lanes.ts';
import type { Log } from './log.ts';
import { emitMarker, readAccount, UnseenError } from './snapshot.ts';
import type { PgSnapshot, Xid } from './visibility.ts';

export type SnapshotsOptions = {
  readonly connection: pg.ClientConfig;
  /** Emits the markers. */
  readonly markerClient: pg.ClientBase;
  /** Signs the markers. */
  readonly markerKey: string;
  readonly lanes: Lanes;
  /** Transactions that have left the stream and that no snapshot has seen yet. */
  readonly unseen: () => readonly Xid[];
  readonly perform: (commands: readonly Command[]) => void;
  readonly onError: (error: Error) => void;
  readonly random: () => number;
  readonly log: Log;
};

const atOnceMax = 4;

type UnderWay = { readonly account: AccountId; taken: { readonly seen: PgSnapshot; readonly rowsJson: string } | null };

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
    this.#pool.on('connect', (client) => this.#clients.add(client));
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
    try {
      const { seen, rows } = await readAccount(client, account, mustSee, this.#options.random);
      client.release();
      const underWay = this.#underWayById.get(id);
      if (underWay === undefined) return;
      underWay.taken = { seen, rowsJson: JSON.stringify(rows) };
    } catch (error) {
      client.release(true);
      if (!(error instanceof UnseenError)) throw error;
      this.#abandon(id, error.message);
      this.#pump();
      return;
    }
    await emitMarker(this.#options.markerClient, id, this.#options.markerKey);
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
