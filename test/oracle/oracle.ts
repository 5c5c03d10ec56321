// Asking the oracle (oracle.sql) from a test: loading it into a migrated database, and its answers as plain data.
import { readFileSync } from 'node:fs';
import type { ClientBase } from 'pg';
import { must } from '../../protocol/assert.ts';

/** A client, the token it connected under, and what is known of its connection; null is unknown. */
export interface Subject {
  readonly client_id: string;
  readonly token_id: string;
  readonly remote_ip: string | null;
  readonly region: string | null;
}

export interface Answer {
  readonly client_id: string;
  readonly token_id: string;
  readonly resource_id: string;
  readonly verdict: 'granted' | 'forbidden' | 'not_found';
  /** In order; empty unless granted. */
  readonly sites: readonly string[];
  /** The properties of conditions that do not hold, each once, in order; empty unless forbidden. */
  readonly violated: readonly string[];
}

/** Creates schema `oracle` in a migrated database, which must not have one. */
export async function loadOracle(db: ClientBase): Promise<void> {
  await db.query(readFileSync(new URL('oracle.sql', import.meta.url), 'utf8'));
}

/** The answer for each subject with each resource of the account: by subject as given, then by resource id. */
export async function askAccess(
  db: ClientBase,
  account: string,
  atMs: number,
  subjects: readonly Subject[],
): Promise<Answer[]> {
  const { rows } = await db.query<Answer>({
    text: `select client_id, token_id, resource_id, verdict, sites::text[], violated from oracle.access($1, $2, $3)`,
    values: [account, new Date(atMs).toISOString(), JSON.stringify(subjects)],
  });
  return rows;
}

/** One account at an instant of its own, and who asks. */
export interface Asked {
  readonly account: string;
  readonly atMs: number;
  readonly subjects: readonly Subject[];
}

/** The answers for many accounts at once, by account, as {@link askAccess} gives them. */
export async function askAll(db: ClientBase, asked: readonly Asked[]): Promise<Map<string, Answer[]>> {
  const { rows } = await db.query<Answer & { readonly account: string }>({
    text: `select account::text, client_id, token_id, resource_id, verdict, sites::text[], violated
             from unnest($1::uuid[], $2::timestamptz[], $3::jsonb[]) as asked (account, at, subjects)
            cross join lateral oracle.access(account, at, subjects)`,
    values: [
      asked.map(({ account }) => account),
      asked.map(({ atMs }) => new Date(atMs).toISOString()),
      asked.map(({ subjects }) => JSON.stringify(subjects)),
    ],
  });
  return Map.groupBy(rows, ({ account }) => account);
}

/** By account, the instants in the four days after `atMs` at which a window opens or has closed or a token expires. */
export async function readEdges(
  db: ClientBase,
  asked: readonly { readonly account: string; readonly atMs: number }[],
): Promise<Map<string, number[]>> {
  const { rows } = await db.query<{ account: string; edge: string }>({
    text: `select account::text, (extract(epoch from edge) * 1000)::bigint::text as edge
             from unnest($1::uuid[], $2::timestamptz[]) as asked (account, at)
            cross join lateral (
              select edge from oracle.window_edges(account, null, at + interval '2 s', at + interval '4 days' - interval '1 s') as edge
              union
              select expires_at from public.tokens
               where account_id = account and expires_at > at + interval '2 s' and expires_at <= at + interval '4 days' - interval '1 s'
            ) as edges (edge)
            order by account, edges.edge`,
    values: [asked.map(({ account }) => account), asked.map(({ atMs }) => new Date(atMs).toISOString())],
  });
  const found = new Map<string, number[]>();
  for (const { account, edge } of rows) found.set(account, [...(found.get(account) ?? []), Number(edge)]);
  return found;
}

/**
 * The first instant after `atMs`, in milliseconds since 1970, at which a granted access ends, or one that is not granted
 * begins; Infinity when there is none within `horizonMs`.
 */
export async function askUntil(
  db: ClientBase,
  question: { account: string; atMs: number; subject: Subject; resource: string; horizonMs: number },
): Promise<number> {
  const { account, atMs, subject, resource, horizonMs } = question;
  const { rows } = await db.query<{ until: string }>({
    text: `select extract(epoch from oracle.access_until($1, $2, $3, $4, make_interval(secs => $5)))::text as until`,
    values: [account, new Date(atMs).toISOString(), JSON.stringify(subject), resource, horizonMs / 1000],
  });
  const { until } = must(rows[0], 'an answer');
  return until === 'Infinity' ? Infinity : Math.round(Number(until) * 1000);
}
