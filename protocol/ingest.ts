// Requests to the worker's internal routes: paths, the headers that authenticate them, and the contracts that are not
// deliveries. The replicator and operators' tools hold the key; devices never come here.
//
// A request is signed with HMAC-SHA256 over `signedText`. Time, digest and signature travel in headers, so a forged
// request is refused before its body is read, and the body is compared with the signed digest after reading.
import * as v from 'valibot';
import { accountId } from './ids.ts';
import { place } from './place.ts';
import { hold } from './holds.ts';
import { position } from './commit.ts';

export const ingestHeaders = {
  /** Milliseconds since 1970-01-01 UTC, decimal, when the request was signed. */
  time: 'x-drawbridge-time',
  /** SHA-256 of the body, lower-case hex. */
  digest: 'x-drawbridge-digest',
  /** HMAC-SHA256 of `signedText` under an ingest key, lower-case hex. */
  signature: 'x-drawbridge-signature',
} as const;

/** A request signed longer ago, or further ahead, than this is refused. */
export const ingestSkewMsMax = 300_000;

/** The text under the signature. `length` is the body's size in bytes, `digest` its SHA-256 in hex. */
export function signedText(request: {
  readonly method: string;
  readonly path: string;
  readonly timeMs: number;
  readonly length: number;
  readonly digest: string;
}): string {
  return [request.method, request.path, request.timeMs, request.length, request.digest].join('\n');
}

/** POST a Delivery as JSON; 200 with an Answer as JSON. */
export const deliverPath = '/internal/v1/deliveries';

/** POST a StatusRequest as JSON; 200 with a StatusAnswer as JSON. */
export const statusPath = '/internal/v1/status';

export const statusRequest = v.object({ version: v.literal(1), account: accountId, place });

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/** How an account's object stands. An account it has never heard of has no position and nothing else. */
export const statusAnswer = v.object({
  position: v.nullable(position),
  term: count,
  /** Whether it grants nothing until its next snapshot. */
  stale: v.boolean(),
  clients: count,
  gateways: count,
  flows: count,
  /** Grants in memory: those and what is still owed for ended ones; at `grantsMax` of core/grants.ts no new flow is granted. */
  grants: v.optional(count, 0),
  /** Relays that connect to it; further ones are refused at `relaysMax` of core/relays.ts. */
  relays: v.optional(count, 0),
  /** Accesses that ended and whose gateway is away: it is told after its next init. */
  rejectsOwed: count,
  /** Devices that have registered, or said something new of themselves, which no row has shown yet. */
  registrations: v.optional(count, 0),
  /** What the edge has to write to Postgres: whether it has a database for it, and how it goes. */
  writeBack: v.object({
    isConfigured: v.boolean(),
    /** Records of the ledger that Postgres does not have. */
    waiting: count,
    /** Flushes that failed since the last that did not. */
    failures: count,
    /** Records that Postgres does not take. */
    refused: count,
    /** So much waits that new flows are refused. */
    isFull: v.boolean(),
  }),
  /** Rows that could not be read, as `table/key`, at most a hundred: they grant nothing. */
  unreadableRows: v.array(v.string()),
  /** What operators have denied at the edge, oldest first. */
  holds: v.optional(v.array(hold), []),
  /** Devices that several programs connect as, under one external_id; at most a hundred. */
  clonedDevices: v.optional(v.array(v.string()), []),
});
export type StatusAnswer = v.InferOutput<typeof statusAnswer>;
