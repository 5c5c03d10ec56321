// The replicator's own record of its slot, in drawbridge.streams: what may be confirmed, which heartbeats were made, and what
// was published when the epoch began.
//
// It guarantees that a position is on record, durably, before it is confirmed to the slot, so that a slot beyond it was moved
// by somebody else. A write under a term that is not the record's own is an error: another replicator leads.
import type { ClientBase } from 'pg';
import { assert, must } from '../protocol/assert.ts';
import { formatPgLsn, parsePgLsn, type Lsn } from '../protocol/lsn.ts';
import type { Beat } from '../protocol/stream.ts';
import { publishedColumns, type Columns } from './columns.ts';
import { messagePrefix } from '../protocol/steering.ts';

export type Recorded = {
  readonly confirmed: Lsn;
  /** Why the stream cannot be read on from the slot's position; null when it can. */
  readonly broken: string | null;
  /** The columns of what is published, as every account has been delivered; null when an epoch begins. */
  readonly columns: Columns | null;
  /** The last heartbeat of the last run, and of the run before it. */
  readonly beats: readonly Beat[];
};

/** What is on record of the slot; null when nothing is. */
export async function readRecord(client: ClientBase, slot: string): Promise<Recorded | null> {
  const result = await client.query<{
    confirmed: string;
    broken: string | null;
    columns: Columns | null;
    run: string | null;
    beat: number | null;
    known_run: string | null;
    known_beat: number | null;
  }>(
    `select confirmed_lsn::text as confirmed, broken, columns, run::text, beat::float8, known_run::text, known_beat::float8 as known_beat
       from drawbridge.streams where slot_name = $1`,
    [slot],
  );
  const [row] = result.rows;
  if (row === undefined) return null;
  const beats = [
    { run: row.run, count: row.beat },
    { run: row.known_run, count: row.known_beat },
  ];
  return {
    confirmed: parsePgLsn(row.confirmed),
    broken: row.broken,
    columns: row.columns,
    beats: beats.flatMap(({ run, count }) => (run === null || count === null ? [] : [{ run, count }])),
  };
}

/**
 * A run begins, or goes on after its epoch was opened: from here on only `term` may write. `known` is the heartbeat that the
 * edge holds: it stays on record until the edge has heard one of this run.
 */
export async function beginRecord(
  client: ClientBase,
  slot: string,
  { term, run, known }: { readonly term: number; readonly run: string; readonly known: Beat | null },
): Promise<void> {
  const { rowCount } = await client.query(
    `insert into drawbridge.streams as stream (slot_name, term, confirmed_lsn, run, beat, known_run, known_beat, beat_at)
       values ($1, $2, '0/0', $3, 0, $4, $5, now())
     on conflict (slot_name) do update
       set term = excluded.term, run = excluded.run, beat = 0, beat_at = now(),
           known_run = excluded.known_run, known_beat = excluded.known_beat
       where stream.term <= excluded.term`,
    [slot, term, run, known?.run ?? null, known?.count ?? null],
  );
  assert(rowCount === 1, 'another replicator with a higher term has written the record of the slot');
}

/** An epoch begins where the slot stands. */
export async function resetRecord(
  client: ClientBase,
  slot: string,
  { term, confirmed }: { readonly term: number; readonly confirmed: Lsn },
): Promise<void> {
  await write(
    client,
    'update drawbridge.streams set confirmed_lsn = $3, broken = null, columns = null where slot_name = $1 and term = $2 returning 1',
    [slot, term, formatPgLsn(confirmed)],
  );
}

/** The stream cannot be read on: the next run opens an epoch behind what it could not read. Does nothing under another term. */
export async function breakRecord(client: ClientBase, slot: string, term: number, reason: string): Promise<void> {
  await client.query('update drawbridge.streams set broken = $3 where slot_name = $1 and term = $2', [
    slot,
    term,
    reason,
  ]);
}

export class Record {
  readonly #client: ClientBase;
  readonly #slot: string;
  readonly #term: number;
  readonly #publications: readonly string[];
  #confirmed: Lsn;

  constructor(options: {
    readonly client: ClientBase;
    readonly slot: string;
    readonly term: number;
    readonly publications: readonly string[];
    /** What is on record when the run begins. */
    readonly confirmed: Lsn;
  }) {
    this.#client = options.client;
    this.#slot = options.slot;
    this.#term = options.term;
    this.#publications = options.publications;
    this.#confirmed = options.confirmed;
  }

  /** The highest position on record. */
  confirmed(): Lsn {
    return this.#confirmed;
  }

  /** Every account has been delivered as these columns are. Throws when another term has written the record. */
  async columns(columns: Columns): Promise<void> {
    await write(
      this.#client,
      'update drawbridge.streams set columns = $3 where slot_name = $1 and term = $2 returning 1',
      [this.#slot, this.#term, JSON.stringify(columns)],
    );
  }

  /** Puts `lsn` on record, if it is not yet. Throws when another term has written the record. */
  async reach(lsn: Lsn): Promise<void> {
    if (lsn <= this.#confirmed) return;
    await write(
      this.#client,
      `update drawbridge.streams set confirmed_lsn = greatest(confirmed_lsn, $3)
        where slot_name = $1 and term = $2 returning 1`,
      [this.#slot, this.#term, formatPgLsn(lsn)],
    );
    if (lsn > this.#confirmed) this.#confirmed = lsn;
  }

  /**
   * Stores a heartbeat and `lsn`, and emits `content` into the stream, in one transaction. Returns what is published, and its
   * columns. Throws when another term has written the record.
   */
  async beat(count: number, lsn: Lsn, content: string): Promise<{ published: string; columns: Columns }> {
    const result = await this.#client.query<{ written: number; published: string; columns: Columns }>(
      `with beaten as (
         update drawbridge.streams set beat = $3, beat_at = now(), confirmed_lsn = greatest(confirmed_lsn, $4)
          where slot_name = $1 and term = $2 returning pg_logical_emit_message(true, $5, $6))
       select (select count(*)::int from beaten) as written, (${publishedRows('$7')}) as published,
              (${publishedColumns('$7')}) as columns`,
      [this.#slot, this.#term, count, formatPgLsn(lsn), messagePrefix, content, this.#publications],
    );
    const row = must(result.rows[0], 'the answer to a heartbeat');
    assert(row.written === 1, 'another replicator with a higher term has written the record of the slot');
    if (lsn > this.#confirmed) this.#confirmed = lsn;
    return { published: row.published, columns: row.columns };
  }
}

/** The catalogue rows that make the publications, as text: dropping and adding a table again gives another text. */
export async function readPublished(client: ClientBase, publications: readonly string[]): Promise<string> {
  const result = await client.query<{ published: string }>(`select (${publishedRows('$1')}) as published`, [
    publications,
  ]);
  return must(result.rows[0], 'the rows of the publication').published;
}

function publishedRows(name: string): string {
  return `select coalesce(string_agg(line, ' ' order by line), '') from (
      select format('%s.%s', p.oid, p.xmin) as line from pg_publication p where p.pubname = any (${name}::text[])
      union all
      select format('%s.%s.%s', r.prrelid, r.oid, r.xmin)
        from pg_publication_rel r join pg_publication p on p.oid = r.prpubid where p.pubname = any (${name}::text[])
      union all
      select format('n%s.%s.%s', n.pnnspid, n.oid, n.xmin)
        from pg_publication_namespace n join pg_publication p on p.oid = n.pnpubid where p.pubname = any (${name}::text[])) as catalogue`;
}

async function write(client: ClientBase, text: string, values: readonly unknown[]): Promise<void> {
  const { rowCount } = await client.query(text, [...values]);
  assert(rowCount === 1, 'another replicator with a higher term has written the record of the slot');
}
