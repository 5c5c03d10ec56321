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
