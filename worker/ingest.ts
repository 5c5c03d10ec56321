// The internal routes, for the replicator and operators' tools. A request is believed only when one of the ingest keys signed
// its method, path, time, length and digest; that is checked before the body is read, and the body against the digest after.
import * as v from 'valibot';
import { createHash, createHmac } from 'node:crypto';
import { Hono } from 'hono';
import { delivery, deliveryBytesMax } from '../protocol/commit.ts';
import {
  deliverPath,
  ingestHeaders,
  ingestSkewMsMax,
  signedText,
  statusPath,
  statusRequest,
} from '../protocol/ingest.ts';
import { digestPath, digestRequest } from '../protocol/digest.ts';
import { accessPath, accessRequest, explainPath, explainRequest } from '../protocol/explain.ts';
import { accountObject } from './place.ts';
import { holdPath, holdRequest } from '../protocol/holds.ts';
import { ingestKeys } from './env.ts';
import { isEqualText } from './hashes.ts';
import type { Account } from './account/account.ts';
import type { AccountId } from '../protocol/ids.ts';
import type { Place } from '../protocol/place.ts';
import type { Context } from 'hono';
import type { Env } from './env.ts';

export type IngestContext = Context<{ Bindings: Env }>;

export const ingest = new Hono<{ Bindings: Env }>();

ingest.post(deliverPath, async (context) => {
  const body = await readSigned(context);
  if (body instanceof Response) return body;
  const parsed = v.safeParse(delivery, body.json);
  if (!parsed.success) return problem(400, `not a delivery: ${v.summarize(parsed.issues).slice(0, 500)}`);
  const { account, place } = parsed.output;
  return context.json(await accountObject(context.env.ACCOUNT, account, place).deliver(parsed.output));
});

/** What operators ask an account's object: by path, the request's contract, its name in words, and how it is answered. */
askObject(statusPath, statusRequest, 'a status request', async (object) => await object.status());
askObject(explainPath, explainRequest, 'an explain request', async (object, request) => await object.explain(request));
askObject(accessPath, accessRequest, 'an access request', async (object, request) => await object.access(request));
askObject(digestPath, digestRequest, 'a digest request', async (object) => await object.digest());
askObject(holdPath, holdRequest, 'a request for a hold', async (object, { action }) => await object.hold(action));

function askObject<Request extends { readonly account: AccountId; readonly place: Place }>(
  path: string,
  schema: v.GenericSchema<unknown, Request>,
  what: string,
  ask: (object: DurableObjectStub<Account>, request: Request) => Promise<object>,
): void {
  ingest.post(path, async (context) => {
    const body = await readSigned(context);
    if (body instanceof Response) return body;
    const parsed = v.safeParse(schema, body.json);
    if (!parsed.success) return problem(400, `not ${what}: ${v.summarize(parsed.issues).slice(0, 500)}`);
    const object = accountObject(context.env.ACCOUNT, parsed.output.account, parsed.output.place);
    return new Response(JSON.stringify(await ask(object, parsed.output)), {
      headers: { 'content-type': 'application/json' },
    });
  });
}

/** The signed JSON body, or the response that refuses it. */
export async function readSigned({ req, env }: IngestContext): Promise<Response | { readonly json: unknown }> {
  const keys = ingestKeys(env);
  if (keys.length === 0) {
    return problem(
      503,
      'DRAWBRIDGE_INGEST_KEY is not set: give the worker and the replicator the same key, 32 characters or more',
    );
  }
  const time = Number(req.header(ingestHeaders.time));
  const digest = req.header(ingestHeaders.digest) ?? '';
  const length = Number(req.header('content-length') ?? Number.NaN);
  const text = signedText({ method: req.method, path: req.path, timeMs: time, length, digest });
  const signature = req.header(ingestHeaders.signature) ?? '';
  const isSigned = keys.some((key) => isEqualText(createHmac('sha256', key).update(text).digest('hex'), signature));
  if (!isSigned)
    return problem(401, 'the signature does not fit: do the worker and the replicator share an ingest key?');
  if (!(Math.abs(Date.now() - time) <= ingestSkewMsMax))
    return problem(401, 'signed too long ago: are both clocks right?');
  if (!(length <= deliveryBytesMax)) return problem(413, `a body has ${deliveryBytesMax} bytes at most`);
  const bytes = new Uint8Array(await req.arrayBuffer());
  if (bytes.length !== length || createHash('sha256').update(bytes).digest('hex') !== digest) {
    return problem(400, 'the body is not the one that was signed');
  }
  try {
    const json: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return { json };
  } catch {
    return problem(400, 'the body is not JSON');
  }
}

export function problem(status: number, detail: string): Response {
  const headers = { 'content-type': 'application/problem+json', ...(status === 401 ? {} : { 'retry-after': '5' }) };
  return new Response(JSON.stringify({ type: 'about:blank', status, detail }), { status, headers });
}
