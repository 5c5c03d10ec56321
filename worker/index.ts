// The Worker: routes, and the objects it exports.
import { Hono } from 'hono';
import { ingest } from './ingest.ts';
import { streamRoutes } from './stream/routes.ts';
import { refusalOf } from '../protocol/reasons.ts';
import { refuse } from './edge/reply.ts';
import { upgrade } from './edge/upgrade.ts';
import * as log from './log.ts';
import type { Env } from './env.ts';

export { Account } from './account/account.ts';
export { RelayHub } from './relay-hub/relay-hub.ts';
export { Stream } from './stream/stream.ts';
export { WriteBack } from './write-back/entry.ts';

const app = new Hono<{ Bindings: Env }>();

app.get('/healthz', (context) => context.text('ok'));
for (const role of ['client', 'gateway'] as const) {
  app.get(`/${role}/websocket`, async ({ req, env }) => await upgrade(req.raw, { role, socketVersion: 1 }, env));
  app.get(`/${role}/v2/websocket`, async ({ req, env }) => await upgrade(req.raw, { role, socketVersion: 2 }, env));
}
app.get('/relay/websocket', async ({ req, env }) => await upgrade(req.raw, { role: 'relay', socketVersion: 1 }, env));
app.route('/', ingest);
app.route('/', streamRoutes);

app.notFound(() => refuse(refusalOf('unknown_path'), { program: null }));

// Whatever goes wrong, a device is told when to come back: without that it gives up.
app.onError((cause) => {
  log.error('request_failed', cause);
  return refuse(refusalOf('unavailable'), { program: null });
});

export default app;
