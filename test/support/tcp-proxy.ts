// A TCP proxy on loopback that treats connections badly on demand: it ends them, lets them starve, delays what they carry, or
// ends them in the middle of what is sent, or right before or after a text goes by.
import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export type TcpProxy = {
  readonly port: number;
  /** Connections that came, over all time. */
  readonly count: () => number;
  /** Ends every connection at once; new ones are taken as before. */
  readonly cut: () => void;
  /** Ends every connection, and each new one as it comes, until `pass`. */
  readonly refuse: () => void;
  /** Holds back every byte of every connection, old and new, both ways, until `pass`. */
  readonly stall: () => void;
  /** Each chunk is handed on so much later, in order, until `pass`. */
  readonly lag: (ms: number) => void;
  /** Every connection, old or new, ends after so many more bytes to the side that connected, until `pass`. */
  readonly truncate: (bytes: number) => void;
  readonly pass: () => void;
  /**
   * Waits for the next chunk to the target that has `text`. `before` keeps it back, `after` what is answered to it; for ever, as
   * everything after it on that connection.
   */
  readonly meet: (text: string, when: 'before' | 'after') => Promise<void>;
  /**
   * Waits until a chunk to the target has `text`, and what follows on that connection has come as far as `end`. All that is kept back,
   * and sent on by `release`, though whoever sent it be gone by then.
   */
  readonly hold: (text: string, end: Buffer) => Promise<{ readonly release: () => void }>;
  readonly close: () => Promise<void>;
};

type Watch = { readonly text: string; readonly when: 'before' | 'after'; readonly met: () => void };
type Hold = {
  readonly text: string;
  readonly end: Buffer;
  readonly held: (hold: { readonly release: () => void }) => void;
};
type Pair = { watch: Watch | null; hold: Hold | null; held: Buffer };

type Mode =
  | { readonly type: 'pass' | 'refuse' | 'stall' }
  | { readonly type: 'lag'; readonly ms: number }
  | { readonly type: 'truncate'; readonly bytes: number };

/** `target` is asked at each connection, since what listens there may move. */
export async function startTcpProxy(target: () => number): Promise<TcpProxy> {
  const pairs = new Set<() => void>();
  let mode: Mode = { type: 'pass' };
  let changed = Promise.withResolvers<void>();
  let count = 0;
  let watch: Watch | null = null;
  let hold: Hold | null = null;
  const enter = (next: Mode): void => {
    mode = next;
    changed.resolve();
    changed = Promise.withResolvers();
  };
  const cut = (): void => {
    for (const end of pairs) end();
  };
  const server = net.createServer((near) => {
    count += 1;
    if (mode.type === 'refuse') {
      near.destroy();
      return;
    }
    const far = net.connect(target(), '127.0.0.1');
    const pair: Pair = { watch: null, hold: null, held: Buffer.alloc(0) };
    const end = (): void => {
      pairs.delete(end);
      near.destroy();
      if (pair.hold === null) far.destroy();
    };
    pairs.add(end);
    for (const socket of [near, far]) {
      // An end of either kind ends the other side.
      socket.on('error', end).on('close', end);
    }
    void carry(near, far, false, pair);
    void carry(far, near, true, pair);
  });
  const carry = async (from: net.Socket, to: net.Socket, isToNear: boolean, pair: Pair): Promise<void> => {
    const left = new WeakMap<Mode, number>();
    try {
      for await (const chunk of from) {
        if (!Buffer.isBuffer(chunk)) continue;
        while (mode.type === 'stall') await changed.promise;
        if (mode.type === 'lag') await delay(mode.ms);
        if (mode.type === 'truncate' && isToNear) {
          const rest = (left.get(mode) ?? mode.bytes) - chunk.length;
          left.set(mode, rest);
          if (rest <= 0) {
            to.end(chunk.subarray(0, chunk.length + rest));
            from.destroy();
            return;
          }
        }
        if (isToNear && pair.watch !== null) {
          pair.watch.met();
          await once(from, 'close');
          return;
        }
        if (!isToNear && watch !== null && chunk.includes(watch.text)) {
          const { when, met } = (pair.watch = watch);
          watch = null;
          if (when === 'before') {
            met();
            await once(from, 'close');
            return;
          }
        }
        if (!isToNear && hold !== null && chunk.includes(hold.text)) {
          pair.hold = hold;
          hold = null;
        }
        if (!isToNear && pair.hold !== null) {
          pair.held = Buffer.concat([pair.held, chunk]);
          if (pair.held.includes(pair.hold.end)) pair.hold.held({ release: () => void to.end(pair.held) });
          continue;
        }
        if (!to.write(chunk)) await once(to, 'drain');
      }
    } catch {
      // The connection was ended, on purpose or by either side.
    }
    if (isToNear || pair.hold === null) to.end();
  };
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    count: () => count,
    cut,
    refuse: () => {
      enter({ type: 'refuse' });
      cut();
    },
    stall: () => enter({ type: 'stall' }),
    lag: (ms) => enter({ type: 'lag', ms }),
    truncate: (bytes) => enter({ type: 'truncate', bytes }),
    pass: () => enter({ type: 'pass' }),
    meet: async (text, when) => await new Promise((resolve) => (watch = { text, when, met: resolve })),
    hold: async (text, end) => await new Promise((resolve) => (hold = { text, end, held: resolve })),
    close: async () => {
      enter({ type: 'pass' });
      cut();
      server.close();
      await once(server, 'close');
    },
  };
}
