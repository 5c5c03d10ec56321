// Pages of the log of holds of one account, newest first: what was held at the edge and lifted, by whom and why. A page goes on
// from the revision of the last entry of the page before, so that entries which arrive meanwhile move nothing.
import type { Client } from 'pg';

export type HoldEntry = {
  /** Whole number as text; grows with every entry of the account. */
  readonly revision: string;
  /** UTC, with milliseconds. */
  readonly at: string;
  readonly by: string;
  readonly action: 'placed' | 'lifted';
  readonly kind: string;
  readonly id: string;
  readonly reason: string | null;
};

export type HoldPage = { readonly holds: readonly HoldEntry[]; /** Null at the end. */ readonly next: string | null };

export type HoldRange = {
  readonly account: string;
  /** Included. */
  readonly since: Date | null;
  /** Not included. */
  readonly until: Date | null;
  /** A revision. */
  readonly after: string | null;
  readonly limit: number;
};

const pageSql = `
select revision::text, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as at, by, action, kind,
       target_id::text as id, reason
  from drawbridge.hold_log
 where account_id = $1 and at >= $2::timestamptz and at < $3::timestamptz and ($4::bigint is null or revision < $4)
 order by hold_log.revision desc limit $5`;

export async function readHolds(db: Client, { account, since, until, after, limit }: HoldRange): Promise<HoldPage> {
  const values = [account, since ?? '-infinity', until ?? 'infinity', after, limit + 1];
  const { rows } = await db.query<HoldEntry>(pageSql, values);
  const holds = rows.slice(0, limit);
  return { holds, next: rows.length > limit ? (holds.at(-1)?.revision ?? null) : null };
}
