// A device on a socket of the worker under test: frames out, frames in, nothing hidden.
import * as v from 'valibot';
import { env, exports } from 'cloudflare:workers';
import { accountId, tokenId } from '../../protocol/ids.ts';
import { clientKey, clientSecret, gatewayKey, gatewaySecret, ids, relaySecret, stampSecret } from '../support/world.ts';
import { parseTokenKeys, signToken } from '../../worker/token.ts';
import { speaking } from '../support/generations.ts';
import type { Generation } from '../../protocol/device/generations.ts';
import type { SocketRole } from '../../protocol/roles.ts';

const tokens = {
  client: { type: 'client', id: ids.clientToken, secret: clientSecret },
  gateway: { type: 'gateway_group', id: ids.gatewayToken, secret: gatewaySecret },
  relay: { type: 'relay_group', id: ids.relayToken, secret: relaySecret },
} as const satisfies Record<SocketRole, object>;

/** A signed token of the world's client, gateway or relay; `changes` vary the envelope, `keys` is the deployment's otherwise. */
export function token(
  role: SocketRole,
  changes: {
    readonly account?: string;
    readonly id?: string;
    readonly secret?: string;
    readonly place?: string;
    readonly issuedAtSeconds?: number;
  } = {},
  keys = env.DRAWBRIDGE_TOKEN_KEYS,
): string {
  const all = { account: ids.account, issuedAtSeconds: 0, ...tokens[role], ...changes };
  const { account, type, id, secret, issuedAtSeconds, place = null } = all;
  const envelope = {
    type,
    accountId: v.parse(accountId, account),
    tokenId: v.parse(tokenId, id),
    issuedAtSeconds,
    place,
    secret,
  };
  return signToken(envelope, parseTokenKeys(keys)[0]);
}

export type DialOptions = {
  readonly query?: object;
  readonly headers?: object;
  readonly signed?: string | null;
  readonly of?: Generation;
  /** What the platform knows of the connection. */
  readonly cf?: RequestInitCfProperties;
};

/** What a real device says of itself in its parameters. */
const parametersOf = {
  client: { external_id: 'laptop', name: 'Name', public_key: clientKey },
  gateway: { external_id: 'rack-1', name: 'Name', public_key: gatewayKey },
  relay: { ipv4: '198.51.100.9', port: '3478' },
} as const satisfies Record<SocketRole, object>;

/** Asks for a socket as `role`; `query` and `headers` vary what a real device sends. */
export async function dial(
  role: SocketRole,
  { query = {}, headers = {}, signed = token(role), of = 'A', cf }: DialOptions = {},
): Promise<Response> {
  const parameters = new URLSearchParams({ ...parametersOf[role], ...query });
  const { program, deviceVersion, socketVersion } = role === 'relay' ? relayProgram : speaking[of][role];
  const path = socketVersion === 2 ? `${role}/v2/websocket` : `${role}/websocket`;
  return await exports.default.fetch(`https://drawbridge.example/${path}?${parameters.toString()}`, {
    headers: {
      upgrade: 'websocket',
      'user-agent': `Debian/12.0.0 ${program}/${deviceVersion} (x86_64; 6.1.0)`,
      ...(signed === null ? {} : { 'x-authorization': `Bearer ${signed}` }),
      ...headers,
    },
    ...(cf === undefined ? {} : { cf }),
  });
}

const relayProgram = { program: 'relay', deviceVersion: '0.1.0', socketVersion: 1 } as const;

export class Device {
  readonly #socket: WebSocket;
  readonly #frames: string[] = [];
  readonly #waiting: ((frame: string) => void)[] = [];
  readonly closed: Promise<{ code: number; reason: string }>;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener('message', ({ data }) => {
      const next = this.#waiting.shift();
      if (next === undefined) this.#frames.push(String(data));
      else next(String(data));
    });
    this.closed = new Promise((resolve) => {
      socket.addEventListener('close', ({ code, reason }) => resolve({ code, reason }));
    });
    socket.accept();
  }

  send(frame: object | string): void {
    this.#socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
  }

  sendBinary(bytes: Uint8Array): void {
    this.#socket.send(bytes);
  }

  close(): void {
    this.#socket.close(1000, 'done');
  }

  /** The next frame's text, as it came. */
  async next(): Promise<string> {
    const ready = this.#frames.shift();
    return ready ?? (await new Promise((resolve) => this.#waiting.push(resolve)));
  }

  /** The next frame, parsed. */
  async frame(): Promise<{ topic: string; event: string; payload: unknown; ref: unknown }> {
    return JSON.parse(await this.next());
  }
}

/** A connected device; throws when it was refused. */
export async function connect(role: SocketRole, options: DialOptions = {}): Promise<Device> {
  const { status, webSocket } = await dial(role, options);
  if (webSocket === null) throw new Error(`refused with ${status}`);
  return new Device(webSocket);
}

/** A device that has joined; its init is returned with it. */
export async function join(role: SocketRole, options: DialOptions = {}) {
  const device = await connect(role, options);
  const payload = role === 'relay' ? { stamp_secret: stampSecret } : null;
  device.send({ topic: role, event: 'phx_join', payload, ref: 0 });
  await device.frame();
  const init = await device.frame();
  return { device, init };
}
