// A small account under random commits, connections, requests and clocks, driven through the core, with models of what each
// device believes. `violations` says which of the promises the present state breaks.
import { Beliefs } from './beliefs.ts';
import { check } from '../../core/check.ts';
import { drive, lines } from './core.ts';
import { outOfOrder, requestOf } from './random-frames.ts';
import { speaking } from './generations.ts';
import { clients, firstRows, resources, toggleHold } from './random-rows.ts';
import { randomDevice } from './random-devices.ts';
import { RandomRows } from './random-edits.ts';
import { clientHello, gatewayHello, id } from './world.ts';
import { closes } from '../../protocol/reasons.ts';
import type { Drive } from './core.ts';
import type { ToGatewayMessage } from './random-frames.ts';
import type { Effects } from '../../core/effect.ts';

/** One thing that happens; the numbers choose among what there is. */
export type Op<Kind extends string = OpKind> = {
  readonly kind: Kind;
  readonly a: number;
  readonly b: number;
  readonly c: number;
};
export const opKinds = [
  ...(['edit', 'edit', 'edit', 'edit', 'edit', 'connect', 'connect', 'disconnect', 'time', 'sleep'] as const),
  ...(['request', 'request', 'request', 'answer', 'answer', 'answer', 'hold'] as const),
];
type OpKind = (typeof opKinds)[number];

export class RandomAccount {
  readonly driven: Drive;
  readonly #rows = new RandomRows();
  readonly #beliefs = new Beliefs();
  readonly #deviceOf = new Map<string, string>();
  readonly #questions: { readonly sessionId: string; readonly ref: string }[] = [];
  readonly #problems: string[] = [];
  /** Everything that was sent, as lines, one list a step. */
  readonly told: string[][] = [];
  #connections = 0;

  constructor() {
    this.driven = drive(firstRows());
    for (let n = 0; n < 3; n += 1) {
      this.#connect(1, n, n % 2);
      this.#connect(0, n, 0);
    }
    for (let n = 0; n < clients * resources; n += 1) this.#act({ kind: 'request', a: n, b: n % resources, c: 0 });
    while (this.#questions.length > 0) this.#act({ kind: 'answer', a: 0, b: 0, c: 0 });
  }

  /** Lets one group of operations happen; edits of the group are one commit. */
  happen(ops: readonly Op[]): void {
    const changes = ops.flatMap((op) => (op.kind === 'edit' ? this.#rows.edit(op) : []));
    if (changes.length > 0) this.#believe(() => this.driven.commitEffects(...changes));
    for (const op of ops) if (op.kind !== 'edit') this.#act(op);
  }

  /** Everything that is not as promised, in words. */
  violations(): string[] {
    const { state } = this.driven;
    return [...this.#problems, ...check(state), ...this.#beliefs.violations(state)];
  }

  #act({ kind, a, b, c }: Op): void {
    switch (kind) {
      case 'connect':
        this.#connect(a, b, c);
        return;
      case 'disconnect': {
        const sessions = [...this.driven.state.sessions.keys()];
        const sessionId = sessions[a % Math.max(1, sessions.length)];
        if (sessionId === undefined) return;
        this.#leave(sessionId, false);
        this.driven.step({ type: 'closed', sessionId });
        return;
      }
      case 'request': {
        const session = [...this.driven.state.sessions.values()].find(
          ({ deviceId }) => deviceId === id('cli', (a % clients) + 1),
        );
        const payload = { resource_id: id('res', (b % resources) + 1), connected_gateway_ids: [] };
        if (session === undefined) return;
        this.#beliefs.ask(session.deviceId, payload.resource_id);
        this.#believe(() =>
          this.driven.step({ type: 'message', sessionId: session.id, event: requestOf(session), payload, ref: 1 }),
        );
        return;
      }
      case 'answer': {
        const question = this.#questions.splice(a % Math.max(1, this.#questions.length), 1)[0];
        if (question === undefined) return;
        const { sessionId, ref } = question;
        const event =
          this.driven.state.sessions.get(sessionId)?.socketVersion === 2 ? 'authorization_created' : 'flow_authorized';
        this.#believe(() => this.driven.step({ type: 'message', sessionId, event, payload: { ref }, ref: 2 }));
        return;
      }
      case 'hold':
        this.#believe(() => this.driven.step(toggleHold(this.driven.state, a, b)));
        return;
      case 'time':
        this.#advance((a % 12) * 1_800_000 + b * 997);
        return;
      case 'sleep':
        this.driven.sleep();
        return;
      case 'edit':
        return;
    }
  }

  #connect(a: number, b: number, c: number): void {
    this.#connections += 1;
    const connectedAt = this.#connections;
    const device = randomDevice({ a, b, c }, (gateway) => this.#rows.siteOf(gateway));
    const { role, generation, externalId, publicKey, tokenId, secret, remoteIp } = device;
    const sessionId = `${role}#${connectedAt}`;
    const said = { externalId, publicKey, remoteIp, connectedAt, ...speaking[generation][role] };
    const hello =
      role === 'client'
        ? clientHello({ ...said, token: { id: tokenId, type: 'client', secret } })
        : gatewayHello({ ...said, token: { id: tokenId, type: 'gateway_group', secret } });
    this.#believe(() => this.driven.step({ type: 'connect', sessionId, hello }));
    const deviceId = this.driven.state.sessions.get(sessionId)?.deviceId;
    if (deviceId === undefined) return;
    this.#deviceOf.set(sessionId, deviceId);
    this.#beliefs.connected(deviceId, generation);
    this.#believe(() => this.driven.step({ type: 'joined', sessionId }));
  }

  /** Lets time pass, asleep or awake, with a tick at every moment that the core asks for. */
  #advance(ms: number): void {
    const end = this.driven.now + ms;
    for (let ticks = 0; (this.driven.state.deadline ?? Infinity) <= end; ticks += 1) {
      if (ms % 3 === 0 && ticks % 2 === 0) this.driven.sleep();
      if ((this.driven.state.deadline ?? Infinity) > end) break;
      this.driven.now = Math.max(this.driven.now, this.driven.state.deadline ?? end);
      this.#believe(() => this.driven.step({ type: 'tick' }));
      if (ticks > 200) {
        this.#problems.push('the deadline does not move');
        return;
      }
    }
    this.driven.now = end;
  }

  /** Takes a step and lets every device act on what it is told, as the real ones do. */
  #believe(step: () => Effects): void {
    const { state } = this.driven;
    this.#beliefs.begin(state);
    const effects = step();
    this.told.push(lines(effects));
    for (const send of effects.sends) {
      if (send.type === 'to-client') this.#beliefs.toClient(this.#idOf(send.sessionId), send.message, this.driven.now);
      else if (send.type === 'to-gateway') this.#toGateway(send.sessionId, send.message);
      else if (send.type === 'close') this.#leave(send.sessionId, closes[send.cause].signOut);
    }
    this.#problems.push(...outOfOrder(effects, (sessionId) => this.#idOf(sessionId)));
    this.#beliefs.end(this.driven.state);
  }

  #toGateway(sessionId: string, message: ToGatewayMessage): void {
    const ref = this.#beliefs.toGateway(this.#idOf(sessionId), message);
    if (ref !== null) this.#questions.push({ sessionId, ref });
  }

  #leave(sessionId: string, isSignedOut: boolean): void {
    this.#beliefs.leave(this.#idOf(sessionId), this.driven.now, isSignedOut);
  }

  #idOf(sessionId: string): string {
    return this.#deviceOf.get(sessionId) ?? '';
  }
}
