// One connection of a random device to the worker under test: everything it is told, in order, until somebody looks.
import { Device, dial, token } from './device.ts';
import { readFrame } from '../../devices/strict.ts';
import type { RandomDevice } from '../support/random-devices.ts';

/** What happened on a connection, in order. */
export type Happening =
  | { readonly type: 'told'; readonly text: string }
  | { readonly type: 'asked'; readonly resourceId: string }
  | { readonly type: 'closed'; readonly isSignedOut: boolean };

export class RandomLink {
  readonly device: RandomDevice;
  /** The id of the device, once somebody has learned it. */
  deviceId: string | null = null;
  isOpen = true;
  readonly #socket: Device;
  readonly #onQuestion: (ref: string) => void;
  readonly #echoes = new Map<number, () => void>();
  #happened: Happening[] = [];
  #count = 0;
  #isSignedOut = false;
  #ref = 100;
  /** Frames that the real program would have dropped, in words. */
  readonly dropped: string[] = [];

  constructor(device: RandomDevice, socket: Device, onQuestion: (link: RandomLink, ref: string) => void) {
    this.device = device;
    this.#socket = socket;
    this.#onQuestion = (ref) => onQuestion(this, ref);
    void this.#listen();
    void socket.closed.then(() => this.#end());
    this.#send('phx_join', null);
    if (device.generation === 'B') this.#send('set_snownet_capabilities', { iceless: true });
  }

  /** How much has happened. */
  get count(): number {
    return this.#count;
  }

  /** What has happened since this was asked last. */
  take(): readonly Happening[] {
    const happened = this.#happened;
    this.#happened = [];
    return happened;
  }

  ask(resourceId: string): void {
    this.#note({ type: 'asked', resourceId });
    const event = this.device.generation === 'B' ? 'request_authorization' : 'create_flow';
    this.#send(event, { resource_id: resourceId, connected_gateway_ids: [] });
  }

  accept(ref: string): void {
    this.#send(this.device.generation === 'B' ? 'authorization_created' : 'flow_authorized', { ref });
  }

  leave(): void {
    this.#socket.close();
    this.#end();
  }

  /** Leaves, and is gone. */
  async end(): Promise<void> {
    this.leave();
    await this.#socket.closed;
  }

  /** A message to the object and back: whatever was sent to the device before has arrived, or it is closed. */
  async echo(): Promise<void> {
    if (!this.isOpen) return;
    const ref = this.#send('no_such', {});
    if (!this.isOpen) return;
    await new Promise<void>((resolve) => this.#echoes.set(ref, resolve));
  }

  async #listen(): Promise<void> {
    for (;;) this.#hear(await this.#socket.next());
  }

  #hear(text: string): void {
    if (!this.isOpen) return;
    const { role, generation } = this.device;
    const read = readFrame(role, text, generation);
    if (read.type === 'dropped') {
      this.dropped.push(`${this.device.externalId} of generation ${generation} drops ${read.reason}`);
      return;
    }
    const { event, payload, ref } = read.frame;
    if (event === 'disconnect') this.#isSignedOut = true;
    else if (event === 'phx_reply') this.#settle(ref ?? 0);
    else this.#note({ type: 'told', text });
    // What was under way to an object that was reset is lost.
    if (event === 'init') for (const waiting of this.#echoes.keys()) this.#sendAs(waiting, 'no_such', {});
    if (event === 'authorize_flow' || event === 'create_authorization') this.#onQuestion(String(Object(payload).ref));
  }

  #settle(ref: number): void {
    this.#echoes.get(ref)?.();
    this.#echoes.delete(ref);
  }

  #end(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.#note({ type: 'closed', isSignedOut: this.#isSignedOut });
    for (const ref of this.#echoes.keys()) this.#settle(ref);
  }

  #note(happening: Happening): void {
    this.#count += 1;
    this.#happened.push(happening);
  }

  #send(event: string, payload: unknown): number {
    this.#ref += 1;
    this.#sendAs(this.#ref, event, payload);
    return this.#ref;
  }

  #sendAs(ref: number, event: string, payload: unknown): void {
    try {
      this.#socket.send({ topic: this.device.role, event, payload, ref });
    } catch {
      this.#end();
    }
  }
}

/** A connection of `device`; null when it was refused. */
export async function connectRandom(
  device: RandomDevice,
  onQuestion: (link: RandomLink, ref: string) => void,
): Promise<RandomLink | null> {
  const { role, generation, externalId, publicKey, tokenId, secret, remoteIp } = device;
  const { webSocket } = await dial(role, {
    query: { external_id: externalId, public_key: publicKey },
    headers: { 'cf-connecting-ip': remoteIp },
    signed: token(role, { id: tokenId, secret }),
    of: generation,
  });
  return webSocket === null ? null : new RandomLink(device, new Device(webSocket), onQuestion);
}
