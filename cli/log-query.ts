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

export async function readLog(db: Client, range: LogRange): Promise<LogPage> {
  const { rows } = await db.query<LogEntry>(pageSql, pageValues({ ...range, limit: range.limit + 1 }));
  const entries = rows.slice(0, range.limit);
  const last = entries.at(-1);
  return { entries, next: rows.length > range.limit && last !== undefined ? cursorAfter(last) : null };
}
