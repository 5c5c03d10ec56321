// What Postgres remembers of the stream: how far each lane has come, and the change log. And when a position is confirmed.
//
// Before a position is confirmed, one statement, hence one transaction, writes the next rows of the log and the lanes, and
// returns what the primary sees. It runs at most every 100 ms, again at once while more than a batch waits, and only while
// there is something to confirm; the position itself goes on record next. A lane written by a higher term is never overwritten:
// meeting one is an error, since another replicator leads. A row that is in the log already is left as it is; one that the log
// refuses is written without its data.
import { DatabaseError, type ClientBase } from 'pg';
import { assert, must, unreachable } from '../protocol/assert.ts';
import { sharedAccountId, type AccountId } from '../protocol/ids.ts';
import { formatPgLsn, parsePgLsn, type Lsn } from '../protocol/lsn.ts';
import type { Ack, Positions } from './ack.ts';
import { logColumns, withoutData, type ChangeLog, type LogBatch, type LogRow } from './change-log.ts';
import { LogAside } from './log-aside.ts';
import type { Log } from './log.ts';
import type { Record } from './record.ts';
import { parsePgSnapshot, type PgSnapshot } from '../protocol/visibility.ts';

export type BookkeepingOptions = {
  readonly client: ClientBase;
  readonly ack: Ack;
  readonly changeLog: ChangeLog;
  /** Where the objects of accounts live. */
  readonly places: Places;
  readonly epoch: number;
  readonly term: number;
  /** Holds each position before it is confirmed. */
  readonly record: Record;
  readonly confirm: (lsn: Lsn) => void;
  /** Rows of the log no longer wait. */
  readonly onLogged: () => void;
  readonly log: Log;
  /** Called with each snapshot that was taken on the primary. */
  readonly onSnapshot: (snapshot: PgSnapshot) => void;
  /** The table says that this account is parked. */
  readonly onParked: (account: AccountId) => void;
  readonly onError: (error: Error) => void;
};

type Park = { readonly position: Lsn | null; readonly reason: string };

const intervalMsMin = 100;

export class Bookkeeping {
  readonly #options: BookkeepingOptions;
  readonly #aside: LogAside;
  readonly #parks = new Map<AccountId, Park>();
  #timer: NodeJS.Timeout | null = null;
  #running: Promise<void> | null = null;
  #isStopped = false;
  #endedAtMs = -Infinity;

  constructor(options: BookkeepingOptions) {
    this.#options = options;
    this.#aside = new LogAside(options.client);
  }

  /** Something may have become confirmable. */
  kick(): void {
    if (this.#isStopped || this.#timer !== null || this.#running !== null) return;
    this.#timer = setTimeout(() => this.#begin(), Math.max(0, this.#endedAtMs + intervalMsMin - performance.now()));
  }

  /** The account shall be recorded as parked. */
  park(account: AccountId, park: Park): void {
    this.#parks.set(account, park);
    this.kick();
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
      if (this.#isWorkLeft()) this.kick();
    });
  }

  #isWorkLeft(): boolean {
    const { ack, changeLog } = this.#options;
    return ack.isWorkLeft() || changeLog.isWaiting() || this.#parks.size > 0;
  }

  async #run(): Promise<void> {
    const { ack, changeLog, confirm, onError, record } = this.#options;
    try {
      if (this.#isWorkLeft()) {
        await this.#writeNext();
        // A batch that is not full waits for more, unless this is the end.
        while (this.#isStopped ? changeLog.isWaiting() : changeLog.isFull()) await this.#writeNext();
        await record.reach(ack.confirmable());
      }
      // What moved without work of ours waits for the next heartbeat, since writing it down moves the WAL again.
      const confirmable = ack.confirmable();
      confirm(confirmable < record.confirmed() ? confirmable : record.confirmed());
    } catch (error) {
      this.stop();
      onError(new Error('the lanes and the change log could not be written', { cause: error }));
    }
  }

  async #writeNext(): Promise<void> {
    const { ack, changeLog, onLogged, onSnapshot } = this.#options;
    const batch = changeLog.next();
    const { rows, isWhole } = await this.#rowsOf(batch);
    const positions = ack.unrecorded();
    const parks = new Map(this.#parks);
    const snapshot = await this.#write(rows, laneRows(positions, parks, this.#options.places));
    ack.recorded(positions);
    for (const account of parks.keys()) this.#hasParked(account);
    ack.visible(snapshot);
    onSnapshot(snapshot);
    if (batch === null || !isWhole) return;
    changeLog.written(batch);
    if (batch.type !== 'aside' && batch.upTo !== null) ack.logged(batch.upTo);
    onLogged();
  }

  #hasParked(account: AccountId): void {
    this.#parks.delete(account);
    this.#options.ack.release(account);
    this.#options.onParked(account);
  }

  /** What is to be written into the log; `isWhole`: nothing of the batch is left after it. */
  async #rowsOf(batch: LogBatch | null): Promise<{ readonly rows: readonly LogRow[]; readonly isWhole: boolean }> {
    if (batch === null) return { rows: [], isWhole: true };
    switch (batch.type) {
      case 'rows':
        return { rows: batch.rows, isWhole: true };
      case 'aside':
        await this.#aside.put(batch.rows);
        return { rows: [], isWhole: true };
      case 'take-back': {
        const rows = await this.#aside.take();
        return { rows: rows.map((row) => ({ ...row, ...batch.commit })), isWhole: rows.length === 0 };
      }
    }
    return unreachable(batch);
  }

  /** Row by row where the log refuses one of them; the lanes last, so that they never stand without their rows. */
  async #write(rows: readonly LogRow[], lanes: readonly LaneRow[]): Promise<PgSnapshot> {
    const { client } = this.#options;
    try {
      return await writeRows(client, rows, lanes, this.#options);
    } catch (error) {
      if (!isRefusal(error) || rows.length === 0) throw error;
    }
    for (const row of rows) await this.#writeRow(row);
    return await writeRows(client, [], lanes, this.#options);
  }

  async #writeRow(row: LogRow): Promise<void> {
    const { client, log } = this.#options;
    try {
      await writeRows(client, [row], [], this.#options);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      // Without Postgres's message, which may quote the row.
      const reason = `Postgres refused it: SQLSTATE ${error.code}${error.constraint === undefined ? '' : `, ${error.constraint}`}`;
      log('error', 'change_log_row_refused', {
        table: row.table,
        account: row.account,
        lsn: formatPgLsn(row.lsn),
        reason,
      });
      await writeRows(client, [withoutData(row, reason)], [], this.#options);
    }
  }
}

type Places = ReadonlyMap<AccountId, string>;

/** A row of the lanes table: how far the lane is, why it is parked if it is, and where the account's object lives. */
type LaneRow = {
  readonly account: AccountId;
  readonly lsn: Lsn;
  readonly parked: string | null;
  readonly place: string | null;
};

/** An account among `parks` ends as parked, with its position where it has one. */
function laneRows(positions: Positions, parks: ReadonlyMap<AccountId, Park>, places: Places): readonly LaneRow[] {
  return [...new Set([...positions.keys(), ...parks.keys()])].map((account) => ({
    account,
    lsn: positions.get(account) ?? parks.get(account)?.position ?? 0n,
    parked: parks.get(account)?.reason ?? null,
    place: places.get(account) ?? null,
  }));
}

/** SQLSTATE classes that blame the data: data exception, integrity constraint, program limit, and a trigger's own word. */
function isRefusal(error: unknown): error is DatabaseError {
  return error instanceof DatabaseError && /^(?:22|23|54|P0)/.test(error.code ?? '');
}

/**
 * One statement: rows of the log, lanes, and what the primary sees. Arrays cost a third less than a record set of JSON. The shape
 * is what drawbridge.vsn_at says, in line: calling it takes a quarter of a row's time.
 */
export async function writeRows(
  client: ClientBase,
  rows: readonly LogRow[],
  lanes: readonly LaneRow[],
  { epoch, term }: { readonly epoch: number; readonly term: number },
): Promise<PgSnapshot> {
  const result = await client.query<{ snapshot: string; written: number }>(
    `with logged as (
       insert into drawbridge.change_logs
         (committed_at, epoch, commit_end_lsn, seq, account_id, "table", op, old_data, data, reason, subject, vsn)
       select 'epoch'::timestamptz + committed_us * interval '1 microsecond', $3, lsn, seq, account_id, "table", op,
              old_data::jsonb, data::jsonb, reason, subject,
              coalesce((select max(vsn) from drawbridge.published_shapes where since <= lsn),
                       (select max(vsn) from drawbridge.published_shapes))
         from unnest($6::bigint[], $7::pg_lsn[], $8::bigint[], $9::uuid[], $10::text[], $11::text[],
                     string_to_array($12, e'\\x1e', ''), string_to_array($13, e'\\x1e', ''), $14::text[], $15::jsonb[])
              as given (committed_us, lsn, seq, account_id, "table", op, old_data, data, reason, subject)
       on conflict do nothing),
     moved as (
       insert into drawbridge.lanes as lane (account_id, epoch, to_lsn, state, reason, place, term)
       select account_id, $3, to_lsn, case when reason is null then 'live' else 'parked' end, reason, place, $4
         from unnest($1::uuid[], $2::pg_lsn[], $5::text[], $16::text[]) as given (account_id, to_lsn, reason, place)
       on conflict (account_id) do update
         set epoch = excluded.epoch, to_lsn = excluded.to_lsn, state = excluded.state, reason = excluded.reason,
             place = excluded.place, term = excluded.term, updated_at = now()
         where lane.term <= excluded.term
       returning 1)
     select pg_current_snapshot()::text as snapshot, (select count(*)::int from moved) as written`,
    [
      lanes.map(({ account }) => account),
      lanes.map(({ lsn }) => formatPgLsn(lsn)),
      epoch,
      term,
      lanes.map(({ parked }) => parked),
      ...logColumns(rows),
      lanes.map(({ place }) => place),
    ],
  );
  const row = must(result.rows[0], 'the answer of the lanes table');
  assert(row.written === lanes.length, 'another replicator with a higher term has written the lanes table');
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
  /** Why each account is parked in this epoch. */
  readonly parked: ReadonlyMap<AccountId, string>;
  /** Where the objects of accounts live, as far as anything says: the row, or after its end the lane or the register. */
  readonly places: Places;
  /** Accounts that exist, once had a lane or have an object, and have no position in this epoch. */
  readonly withoutHistory: readonly AccountId[];
  readonly snapshot: PgSnapshot;
};

/**
 * What is known when a run begins. `registered`: accounts that the edge knows, in the order in which they are delivered, each with
 * where its object lives.
 */
export async function readLanes(
  client: ClientBase,
  epoch: number,
  registered: ReadonlyMap<AccountId, string | null>,
): Promise<Remembered> {
  const result = await client.query<{
    account_id: AccountId;
    to_lsn: string | null;
    parked: string | null;
    place: string | null;
  }>(
    `select coalesce(lane.account_id, account.id)::text as account_id,
            case when lane.epoch = $1 then lane.to_lsn::text end as to_lsn,
            case when lane.epoch = $1 and lane.state = 'parked' then coalesce(lane.reason, 'unknown') end as parked,
            case when account.id is null then lane.place else account.region end as place
       from drawbridge.lanes lane
       full join (select id, region from public.accounts
                  union all
                  select $2::uuid, null where exists (select from public.tokens where account_id is null)) account
         on account.id = lane.account_id`,
    [epoch, sharedAccountId],
  );
  const snapshot = await client.query<{ snapshot: string }>('select pg_current_snapshot()::text as snapshot');
  const positions = new Map<AccountId, Lsn>();
  const parked = new Map<AccountId, string>();
  const withoutHistory: AccountId[] = [];
  const places = new Map<AccountId, string>();
  for (const [account, place] of registered) if (place !== null) places.set(account, place);
  for (const row of result.rows) {
    if (row.place !== null) places.set(row.account_id, row.place);
    if (row.parked !== null) parked.set(row.account_id, row.parked);
    else if (row.to_lsn === null) withoutHistory.push(row.account_id);
    else positions.set(row.account_id, parsePgLsn(row.to_lsn));
  }
  const known = new Set([...positions.keys(), ...parked.keys()]);
  return {
    positions,
    parked,
    places,
    withoutHistory: [
      ...new Set([...[...registered.keys()].filter((account) => !known.has(account)), ...withoutHistory]),
    ],
    snapshot: parsePgSnapshot(must(snapshot.rows[0], 'the present snapshot').snapshot),
  };
}
