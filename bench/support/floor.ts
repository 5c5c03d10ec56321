// The least that any design of this kind must do, as a peer in the same run: a POST that reaches an object, one durable insert
// there, and a frame on a socket that the object holds.
import { convertV4MiniflareOptions, Miniflare } from 'miniflare';
import { leashChildren } from '../../dev/leash.ts';
import { performance } from 'node:perf_hooks';
import { WebSocket } from 'ws';

export type Floor = {
  /** Milliseconds from the POST until its frame has come. */
  readonly probe: () => Promise<number>;
  readonly stop: () => Promise<void>;
};

const script = `
import { DurableObject } from 'cloudflare:workers';
export class Probe extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.storage.sql.exec('create table if not exists probes (n integer primary key, body text)');
  }
  async fetch(request) {
    if (request.headers.get('upgrade') === 'websocket') {
      const pair = new WebSocketPair();
      this.ctx.acceptWebSocket(pair[1]);
      return new Response(null, { status: 101, webSocket: pair[0] });
    }
    const body = await request.text();
    this.ctx.storage.sql.exec('insert into probes (body) values (?)', body);
    for (const socket of this.ctx.getWebSockets()) socket.send(body);
    return new Response('ok');
  }
}
export default { fetch: (request, env) => env.PROBE.getByName('probe').fetch(request) };
`;

export async function startFloor(): Promise<Floor> {
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      name: 'floor',
      modules: true,
      script,
      compatibilityDate: '2026-10-01',
      host: '127.0.0.1',
      port: 0,
      durableObjects: { PROBE: { className: 'Probe', useSQLite: true } },
      cf: false,
      telemetry: { enabled: false },
    }),
  );
  const { origin } = await miniflare.ready;
  leashChildren('workerd');
  const socket = new WebSocket(origin.replace('http', 'ws'));
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  const arrived = new Map<string, () => void>();
  socket.on('message', (data: Buffer) => arrived.get(data.toString())?.());
  let probes = 0;
  return {
    probe: async () => {
      probes += 1;
      const body = `probe ${probes} ${'x'.repeat(300)}`;
      const frame = new Promise<void>((resolve) => arrived.set(body, resolve));
      const began = performance.now();
      const response = await fetch(origin, { method: 'POST', body });
      await Promise.all([frame, response.text()]);
      arrived.delete(body);
      return performance.now() - began;
    },
    stop: async () => {
      socket.terminate();
      await miniflare.dispose();
    },
  };
}
