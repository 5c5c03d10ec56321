// What the edge writes to Postgres, and what the functions of migrations/0009_write_back.sql answer. Every row carries its
// whole state and a revision, so that a retry does no harm and an older state never replaces a newer one.
//
// Times are milliseconds since 1970-01-01 UTC; revisions are whole numbers that only grow within an account.
import * as v from 'valibot';
import * as ids from './ids.ts';
import { hold } from './holds.ts';
import { wireRow } from './commit.ts';

const revision = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const nullableText = v.nullable(v.string());

/** What ended a flow: the row that stopped granting it, and the commit that changed that row; null where time or a device did. */
export const endCause = v.object({ table: v.string(), id: v.string(), commit: nullableText });
export type EndCause = v.InferOutput<typeof endCause>;

/** `sent`: its gateway was told. `gateway_away`: it will be, after its next init. `expired`: it was away until the expiry. */
export const told = v.picklist(['sent', 'gateway_away', 'expired']);
export type Told = v.InferOutput<typeof told>;

/** One row of the ledger of flows. */
export const flowRecord = v.object({
  flowId: ids.flowId,
  clientId: ids.clientId,
  resourceId: ids.resourceId,
  gatewayId: ids.gatewayId,
  policyId: ids.policyId,
  actorId: ids.actorId,
  tokenId: ids.tokenId,
  clientRemoteIp: nullableText,
  grantedAt: v.number(),
  expiresAt: v.number(),
  endedAt: v.nullable(v.number()),
  cause: v.nullable(endCause),
  told: v.nullable(told),
  toldAt: v.nullable(v.number()),
  /** The first revision that the row ever had: Postgres knows the row once that has been written. */
  first: revision,
  revision,
});
export type FlowRecord = v.InferOutput<typeof flowRecord>;

/** Requests refused within one minute: of one client, for one resource, for one reason. */
export const denial = v.object({
  clientId: ids.clientId,
  resourceId: ids.resourceId,
  reason: v.picklist(['not_found', 'forbidden', 'offline']),
  /** When the minute began. */
  minute: v.number(),
  count: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
});
export type Denial = v.InferOutput<typeof denial>;

/** What an operator did to a hold: `at` and `by` are of that; there is no reason for lifting. */
export const holdRecord = v.object({ ...hold.entries, action: v.picklist(['placed', 'lifted']), revision });
export type HoldRecord = v.InferOutput<typeof holdRecord>;

/**
 * What is to be written of a device: the whole row of one that was registered at the edge, or, of one that Postgres has
 * (`isKnown`), what it says of itself now. `xid`: the transaction that wrote it, null before.
 */
export const registration = v.object({
  table: v.picklist(['clients', 'gateways']),
  id: v.string(),
  row: wireRow,
  isKnown: v.optional(v.boolean(), false),
  /** A client's verification is lost with this. */
  isUnverified: v.optional(v.boolean(), false),
  /** Postgres does not take it; it is not written again before the device says something else. */
  isRefused: v.optional(v.boolean(), false),
  revision,
  xid: nullableText,
});
export type Registration = v.InferOutput<typeof registration>;

/** A connection, as it is kept for the record. `endedAt`: null while it lives. */
export const sessionRecord = v.object({
  id: v.string(),
  role: v.picklist(['client', 'gateway']),
  deviceId: v.string(),
  tokenId: v.string(),
  publicKey: v.string(),
  version: nullableText,
  remoteIp: nullableText,
  region: nullableText,
  latitude: v.nullable(v.number()),
  longitude: v.nullable(v.number()),
  connectedAt: v.number(),
  endedAt: v.nullable(v.number()),
  revision,
});
export type SessionRecord = v.InferOutput<typeof sessionRecord>;

/** One flush. */
export type Batch = {
  readonly account: string;
  readonly devices: readonly Registration[];
  /** `isKnown`: Postgres has had the row. */
  readonly flows: readonly (FlowRecord & { readonly isKnown: boolean })[];
  readonly denials: readonly Denial[];
  /**
   * The sessions that began since the last flush, some of which have ended, and all that live as of `revision`; null when
   * neither has changed.
   */
  readonly sessions: {
    readonly clients: readonly SessionRecord[];
    readonly gateways: readonly SessionRecord[];
    readonly alive: readonly string[];
    readonly revision: number;
  } | null;
  readonly holds: readonly HoldRecord[];
};

/** `refused`: Postgres does not take the row, for `reason`. `gone`: it had the row, and somebody deleted it. */
const result = v.object({
  id: v.string(),
  outcome: v.picklist(['ok', 'refused', 'gone']),
  reason: v.optional(v.string()),
});
export type WriteResult = v.InferOutput<typeof result>;

/** What each function answers: its transaction's 64-bit id as decimal text, and an outcome for each row that it judges. */
export const written = v.object({ xid: v.pipe(v.string(), v.regex(/^\d+$/)), results: v.array(result) });
export type Written = v.InferOutput<typeof written>;

/** What a flush led to; null for a part that the batch did not hold, or that Postgres refused as a whole, as `failed` names. */
export type BatchAnswer = {
  readonly devices: Written | null;
  readonly flows: Written | null;
  readonly holds: Written | null;
  readonly failed: readonly ('devices' | 'flows' | 'denials' | 'sessions' | 'holds')[];
};
