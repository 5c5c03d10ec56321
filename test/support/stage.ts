// One client, one gateway and relays of chosen generations on the core, each acting on its frames as a real program does. Every
// frame is read by the strict readers of devices/, watched by the observer, and written into a transcript.
import { createFlow, drive } from './core.ts';
import { clientHello, clientKey, gatewayHello, gatewayKey, ids, relayHello, relayRows } from './world.ts';
import { Observer } from './observer.ts';
import { readFrame } from '../../devices/strict.ts';
import { pushFrame, replyFrame } from '../../protocol/framing.ts';
import { speaking } from './generations.ts';
import type { Drive } from './core.ts';
import type { Effects } from '../../core/effect.ts';
import type { Generation } from '../../protocol/device/generations.ts';
import type { Input } from '../../core/input.ts';
import type { Party } from './observer.ts';

export class Stage {
  readonly driven: Drive;
  readonly observer = new Observer();
  readonly transcript: string[] = [];
  /** `client/resource` that the gateway lets pass, and until when, Unix seconds. */
  readonly passing = new Map<string, number>();
  /** Resources for which the client has a connection. */
  readonly connected = new Set<string>();
  readonly #generations: { readonly client: Generation; readonly gateway: Generation };
  readonly #parties = new Map<string, Party>();
  /** Questions to the gateway; a connection that it has already offers no candidates again. */
  readonly #questions: { readonly session: string; readonly ref: string; readonly isKnown: boolean }[] = [];
  #connections = 0;
  /** Whether the gateway answers what it is asked. */
  isAnswering = true;

  constructor(client: Generation, gateway: Generation) {
    this.#generations = { client, gateway };
    this.driven = drive(relayRows());
  }

  get client(): string {
    return this.#sessionOf('client');
  }

  get gateway(): string {
    return this.#sessionOf('gateway');
  }

  /** Connects and joins; again under another key when one is given. */
  join(role: 'client' | 'gateway', publicKey = role === 'client' ? clientKey : gatewayKey): void {
    this.#connections += 1;
    const generation = this.#generations[role];
    const changes = { ...speaking[generation][role], publicKey, connectedAt: 1000 + this.#connections };
    const hello = role === 'client' ? clientHello(changes) : gatewayHello(changes);
    const sessionId = `${role}#${this.#connections}`;
    const deviceId = role === 'client' ? ids.client : ids.gateway;
    const party = { session: sessionId, role, generation, deviceId, publicKey };
    this.#note(sessionId, '->', 'connect', '');
    for (const [session, other] of this.#parties) if (other.role === role) this.#parties.delete(session);
    this.#parties.set(sessionId, party);
    this.observer.connected(party);
    this.step({ type: 'connect', sessionId, hello });
    this.step({ type: 'joined', sessionId });
  }

  /** The socket is gone; the device's process goes on. */
  leave(role: 'client' | 'gateway'): void {
    const sessionId = this.#sessionOf(role);
    this.#parties.delete(sessionId);
    this.#note(sessionId, '->', 'close', '');
    this.step({ type: 'closed', sessionId });
  }

  joinRelay(secret: string, connectedAt = 5000): void {
    const sessionId = `relay#${secret.slice(0, 1)}`;
    this.step({ type: 'connect', sessionId, hello: relayHello({ connectedAt }) });
    this.step({ type: 'joined', sessionId, stampSecret: secret });
  }

  request(): void {
    this.#note(this.client, '->', 'request', ids.resource);
    this.take(createFlowAs(this.driven, this.client));
  }

  say(sessionId: string, event: string, payload: unknown): void {
    const party = this.#parties.get(sessionId);
    this.#note(sessionId, '->', event, payload);
    if (party !== undefined) this.observer.received(party, event, payload);
    this.step({ type: 'message', sessionId, event, payload, ref: 1 });
  }

  commit(...changes: readonly object[]): void {
    this.#note('psql', '->', 'commit', '');
    this.take(this.driven.commitEffects(...changes));
  }

  /** Lets time pass, with a tick at every moment that the core asks for. */
  pass(ms: number): void {
    const end = this.driven.now + ms;
    while ((this.driven.state.deadline ?? Infinity) <= end) {
      this.driven.now = Math.max(this.driven.now, this.driven.state.deadline ?? end);
      this.step({ type: 'tick' });
    }
    this.driven.now = end;
    const now = end / 1000;
    for (const [pair, until] of this.passing) if (until <= now) this.passing.delete(pair);
  }

  step(input: Input): void {
    this.take(this.driven.step(input));
  }

  take({ sends }: Effects): void {
    for (const send of sends) {
      const party = this.#parties.get(send.sessionId);
      if (send.type === 'close' || send.type === 'to-relay') {
        this.#note(send.sessionId, '<-', send.type === 'close' ? `close ${send.cause}` : 'init', '');
      } else if (party !== undefined) this.#receive(party, send);
    }
    this.observer.settled();
    while (this.isAnswering && this.#questions.length > 0) this.answer();
  }

  /** The gateway accepts the oldest question that is open. */
  answer(): void {
    const question = this.#questions.shift();
    if (question === undefined) return;
    const { session, ref, isKnown } = question;
    const isSecond = this.#generations.gateway === 'B';
    this.say(session, isSecond ? 'authorization_created' : 'flow_authorized', { ref });
    if (isKnown) return;
    this.say(session, 'broadcast_ice_candidates', { client_ids: [ids.client], candidates: [candidate('192.0.2.10')] });
  }

  #receive(party: Party, send: Exclude<Effects['sends'][number], { type: 'close' | 'to-relay' }>): void {
    const text =
      send.type === 'reply'
        ? replyFrame(send.topic, send.ref, send.answer)
        : pushFrame(party.role, send.message.event, send.message.payload);
    const read = readFrame(party.role, text, party.generation);
    if (read.type === 'dropped') throw new Error(`${party.session} drops ${text}: ${read.reason}`);
    const { event, payload } = read.frame;
    this.#note(party.session, '<-', event, payload);
    this.observer.sent(party, event, payload, this.driven.now / 1000);
    if (party.role === 'client') this.#actAsClient(party, event, Object(payload), payload);
    else this.#actAsGateway(party, event, Object(payload));
  }

  #actAsClient(party: Party, event: string, fields: Record<string, unknown>, payload: unknown): void {
    if (event === 'resource_deleted') this.connected.delete(String(payload));
    if (event !== 'flow_created' && event !== 'authorization_created') return;
    this.connected.add(String(fields['resource_id']));
    const candidates = [candidate('192.0.2.20')];
    const gatewayId = String(fields['gateway_id']);
    if (party.generation === 'A') {
      this.say(party.session, 'broadcast_ice_candidates', { gateway_ids: [gatewayId], candidates });
    } else this.say(party.session, 'new_gateway_ice_candidates', { gateway_id: gatewayId, candidates });
  }

  #actAsGateway(party: Party, event: string, fields: Record<string, unknown>): void {
    const pairOf = (entry: Record<string, unknown>) => `${String(entry['client_id'])}/${String(entry['resource_id'])}`;
    if (event === 'authorize_flow' || event === 'create_authorization') {
      const pair = `${Object(fields['client']).id}/${Object(fields['resource']).id}`;
      const isKnown = this.passing.has(pair);
      this.passing.set(pair, Number(fields['expires_at']));
      this.#questions.push({ session: party.session, ref: String(fields['ref']), isKnown });
    } else if (event === 'reject_access') this.passing.delete(pairOf(fields));
    else if (event === 'access_authorization_expiry_updated') {
      this.passing.set(pairOf(fields), Number(fields['expires_at']));
    } else if (event === 'init') {
      const entries = Array.isArray(fields['authorizations']) ? fields['authorizations'] : [];
      const listed = new Map<string, number>(entries.map((entry) => [pairOf(entry), entry.expires_at]));
      if (party.generation === 'B')
        for (const pair of this.passing.keys()) if (!listed.has(pair)) this.passing.delete(pair);
      if (party.generation !== 'A') for (const [pair, until] of listed) this.passing.set(pair, until);
    }
  }

  #sessionOf(role: 'client' | 'gateway'): string {
    return [...this.#parties.values()].findLast((party) => party.role === role)?.session ?? role;
  }

  #note(who: string, direction: string, event: string, payload: unknown): void {
    const text = payload === '' ? '' : ` ${JSON.stringify(payload)}`;
    this.transcript.push(`${who} ${direction} ${event}${text}`);
  }
}

function createFlowAs(driven: Drive, sessionId: string): Effects {
  return createFlow(driven, ids.resource, sessionId);
}

function candidate(address: string): string {
  return `candidate:1 1 udp 2130706431 ${address} 52625 typ host`;
}
