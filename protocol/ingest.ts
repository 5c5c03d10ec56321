// The replicator's requests to the worker: paths, the headers that authenticate them, and the stream's lead contract.
//
// A request is signed with HMAC-SHA256 over `signedText`. Time, digest and signature travel in headers, so a forged
// request is refused before its body is read, and the body is compared with the signed digest after reading.
import * as v from 'valibot';

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

/** POST a LeadRequest as JSON; 200 with a LeadAnswer as JSON. */
export const leadPath = '/internal/v1/lead';

/** Asked by a replicator that holds the leader's lock, once per start. */
export const leadRequest = v.object({
  version: v.literal(1),
  /** `system_identifier` of pg_control_system(), decimal text. */
  systemIdentifier: v.pipe(v.string(), v.regex(/^\d+$/)),
  timeline: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
});
export type LeadRequest = v.InferOutput<typeof leadRequest>;

/** The term that the Stream object has just issued; it is higher than any before. */
export const leadAnswer = v.object({ term: v.pipe(v.number(), v.safeInteger(), v.minValue(1)) });
export type LeadAnswer = v.InferOutput<typeof leadAnswer>;
