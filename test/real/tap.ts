// Stands between the programs and the worker, passes every byte on as it is, and reads the frames that go by. So what a program
// was told, and what it said, is known without a word from the program. One role can be held back: it keeps its
// connection and hears nothing.
import net from 'node:net';
import { once } from 'node:events';
import { framesIn } from './frames.ts';
import type { Role } from './network.ts';

export type Seen = {
  readonly role: Role;
  /** From the program, or to it. */
  readonly way: 'from' | 'to';
  readonly event: string;
  readonly payload: unknown;
};

export type Tap = {
  readonly port: number;
  /** Every frame so far, in order. */
  readonly seen: readonly Seen[];
  /** Waits for a frame at or after index `from`. */
  readonly until: (what: string, fits: (seen: Seen) => boolean, from: number) => Promise<Seen>;
  /** Passes nothing on of this role's connections, old or new, either way, until `pass`. */
  readonly hold: (role: Role) => void;
  readonly pass: () => void;
  readonly close: () => Promise<void>;
};

/** `waitMsMax`: how long a program may take for anything, its backoff after a restart of the portal among it. */
export async function startTap(address: string, target: () => number, waitMsMax: number): Promise<Tap> {
  const seen: Seen[] = [];
  const waiters = new Set<() => void>();
  const pairs = new Set<() => void>();
  let held: Role | null = null;
  let released = Promise.withResolvers<void>();
  const isHeld = (role: Role | null) => role !== null && role === held;
  const carry = async (from: net.Socket, to: net.Socket, way: Seen['way'], role: () => Role | null): Promise<void> => {
    const read = framesIn();
    try {
      for await (const chunk of from) {
        if (!Buffer.isBuffer(chunk)) continue;
        const frames = read(chunk);
        while (isHeld(role())) await released.promise;
        for (const { event, payload } of frames) {
          const by = role();
          if (by !== null) seen.push({ role: by, way, event, payload });
        }
        for (const waiter of waiters) waiter();
        if (!to.write(chunk)) await once(to, 'drain');
      }
    } catch {
      // Either side has ended it.
    }
    to.end();
  };
  const server = net.createServer((near) => {
    const far = net.connect(target(), '127.0.0.1');
    let role: Role | null = null;
    const end = () => {
      pairs.delete(end);
      near.destroy();
      far.destroy();
    };
    pairs.add(end);
    for (const socket of [near, far]) socket.on('error', end).on('close', end);
    near.once('data', (chunk: Buffer) => (role = roleIn(chunk)));
    void carry(near, far, 'from', () => role);
    void carry(far, near, 'to', () => role);
  });
  server.listen(0, address);
  await once(server, 'listening');
  const bound = server.address();
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : 0,
    seen,
    until: async (what, fits, from) => await untilSeen({ seen, waiters, waitMsMax }, what, fits, from),
    hold: (role) => {
      held = role;
    },
    pass: () => {
      held = null;
      released.resolve();
      released = Promise.withResolvers();
    },
    close: async () => {
      for (const end of pairs) end();
      server.close();
      await once(server, 'close');
    },
  };
}

type Watch = { readonly seen: readonly Seen[]; readonly waiters: Set<() => void>; readonly waitMsMax: number };

async function untilSeen(
  { seen, waiters, waitMsMax }: Watch,
  what: string,
  fits: (seen: Seen) => boolean,
  from: number,
): Promise<Seen> {
  const found = Promise.withResolvers<Seen>();
  const check = () => {
    const first = seen.slice(from).find(fits);
    if (first !== undefined) found.resolve(first);
  };
  const limit = setTimeout(
    () => found.reject(new Error(`${what} was not seen within ${waitMsMax / 1000} s`)),
    waitMsMax,
  );
  waiters.add(check);
  check();
  try {
    return await found.promise;
  } finally {
    clearTimeout(limit);
    waiters.delete(check);
  }
}

/** Who dials is in the path: `GET /client/v2/websocket?…`. */
function roleIn(head: Buffer): Role | null {
  const [, name] = /^GET \/(client|gateway|relay)\//.exec(head.toString('latin1')) ?? [];
  return name === 'client' || name === 'gateway' || name === 'relay' ? name : null;
}
