// What the replicator sends to an Account object, and what it answers. One delivery is one request on one lane.
//
// A delivery is applied in order and durably before it is answered, so an answer of `applied` or `duplicate` is a
// receipt. Positions are (epoch, commit end LSN); within one epoch they only grow. A term only fences senders.
import * as v from 'valibot';
import { accountId } from './ids.ts';
import { lsnText } from './lsn.ts';
import { place } from './place.ts';
import { streamedTable } from './tables.ts';

/** The version of this contract; a receiver reads this one and the one before it, which had no parts. */
export const deliveryVersion = 2;
const version = v.picklist([1, deliveryVersion]);

/** Bytes of one delivery's JSON body, at most; a larger account or transaction travels in parts. */
export const deliveryBytesMax = 32 * 1024 * 1024;

/**
 * One column as it travels: null, boolean, a number that a double holds exactly (int2, int4, oid), nested lists for
 * arrays, and Postgres's own text for everything else (int8, numeric, timestamptz in UTC, inet, uuid, json, bytea as `\x…`).
 */
export type WireValue = null | boolean | number | string | readonly WireValue[];

/** Lists within lists, at most: one more than the dimensions that an array of Postgres may have. */
const listDepthMax = 7;

/**
 * Stands for a value that could not be decoded, or was too large, and says which: its row grants nothing. A list of Postgres
 * holds one type, so this is none.
 */
export type Unreadable = readonly [false, 'unreadable', string];

export function unreadableValue(reason: string): Unreadable {
  return [false, 'unreadable', reason];
}

export function isUnreadableValue(value: unknown): boolean {
  return Array.isArray(value) && value[0] === false && value[1] === 'unreadable';
}

/** A row by column name. Every change has one or two, so they are checked by hand: by schema it takes ten times as long. */
export const wireRow = v.custom<WireRow>(
  isWireRow,
  'expected a row: an object with a value, or lists of them, by column',
);
export type WireRow = Readonly<Record<string, WireValue>>;

function isWireRow(input: unknown): input is WireRow {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) return false;
  return Object.values(input).every((value) => isWireValue(value, listDepthMax));
}

function isWireValue(value: unknown, depth: number): boolean {
  if (typeof value === 'string' || value === null) return true;
  if (Array.isArray(value)) return depth > 0 && value.every((item) => isWireValue(item, depth - 1));
  return typeof value === 'number' || typeof value === 'boolean';
}

const seq = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/**
 * One row change. `seq` counts every change of the transaction from 0, before it is divided by account, so it is the same
 * on every replay. An update that moves a row to another key or account travels as a delete and an insert.
 */
const change = v.variant('op', [
  v.object({ op: v.literal('insert'), seq, table: streamedTable, new: wireRow }),
  v.object({ op: v.literal('update'), seq, table: streamedTable, old: wireRow, new: wireRow }),
  v.object({ op: v.literal('delete'), seq, table: streamedTable, old: wireRow }),
  v.object({ op: v.literal('truncate'), seq, table: streamedTable }),
]);
export type Change = v.InferOutput<typeof change>;

/** Names, within a term, the transaction or the snapshot whose parts are staged. */
const stage = v.pipe(v.string(), v.regex(/^[0-9a-f-]{1,64}$/));
const partCount = v.pipe(v.number(), v.safeInteger(), v.minValue(1));

/** What the object has staged and takes first: this many parts under this name. */
const staged = v.object({ stage, parts: partCount });
export type Staged = v.InferOutput<typeof staged>;

/** What one transaction did to one account. */
export const commit = v.object({
  /** End of the commit record: the position after this commit. */
  lsn: lsnText,
  /** Top-level transaction id as decimal text, widened to 64 bits. */
  xid: v.pipe(v.string(), v.regex(/^\d+$/)),
  /** Commit time of the primary, microseconds since 1970-01-01 UTC. Informs; never orders. */
  committedAtUs: v.pipe(v.number(), v.safeInteger()),
  /** After those of the staged parts, if any. */
  changes: v.array(change),
  staged: v.optional(staged),
});
export type Commit = v.InferOutput<typeof commit>;

const positiveInteger = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const sender = {
  version,
  account: accountId,
  place,
  /** Fences senders: the object refuses a term below the highest it has seen. */
  term: positiveInteger,
  /** Names the history that positions belong to: the term that opened it. */
  epoch: positiveInteger,
};
/** `to`: position after this delivery. */
const envelope = { ...sender, to: lsnText };
const rowsByTable = v.record(streamedTable, v.array(wireRow));
/** Parts of one stage are numbered from 0 and staged in order; part 0 discards whatever was staged before. */
const partOf = { ...sender, stage, index: v.pipe(v.number(), v.safeInteger(), v.minValue(0)) };

/**
 * `commits`: the lane's next commits. `from` is the position the replicator believes the object to hold; null means that
 * the account was born in the first of these commits and has no history before it.
 * `snapshot`: every row of the account as of one database snapshot, then the commits that it does not include. `seen` is the
 * text of that snapshot, as pg_current_snapshot() prints it; left out, it is known to see nothing. Of `flows` it has those that
 * have not ended, by their ids alone.
 * `commit-part` and `snapshot-part`: changes of one large transaction, or rows of one large snapshot, to be kept aside until
 * the delivery that names their stage makes them effective in one step. `start` is where the transaction's commit record
 * begins: an object that stands beyond it has the transaction.
 */
export const delivery = v.variant('type', [
  v.object({ type: v.literal('commits'), ...envelope, from: v.nullable(lsnText), commits: v.array(commit) }),
  v.object({
    type: v.literal('snapshot'),
    ...envelope,
    rows: rowsByTable,
    seen: v.optional(v.pipe(v.string(), v.regex(/^\d+:\d+:[\d,]*$/))),
    commits: v.array(commit),
    staged: v.optional(staged),
  }),
  v.object({
    type: v.literal('commit-part'),
    ...partOf,
    from: v.nullable(lsnText),
    start: lsnText,
    changes: v.array(change),
  }),
  v.object({ type: v.literal('snapshot-part'), ...partOf, rows: rowsByTable }),
]);
export type Delivery = v.InferOutput<typeof delivery>;

/** What a part holds, as it is kept until its stage is complete. */
export const partContent = v.union([v.object({ changes: v.array(change) }), v.object({ rows: rowsByTable })]);
export type PartContent = v.InferOutput<typeof partContent>;

export const position = v.object({ epoch: positiveInteger, lsn: lsnText });
export type Position = v.InferOutput<typeof position>;

/**
 * - `applied`: durable up to `position`.
 * - `duplicate`: nothing was new; durable up to `position`.
 * - `staged`: durable are the first `parts` of the stage; nothing has taken effect.
 * - `gap`: `from` lies beyond the object's position; the lane must be resynchronized by a snapshot.
 * - `need-snapshot`: the object cannot go on from what it holds; `reason` says why.
 * - `fenced`: a higher term, `term`, has spoken; the sender must stop.
 * - `failed`: the commit after `position` could not be applied; may be sent again.
 * - `poison`: the same commit failed too often; the account must be parked.
 */
export const answer = v.variant('type', [
  v.object({ type: v.literal('applied'), position }),
  v.object({ type: v.literal('duplicate'), position }),
  v.object({ type: v.literal('staged'), parts: partCount }),
  v.object({ type: v.literal('gap'), position: v.nullable(position) }),
  v.object({ type: v.literal('need-snapshot'), reason: v.string(), position: v.nullable(position) }),
  v.object({ type: v.literal('fenced'), term: positiveInteger }),
  v.object({ type: v.literal('failed'), reason: v.string(), position: v.nullable(position) }),
  v.object({ type: v.literal('poison'), reason: v.string(), position: v.nullable(position) }),
]);
export type Answer = v.InferOutput<typeof answer>;
