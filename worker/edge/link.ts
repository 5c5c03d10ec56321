// Holds a device's socket at the edge and its internal socket to the Account object. It speaks the framing, answers joins and
// heartbeats, bounds what a device may send and how long it may be silent, and passes on only what needs a decision: an
// account whose devices only heartbeat sleeps.
//
// Order: the object admits, the device gets its 101, its join is answered, the object is told `joined` and sends `init`.
import * as v from 'valibot';
import { decideFrame, frameLengthMax, parseFrame, pushFrame } from '../../protocol/framing.ts';
import { deviceFrameMark, helloHeader, linkDown, refusal } from '../../protocol/link.ts';
import { closes, refusalOf } from '../../protocol/reasons.ts';
import { idleMsByRole } from '../../protocol/roles.ts';
import { refuse } from './reply.ts';
import { accountObjectName } from '../env.ts';
import * as log from '../log.ts';
import type { Env } from '../env.ts';
import type { FrameAction } from '../../protocol/framing.ts';
import type { Hello, LinkUp } from '../../protocol/link.ts';

/** Malformed frames in one connection, at most. */
const malformedMax = 10;

/** Asks the account's object for admission and answers the device: 101 with its socket, or the object's refusal. */
export async function connectDevice(hello: Hello, env: Env): Promise<Response> {
  const stub = env.ACCOUNT.getByName(accountObjectName(hello.account));
  const answer = await stub.fetch('https://account/link', {
    headers: { upgrade: 'websocket', [helloHeader]: encodeURIComponent(JSON.stringify(hello)) },
  });
  const inner = answer.webSocket;
  if (inner === null) {
    const parsed = v.safeParse(refusal, await answer.json());
    return refuse(parsed.success ? parsed.output : refusalOf('unavailable'));
  }
  const pair = new WebSocketPair();
  hold(pair[1], inner, hello);
  return new Response(null, { status: 101, webSocket: pair[0] });
}

function hold(device: WebSocket, inner: WebSocket, { role }: Hello): void {
  const link = { device, inner, topic: role, joined: false, malformed: 0, ended: false };
  let idle: ReturnType<typeof setTimeout> | null = null;
  const alive = () => {
    clearTimeout(idle);
    idle = setTimeout(() => end(link, 1000, 'silent for too long'), idleMsByRole[role]);
  };
  const guarded = (handle: () => void) => {
    try {
      handle();
    } catch (cause) {
      log.error('edge_link_failed', cause, { role });
      end(link, closes.internal_error.code, closes.internal_error.reason);
    }
  };
  const stop = () => clearTimeout(idle);
  device.addEventListener('message', ({ data }) => {
    alive();
    guarded(() => fromDevice(link, data));
  });
  device.addEventListener('close', () => {
    stop();
    end(link, 1000, 'the device left');
  });
  device.addEventListener('error', () => {
    stop();
    end(link, closes.internal_error.code, 'the device was lost');
  });
  inner.addEventListener('message', ({ data }) => guarded(() => fromObject(link, data)));
  inner.addEventListener('close', () => {
    stop();
    end(link, closes.restart.code, closes.restart.reason);
  });
  inner.addEventListener('error', () => {
    stop();
    end(link, closes.restart.code, closes.restart.reason);
  });
  device.accept();
  inner.accept();
  alive();
}

type Link = {
  readonly device: WebSocket;
  readonly inner: WebSocket;
  readonly topic: string;
  joined: boolean;
  malformed: number;
  ended: boolean;
};

function fromDevice(link: Link, data: string | ArrayBuffer): void {
  if (typeof data !== 'string' || data.length > frameLengthMax) {
    end(link, 1009, `expected text frames of at most ${frameLengthMax} characters`);
    return;
  }
  const parsed = parseFrame(data);
  if (parsed.type === 'malformed') {
    link.malformed += 1;
    if (link.malformed > malformedMax) end(link, 1008, `too many malformed frames, the last one ${parsed.reason}`);
    return;
  }
  perform(link, decideFrame(link.topic, link.joined, parsed.frame));
}

function perform(link: Link, action: FrameAction): void {
  switch (action.type) {
    case 'reply':
      link.device.send(action.text);
      return;
    case 'join':
      link.device.send(action.text);
      link.joined = true;
      up(link, { type: 'joined' });
      return;
    case 'leave':
      link.device.send(action.text);
      end(link, 1000, 'the device left');
      return;
    case 'forward':
      up(link, { type: 'message', event: action.event, payload: action.payload, ref: action.ref });
      return;
  }
}

function up(link: Link, message: LinkUp): void {
  link.inner.send(JSON.stringify(message));
}

function fromObject(link: Link, data: string | ArrayBuffer): void {
  if (typeof data !== 'string') return;
  if (data.startsWith(deviceFrameMark)) {
    link.device.send(data.slice(deviceFrameMark.length));
    return;
  }
  const { code, reason, signOut } = v.parse(linkDown, JSON.parse(data));
  if (signOut) link.device.send(pushFrame(link.topic, 'disconnect', { reason: 'token_expired' }));
  end(link, code, reason);
}

/** Ends both sockets, once; a socket that is gone already is left alone. */
function end(link: Link, code: number, reason: string): void {
  if (link.ended) return;
  link.ended = true;
  for (const socket of [link.device, link.inner]) {
    try {
      socket.close(code, reason);
    } catch (cause) {
      log.info('edge_socket_gone', { reason: cause instanceof Error ? cause.message : 'unknown' });
    }
  }
}
