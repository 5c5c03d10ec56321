// What the replicator sends to an Account object, and what it answers. One delivery is one request on one lane.
//
// A delivery is applied in order and durably before it is answered, so an answer of `applied` or `duplicate` is a
// receipt. Positions are (epoch, commit end LSN); within one epoch they only grow. A term only fences senders.
import * as v from 'valibot';
import { accountId } from './ids.ts';
import { lsnText } from './lsn.ts';
import { tableName } from './tables.ts';

/** The version of this contract; a receiver reads this one and the one before it. */
export const deliveryVersion = 1;

/** Bytes of one delivery's JSON body, at most; a larger account or transaction travels in parts. */
export const deliveryBytesMax = 32 * 1024 * 1024;

/**
 * One column as it travels: null, boolean, a number that a double holds exactly (int2, int4, oid), nested lists for
 * arrays, and Postgres's own text for everything else (int8, numeric, timestamptz in UTC, inet, uuid, json, bytea as `\x…`).
 */
export type WireValue = null | boolean | number | string | readonly WireValue[];
const wireValue: v.GenericSchema<WireValue> = v.lazy(() =>
  v.union([v.null(), v.boolean(), v.number(), v.string(), v.array(wireValue)]),
);

/** A row by column name. */
export const wireRow = v.record(v.string(), wireValue);
export type WireRow = Readonly<Record<string, WireValue>>;

const seq = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/**
 * One row change. `seq` counts every change of the transaction from 0, before it is divided by account, so it is the same
 * on every replay. An update that moves a row to another key or account travels as a delete and an insert.
 */
const change = v.variant('op', [
  v.object({ op: v.literal('insert'), seq, table: tableName, new: wireRow }),
  v.object({ op: v.literal('update'), seq, table: tableName, old: wireRow, new: wireRow }),
  v.object({ op: v.literal('delete'), seq, table: tableName, old: wireRow }),
  v.object({ op: v.literal('truncate'), seq, table: tableName }),
]);
export type Change = v.InferOutput<typeof change>;

/** The part of one transaction that concerns one account. */
export const commit = v.object({
  /** End of the commit record: the position after this commit. */
  lsn: lsnText,
  /** Top-level transaction id as decimal text, widened to 64 bits. */
  xid: v.pipe(v.string(), v.regex(/^\d+$/)),
  /** Commit time of the primary, microseconds since 1970-01-01 UTC. Informs; never orders. */
  committedAtUs: v.pipe(v.number(), v.safeInteger()),
  changes: v.array(change),
});
export type Commit = v.InferOutput<typeof commit>;

const positiveInteger = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const envelope = {
  version: v.literal(deliveryVersion),
  account: accountId,
  /** Fences senders: the object refuses a term below the highest it has seen. */
  term: positiveInteger,
  /** Names the history that positions belong to: the term that opened it. */
  epoch: positiveInteger,
  /** Position after this delivery. */
  to: lsnText,
};

/**
 * `commits`: the lane's next commits. `from` is the position the replicator believes the object to hold; null means that
 * the account was born in the first of these commits and has no history before it.
 * `snapshot`: every row of the account as of one database snapshot, then the commits that it does not include.
 */
export const delivery = v.variant('type', [
  v.object({ type: v.literal('commits'), ...envelope, from: v.nullable(lsnText), commits: v.array(commit) }),
  v.object({
    type: v.literal('snapshot'),
    ...envelope,
    rows: v.record(tableName, v.array(wireRow)),
    commits: v.array(commit),
  }),
]);
export type Delivery = v.InferOutput<typeof delivery>;

export const position = v.object({ epoch: positiveInteger, lsn: lsnText });
export type Position = v.InferOutput<typeof position>;

/**
 * - `applied`: durable up to `position`.
 * - `duplicate`: nothing was new; durable up to `position`.
 * - `gap`: `from` lies beyond the object's position; the lane must be resynchronized by a snapshot.
 * - `need-snapshot`: the object cannot go on from what it holds; `reason` says why.
 * - `fenced`: a higher term, `term`, has spoken; the sender must stop.
 * - `failed`: the commit after `position` could not be applied; may be sent again.
 * - `poison`: the same commit failed too often; the account must be parked.
 */
export const answer = v.variant('type', [
  v.object({ type: v.literal('applied'), position }),
  v.object({ type: v.literal('duplicate'), position }),
  v.object({ type: v.literal('gap'), position: v.nullable(position) }),
  v.object({ type: v.literal('need-snapshot'), reason: v.string(), position: v.nullable(position) }),
  v.object({ type: v.literal('fenced'), term: positiveInteger }),
  v.object({ type: v.literal('failed'), reason: v.string(), position: v.nullable(position) }),
  v.object({ type: v.literal('poison'), reason: v.string(), position: v.nullable(position) }),
]);
export type Answer = v.InferOutput<typeof answer>;
