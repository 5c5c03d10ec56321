// Pages of the change log of one account, newest first: what concerns it alone, and what concerns every account. A page goes on
// from a cursor, the position of the last row of the page before, so that rows which arrive meanwhile move nothing.
import * as v from 'valibot';
import type { Client } from 'pg';

export type LogEntry = {
  /** UTC, with microseconds. */
  readonly committedAt: string;
  readonly epoch: number;
  /** Postgres's notation. */
  readonly commitEndLsn: string;
  readonly seq: number;
  /** Null where it concerns every account. */
  readonly account: string | null;
  readonly table: string | null;
  readonly op: string;
  readonly oldData: Readonly<Record<string, unknown>> | null;
  readonly data: Readonly<Record<string, unknown>> | null;
  readonly reason: string | null;
  readonly subject: Readonly<Record<string, unknown>> | null;
  readonly vsn: number;
};

export type LogPage = { readonly entries: readonly LogEntry[]; /** Null at the end. */ readonly next: string | null };

export type LogRange = {
  readonly account: string;
  /** Included. */
  readonly since: Date | null;
  /** Not included. */
  readonly until: Date | null;
  readonly after: Cursor | null;
  readonly limit: number;
};

const cursor = v.strictTuple([
  v.pipe(v.string(), v.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)),
  v.pipe(v.string(), v.regex(/^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/)),
  v.pipe(v.number(), v.safeInteger()),
  v.pipe(v.number(), v.safeInteger()),
]);
export type Cursor = v.InferOutput<typeof cursor>;

/** Null when `text` is no cursor. */
export function parseCursor(text: string): Cursor | null {
  try {
    return v.parse(cursor, JSON.parse(Buffer.from(text, 'base64url').toString('utf8')));
  } catch {
    // Whatever is wrong with it, it was not given out by a page.
    return null;
  }
}

function cursorAfter({ committedAt, commitEndLsn, seq, epoch }: LogEntry): string {
  const position: Cursor = [committedAt, commitEndLsn, seq, epoch];
  return Buffer.from(JSON.stringify(position)).toString('base64url');
}

const dayMs = 86_400_000;
/** What is older is read at once. */
const spanDaysMax = 64;

const order = 'committed_at desc, commit_end_lsn desc, seq desc, epoch desc';

/** The bounds of time stand by themselves, since partitions are pruned by nothing else. */
const half = (account: string) => `(
  select * from drawbridge.change_logs
   where account_id ${account} and committed_at >= $1::timestamptz and committed_at < $2::timestamptz
     and committed_at <= $3::timestamptz
     and ($4::pg_lsn is null or (committed_at, commit_end_lsn, seq, epoch) < ($3::timestamptz, $4, $5, $6))
   order by ${order} limit $7)`;

/** The statement of a page, which reads each half by its index. */
export const pageSql = `
select to_char(committed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as "committedAt", epoch::float8,
       commit_end_lsn::text as "commitEndLsn", seq::float8, account_id::text as account, "table", op,
       old_data as "oldData", data, reason, subject, vsn
  from (${half('= $8')} union all ${half('is null')}) as page
 order by ${order} limit $7`;

export function pageValues({ account, since, until, after, limit }: LogRange): unknown[] {
  const [committedAt, lsn, seq, epoch] = after ?? ['infinity', null, null, null];
  return [since ?? '-infinity', until ?? 'infinity', committedAt, lsn, seq, epoch, limit, account];
}

/**
 * Reads back in spans of time that double, from a day on, and stops at the one that fills the page: each span reads its partitions
 * only, so that the newest changes of a busy account do not cost a look into every day that is kept.
 */
export async function readLog(db: Client, range: LogRange, now = Date.now()): Promise<LogPage> {
  const limit = range.limit + 1;
  const rows: LogEntry[] = [];
  for (const span of spansOf(range, now)) {
    const found = await db.query<LogEntry>(pageSql, pageValues({ ...range, ...span, limit: limit - rows.length }));
    rows.push(...found.rows);
    if (rows.length === limit) break;
  }
  const entries = rows.slice(0, range.limit);
  const last = entries.at(-1);
  return { entries, next: rows.length > range.limit && last !== undefined ? cursorAfter(last) : null };
}

/** Back from the newest that the page may hold, without gaps; the last reaches as far back as the range does. */
function* spansOf({ since, until, after }: LogRange, now: number): Generator<Pick<LogRange, 'since' | 'until'>> {
  const newestMs = Math.min(now, until?.getTime() ?? Infinity, after === null ? Infinity : Date.parse(after[0]));
  let end = until;
  for (let days = 1; days <= spanDaysMax; days *= 2) {
    const begin = new Date(newestMs - days * dayMs);
    if (since !== null && begin <= since) break;
    yield { since: begin, until: end };
    end = begin;
  }
  yield { since, until: end };
}
