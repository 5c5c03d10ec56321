// What Postgres remembers of the lanes, and when a position is confirmed.
//
// Before a position is confirmed, one statement writes how far each lane has come and returns what the primary sees. It
// runs at most every 100 ms, and only while there is something to confirm; the position itself goes on record next. A row written by a higher term is never
// overwritten: meeting one is an error, since another replicator leads.
import type { ClientBase } from 'pg';
import { assert, must } from '../protocol/assert.ts';
import type { AccountId } from '../protocol/ids.ts';
import { formatPgLsn, parsePgLsn, type Lsn } from '../protocol/lsn.ts';
import type { Ack, Positions } from './ack.ts';
import type { Record } from './record.ts';
import { parsePgSnapshot, type PgSnapshot } from './visibility.ts';

export type BookkeepingOptions = {
  readonly client: ClientBase;
  readonly ack: Ack;
  readonly epoch: number;
  readonly term: number;
  /** Holds each position before it is confirmed. */
  readonly record: Record;
  readonly confirm: (lsn: Lsn) => void;
  /** Called with each snapshot that was taken on the primary. */
  readonly onSnapshot: (snapshot: PgSnapshot) => void;
  readonly onError: (error: Error) => void;
};

const intervalMsMin = 100;

export class Bookkeeping {
  readonly #options: BookkeepingOptions;
  #timer: NodeJS.Timeout | null = null;
  #running: Promise<void> | null = null;
  #isStopped = false;
  #endedAtMs = -Infinity;

  constructor(options: BookkeepingOptions) {
    this.#options = options;
  }

  /** Something may have become confirmable. */
  kick(): void {
    if (this.#isStopped || this.#timer !== null || this.#running !== null) return;
    this.#timer = setTimeout(() => this.#begin(), Math.max(0, this.#endedAtMs + intervalMsMin - performance.now()));
  }

  stop(): void {
    this.#isStopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  /** Stops, then writes and confirms once more. Never throws. */
  async finish(): Promise<void> {
    this.stop();
    await this.#running;
    await this.#run();
  }

  #begin(): void {
    this.#timer = null;
    this.#running = this.#run().finally(() => {
      this.#running = null;
      this.#endedAtMs = performance.now();
      // What waits for the answer of an object needs no timer: the answer kicks.
      if (this.#options.ack.isWorkLeft()) this.kick();
    });
  }

  async #run(): Promise<void> {
    const { ack, client, confirm, onError, onSnapshot, record } = this.#options;
    try {
      if (ack.isWorkLeft()) {
        const positions = ack.unrecorded();
        const snapshot = await writeLanes(client, positions, this.#options);
        ack.recorded(positions);
        ack.visible(snapshot);
        onSnapshot(snapshot);
        await record.reach(ack.confirmable());
      }
      // What moved without work of ours waits for the next heartbeat, since writing it down moves the WAL again.
      const confirmable = ack.confirmable();
      confirm(confirmable < record.confirmed() ? confirmable : record.confirmed());
    } catch (error) {
      this.stop();
      onError(new Error('the lanes table could not be written', { cause: error }));
    }
  }
}

async function writeLanes(
  client: ClientBase,
  positions: Positions,
  { epoch, term }: { readonly epoch: number; readonly term: number },
): Promise<PgSnapshot> {
  const result = await client.query<{ snapshot: string; written: number }>(
    `with moved as (
       insert into drawbridge.lanes as lane (account_id, epoch, to_lsn, term)
       select account_id, $3, to_lsn, $4 from unnest($1::uuid[], $2::pg_lsn[]) as given (account_id, to_lsn)
       on conflict (account_id) do update
         set epoch = excluded.epoch, to_lsn = excluded.to_lsn, term = excluded.term, updated_at = now()
         where lane.term <= excluded.term
       returning 1)
     select pg_current_snapshot()::text as snapshot, (select count(*)::int from moved) as written`,
    [[...positions.keys()], [...positions.values()].map(formatPgLsn), epoch, term],
  );
  const row = must(result.rows[0], 'the answer of the lanes table');
  assert(row.written === positions.size, 'another replicator with a higher term has written the lanes table');
  return parsePgSnapshot(row.snapshot);
}

/** The highest term that the database has on record; 0 for none. */
export async function readTermFloor(client: ClientBase): Promise<number> {
  const result = await client.query<{ floor: number }>(
    `select coalesce(greatest((select max(term) from drawbridge.lanes), (select max(epoch) from drawbridge.epochs)), 0)::float8
       as floor`,
  );
  return must(result.rows[0], 'the highest term on record').floor;
}

export type Remembered = {
  /** Positions of lanes in this epoch. */
  readonly positions: Positions;
  /** Accounts that exist, once had a lane or have an object, and have no position in this epoch. */
  readonly withoutHistory: readonly AccountId[];
  readonly snapshot: PgSnapshot;
};

/** What is known when a run begins. `registered`: accounts that the edge knows, in the order in which they are delivered. */
export async function readLanes(
  client: ClientBase,
  epoch: number,
  registered: readonly AccountId[],
): Promise<Remembered> {
  const result = await client.query<{ account_id: AccountId; to_lsn: string | null }>(
    `select coalesce(lane.account_id, account.id)::text as account_id,
            case when lane.epoch = $1 then lane.to_lsn::text end as to_lsn
       from drawbridge.lanes lane full join public.accounts account on account.id = lane.account_id`,
    [epoch],
  );
  const snapshot = await client.query<{ snapshot: string }>('select pg_current_snapshot()::text as snapshot');
  const positions = new Map<AccountId, Lsn>();
  const withoutHistory: AccountId[] = [];
  for (const row of result.rows) {
    if (row.to_lsn === null) withoutHistory.push(row.account_id);
    else positions.set(row.account_id, parsePgLsn(row.to_lsn));
  }
  return {
    positions,
    withoutHistory: [...new Set([...registered.filter((account) => !positions.has(account)), ...withoutHistory])],
    snapshot: parsePgSnapshot(must(snapshot.rows[0], 'the present snapshot').snapshot),
  };
}
