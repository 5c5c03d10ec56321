// One device's way to its account's object: an inner socket that is probed, and dialled again when it is lost, while the
// device keeps its own.
//
//   up ──lost, or two probes unanswered──▶ redialing ──admitted──▶ up
//                                             ├──refused for good──▶ over
//                                             └──30 s──▶ over
//
// While redialing, what the device sends waits, within bounds; each dial comes at a point chosen evenly within the window that
// the object gave, so that the devices of an object that was reset do not all return at once. Once over, nothing is sent.
import { closes, isFinal } from '../../protocol/reasons.ts';
import { linkVersionOfProbes, probe, probeAnswer, probeMsByRole, probesMissedMax } from '../../protocol/link.ts';
import * as log from '../log.ts';
import type { Refusal, Welcome } from '../../protocol/link.ts';
import type { SocketRole } from '../../protocol/roles.ts';

/** Without an inner socket for this long, the device is closed, milliseconds. */
export const redialMsMax = 30_000;

/** What waits for the next inner socket, at most: texts, and their UTF-16 code units together. */
export const waitingTextsMax = 32;
export const waitingLengthMax = 64 * 1024;

export type Dialled =
  | { readonly type: 'admitted'; readonly socket: WebSocket; readonly welcome: Welcome }
  | { readonly type: 'refused'; readonly refusal: Refusal };

/** `code` and `reason` are for the device's close; `signOut`: its token is not valid any more. */
export type Over = { readonly code: number; readonly reason: string; readonly signOut: boolean };

export type UplinkEvents = {
  readonly onText: (text: string) => void;
  /** There is another inner socket; what waits is sent after this. */
  readonly onReturn: () => void;
  readonly onOver: (over: Over) => void;
};

export class Uplink {
  readonly #role: SocketRole;
  readonly #dial: () => Promise<Dialled>;
  readonly #events: UplinkEvents;
  #socket: WebSocket | null = null;
  #redialMs = 0;
  #missed = 0;
  #waiting: string[] = [];
  #waitingLength = 0;
  #isOver = false;
  #probing: ReturnType<typeof setInterval> | null = null;
  #retrying: ReturnType<typeof setTimeout> | null = null;
  #givingUp: ReturnType<typeof setTimeout> | null = null;

  /** `dial` asks the object for admission, with the connect time that the device had from the start. */
  constructor(role: SocketRole, dial: () => Promise<Dialled>, events: UplinkEvents) {
    this.#role = role;
    this.#dial = dial;
    this.#events = events;
  }

  get isUp(): boolean {
    return this.#socket !== null;
  }

  /** Goes on with an inner socket that the object has just admitted. */
  take(socket: WebSocket, { version, redialMs }: Welcome): void {
    this.#redialMs = redialMs;
    this.#missed = 0;
    this.#socket = socket;
    socket.addEventListener('message', ({ data }) => this.#receive(socket, data));
    socket.addEventListener('close', () => this.#lose(socket));
    socket.addEventListener('error', () => this.#lose(socket));
    socket.accept();
    clearTimeout(this.#givingUp);
    if (version >= linkVersionOfProbes) this.#probing = setInterval(() => this.#probe(), probeMsByRole[this.#role]);
  }

  /** Sends `text` once there is an inner socket; over when too much waits for one. */
  send(text: string): void {
    if (this.#isOver) return;
    if (this.#socket !== null && this.#trySend(this.#socket, text)) return;
    this.#waiting.push(text);
    this.#waitingLength += text.length;
    if (this.#waiting.length > waitingTextsMax || this.#waitingLength > waitingLengthMax) this.#end(closes.overloaded);
  }

  /** The device is gone, or is about to be. */
  close(code: number, reason: string): void {
    this.#isOver = true;
    const socket = this.#socket;
    this.#stop();
    if (socket !== null) closeQuietly(socket, code, reason);
  }

  #receive(socket: WebSocket, data: string | ArrayBuffer): void {
    if (socket !== this.#socket) return;
    this.#missed = 0;
    if (typeof data === 'string' && data !== probeAnswer) this.#events.onText(data);
  }

  #probe(): void {
    const socket = this.#socket;
    if (socket === null) return;
    if (this.#missed >= probesMissedMax) {
      log.warn('link_silent', { role: this.#role });
      this.#lose(socket);
      return;
    }
    this.#missed += 1;
    this.#trySend(socket, probe);
  }

  #trySend(socket: WebSocket, text: string): boolean {
    try {
      socket.send(text);
      return true;
    } catch (cause) {
      log.info('edge_socket_gone', { reason: cause instanceof Error ? cause.message : 'unknown' });
      this.#lose(socket);
      return false;
    }
  }

  /** `socket` will not be heard of again. One that was given up earlier changes nothing. */
  #lose(socket: WebSocket): void {
    if (this.#isOver || socket !== this.#socket) return;
    this.#stop();
    closeQuietly(socket, closes.restart.code, closes.restart.reason);
    this.#givingUp = setTimeout(() => this.#end(closes.restart), redialMsMax);
    this.#redialLater();
  }

  #redialLater(): void {
    this.#retrying = setTimeout(() => void this.#redial(), Math.random() * this.#redialMs);
  }

  async #redial(): Promise<void> {
    const dialled = await this.#dial().catch((cause: unknown) => {
      log.info('redial_failed', { message: cause instanceof Error ? cause.message : 'unknown' });
      return null;
    });
    if (this.#isOver) {
      if (dialled?.type === 'admitted') discard(dialled.socket);
      return;
    }
    if (dialled?.type === 'admitted') {
      this.take(dialled.socket, dialled.welcome);
      this.#events.onReturn();
      this.#flush();
    } else if (dialled?.type === 'refused' && isFinal(dialled.refusal)) {
      const { status, detail } = dialled.refusal;
      this.#end({ code: 1000, reason: detail, signOut: status === 401 });
    } else this.#redialLater();
  }

  #flush(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#waitingLength = 0;
    for (const text of waiting) this.send(text);
  }

  #end(over: Over): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#stop();
    this.#events.onOver(over);
  }

  #stop(): void {
    this.#socket = null;
    clearInterval(this.#probing);
    clearTimeout(this.#retrying);
    clearTimeout(this.#givingUp);
  }
}

/** A socket that came too late: it is accepted, as it must be before it can be closed. */
function discard(socket: WebSocket): void {
  socket.accept();
  closeQuietly(socket, 1000, 'the device left');
}

/** Closes a socket that may be gone already. A reason has 123 bytes at most. */
export function closeQuietly(socket: WebSocket, code: number, reason: string): void {
  try {
    socket.close(code, new TextDecoder().decode(new TextEncoder().encode(reason).slice(0, 120)));
  } catch (cause) {
    log.info('edge_socket_gone', { reason: cause instanceof Error ? cause.message : 'unknown' });
  }
}
