// The Worker: routes, and the objects it exports.
import { Hono } from 'hono';
import { connectDevice } from './edge/link.ts';
import { ingest } from './ingest.ts';
import { parseTokenKeys } from './token.ts';
import { deviceOf, parseUpgrade } from './edge/parameters.ts';
import { refusalOf } from '../protocol/reasons.ts';
import { refuse } from './edge/reply.ts';
import * as log from './log.ts';
import type { Context } from 'hono';
import type { Env } from './env.ts';
import type { Role } from '../protocol/roles.ts';
import type { SocketVersion } from '../protocol/device/generations.ts';

export { Account } from './account/account.ts';
export { Stream } from './stream/stream.ts';

const app = new Hono<{ Bindings: Env }>();

app.get('/healthz', (context) => context.text('ok'));
for (const role of ['client', 'gateway'] as const) {
  app.get(`/${role}/websocket`, async (context) => await upgrade(context, { role, socketVersion: 1 }));
  app.get(`/${role}/v2/websocket`, async (context) => await upgrade(context, { role, socketVersion: 2 }));
}
app.route('/', ingest);

type Socket = { readonly role: Role; readonly socketVersion: SocketVersion };

// Whatever goes wrong, a device is told when to come back: without that it gives up.
app.onError((cause) => {
  log.error('request_failed', cause);
  return refuse(refusalOf('unavailable'), { program: null });
});

async function upgrade({ req, env }: Context<{ Bindings: Env }>, socket: Socket): Promise<Response> {
  const parsed = parseUpgrade(req.raw, socket, parseTokenKeys(env.DRAWBRIDGE_TOKEN_KEYS), Date.now());
  return parsed.type === 'refused'
    ? refuse(parsed.refusal, deviceOf(req.raw.headers.get('user-agent')))
    : await connectDevice(parsed.hello, env);
}

export default app;
