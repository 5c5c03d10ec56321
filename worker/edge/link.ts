// Holds a device's socket at the edge. It speaks the framing, answers joins and heartbeats, bounds what a device may send and
// how long it may be silent, and passes on only what needs a decision: an account whose devices only heartbeat sleeps.
//
// Order: the object admits, the device gets its 101, its join is answered, the object is told `joined` and sends `init`. When
// the way to the object is lost and found again (uplink.ts), the object is told `joined` again, before whatever waited.
import * as v from 'valibot';
import { decideFrame, frameLengthMax, parseFrame, pushFrame } from '../../protocol/framing.ts';
import {
  deviceFrameMark,
  helloHeader,
  linkDown,
  noWelcome,
  refusal,
  welcome,
  welcomeHeader,
} from '../../protocol/link.ts';
import { closes, refusalOf } from '../../protocol/reasons.ts';
import { unreachable } from '../../protocol/assert.ts';
import { idleMs } from '../../protocol/device/generations.ts';
import { refuse } from './reply.ts';
import { accountObjectName } from '../env.ts';
import { closeQuietly, Uplink } from './uplink.ts';
import * as log from '../log.ts';
import type { Dialled, Over } from './uplink.ts';
import type { Env } from '../env.ts';
import type { FrameAction } from '../../protocol/framing.ts';
import type { Hello, LinkUp, Welcome } from '../../protocol/link.ts';
import type { Role } from '../../protocol/roles.ts';

/** Malformed frames in one connection, at most. */
const malformedMax = 10;

/** An invocation runs its old code as long as it holds a socket: a device is asked to connect anew after this, ± 10 %. */
const lifeMs = 12 * 3_600_000;

/** Asks the account's object for admission and answers the device: 101 with its socket, or the object's refusal. */
export async function connectDevice(hello: Hello, env: Env): Promise<Response> {
  const dial = async () => await dialObject(hello, env);
  const dialled = await dial();
  if (dialled.type === 'refused') return refuse(dialled.refusal, hello);
  const pair = new WebSocketPair();
  new Link(pair[1], hello, dial).start(dialled.socket, dialled.welcome);
  return new Response(null, { status: 101, webSocket: pair[0] });
}

/** Throws when the object cannot be reached. */
async function dialObject(hello: Hello, env: Env): Promise<Dialled> {
  const stub = env.ACCOUNT.getByName(accountObjectName(hello.account));
  const answer = await stub.fetch('https://account/link', {
    headers: { upgrade: 'websocket', [helloHeader]: encodeURIComponent(JSON.stringify(hello)) },
  });
  const { headers, webSocket } = answer;
  if (webSocket === null) {
    const parsed = v.safeParse(refusal, await answer.json());
    return { type: 'refused', refusal: parsed.success ? parsed.output : refusalOf('unavailable') };
  }
  const said = v.safeParse(v.pipe(v.string(), v.parseJson(), welcome), headers.get(welcomeHeader));
  return { type: 'admitted', socket: webSocket, welcome: said.success ? said.output : noWelcome };
}

export class Link {
  readonly #device: WebSocket;
  readonly #role: Role;
  readonly #idleMs: number;
  readonly #uplink: Uplink;
  #isJoined = false;
  #malformed = 0;
  #isOver = false;
  #idle: ReturnType<typeof setTimeout> | null = null;
  #life: ReturnType<typeof setTimeout> | null = null;

  constructor(device: WebSocket, { role, program }: Pick<Hello, 'role' | 'program'>, dial: () => Promise<Dialled>) {
    this.#device = device;
    this.#role = role;
    this.#idleMs = idleMs(role, { program });
    this.#uplink = new Uplink(role, dial, {
      onText: (text) => this.#guarded(() => this.#fromObject(text)),
      onReturn: () => {
        if (this.#isJoined) this.#up({ type: 'joined' });
      },
      onOver: (over) => this.#guarded(() => this.#over(over)),
    });
  }

  start(inner: WebSocket, said: Welcome): void {
    const { internal_error: failed, recycled } = closes;
    this.#device.addEventListener('message', ({ data }) => {
      this.#alive();
      this.#guarded(() => this.#fromDevice(data));
    });
    this.#device.addEventListener('close', () => this.#end(1000, 'the device left'));
    this.#device.addEventListener('error', () => this.#end(failed.code, 'the device was lost'));
    this.#device.accept();
    this.#uplink.take(inner, said);
    this.#life = setTimeout(() => this.#end(recycled.code, recycled.reason), lifeMs * (0.9 + Math.random() / 5));
    this.#alive();
  }

  #alive(): void {
    if (this.#isOver) return;
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.#end(1000, 'silent for too long'), this.#idleMs);
  }

  #guarded(handle: () => void): void {
    try {
      handle();
    } catch (cause) {
      log.error('edge_link_failed', cause, { role: this.#role });
      this.#end(closes.internal_error.code, closes.internal_error.reason);
    }
  }

  #fromDevice(data: string | ArrayBuffer): void {
    if (typeof data !== 'string' || data.length > frameLengthMax) {
      this.#end(1009, `expected text frames of at most ${frameLengthMax} characters`);
      return;
    }
    const parsed = parseFrame(data);
    if (parsed.type === 'malformed') {
      this.#malformed += 1;
      if (this.#malformed > malformedMax) this.#end(1008, `too many malformed frames, the last one ${parsed.reason}`);
      return;
    }
    this.#perform(decideFrame(this.#role, this.#isJoined, parsed.frame));
  }

  #perform(action: FrameAction): void {
    switch (action.type) {
      case 'reply':
        this.#device.send(action.text);
        return;
      case 'join':
        this.#device.send(action.text);
        this.#isJoined = true;
        // While there is no way to the object, it is told once there is one.
        if (this.#uplink.isUp) this.#up({ type: 'joined' });
        return;
      case 'leave':
        this.#device.send(action.text);
        this.#end(1000, 'the device left');
        return;
      case 'forward':
        this.#up({ type: 'message', event: action.event, payload: action.payload, ref: action.ref });
        return;
    }
    unreachable(action);
  }

  #up(message: LinkUp): void {
    this.#uplink.send(JSON.stringify(message));
  }

  #fromObject(text: string): void {
    if (text.startsWith(deviceFrameMark)) this.#device.send(text.slice(deviceFrameMark.length));
    else this.#over(v.parse(linkDown, JSON.parse(text)));
  }

  #over({ code, reason, signOut }: Over): void {
    if (signOut) this.#device.send(pushFrame(this.#role, 'disconnect', { reason: 'token_expired' }));
    this.#end(code, reason);
  }

  /** Ends both sockets, once; a socket that is gone already is left alone. */
  #end(code: number, reason: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#idle);
    clearTimeout(this.#life);
    closeQuietly(this.#device, code, reason);
    this.#uplink.close(code, reason);
  }
}
