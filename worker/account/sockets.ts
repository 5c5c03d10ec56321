// The object's hibernatable sockets, one per connected device: found by session, with the session's facts in the attachment
// so that they survive hibernation. A socket that is gone is never an error here.
import * as v from 'valibot';
import { closes } from '../../protocol/reasons.ts';
import { deviceFrameMark } from '../../protocol/link.ts';
import { relaySession, session as sessionSchema } from '../../core/state.ts';
import { pushFrame, replyFrame } from '../../protocol/framing.ts';
import { unreachable } from '../../protocol/assert.ts';
import * as log from '../log.ts';
import type { Send } from '../../core/effect.ts';
import type { CloseCause } from '../../protocol/reasons.ts';
import type { LinkDown } from '../../protocol/link.ts';
import type { RelaySession, Session } from '../../core/state.ts';
import type { SocketRole } from '../../protocol/roles.ts';

const linkFacts = v.object({
  /** The version of the link that the edge speaks. */
  version: v.number(),
  /** When the socket was accepted, milliseconds since 1970-01-01 UTC. */
  acceptedAt: v.number(),
});
export type LinkFacts = v.InferOutput<typeof linkFacts>;

/** Version 1 knew nothing of the link, which was version 1 too. */
const attachment = v.variant('version', [
  v.pipe(
    v.object({ version: v.literal(1), session: sessionSchema }),
    v.transform(({ session }) => ({ link: { version: 1, acceptedAt: 0 }, session })),
  ),
  v.object({ version: v.literal(2), link: linkFacts, session: v.union([sessionSchema, relaySession]) }),
]);

export type AnySession = Session | RelaySession;

/** Takes over `socket` for `session`, in a way that lets the object sleep. */
export function acceptSocket(ctx: DurableObjectState, socket: WebSocket, session: AnySession, link: LinkFacts): void {
  ctx.acceptWebSocket(socket, [session.id, session.role]);
  store(socket, session, link);
}

/** Stores the session's facts with its socket. */
export function attach(socket: WebSocket, session: AnySession): void {
  store(socket, session, linkOf.get(socket) ?? factsOf(socket)?.link ?? { version: 1, acceptedAt: 0 });
}

/** The link of sockets whose facts were stored since the object woke: those are not read back for each change. */
const linkOf = new WeakMap<WebSocket, LinkFacts>();

function store(socket: WebSocket, session: AnySession, link: LinkFacts): void {
  linkOf.set(socket, link);
  socket.serializeAttachment({ version: 2, link, session } satisfies v.InferInput<typeof attachment>);
  read.set(socket, { link, session });
}

export type SocketFacts = { readonly session: AnySession; readonly link: LinkFacts };

/** What was read or written last, while the object is awake: messages come far more often than facts change. */
const read = new WeakMap<WebSocket, SocketFacts>();

/** What is stored with a socket; null when it cannot be read. */
export function factsOf(socket: WebSocket): SocketFacts | null {
  const known = read.get(socket);
  if (known !== undefined) return known;
  const parsed = v.safeParse(attachment, socket.deserializeAttachment());
  if (!parsed.success) return null;
  read.set(socket, parsed.output);
  return parsed.output;
}

export function socketOf(ctx: DurableObjectState, sessionId: string): WebSocket | null {
  return ctx.getWebSockets(sessionId).find(({ readyState }) => readyState === WebSocket.OPEN) ?? null;
}

/** The session that a socket was accepted for; empty when its facts cannot be read. */
export function sessionIdOf(socket: WebSocket): string {
  return factsOf(socket)?.session.id ?? '';
}

/** The sessions of all open sockets. One whose facts cannot be read is dropped. */
export function openSessions(ctx: DurableObjectState): AnySession[] {
  return openSockets(ctx).flatMap((socket) => {
    const facts = factsOf(socket);
    if (facts !== null) return [facts.session];
    log.warn('attachment_unreadable');
    dropSocket(socket);
    return [];
  });
}

/** The open sockets of one role, or all. */
export function openSockets(ctx: DurableObjectState, role?: SocketRole): WebSocket[] {
  return ctx.getWebSockets(role).filter(({ readyState }) => readyState === WebSocket.OPEN);
}

/** Sends what was decided to the session that it is for; a socket that is gone changes nothing. */
export function performSend(ctx: DurableObjectState, send: Send): void {
  const socket = socketOf(ctx, send.sessionId);
  if (socket === null) return;
  switch (send.type) {
    case 'to-client':
      sendFrame(socket, pushFrame('client', send.message.event, send.message.payload));
      return;
    case 'to-gateway':
      sendFrame(socket, pushFrame('gateway', send.message.event, send.message.payload));
      return;
    case 'to-relay':
      sendFrame(socket, pushFrame('relay', 'init', {}));
      return;
    case 'reply':
      sendFrame(socket, replyFrame(send.topic, send.ref, send.answer));
      return;
    case 'close':
      closeSocket(socket, send.cause);
      return;
  }
  unreachable(send);
}

/** Sends a device frame, verbatim. */
function sendFrame(socket: WebSocket, frame: string): void {
  trySend(socket, deviceFrameMark + frame);
}

/** Tells the edge to end the device's socket, and ends this one. */
export function closeSocket(socket: WebSocket, cause: CloseCause): void {
  const { code, reason, signOut } = closes[cause];
  trySend(socket, JSON.stringify({ type: 'close', code, reason, signOut } satisfies LinkDown));
  answerClose(socket, code, reason);
}

/** Ends this socket alone: the edge keeps the device's, and dials again. */
export function dropSocket(socket: WebSocket): void {
  answerClose(socket, closes.restart.code, closes.restart.reason);
}

/** Closes with a legal code: 1005, 1006 and 1015 only ever describe a close, and may not be sent. */
export function answerClose(socket: WebSocket, code: number, reason: string): void {
  const isSendable = code >= 1000 && code <= 4999 && ![1004, 1005, 1006, 1015].includes(code);
  try {
    socket.close(isSendable ? code : 1000, reason);
  } catch (cause) {
    log.info('socket_gone', { message: cause instanceof Error ? cause.message : 'unknown' });
  }
}

function trySend(socket: WebSocket, text: string): void {
  try {
    socket.send(text);
  } catch (cause) {
    log.info('send_to_gone_socket', { message: cause instanceof Error ? cause.message : 'unknown' });
  }
}
