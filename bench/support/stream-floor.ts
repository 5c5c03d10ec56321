// The least that a reader of the stream must do, as a peer in the same run: the slot read and decoded by this process, and its
// bytes posted, one request at a time, to a worker whose object reads them and keeps nothing. No account, no order beyond the
// slot's own, no log, no position.
import { convertV4MiniflareOptions, Miniflare } from 'miniflare';
import { createDecoder } from '../../replicator/decode.ts';
import { leashChildren } from '../../dev/leash.ts';
import { openWal } from '../../replicator/wal.ts';

export type StreamFloor = {
  /** Milliseconds until so many changes of the slot have been posted and answered; the slot stays where it is. */
  readonly carry: (databaseUrl: string, slot: string, publication: string, changes: number) => Promise<number>;
  readonly stop: () => Promise<void>;
};

const script = `
import { DurableObject } from 'cloudflare:workers';
export class Sink extends DurableObject {
  take(bytes) {
    return bytes.byteLength;
  }
}
export default {
  fetch: async (request, env) => new Response(String(await env.SINK.getByName('sink').take(await request.arrayBuffer()))),
};
`;

export async function startStreamFloor(): Promise<StreamFloor> {
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      name: 'sink',
      modules: true,
      script,
      compatibilityDate: '2026-10-01',
      host: '127.0.0.1',
      port: 0,
      durableObjects: { SINK: { className: 'Sink', useSQLite: true } },
      cf: false,
      telemetry: { enabled: false },
    }),
  );
  const { origin } = await miniflare.ready;
  leashChildren('workerd');
  return {
    carry: async (databaseUrl, slot, publication, changes) => {
      const began = performance.now();
      await carry({ origin, databaseUrl, slot, publication, changes });
      return performance.now() - began;
    },
    stop: async () => await miniflare.dispose(),
  };
}

async function carry(from: {
  readonly origin: string;
  readonly databaseUrl: string;
  readonly slot: string;
  readonly publication: string;
  readonly changes: number;
}): Promise<void> {
  const decoder = createDecoder();
  const done = Promise.withResolvers<void>();
  const waiting: Buffer[] = [];
  let left = from.changes;
  let isPosting = false;
  const post = async () => {
    while (waiting.length > 0) {
      const body = Buffer.concat(waiting.splice(0));
      await (await fetch(from.origin, { method: 'POST', body })).text();
    }
    isPosting = false;
    if (left === 0) done.resolve();
  };
  const wal = await openWal({
    connection: { connectionString: from.databaseUrl },
    slot: from.slot,
    publications: [from.publication],
    confirmed: 0n,
    walSenderTimeoutMs: 0,
    onMessage: (bytes) => {
      const { type } = decoder.decode(bytes);
      if (type === 'update') left -= 1;
      waiting.push(Buffer.from(bytes));
      if (type !== 'commit' || isPosting) return;
      isPosting = true;
      post().catch(done.reject);
    },
    onKeepalive: () => undefined,
    onError: done.reject,
  });
  try {
    await done.promise;
  } finally {
    wal.abort();
  }
}
