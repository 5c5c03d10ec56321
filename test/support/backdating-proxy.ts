// A TCP proxy before Postgres that tells earlier commit times to whoever reads its WAL: what is read then looks as it does to one
// that has fallen so far behind. Everything else passes as it is.
import { once } from 'node:events';
import net from 'node:net';

export type BackdatingProxy = {
  readonly port: number;
  /** From here on commits are told as they are. */
  readonly catchUp: () => void;
  readonly close: () => Promise<void>;
};

export async function startBackdatingProxy(targetPort: number, behindMs: number): Promise<BackdatingProxy> {
  let behindUs = BigInt(behindMs) * 1000n;
  const ends = new Set<() => void>();
  const server = net.createServer((near) => {
    const far = net.connect(targetPort, '127.0.0.1');
    const end = (): void => {
      ends.delete(end);
      near.destroy();
      far.destroy();
    };
    ends.add(end);
    for (const socket of [near, far]) socket.on('error', end).on('close', end);
    near.on('data', (chunk) => void far.write(chunk));
    let rest = Buffer.alloc(0);
    far.on('data', (chunk: Buffer) => {
      const bytes = Buffer.concat([rest, chunk]);
      let at = 0;
      // https://www.postgresql.org/docs/18/protocol-overview.html: a type, then a length that counts itself.
      while (bytes.length >= at + 5 && bytes.length >= at + 1 + bytes.readInt32BE(at + 1)) {
        const length = 1 + bytes.readInt32BE(at + 1);
        backdate(bytes.subarray(at, at + length), behindUs);
        at += length;
      }
      near.write(bytes.subarray(0, at));
      rest = bytes.subarray(at);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    catchUp: () => (behindUs = 0n),
    close: async () => {
      for (const end of ends) end();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Where the commit time stands after the type of a pgoutput message, by that type: begin and commit. */
const timeAt = new Map([
  ['B', 9],
  ['C', 18],
]);

/** https://www.postgresql.org/docs/18/protocol-replication.html: CopyData with XLogData, whose header is 25 bytes. */
function backdate(message: Buffer, behindUs: bigint): void {
  if (message.toString('latin1', 0, 1) !== 'd' || message.toString('latin1', 5, 6) !== 'w') return;
  const offset = timeAt.get(message.toString('latin1', 30, 31));
  if (offset === undefined) return;
  message.writeBigInt64BE(message.readBigInt64BE(30 + offset) - behindUs, 30 + offset);
}
