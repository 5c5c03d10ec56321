// The object's hibernatable sockets, one per connected device: found by session, with the session's facts in the attachment
// so that they survive hibernation. A socket that is gone is never an error here.
import * as v from 'valibot';
import { closes } from '../../protocol/reasons.ts';
import { deviceFrameMark } from '../../protocol/link.ts';
import { session as sessionSchema } from '../../core/state.ts';
import * as log from '../log.ts';
import type { CloseCause } from '../../protocol/reasons.ts';
import type { LinkDown } from '../../protocol/link.ts';
import type { Session } from '../../core/state.ts';

const attachment = v.object({ version: v.literal(1), session: sessionSchema });

/** Takes over `socket` for `session`, in a way that lets the object sleep. */
export function acceptSocket(ctx: DurableObjectState, socket: WebSocket, session: Session): void {
  ctx.acceptWebSocket(socket, [session.id]);
  attach(socket, session);
}

/** Stores the session's facts with its socket. */
export function attach(socket: WebSocket, session: Session): void {
  socket.serializeAttachment({ version: 1, session } satisfies v.InferInput<typeof attachment>);
}

export function socketOf(ctx: DurableObjectState, sessionId: string): WebSocket | null {
  return ctx.getWebSockets(sessionId).find(({ readyState }) => readyState === WebSocket.OPEN) ?? null;
}

/** The session that a socket was accepted for; empty when its facts cannot be read. */
export function sessionIdOf(socket: WebSocket): string {
  const parsed = v.safeParse(attachment, socket.deserializeAttachment());
  return parsed.success ? parsed.output.session.id : '';
}

/** The sessions of all open sockets. One whose facts cannot be read is closed: the edge connects it again. */
export function openSessions(ctx: DurableObjectState): Session[] {
  return ctx.getWebSockets().flatMap((socket) => {
    if (socket.readyState !== WebSocket.OPEN) return [];
    const parsed = v.safeParse(attachment, socket.deserializeAttachment());
    if (parsed.success) return [parsed.output.session];
    log.warn('attachment_unreadable');
    closeSocket(socket, 'restart');
    return [];
  });
}

/** Sends a device frame, verbatim. */
export function sendFrame(socket: WebSocket, frame: string): void {
  trySend(socket, deviceFrameMark + frame);
}

/** Tells the edge to end the device's socket, and ends this one. */
export function closeSocket(socket: WebSocket, cause: CloseCause): void {
  const { code, reason, signOut } = closes[cause];
  trySend(socket, JSON.stringify({ type: 'close', code, reason, signOut } satisfies LinkDown));
  answerClose(socket, code, reason);
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
