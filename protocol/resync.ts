// The request to deliver accounts by snapshot again: a transactional logical message in the database's own stream, made by
// `drawbridge resync`, obeyed by the replicator when it leaves the stream.
//
// Any role may emit a message, so this one carries an HMAC-SHA256 over `resyncText` under an ingest key. Here are the shape
// and the text; who holds a key computes.
import * as v from 'valibot';
import { accountId, type AccountId } from './ids.ts';

/** Names every account that the database has. */
export const everyAccount = '*';
export type ResyncAccount = AccountId | typeof everyAccount;

/** The message's content, as JSON. */
export const resyncMessage = v.object({
  type: v.literal('resync'),
  account: v.union([v.literal(everyAccount), accountId]),
  /** When it was asked for, milliseconds since 1970-01-01 UTC. */
  at: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  /** HMAC-SHA256 of `resyncText` under the first ingest key, lower-case hex. */
  mac: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
});
export type ResyncMessage = v.InferOutput<typeof resyncMessage>;

/** The text under the `mac`. */
export function resyncText(request: { readonly account: ResyncAccount; readonly at: number }): string {
  return ['resync', request.account, request.at].join('\n');
}
