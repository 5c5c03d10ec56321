// The replicator's routes to the Stream object, signed as deliveries are. A heartbeat goes on to the canary, an account's
// object without an account, by the way that deliveries go: what that takes is the lag that is measured.
import * as v from 'valibot';
import { Hono } from 'hono';
import {
  accountsPath,
  accountsRequest,
  canaryAccount,
  heartbeat,
  heartbeatPath,
  leadPath,
  leadRequest,
  streamStatusPath,
  streamStatusRequest,
} from '../../protocol/stream.ts';
import { deliveryVersion } from '../../protocol/commit.ts';
import { accountObjectName, streamObjectName } from '../env.ts';
import { problem, readSigned, type IngestContext } from '../ingest.ts';
import type { Env } from '../env.ts';
import type { Heartbeat } from '../../protocol/stream.ts';

export const streamRoutes = new Hono<{ Bindings: Env }>();

streamRoutes.post(leadPath, async (context) => {
  const request = await parsed(context, leadRequest, 'a lead request');
  return request instanceof Response ? request : context.json(await streamOf(context.env).lead(request));
});

streamRoutes.post(heartbeatPath, async (context) => {
  const given = await parsed(context, heartbeat, 'a heartbeat');
  if (given instanceof Response) return given;
  const stream = streamOf(context.env);
  const answer = await stream.hear(given);
  if (answer.type === 'fenced' || given.applied === null) return context.json(answer);
  const lagMs = await reachCanary(context.env, given, given.applied);
  await stream.measured(lagMs);
  return context.json({ ...answer, lagMs });
});

streamRoutes.post(accountsPath, async (context) => {
  const request = await parsed(context, accountsRequest, 'a request for accounts');
  return request instanceof Response ? request : context.json(await streamOf(context.env).accounts(request.after));
});

streamRoutes.post(streamStatusPath, async (context) => {
  const request = await parsed(context, streamStatusRequest, 'a status request');
  return request instanceof Response ? request : context.json(await streamOf(context.env).status());
});

/** Milliseconds from the heartbeat's COMMIT, by the database's clock, to durable in the canary's object, by this one. */
async function reachCanary(
  env: Env,
  { term, epoch }: Heartbeat,
  { lsn, committedAtUs }: NonNullable<Heartbeat['applied']>,
): Promise<number> {
  await env.ACCOUNT.getByName(accountObjectName(canaryAccount)).deliver({
    version: deliveryVersion,
    account: canaryAccount,
    place: null,
    type: 'snapshot',
    term,
    epoch,
    to: lsn,
    rows: {},
    commits: [],
  });
  return Date.now() - committedAtUs / 1000;
}

function streamOf(env: Env) {
  return env.STREAM.getByName(streamObjectName);
}

async function parsed<Schema extends v.GenericSchema>(
  context: IngestContext,
  schema: Schema,
  what: string,
): Promise<v.InferOutput<Schema> | Response> {
  const body = await readSigned(context);
  if (body instanceof Response) return body;
  const result = v.safeParse(schema, body.json);
  return result.success ? result.output : problem(400, `not ${what}: ${v.summarize(result.issues).slice(0, 500)}`);
}
