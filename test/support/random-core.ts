// A small account under random commits, connections, requests and clocks, driven through the core, with models of what each
// device believes. `violations` says which of the promises the present state breaks.
import { accessOf, subjectOf } from '../../core/access.ts';
import { check } from '../../core/check.ts';
import { clientSession, gatewaySession } from '../../core/state.ts';
import { gatewayResource } from '../../core/render.ts';
import { isPair } from '../../core/tables.ts';
import { clientAwayMsMax } from '../../core/expiry.ts';
import { clientView } from '../../core/view.ts';
import { drive, lines } from './core.ts';
import { addressing, canonical, addressesOf, isAbout, outOfOrder, requestOf } from './random-frames.ts';
import { generations, speaking } from './generations.ts';
import { clients, firstRows, gateways, ownerOf, resources, toggleHold } from './random-rows.ts';
import { RandomRows } from './random-edits.ts';
import { clientHello, clientSecret, gatewayHello, gatewaySecret, id } from './world.ts';
import { closes } from '../../protocol/reasons.ts';
import type { Drive } from './core.ts';
import type { ToClientMessage, ToGatewayMessage } from './random-frames.ts';
import type { LiveGrant } from '../../core/state.ts';
import type { FlowId } from '../../protocol/ids.ts';
import type { Effects } from '../../core/effect.ts';
import type { CloseCause } from '../../protocol/reasons.ts';

/** One thing that happens; the numbers choose among what there is. */
export type Op = { readonly kind: OpKind; readonly a: number; readonly b: number; readonly c: number };
export const opKinds = [
  ...(['edit', 'edit', 'edit', 'edit', 'edit', 'connect', 'connect', 'disconnect', 'time', 'sleep'] as const),
  ...(['request', 'request', 'request', 'answer', 'answer', 'answer', 'hold'] as const),
];
type OpKind = (typeof opKinds)[number];

export class RandomAccount {
  readonly driven: Drive;
  readonly #rows = new RandomRows();
  /** What each connected client believes it may use, from its frames alone. */
  readonly #seen = new Map<string, Map<string, string>>();
  /** The tunnel interface of each connected client, from its frames alone. */
  readonly #interfaces = new Map<string, string>();
  /** What each connected gateway lets pass, from its frames alone, as `client/resource`. */
  readonly #access = new Map<string, Set<string>>();
  /** Resources that each client has a connection for, across its reconnects, as one process keeps them. */
  readonly #peers = new Map<string, Set<string>>();
  readonly #deviceOf = new Map<string, string>();
  readonly #lastSeenAt = new Map<string, number>();
  /** What each gateway was told of a resource it lets somebody reach, across its reconnects, by `gateway/client/resource`. */
  readonly #told = new Map<string, string>();
  /** Tunnel addresses of the peer, as the last authorization or flow told each side, by `gateway/client/resource`. */
  readonly #peerOfGateway = new Map<string, string>();
  readonly #peerOfClient = new Map<string, string>();
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
    const problems = [...this.#problems, ...check(state)];
    for (const [sessionId, session] of state.sessions) {
      if (session.role !== 'client' || !session.joined) continue;
      const fresh = clientView(state, session);
      const should = JSON.stringify((fresh?.resources ?? []).map((resource) => [resource.id, canonical(resource)]));
      const does = JSON.stringify([...(this.#seen.get(sessionId) ?? [])].toSorted(([a], [b]) => (a < b ? -1 : 1)));
      if (should !== does) problems.push(`${sessionId} believes ${does}, a fresh evaluation gives ${should}`);
      if (this.#interfaces.get(sessionId) !== JSON.stringify(fresh?.interface)) {
        problems.push(`${sessionId} has another tunnel interface than a fresh evaluation gives`);
      }
    }
    for (const [sessionId, pairs] of this.#access) {
      const gateway = state.sessions.get(sessionId)?.deviceId;
      for (const pair of pairs) {
        const isLive = [...state.grants.values()].some(
          (grant) =>
            grant.phase === 'live' && grant.gatewayId === gateway && `${grant.clientId}/${grant.resourceId}` === pair,
        );
        if (!isLive) problems.push(`${sessionId} lets ${pair} pass without a live grant`);
      }
    }
    for (const grant of state.grants.values()) if (grant.phase === 'live') problems.push(...this.#faultsOf(grant));
    return [...problems, ...this.#blackHoles()];
  }

  /** What is wrong with a live grant: nothing justifies it, or its gateway does not act as it says. */
  #faultsOf(grant: LiveGrant): string[] {
    const { state } = this.driven;
    const { clientId, gatewayId, resourceId } = grant;
    const problems: string[] = [];
    const client = clientSession(state, clientId);
    const access = accessOf(state, client === null ? grant : subjectOf(client), resourceId);
    if (access.type !== 'granted') problems.push(`a live grant for ${resourceId} that nothing justifies`);
    const site = state.tables.rows.gateways.get(gatewayId)?.group_id;
    if (site === undefined || !isPair(state.tables.sitesOfResource, resourceId, site)) {
      problems.push(`a live grant for ${resourceId} through a gateway that is not in its sites`);
    }
    const gateway = gatewaySession(state, gatewayId);
    if (gateway === null || !grant.acknowledged) return problems;
    const pair = `${clientId}/${resourceId}`;
    if (this.#access.get(gateway.id)?.has(pair) !== true) problems.push(`${gateway.id} does not let ${pair} pass`);
    const row = state.tables.rows.resources.get(resourceId);
    const should = row === undefined ? 'nothing' : addressing(gatewayResource(row));
    const does = this.#told.get(`${gatewayId}/${pair}`);
    if (does !== should) problems.push(`${gateway.id} takes ${pair} for ${does}, it is ${should}`);
    const { clients: clientRows, gateways: gatewayRows } = state.tables.rows;
    const name = `${gatewayId}/${pair}`;
    if (this.#peerOfGateway.get(name) !== addressesOf(clientRows.get(clientId))) {
      problems.push(`${gateway.id} knows other addresses of the client of ${pair}`);
    }
    const isTold = client !== null && this.#peers.get(clientId)?.has(resourceId) === true;
    if (isTold && this.#peerOfClient.get(name) !== addressesOf(gatewayRows.get(gatewayId))) {
      problems.push(`${client.id} knows other addresses of the gateway of ${pair}`);
    }
    return problems;
  }

  /** Connected clients that keep using a resource for which no flow is left: they will not ask again by themselves. */
  #blackHoles(): string[] {
    const { state } = this.driven;
    return [...this.#peers].flatMap(([clientId, resourceIds]) => {
      const session = [...state.sessions.values()].find(({ deviceId }) => deviceId === clientId);
      if (session?.joined !== true) return [];
      const live = [...state.grants.values()].filter((grant) => grant.phase === 'live' && grant.clientId === clientId);
      const lost = [...resourceIds].filter((resourceId) => !live.some((grant) => grant.resourceId === resourceId));
      return lost.map((resourceId) => `${clientId} goes on using ${resourceId}, for which no flow is left`);
    });
  }

  #act({ kind, a, b, c }: Op): void {
    switch (kind) {
      case 'connect':
        this.#connect(a, b, c);
        return;
      case 'disconnect': {
        const sessions = [...this.driven.state.sessions.keys()];
        const sessionId = sessions[a % Math.max(1, sessions.length)];
        if (sessionId !== undefined) this.#leave(sessionId, () => this.driven.step({ type: 'closed', sessionId }));
        return;
      }
      case 'request': {
        const session = [...this.driven.state.sessions.values()].find(
          ({ deviceId }) => deviceId === id('cli', (a % clients) + 1),
        );
        const payload = { resource_id: id('res', (b % resources) + 1), connected_gateway_ids: [] };
        if (session === undefined) return;
        this.#peers.get(session.deviceId)?.delete(payload.resource_id);
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
    const sessionId = `${a % 2 === 0 ? 'client' : 'gateway'}#${this.#connections}`;
    const connectedAt = this.#connections;
    const n = b + 1;
    const hello =
      a % 2 === 0
        ? clientHello({
            externalId: `laptop-${(b % clients) + 1}`,
            token: { id: id('tokc', ownerOf((b % clients) + 1)), type: 'client', secret: clientSecret },
            ...speaking[generations[(b + c) % 3] ?? 'A'].client,
            remoteIp: c % 2 === 0 ? '203.0.113.7' : '198.51.100.7',
            connectedAt,
          })
        : gatewayHello({
            externalId: `rack-${(n % gateways) + 1}`,
            token: { id: id('tokg', this.#siteOf((n % gateways) + 1)), type: 'gateway_group', secret: gatewaySecret },
            ...speaking[generations[c % 3] ?? 'A'].gateway,
            connectedAt,
          });
    this.#believe(() => this.driven.step({ type: 'connect', sessionId, hello }));
    const deviceId = this.driven.state.sessions.get(sessionId)?.deviceId;
    if (deviceId === undefined) return;
    this.#deviceOf.set(sessionId, deviceId);
    this.#believe(() => this.driven.step({ type: 'joined', sessionId }));
  }

  #siteOf(gateway: number): number {
    const groupId = this.#rows.row(`gateways/${id('gw', gateway)}`)?.['group_id'];
    return groupId === id('site', 2) ? 2 : 1;
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
    const before = this.#liveInView();
    const effects = step();
    this.told.push(lines(effects));
    const removed = new Set<string>();
    for (const send of effects.sends) {
      if (send.type === 'to-client') this.#toClient(send.sessionId, send.message, removed);
      else if (send.type === 'to-gateway') this.#toGateway(send.sessionId, send.message);
      else if (send.type === 'close') this.#end(send.sessionId, send.cause);
    }
    this.#problems.push(...outOfOrder(effects, (sessionId) => this.#deviceOf.get(sessionId) ?? ''));
    // A client that asks, or hears of an answer, is not waiting for anything to be told.
    const asking = new Set(effects.sends.flatMap((send) => (send.type === 'to-client' ? isAbout(send.message) : [])));
    for (const [flowId, { sessionId, resourceId }] of before) {
      const isOver = this.driven.state.grants.get(flowId)?.phase !== 'live';
      const isKept = this.#seen.get(sessionId)?.has(resourceId) === true;
      const isAsked = asking.has(resourceId) || this.#isAsking(sessionId, resourceId);
      if (isOver && isKept && !isAsked && !removed.has(`${sessionId}/${resourceId}`)) {
        this.#problems.push(`${sessionId} keeps ${resourceId} after its flow has ended, and is not told to ask again`);
      }
    }
  }

  /** Live grants of connected clients that have the resource in view. */
  #liveInView(): Map<FlowId, { readonly sessionId: string; readonly resourceId: string }> {
    const found = new Map<FlowId, { readonly sessionId: string; readonly resourceId: string }>();
    for (const [flowId, grant] of this.driven.state.grants) {
      const sessionId = this.driven.state.sessionOfDevice.get(grant.clientId) ?? '';
      const isSeen = this.#seen.get(sessionId)?.has(grant.resourceId) === true;
      if (grant.phase === 'live' && isSeen) found.set(flowId, { sessionId, resourceId: grant.resourceId });
    }
    return found;
  }

  #isAsking(sessionId: string, resourceId: string): boolean {
    const clientId = this.driven.state.sessions.get(sessionId)?.deviceId;
    return [...this.driven.state.grants.values()].some(
      (grant) =>
        grant.phase === 'live' &&
        grant.clientId === clientId &&
        grant.resourceId === resourceId &&
        grant.question !== null,
    );
  }

  #toClient(sessionId: string, { event, payload }: ToClientMessage, removed: Set<string>): void {
    const seen = this.#seen.get(sessionId) ?? new Map<string, string>();
    this.#seen.set(sessionId, seen);
    const clientId = this.driven.state.sessions.get(sessionId)?.deviceId ?? '';
    const awayMs = this.driven.now - (this.#lastSeenAt.get(clientId) ?? this.driven.now);
    if (event === 'init' && awayMs > clientAwayMsMax) this.#peers.delete(clientId);
    const peers = this.#peers.get(clientId) ?? new Set<string>();
    this.#peers.set(clientId, peers);
    if (event === 'init' || event === 'config_changed') {
      this.#interfaces.set(sessionId, JSON.stringify(payload.interface));
    }
    if (event === 'init') {
      seen.clear();
      for (const only of payload.resources) seen.set(only.id, canonical(only));
      for (const resourceId of peers) if (!seen.has(resourceId)) peers.delete(resourceId);
    } else if (event === 'flow_created' || event === 'authorization_created') {
      peers.add(payload.resource_id);
      const gateway = { ipv4: payload.gateway_ipv4, ipv6: payload.gateway_ipv6 };
      this.#peerOfClient.set(`${payload.gateway_id}/${clientId}/${payload.resource_id}`, addressesOf(gateway));
    } else if (event === 'resource_deleted') {
      peers.delete(payload);
      removed.add(`${sessionId}/${payload}`);
      if (!seen.delete(payload))
        this.#problems.push(`${sessionId} is told to delete ${payload}, which it does not have`);
    } else if (event === 'resource_created_or_updated') {
      const text = canonical(payload);
      if (seen.get(payload.id) === text)
        this.#problems.push(`${sessionId} is told again of an unchanged ${payload.id}`);
      seen.set(payload.id, text);
    } else if (event === 'resource_filters_updated') {
      const before: unknown = JSON.parse(seen.get(payload.id) ?? 'null');
      if (before === null) this.#problems.push(`${sessionId} is told filters of ${payload.id}, which it does not have`);
      else seen.set(payload.id, canonical({ ...before, filters: payload.filters }));
    }
  }

  #toGateway(sessionId: string, { event, payload }: ToGatewayMessage): void {
    const access = this.#access.get(sessionId) ?? new Set<string>();
    this.#access.set(sessionId, access);
    const gatewayId = this.driven.state.sessions.get(sessionId)?.deviceId ?? '';
    if (event === 'authorize_flow' || event === 'create_authorization') {
      access.add(`${payload.client.id}/${payload.resource.id}`);
      this.#told.set(`${gatewayId}/${payload.client.id}/${payload.resource.id}`, addressing(payload.resource));
      this.#peerOfGateway.set(`${gatewayId}/${payload.client.id}/${payload.resource.id}`, addressesOf(payload.client));
      this.#questions.push({ sessionId, ref: payload.ref });
    } else if (event === 'resource_updated') {
      for (const name of this.#told.keys()) {
        if (name.startsWith(gatewayId) && name.endsWith(payload.id)) this.#told.set(name, addressing(payload));
      }
    } else if (event === 'reject_access') {
      access.delete(`${payload.client_id}/${payload.resource_id}`);
    } else if (event === 'init') {
      access.clear();
      for (const pair of payload.authorizations) access.add(`${pair.client_id}/${pair.resource_id}`);
    }
  }

  /** A client whose token or row is gone is signed out, and keeps nothing. */
  #end(sessionId: string, cause: CloseCause): void {
    this.#leave(sessionId, () => undefined);
    if (closes[cause].signOut) this.#peers.delete(this.#deviceOf.get(sessionId) ?? '');
  }

  #leave(sessionId: string, step: () => unknown): void {
    const deviceId = this.driven.state.sessions.get(sessionId)?.deviceId ?? this.#deviceOf.get(sessionId) ?? '';
    this.#lastSeenAt.set(deviceId, this.driven.now);
    step();
    this.#seen.delete(sessionId);
    this.#interfaces.delete(sessionId);
    this.#access.delete(sessionId);
  }
}
