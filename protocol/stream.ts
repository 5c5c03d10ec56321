// Replicator and Stream object: who may lead, what has been applied, which accounts there are.
//
// The Stream object keeps what a database cannot keep for itself, since a database can be set back: the terms issued, the
// last heartbeat heard, and every account that has an object. Requests are signed as deliveries are.
import * as v from 'valibot';
import { accountId, type AccountId } from './ids.ts';
import { lsnText } from './lsn.ts';

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const positive = v.pipe(v.number(), v.safeInteger(), v.minValue(1));

/**
 * A leader's run, random, and the number of its last heartbeat. The database stores it with each heartbeat, so one that holds
 * neither this number nor a higher one of the same run was set back to an earlier point.
 */
export const beat = v.object({ run: v.pipe(v.string(), v.uuid()), count });
export type Beat = v.InferOutput<typeof beat>;

/** POST a LeadRequest as JSON; 200 with a LeadAnswer as JSON. */
export const leadPath = '/internal/v1/lead';

/** Asked by a replicator that holds the leader's lock, once per start. */
export const leadRequest = v.object({
  version: v.literal(1),
  /** `system_identifier` of pg_control_system(), decimal text. */
  systemIdentifier: v.pipe(v.string(), v.regex(/^\d+$/)),
  timeline: positive,
  /** The highest term that the database has on record, 0 for none: the one issued is higher. */
  termFloor: count,
  /** The end of the database's WAL. */
  walEnd: lsnText,
  /** The last heartbeats that the database has on record: of the last run, and of the one before it. */
  beats: v.pipe(v.array(beat), v.maxLength(2)),
});
export type LeadRequest = v.InferOutput<typeof leadRequest>;

/**
 * - `leads`: `term` has just been issued and is higher than any before. `distrust` says why the database's history cannot be
 *   the one that the edge has followed, null when it can: the replicator then opens an epoch. `heard`: the last heartbeat here.
 * - `refused`: this database may not feed the edge; `reason` is a sentence with the way out. May be asked again.
 */
export const leadAnswer = v.variant('type', [
  v.object({
    type: v.literal('leads'),
    term: positive,
    distrust: v.nullable(v.string()),
    heard: v.nullable(beat),
  }),
  v.object({ type: v.literal('refused'), reason: v.string() }),
]);
export type LeadAnswer = v.InferOutput<typeof leadAnswer>;

/** POST a Heartbeat as JSON; 200 with a HeartbeatAnswer as JSON. */
export const heartbeatPath = '/internal/v1/heartbeats';

/** Accounts that one heartbeat names as late, at most; with more, nothing of it counts as applied. */
export const lateAccountsMax = 1_000;

export const heartbeat = v.object({
  version: v.literal(1),
  term: positive,
  epoch: positive,
  beat,
  /**
   * Where the heartbeat left the stream: everything committed before it has been handed to the lanes, and those of all
   * accounts but `late` have delivered what they were handed one heartbeat earlier. Null for a run's first, which is sent
   * before its reading begins.
   */
  applied: v.nullable(
    v.object({
      /** End of the heartbeat's commit. */
      lsn: lsnText,
      /** Commit time of the primary, microseconds since 1970-01-01 UTC. */
      committedAtUs: count,
      late: v.pipe(v.array(accountId), v.maxLength(lateAccountsMax)),
    }),
  ),
});
export type Heartbeat = v.InferOutput<typeof heartbeat>;

/**
 * - `heard`: it is durable. `lagMs`: from its commit to durable in the canary account's object; null where that is not known.
 * - `fenced`: a higher term, `term`, has been issued; the sender must stop.
 */
export const heartbeatAnswer = v.variant('type', [
  v.object({ type: v.literal('heard'), lagMs: v.nullable(v.number()) }),
  v.object({ type: v.literal('fenced'), term: positive }),
]);
export type HeartbeatAnswer = v.InferOutput<typeof heartbeatAnswer>;

/** No account: its object takes every heartbeat as a delivery, so that the way there is measured and no other is woken. */
export const canaryAccount: AccountId = v.parse(accountId, '00000000-0000-0000-0000-000000000000');

/** POST an AccountsRequest as JSON; 200 with an AccountsAnswer as JSON. */
export const accountsPath = '/internal/v1/accounts';

/** Accounts of one page, at most. */
export const accountsPageMax = 1_000;

/** A place in the register: accounts whose devices connected last come first. */
const place = v.object({ connectedAtMs: count, account: accountId });
export type Place = v.InferOutput<typeof place>;

export const accountsRequest = v.object({ version: v.literal(1), after: v.nullable(place) });

/**
 * Accounts that have an object, those with a device connected most lately first; `next` is null on the last page. `places`: where the
 * objects of some live, as protocol/place.ts has it.
 */
export const accountsAnswer = v.object({
  accounts: v.array(accountId),
  places: v.optional(v.record(accountId, v.string()), {}),
  next: v.nullable(place),
});
export type AccountsAnswer = v.InferOutput<typeof accountsAnswer>;

/** POST a StreamStatusRequest as JSON; 200 with a StreamStatus as JSON. */
export const streamStatusPath = '/internal/v1/stream';

export const streamStatusRequest = v.object({ version: v.literal(1) });

/** How the stream stands, as the edge has heard. Times are milliseconds since 1970-01-01 UTC; null before the first. */
export const streamStatus = v.object({
  term: count,
  systemIdentifier: v.nullable(v.string()),
  timeline: v.nullable(count),
  /** Whether a heartbeat was heard in the last seconds: a leader has written to the database then. */
  isDatabaseReachable: v.boolean(),
  /** When the last heartbeat was heard. */
  heardAtMs: v.nullable(v.number()),
  epoch: v.nullable(count),
  /** Everything committed up to here has been applied, by the database's clock. */
  appliedToMs: v.nullable(v.number()),
  /** From COMMIT to durable in the canary account's object. */
  lagMs: v.nullable(v.number()),
  /** Whether that is so long ago that new grants are short, or denied: `accounts.when_behind`. */
  isBehind: v.boolean(),
  /** Accounts that have not come as far, at most a hundred. */
  lateAccounts: v.array(v.string()),
  /** Accounts that have an object. */
  accounts: count,
});
export type StreamStatus = v.InferOutput<typeof streamStatus>;
