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
import { accountObject } from '../place.ts';
import { closeQuietly, Uplink } from './uplink.ts';
import * as log from '../log.ts';
import { fullBucket, takeOne } from './bucket.ts';
import type { Bucket, Rate } from './bucket.ts';
import type { Dialled, Over } from './uplink.ts';
import type { Env } from '../env.ts';
import type { FrameAction } from '../../protocol/framing.ts';
import type { AnyHello, LinkUp, Refusal, Welcome } from '../../protocol/link.ts';
import type { Place } from '../../protocol/place.ts';
import type { SocketRole } from '../../protocol/roles.ts';

/** Malformed frames in one connection, at most. */
const malformedMax = 10;

/** What a device may send: a burst, and so many frames a second, its heartbeats included. A gateway answers for many clients. */
export const frameRates = {
  client: { burst: 1000, perSecond: 100 },
  gateway: { burst: 5000, perSecond: 1000 },
  relay: { burst: 50, perSecond: 5 },
} as const satisfies Record<SocketRole, Rate>;

/** Joins of one device: each is answered with the whole of its view, and wakes its account's object. */
export const joinRate: Rate = { burst: 5, perSecond: 0.1 };

/**
 * UTF-16 code units sent to a device since its last frame, at most: the platform keeps what a socket does not take, without a
 * bound of its own, in memory that all accounts share. One turn may tell a gateway of every grant that an account can have
 * (core/grants.ts), in its init and again as each ends.
 */
export const unreadLengthMax = {
  client: 4 * 1024 * 1024,
  gateway: 32 * 1024 * 1024,
  relay: 4 * 1024 * 1024,
} as const satisfies Record<SocketRole, number>;

/** Codes of those closes that a device brings about by being, sending or leaving unread too much. */
const closesAtBound: ReadonlySet<number> = new Set([1008, 1009, 1013]);

/** An invocation runs its old code as long as it holds a socket: a device is asked to connect anew after this, ± 10 %. */
const lifeMs = 12 * 3_600_000;

/** Asks the account's object for admission: 101 with the device's socket, or the object's refusal. */
export async function connectDevice(hello: AnyHello, place: Place, env: Env): Promise<Response | Refusal> {
  const dial = async () => await dialObject(hello, place, env);
  const dialled = await dial();
  if (dialled.type === 'refused') return dialled.refusal;
  const pair = new WebSocketPair();
  new Link(pair[1], hello, dial).start(dialled.socket, dialled.welcome);
  return new Response(null, { status: 101, webSocket: pair[0] });
}

/** Throws when the object cannot be reached. */
async function dialObject(hello: AnyHello, place: Place, env: Env): Promise<Dialled> {
  const answer = await accountObject(env.ACCOUNT, hello.account, place).fetch('https://account/link', {
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
  readonly #account: string;
  readonly #role: SocketRole;
  readonly #idleMs: number;
  readonly #uplink: Uplink;
  /** What the object is told of the join, each time there is another way to it; null before the join. */
  #joined: LinkUp | null = null;
  #malformed = 0;
  #unreadLength = 0;
  readonly #frames: Bucket;
  readonly #joins: Bucket;
  #isOver = false;
  #idle: ReturnType<typeof setTimeout> | null = null;
  #life: ReturnType<typeof setTimeout> | null = null;

  constructor(
    device: WebSocket,
    { account, role, program }: Pick<AnyHello, 'account' | 'role' | 'program'>,
    dial: () => Promise<Dialled>,
  ) {
    this.#device = device;
    this.#account = account;
    this.#role = role;
    this.#idleMs = idleMs(role, { program });
    this.#frames = fullBucket(frameRates[role], Date.now());
    this.#joins = fullBucket(joinRate, Date.now());
    this.#uplink = new Uplink(role, dial, {
      onText: (text) => this.#guarded(() => this.#fromObject(text)),
      onReturn: () => {
        if (this.#joined !== null) this.#up(this.#joined);
      },
      onOver: (over) => this.#guarded(() => this.#over(over)),
    });
  }

  start(inner: WebSocket, said: Welcome): void {
    this.#device.addEventListener('message', ({ data }) => {
      this.#alive();
      this.#guarded(() => this.#fromDevice(data));
    });
    this.#device.addEventListener('close', () => this.#end(closes.left));
    this.#device.addEventListener('error', () => this.#end(closes.left));
    this.#device.accept();
    this.#uplink.take(inner, said);
    this.#life = setTimeout(() => this.#end(closes.recycled), lifeMs * (0.9 + Math.random() / 5));
    this.#alive();
  }

  #alive(): void {
    if (this.#isOver) return;
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.#end(closes.silent), this.#idleMs);
  }

  #guarded(handle: () => void): void {
    try {
      handle();
    } catch (cause) {
      log.error('edge_link_failed', cause, { role: this.#role });
      this.#end(closes.internal_error);
    }
  }

  #fromDevice(data: string | ArrayBuffer): void {
    this.#unreadLength = 0;
    if (takeOne(this.#frames, frameRates[this.#role], Date.now()) > 0) {
      this.#end(closes.too_fast);
      return;
    }
    if (typeof data !== 'string' || data.length > frameLengthMax) {
      this.#end(closes.too_large);
      return;
    }
    const parsed = parseFrame(data);
    if (parsed.type === 'malformed') {
      this.#malformed += 1;
      if (this.#malformed > malformedMax) this.#end(closes.malformed);
      return;
    }
    this.#perform(decideFrame(this.#role, this.#joined !== null, parsed.frame));
  }

  #perform(action: FrameAction): void {
    switch (action.type) {
      case 'reply':
        this.#tell(action.text);
        return;
      case 'join':
        if (takeOne(this.#joins, joinRate, Date.now()) > 0) {
          this.#end(closes.too_fast);
          return;
        }
        this.#tell(action.text);
        this.#joined = joinedMessage(action.stampSecret);
        // While there is no way to the object, it is told once there is one.
        if (this.#uplink.isUp) this.#up(this.#joined);
        return;
      case 'leave':
        this.#tell(action.text);
        this.#end(closes.left);
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
    if (text.startsWith(deviceFrameMark)) this.#tell(text.slice(deviceFrameMark.length));
    else this.#over(v.parse(linkDown, JSON.parse(text)));
  }

  #over(over: Over): void {
    if (over.signOut) this.#tell(pushFrame(this.#role, 'disconnect', { reason: 'token_expired' }));
    this.#end(over);
  }

  #tell(text: string): void {
    if (this.#isOver) return;
    this.#unreadLength += text.length;
    if (this.#unreadLength > unreadLengthMax[this.#role]) this.#end(closes.unread);
    else this.#device.send(text);
  }

  /** Ends both sockets, once; a socket that is gone already is left alone. */
  #end({ code, reason }: Pick<Over, 'code' | 'reason'>): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#idle);
    clearTimeout(this.#life);
    if (closesAtBound.has(code)) log.warn('device_closed', { account: this.#account, role: this.#role, code, reason });
    closeQuietly(this.#device, code, reason);
    this.#uplink.close(code, reason);
  }
}

function joinedMessage(stampSecret: string | null): LinkUp {
  return stampSecret === null ? { type: 'joined' } : { type: 'joined', stampSecret };
}
