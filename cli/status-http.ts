// What the worker, the replicator and an account's object say of themselves over HTTP. A failure is an Error whose message is
// one sentence; addresses are named without what may be secret in them.
import * as v from 'valibot';
import { statusAnswer, statusPath, statusRequest, type StatusAnswer } from '../protocol/ingest.ts';
import { streamStatus, streamStatusPath, type StreamStatus } from '../protocol/stream.ts';
import { signedHeaders } from '../replicator/post.ts';
import type { Place } from '../protocol/place.ts';
import type { Reading } from './reading.ts';

/** More than an object waits for the Stream object before it explains. */
const requestMsMax = 10_000;

const readiness = v.object({
  leader: v.boolean(),
  streaming: v.boolean(),
  epoch: v.optional(v.number()),
  term: v.optional(v.number()),
  lanes: v.optional(v.number()),
  held: v.optional(v.number()),
  parked: v.optional(v.number()),
});
export type ReplicatorFacts = v.InferOutput<typeof readiness>;
export type WorkerFacts = { readonly url: string };

export async function readReplicator(url: string): Promise<Reading<ReplicatorFacts>> {
  const way = 'start it (`npm run replicator`), or set DRAWBRIDGE_HTTP_URL to where it serves its health';
  const response = await request(url, '/readyz', {}, way);
  const facts = await contract(response, readiness, `What answers at ${placeOf(url)} is not the replicator: ${way}.`);
  return { facts, problem: replicatorProblem(facts) };
}

function replicatorProblem({ leader, streaming }: ReplicatorFacts): string | null {
  if (!leader)
    return 'It does not lead: another replicator may hold the lock, or its log says what keeps it from Postgres.';
  return streaming ? null : 'It has not heard Postgres lately: check that Postgres runs; its log says more.';
}

export async function readWorker(url: string): Promise<Reading<WorkerFacts>> {
  const way = 'start it (`npm run worker`), or set WORKER_URL to where it listens';
  const response = await request(url, '/healthz', {}, way);
  const text = await response.text();
  if (!response.ok) throw new Error(`What answers at ${placeOf(url)} says ${response.status} to /healthz: ${way}.`);
  if (text !== 'ok') throw new Error(`What answers at ${placeOf(url)} is not the worker: ${way}.`);
  return { facts: { url: placeOf(url) }, problem: null };
}

/** Asks the object of an account how it stands. */
export async function askStatus(
  url: string,
  key: string,
  { id: account, place }: { readonly id: string; readonly place: Place },
): Promise<StatusAnswer> {
  return await askObject(url, key, statusPath, v.parse(statusRequest, { version: 1, account, place }), statusAnswer);
}

/** Asks the Stream object, as the replicator would. */
export async function readStream(url: string, key: string): Promise<Reading<StreamStatus>> {
  const facts = await askObject(url, key, streamStatusPath, { version: 1 }, streamStatus);
  return { facts, problem: streamProblem(facts) };
}

function streamProblem({ heardAtMs, isBehind, isDatabaseReachable, lateAccounts }: StreamStatus): string | null {
  if (heardAtMs === null) return 'the edge has heard no heartbeat: start a replicator';
  if (isBehind) {
    return 'what was committed in the last minute has not been applied, so new grants are short or denied (accounts.when_behind): look at the replicator and the database';
  }
  if (!isDatabaseReachable)
    return 'no heartbeat was heard in the last seconds: look at the replicator and the database';
  return lateAccounts.length === 0 ? null : `late: ${lateAccounts.slice(0, 5).join(', ')}; look at their lanes`;
}

/** Asks an object, as the replicator would: with a signature under an ingest key. */
export async function askObject<Answer>(
  url: string,
  key: string,
  path: string,
  question: object,
  answer: v.GenericSchema<unknown, Answer>,
): Promise<Answer> {
  const body = Buffer.from(JSON.stringify(question));
  const headers = Object.entries(signedHeaders(path, body, key, Date.now())).map(([name, value]) => [
    name,
    String(value),
  ]);
  const way = 'check the worker, and that WORKER_URL names it';
  const response = await request(url, path, { method: 'POST', body, headers: Object.fromEntries(headers) }, way);
  if (response.status === 401) {
    await response.body?.cancel();
    const advice = 'DRAWBRIDGE_INGEST_KEY must begin with a key that the worker has, and both clocks must agree';
    throw new Error(`The worker refuses the signature: ${advice}.`);
  }
  return await contract(response, answer, `The worker answers ${response.status} to ${path}: ${way}.`);
}

async function request(url: string, path: string, init: RequestInit, way: string): Promise<Response> {
  try {
    return await fetch(new URL(path, url), { ...init, signal: AbortSignal.timeout(requestMsMax), redirect: 'manual' });
  } catch (cause) {
    const isLate = cause instanceof Error && cause.name === 'TimeoutError';
    const why = isLate ? `within ${requestMsMax / 1000} s` : `(${reasonOf(cause)})`;
    throw new Error(`Nothing answers at ${placeOf(url)} ${why}: ${way}.`, { cause });
  }
}

/** The JSON body, if it is what was agreed on. */
async function contract<Output>(
  response: Response,
  schema: v.GenericSchema<unknown, Output>,
  problem: string,
): Promise<Output> {
  const text = await response.text();
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), schema), text);
  if (parsed.success) return parsed.output;
  throw new Error(problem);
}

function placeOf(url: string): string {
  return new URL(url).origin;
}

function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  if (cause instanceof Error && 'code' in cause && typeof cause.code === 'string') return cause.code;
  return cause instanceof Error ? cause.message : String(cause);
}
