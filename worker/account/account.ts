// The Account object: one per account. It parses what arrives, lets core/ decide, and performs what was decided: saves first
// and in one transaction, then sends, with no await in between, so that the platform's output gate holds every send back
// until the saves are durable.
//
// If a step or a save throws, the state in memory is dropped and read again from SQLite; sockets are kept. A device's message
// then closes that device's socket; a commit answers `failed`, and after `triesMax` the account is `poison`.
import { DurableObject } from 'cloudflare:workers';
import * as v from 'valibot';
import { Divergence } from '../../core/apply.ts';
import {
  acceptSocket,
  answerClose,
  attach,
  closeSocket,
  dropSocket,
  openSessions,
  performSend,
  sessionIdOf,
  socketOf,
  type AnySession,
} from './sockets.ts';
import { digestRows } from './digest.ts';
import { holdsOf, isRowOf } from '../../core/holds.ts';
import { emptyState, type State } from '../../core/state.ts';
import { StreamLink } from './stream-link.ts';
import { flushDueAt } from '../../core/ledger.ts';
import { Outbox } from '../write-back/outbox.ts';
import * as link from '../../protocol/link.ts';
import { explainClient, listAccess } from '../../core/inspect.ts';
import { HubLink } from './hub-link.ts';
import {
  isOutdated,
  linkVersionSince,
  load,
  migrate,
  save,
  saveMeta,
  saveShape,
  storedMemberships,
} from './storage.ts';
import { outdatedSockets, silentSockets } from './liveness.ts';
import { discardStage, hasParts, keepPart, readParts, readStage } from './stage.ts';
import { receive } from '../../core/receive.ts';
import { refusalOf } from '../../protocol/reasons.ts';
import { resume, step, wakeDueAt } from '../../core/step.ts';
import { statusOf } from '../../core/status.ts';
import { Wakeups } from './wakeups.ts';
import { hashes } from '../hashes.ts';
import * as log from '../log.ts';
import type { AccessAnswer, AccessRequest, ExplainAnswer, ExplainRequest } from '../../protocol/explain.ts';
import type { DigestAnswer } from '../../protocol/digest.ts';
import type { Answer, Delivery } from '../../protocol/commit.ts';
import type { Env as CoreEnv } from '../../core/env.ts';
import type { Effects } from '../../core/effect.ts';
import type { Env } from '../env.ts';
import type { HoldAction, HoldAnswer } from '../../protocol/holds.ts';
import type { Input } from '../../core/input.ts';
import type { SharedRelays } from '../../protocol/relays.ts';
import type { SocketRole } from '../../protocol/roles.ts';
import type { StatusAnswer } from '../../protocol/ingest.ts';

/** A commit that failed this often is poison. */
const triesMax = 3;

/** How long a connection waits for the row of a validly signed token, milliseconds. */
const tokenWaitMsMax = 3000;

/** Connections that wait for a token's row at the same time, at most. */
const waitersMax = 1000;

/** Sockets are looked at for silence this often at most, milliseconds: all of them, or those of one role. */
const silenceMs = { client: 10_000, gateway: 1000, relay: 10_000 } as const satisfies Record<SocketRole, number>;

export class Account extends DurableObject<Env> {
  #state: State;
  #failures: { lsn: string; times: number } = { lsn: '', times: 0 };
  readonly #waiters = new Set<() => void>();
  readonly #outbox: Outbox;
  readonly #stream: StreamLink;
  readonly #wakeups: Wakeups;
  /** When this version of the link first ran here. */
  readonly #since: number;
  readonly #silenceSeenAt = { client: 0, gateway: 0, relay: 0 };
  readonly #hub: HubLink;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    migrate(ctx.storage);
    this.#wakeups = new Wakeups({
      now: () => Date.now(),
      setAlarm: (at) => ctx.waitUntil(ctx.storage.setAlarm(at)),
      onDue: () => this.#tick(),
    });
    this.#stream = new StreamLink(ctx, env, (input) => {
      this.#run(input);
      for (const wake of this.#waiters) wake();
    });
    this.#since = linkVersionSince(ctx.storage.sql, link.linkVersion, Date.now());
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair(link.probe, link.probeAnswer));
    this.#hub = new HubLink(ctx, env, {
      onSet: (set, leaseMs) => void this.#run({ type: 'shared-relays', set, leaseMs }),
      onLater: (at) => this.#wakeups.wakeAt(at),
    });
    this.#state = this.#load();
    this.#outbox = new Outbox(ctx, { state: () => this.#state, run: (input) => void this.#run(input) });
    const { nextAt } = outdatedSockets(ctx, this.#since, Date.now());
    // What is set here takes the place of an alarm that may have been due before it.
    if (nextAt !== null || flushDueAt(this.#state) !== null) this.#wakeups.wakeAt(wakeDueAt(this.#state));
    this.#wakeups.wakeAt(nextAt);
  }

  /**
   * Takes one delivery of the change stream. The answer leaves once everything it reports is durable. The first of all is
   * taken once the Stream object has the account on its register: whatever grants can be found.
   */
  async deliver(delivery: Delivery): Promise<Answer> {
    if (this.#state.position === null) await this.#stream.register(delivery);
    const answer = this.#deliver(delivery);
    if (!['applied', 'duplicate', 'staged'].includes(answer.type)) {
      log.warn('delivery_refused', { account: delivery.account, type: delivery.type, answer: answer.type });
    }
    for (const wake of this.#waiters) wake();
    return answer;
  }

  /** How this account stands, for operators. */
  status(): StatusAnswer {
    return statusOf(this.#state, Date.now());
  }

  /** The rows that it holds, in brief, for operators. */
  digest(): DigestAnswer {
    return { position: this.#state.position, tables: digestRows(this.ctx.storage.sql) };
  }

  /** Why a client may or may not reach a resource, for operators. */
  async explain(request: ExplainRequest): Promise<ExplainAnswer> {
    await this.#stream.askUnlessFresh(this.#state);
    return explainClient(this.#state, request, this.#env());
  }

  /** Who can reach a resource, or what an actor or a client can, for operators. */
  async access(request: AccessRequest): Promise<AccessAnswer> {
    await this.#stream.askUnlessFresh(this.#state);
    return listAccess(this.#state, request, this.#env());
  }

  /** Places or lifts a hold, with all that follows, or does neither; answers with those in force. */
  hold(action: HoldAction): HoldAnswer {
    let done = true;
    if (action.type === 'place') {
      const { kind, id, by, reason } = action;
      done = this.#run({ type: 'hold', hold: { kind, id, at: Date.now(), by, reason } }).done === true;
    } else if (action.type === 'lift') {
      const { kind, id, by } = action;
      done = this.#run({ type: 'lift', target: { kind, id }, by }).done === true;
    }
    const isKnown = action.type === 'list' || isRowOf(this.#state, action);
    return { done, isKnown, holds: holdsOf(this.#state) };
  }

  /** Takes the shared relays as they are. False where no device is connected: then nobody needs to tell of changes. */
  takeSharedRelays(set: SharedRelays): boolean {
    const isWanted = this.#state.sessions.size > 0;
    this.#run({ type: 'shared-relays', set, leaseMs: isWanted ? null : 0 });
    return isWanted;
  }

  /** The internal upgrade: 101 with the socket of an admitted session, else 200 with a Refusal. */
  override async fetch(request: Request): Promise<Response> {
    const header = decodeURIComponent(request.headers.get(link.helloHeader) ?? '');
    const hello = v.parse(link.anyHello, JSON.parse(header));
    const admission = await this.#admit(hello, Date.now() + tokenWaitMsMax);
    if (!(admission instanceof WebSocket)) return Response.json(admission);
    // A relay is back before anyone is told that it was gone.
    const redialMs = hello.role === 'relay' ? 1000 : link.redialMsFor(this.#state.sessions.size);
    const welcome = JSON.stringify({ version: link.linkVersion, redialMs } satisfies link.Welcome);
    return new Response(null, { status: 101, webSocket: admission, headers: { [link.welcomeHeader]: welcome } });
  }

  override webSocketMessage(socket: WebSocket, data: string | ArrayBuffer): void {
    try {
      const message = v.parse(link.linkUp, JSON.parse(typeof data === 'string' ? data : ''));
      const sessionId = sessionIdOf(socket);
      const { sessions, relaySessions } = this.#state;
      const role = (sessions.get(sessionId) ?? relaySessions.get(sessionId))?.role;
      // Before a gateway may be chosen.
      if (role === 'client' && message.type === 'message') this.#dropSilent('gateway');
      if (role === undefined) dropSocket(socket);
      else if (message.type === 'joined') this.#run({ ...message, sessionId });
      else this.#run({ type: 'message', sessionId, event: message.event, payload: message.payload, ref: message.ref });
    } catch (cause) {
      log.error('message_failed', cause);
      closeSocket(socket, 'internal_error');
    }
  }

  override webSocketClose(socket: WebSocket, code: number, reason: string): void {
    answerClose(socket, code, reason);
    this.#forget(socket);
  }

  override webSocketError(socket: WebSocket): void {
    answerClose(socket, 1011, 'the connection was lost');
    this.#forget(socket);
  }

  /** Resolves when what was due has been written back, or could not be. */
  override async alarm(): Promise<void> {
    await this.#wakeups.ring(async () => await this.#outbox.flush());
  }

  #tick(): void {
    try {
      this.#dropSilent('gateway');
      this.#dropSilent('client');
      this.#dropSilent('relay');
      this.#run({ type: 'tick' });
      this.#recycle();
    } catch (cause) {
      log.error('tick_failed', cause);
      this.#wakeups.wakeAt(Date.now() + 1000);
    }
  }

  #deliver(delivery: Delivery): Answer {
    const { sql } = this.ctx.storage;
    const { position, term, stale } = this.#state;
    const reception = receive({ position, term, stale, isOutdated: isOutdated(sql), stage: readStage(sql) }, delivery);
    if (delivery.term > term) {
      this.#state.term = delivery.term;
      saveMeta(sql, 'term', String(delivery.term));
      discardStage(sql);
    }
    if (reception.type === 'stage') return keepPart(this.ctx.storage, reception, delivery);
    if (reception.type === 'answer') {
      if (reception.stale) this.#becomeStale();
      return reception.answer;
    }
    for (const input of reception.steps) {
      try {
        this.#run(input);
      } catch (cause) {
        return this.#answerFailure(input, cause);
      }
    }
    const { position: reached } = this.#state;
    return reached === null
      ? { type: 'need-snapshot', reason: 'no history', position: reached }
      : { type: 'applied', position: reached };
  }

  #answerFailure(input: Input, cause: unknown): Answer {
    const { position } = this.#state;
    if (cause instanceof Divergence) {
      log.warn('diverged', { reason: cause.message });
      this.#becomeStale();
      return { type: 'need-snapshot', reason: cause.message, position };
    }
    const lsn = input.type === 'commit' ? input.commit.lsn : input.type;
    this.#failures = { lsn, times: this.#failures.lsn === lsn ? this.#failures.times + 1 : 1 };
    log.error('commit_failed', cause, { lsn, times: this.#failures.times });
    const reason = cause instanceof Error ? cause.message : 'unknown';
    if (this.#failures.times < triesMax) return { type: 'failed', reason, position };
    this.#becomeStale();
    return { type: 'poison', reason, position };
  }

  #becomeStale(): void {
    if (!this.#state.stale) this.#run({ type: 'stale' });
  }

  /** Asks the core; while it does not know the token yet, again after each delivery until `deadline`. */
  async #admit(hello: link.AnyHello, deadline: number): Promise<WebSocket | link.Refusal> {
    for (;;) {
      const sessionId = crypto.randomUUID();
      const { admission } = this.#run({ type: 'connect', sessionId, hello });
      if (admission?.type === 'admitted') {
        const pair = new WebSocketPair();
        const { session } = admission;
        this.#stream.connected(hello.account);
        acceptSocket(this.ctx, pair[1], session, { version: hello.version, acceptedAt: Date.now() });
        return pair[0];
      }
      const refusal = admission?.refusal ?? refusalOf('unavailable');
      const isWorthWaiting = refusal.code === 'token_not_known_yet' || refusal.code === 'account_not_ready';
      const remaining = deadline - Date.now();
      if (!isWorthWaiting || remaining <= 0 || this.#waiters.size >= waitersMax) return refusal;
      await this.#nextDelivery(remaining);
    }
  }

  async #nextDelivery(timeoutMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.#waiters.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, timeoutMs);
      this.#waiters.add(wake);
    });
  }

  #dropSilent(role: SocketRole): void {
    const now = Date.now();
    if (now - this.#silenceSeenAt[role] < silenceMs[role]) return;
    this.#silenceSeenAt[role] = now;
    for (const socket of silentSockets(this.ctx, now, role)) {
      log.warn('session_silent', { role });
      dropSocket(socket);
      this.#forget(socket);
    }
  }

  #recycle(): void {
    const { due, nextAt } = outdatedSockets(this.ctx, this.#since, Date.now());
    for (const socket of due) {
      closeSocket(socket, 'recycled');
      this.#forget(socket);
    }
    this.#wakeups.wakeAt(nextAt);
  }

  #forget(socket: WebSocket): void {
    try {
      this.#run({ type: 'closed', sessionId: sessionIdOf(socket) });
    } catch (cause) {
      log.error('close_failed', cause);
    }
  }

  /** One step with all that follows; of a staged commit or snapshot its parts first, in the same transaction. */
  #run(input: Input): Effects {
    try {
      const taken: Effects[] = [];
      const sessions: AnySession[] = [];
      const takeOne = (one: Input): Effects => {
        const effects = step(this.#state, one, this.#env());
        sessions.push(...this.#save(effects));
        taken.push({ ...effects, saves: [] });
        return effects;
      };
      const isBirth = input.type === 'commit' && this.#state.position === null;
      const effects = this.ctx.storage.transactionSync(() => {
        const isStaged = hasParts(input);
        if (isStaged) for (const content of readParts(this.ctx.storage.sql)) takeOne({ type: 'part', content });
        const last = takeOne(input);
        if (isStaged || input.type === 'snapshot') discardStage(this.ctx.storage.sql);
        if (input.type === 'snapshot' || isBirth) saveShape(this.ctx.storage.sql);
        return last;
      });
      for (const session of sessions) this.#attach(session);
      for (const { sends, notes } of taken) {
        for (const send of sends) performSend(this.ctx, send);
        for (const { event, ...fields } of notes) log.warn(event, fields);
      }
      if (taken.some(({ asksFreshness }) => asksFreshness)) void this.#stream.ask(this.#state);
      // What is to be written back is looked at again once the alarm that writes has ended.
      this.#wakeups.wakeAt(this.#wakeups.isRinging() ? this.#state.deadline : effects.wakeAt);
      this.#hub.follow(() => this.#state, effects);
      return effects;
    } catch (cause) {
      this.#state = this.#load();
      throw cause;
    }
  }

  #env(): CoreEnv {
    return { now: Date.now(), seed: crypto.randomUUID(), hashes };
  }

  /** Returns the sessions whose attachments are to be written. */
  #save({ saves }: Effects): AnySession[] {
    const sessions: AnySession[] = [];
    for (const action of saves) {
      if (action.type === 'put-session') sessions.push(action.session);
      else save(this.ctx.storage.sql, action);
    }
    return sessions;
  }

  #attach(session: AnySession): void {
    const socket = socketOf(this.ctx, session.id);
    if (socket !== null) attach(socket, session);
  }

  #load(): State {
    const state = emptyState(storedMemberships(this.ctx.storage.sql));
    state.ledger.isConfigured = this.env.EDGE_DATABASE !== undefined;
    load(this.ctx.storage, state);
    resume(state, openSessions(this.ctx), Date.now());
    return state;
  }
}
