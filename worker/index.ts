// The Worker: routes, and the objects it exports.
import { Hono } from 'hono';
import { connectDevice } from './edge/link.ts';
import { ingest } from './ingest.ts';
import { parseTokenKeys } from './token.ts';
import { parseUpgrade } from './edge/parameters.ts';
import { refusalOf } from '../protocol/reasons.ts';
import { refuse } from './edge/reply.ts';
import * as log from './log.ts';
import type { Context } from 'hono';
import type { Env } from './env.ts';
import type { Role } from '../protocol/roles.ts';

export { Account } from './account/account.ts';
export { Stream } from './stream/stream.ts';

const app = new Hono<{ Bindings: Env }>();

app.get('/healthz', (context) => context.text('ok'));
app.get('/client/websocket', async (context) => await upgrade(context, 'client'));
app.get('/gateway/websocket', async (context) => await upgrade(context, 'gateway'));
app.route('/', ingest);

// Whatever goes wrong, a device is told when to come back: without that it gives up.
app.onError((cause) => {
  log.error('request_failed', cause);
  return refuse(refusalOf('unavailable'));
});

async function upgrade({ req, env }: Context<{ Bindings: Env }>, role: Role): Promise<Response> {
  const parsed = parseUpgrade(req.raw, role, parseTokenKeys(env.DRAWBRIDGE_TOKEN_KEYS), Date.now());
  return parsed.type === 'refused' ? refuse(parsed.refusal) : await connectDevice(parsed.hello, env);
}

export default app;
