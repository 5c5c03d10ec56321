// A simulated device on its socket: dials, joins, heartbeats, numbers its messages, and reads every frame as strictly as the
// real programs do. What they would drop is kept in `failures`; a run with failures has not passed.
import { randomBytes } from 'node:crypto';
import { WebSocket } from 'ws';
import { readFrame } from './strict.ts';
import type { DeviceFrame } from './strict.ts';
import type { Generation } from '../protocol/device/generations.ts';
import type { SocketRole } from '../protocol/roles.ts';

export type DeviceOptions = {
  /** Base address of the worker, http or https. */
  readonly url: string;
  readonly role: SocketRole;
  /** A, July 2025, when left out. */
  readonly generation?: Generation | undefined;
  readonly token: string;
  /** Neither is sent by relays. */
  readonly externalId?: string;
  readonly name?: string;
  /** Further parameters: where a relay can be reached. */
  readonly parameters?: Readonly<Record<string, string>>;
  /** Of the join: null for clients and gateways. */
  readonly joinPayload?: unknown;
  /** Standard base64 of 32 bytes; a fresh one when left out, as at every start of a real program. */
  readonly publicKey?: string;
  /** Where the token travels: generation A puts it in the query, C and B in a header. */
  readonly tokenIn?: 'query' | 'header';
  /** Called for every frame that was accepted. */
  readonly onFrame?: (frame: DeviceFrame) => void;
};

export type Device = {
  readonly role: SocketRole;
  readonly generation: Generation;
  readonly publicKey: string;
  /** Every accepted frame, in order. */
  readonly frames: readonly DeviceFrame[];
  /** Every frame that a real device would have dropped, in words. */
  readonly failures: readonly string[];
  /** Sends one message on the device's topic and returns its ref. */
  readonly send: (event: string, payload: unknown) => number;
  /** The first frame at or after index `from` that fits, waiting up to `timeoutMs`. */
  readonly waitFor: (
    what: string,
    fits: (frame: DeviceFrame) => boolean,
    options?: { readonly from?: number; readonly timeoutMs?: number },
  ) => Promise<DeviceFrame>;
  readonly close: () => void;
  /** Settles when the socket is closed, by whomever. */
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
};

/** A connection that the worker refused. */
export class Refused extends Error {
  override readonly name = 'Refused';
  readonly status: number;
  readonly body: string;

  constructor(status: number, body: string) {
    super(`the worker refused the connection with ${status}: ${body}`);
    this.status = status;
    this.body = body;
  }
}

const heartbeatMs = { A: 30_000, C: 10_000, B: 10_000 } as const satisfies Record<Generation, number>;

/** The word of the user agent that names the program. */
const programs = {
  A: { client: 'connlib/1.5.2', gateway: 'connlib/1.4.13', relay: 'relay/0.1.0' },
  C: { client: 'headless-client/1.5.9', gateway: 'gateway/1.5.3', relay: 'relay/0.1.0' },
  B: { client: 'headless-client/1.5.12', gateway: 'gateway/1.6.1', relay: 'relay/0.1.0' },
} as const satisfies Record<Generation, Record<SocketRole, string>>;

/** Connects, joins and returns once `init` has come. Throws {@link Refused} when the worker answers without an upgrade. */
export async function startDevice(options: DeviceOptions): Promise<Device> {
  const publicKey = options.publicKey ?? randomBytes(32).toString('base64');
  const socket = await dial(options, publicKey);
  const device = attach(socket, options, publicKey);
  await device.waitFor('the reply to its join', ({ event, ref }) => event === 'phx_reply' && ref === 0);
  if (device.generation === 'B' && device.role !== 'relay') device.send('set_snownet_capabilities', { iceless: true });
  await device.waitFor('init', ({ event }) => event === 'init');
  return device;
}

async function dial(options: DeviceOptions, publicKey: string): Promise<WebSocket> {
  const { role, generation = 'A', token, externalId, name, parameters = {} } = options;
  const tokenIn = options.tokenIn ?? (generation === 'A' ? 'query' : 'header');
  const path = generation === 'B' && role !== 'relay' ? `/${role}/v2/websocket` : `/${role}/websocket`;
  const url = new URL(path, options.url.replace(/^http/, 'ws'));
  if (tokenIn === 'query') url.searchParams.set('token', token);
  if (externalId !== undefined) url.searchParams.set('external_id', externalId);
  if (name !== undefined) url.searchParams.set('name', name);
  for (const [parameter, value] of Object.entries(parameters)) url.searchParams.set(parameter, value);
  if (role !== 'relay') url.searchParams.set('public_key', publicKey);
  const program = programs[generation][role];
  const socket = new WebSocket(url, {
    perMessageDeflate: false,
    headers: {
      'user-agent': role === 'relay' && generation === 'A' ? program : `Debian/12.0.0 ${program} (x86_64; 6.1.0)`,
      ...(tokenIn === 'header' ? { 'x-authorization': `Bearer ${token}` } : {}),
    },
  });
  return await new Promise((resolve, reject) => {
    socket.once('open', () => resolve(socket));
    socket.once('error', reject);
    socket.once('unexpected-response', (request, response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('end', () => {
        request.destroy();
        reject(new Refused(response.statusCode ?? 0, Buffer.concat(parts).toString()));
      });
    });
  });
}

type Waiter = { readonly fits: (frame: DeviceFrame) => boolean; readonly resolve: (frame: DeviceFrame) => void };

function attach(
  socket: WebSocket,
  { role, generation = 'A', joinPayload = null, onFrame }: DeviceOptions,
  publicKey: string,
): Device {
  const frames: DeviceFrame[] = [];
  const failures: string[] = [];
  const waiters = new Set<Waiter>();
  let nextRef = 0;
  const sendOn = (topic: string, event: string, payload: unknown): number => {
    const ref = nextRef;
    nextRef += 1;
    socket.send(JSON.stringify({ topic, event, payload, ref }));
    return ref;
  };
  const heartbeat = setInterval(() => sendOn('phoenix', 'heartbeat', {}), heartbeatMs[generation]);
  socket.on('message', (data: Buffer) => {
    const read = readFrame(role, data.toString(), generation);
    if (read.type === 'dropped') {
      failures.push(read.reason);
      return;
    }
    frames.push(read.frame);
    onFrame?.(read.frame);
    for (const waiter of waiters) if (waiter.fits(read.frame)) waiter.resolve(read.frame);
  });
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.on('close', (code, reason) => {
      clearInterval(heartbeat);
      resolve({ code, reason: reason.toString() });
    });
  });
  socket.on('error', (cause) => failures.push(`socket: ${cause.message}`));
  sendOn(role, 'phx_join', joinPayload);
  return {
    role,
    generation,
    publicKey,
    frames,
    failures,
    send: (event, payload) => sendOn(role, event, payload),
    waitFor: async (what, fits, waiting = {}) => {
      const seen = frames.slice(waiting.from ?? 0).find(fits);
      return seen ?? (await nextFrame(waiters, closed, fits, `${role} waits for ${what}`, failures, waiting.timeoutMs));
    },
    close: () => socket.close(1000),
    closed,
  };
}

async function nextFrame(
  waiters: Set<Waiter>,
  closed: Device['closed'],
  fits: Waiter['fits'],
  what: string,
  failures: readonly string[],
  timeoutMs = 20_000,
): Promise<DeviceFrame> {
  return await new Promise((resolve, reject) => {
    const settle = (finish: () => void) => {
      clearTimeout(timer);
      waiters.delete(waiter);
      finish();
    };
    const fail = (why: string) => {
      const dropped = failures.length === 0 ? '' : `; frames dropped: ${failures.join(' | ')}`;
      settle(() => reject(new Error(`${what}: ${why}${dropped}`)));
    };
    const waiter: Waiter = { fits, resolve: (frame) => settle(() => resolve(frame)) };
    const timer = setTimeout(() => fail(`nothing came within ${timeoutMs} ms`), timeoutMs);
    waiters.add(waiter);
    void closed.then(({ code, reason }) => fail(`the socket was closed (${code} ${reason})`));
  });
}
