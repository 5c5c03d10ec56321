// What devices believe from their frames alone, and what of it is other than promised: held against a state, whoever keeps that.
// A device is known by its id.
import { AccessTable } from '../../devices/access-table.ts';
import { accessOf, subjectOf } from '../../core/access.ts';
import { clientAwayMsMax } from '../../core/expiry.ts';
import { clientSession, gatewaySession } from '../../core/state.ts';
import { clientView } from '../../core/view.ts';
import { gatewayResource } from '../../core/render.ts';
import { isPair } from '../../core/tables.ts';
import { addressing, canonical, addressesOf, isAbout } from './random-frames.ts';
import type { ToClientMessage, ToGatewayMessage } from './random-frames.ts';
import type { LiveGrant, State } from '../../core/state.ts';
import type { FlowId } from '../../protocol/ids.ts';
import type { Generation } from '../../protocol/device/generations.ts';

/** A live grant of a connected client that has the resource in view. */
type InView = { readonly clientId: string; readonly sessionId: string; readonly resourceId: string };

export class Beliefs {
  /** What each client believes it may use. */
  readonly #seen = new Map<string, Map<string, string>>();
  /** The tunnel interface of each connected client. */
  readonly #interfaces = new Map<string, string>();
  /** What each gateway lets pass, across its reconnects, as one process keeps it. */
  readonly #tables = new Map<string, AccessTable>();
  readonly #generations = new Map<string, Generation>();
  /** Resources that each client has a connection for, across its reconnects, as one process keeps them. */
  readonly #peers = new Map<string, Set<string>>();
  readonly #lastSeenAt = new Map<string, number>();
  /** What each gateway was told of a resource it lets somebody reach, across its reconnects, by `gateway/client/resource`. */
  readonly #told = new Map<string, string>();
  /** Tunnel addresses of the peer, as the last authorization or flow told each side, by `gateway/client/resource`. */
  readonly #peerOfGateway = new Map<string, string>();
  readonly #peerOfClient = new Map<string, string>();
  /** `client/resource` that clients were told to drop, and those that they heard an answer about, since the last `begin`. */
  readonly #removed = new Set<string>();
  readonly #asked = new Set<string>();
  #before = new Map<FlowId, InView>();
  /** What was told that should not have been, in words. */
  readonly problems: string[] = [];

  /** Something is about to happen. */
  begin(state: State): void {
    this.#before = this.#liveInView(state);
    this.#removed.clear();
    this.#asked.clear();
  }

  /** What has happened left clients with a resource whose flow is over, without a word. */
  end(state: State): void {
    for (const [flowId, { clientId, sessionId, resourceId }] of this.#before) {
      const isOver = state.grants.get(flowId)?.phase !== 'live';
      const isKept = state.sessions.has(sessionId) && this.#seen.get(clientId)?.has(resourceId) === true;
      const pair = `${clientId}/${resourceId}`;
      const isAsked = this.#asked.has(pair) || isAsking(state, clientId, resourceId);
      if (isOver && isKept && !isAsked && !this.#removed.has(pair)) {
        this.problems.push(`${clientId} keeps ${resourceId} after its flow has ended, and is not told to ask again`);
      }
    }
  }

  /** Everything that is not as promised, in words. */
  violations(state: State): string[] {
    const problems = [...this.problems];
    for (const session of state.sessions.values()) {
      if (!session.joined) continue;
      const { deviceId } = session;
      if (session.role === 'gateway') {
        problems.push(...this.#passing(state, deviceId));
        continue;
      }
      const fresh = clientView(state, session);
      const should = JSON.stringify((fresh?.resources ?? []).map((resource) => [resource.id, canonical(resource)]));
      const does = JSON.stringify([...(this.#seen.get(deviceId) ?? [])].toSorted(([a], [b]) => (a < b ? -1 : 1)));
      if (should !== does) problems.push(`${deviceId} believes ${does}, a fresh evaluation gives ${should}`);
      if (this.#interfaces.get(deviceId) !== JSON.stringify(fresh?.interface)) {
        problems.push(`${deviceId} has another tunnel interface than a fresh evaluation gives`);
      }
    }
    for (const grant of state.grants.values())
      if (grant.phase === 'live') problems.push(...this.#faultsOf(state, grant));
    return [...problems, ...this.#blackHoles(state)];
  }

  /** A device has been admitted. Its process is the same as before, whatever it speaks. */
  connected(deviceId: string, generation: Generation): void {
    this.#generations.set(deviceId, generation);
  }

  /** A client asks for a resource. */
  ask(clientId: string, resourceId: string): void {
    this.#peers.get(clientId)?.delete(resourceId);
  }

  toClient(clientId: string, message: ToClientMessage, now: number): void {
    const { event, payload } = message;
    for (const resourceId of isAbout(message)) this.#asked.add(`${clientId}/${resourceId}`);
    const seen = this.#seen.get(clientId) ?? new Map<string, string>();
    this.#seen.set(clientId, seen);
    if (event === 'init') this.#return(clientId, now);
    const peers = this.#peers.get(clientId) ?? new Set<string>();
    this.#peers.set(clientId, peers);
    if (event === 'init' || event === 'config_changed') {
      this.#interfaces.set(clientId, JSON.stringify(payload.interface));
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
      this.#removed.add(`${clientId}/${payload}`);
      if (!seen.delete(payload)) this.problems.push(`${clientId} is told to delete ${payload}, which it does not have`);
    } else if (event === 'resource_created_or_updated') {
      const text = canonical(payload);
      if (seen.get(payload.id) === text) this.problems.push(`${clientId} is told again of an unchanged ${payload.id}`);
      seen.set(payload.id, text);
    } else if (event === 'resource_filters_updated') {
      const before: unknown = JSON.parse(seen.get(payload.id) ?? 'null');
      if (before === null) this.problems.push(`${clientId} is told filters of ${payload.id}, which it does not have`);
      else seen.set(payload.id, canonical({ ...before, filters: payload.filters }));
    }
  }

  /** Returns the `ref` of what the gateway is asked, or null. */
  toGateway(gatewayId: string, message: ToGatewayMessage): string | null {
    const { event, payload } = message;
    const table = this.#tables.get(gatewayId) ?? new AccessTable();
    this.#tables.set(gatewayId, table);
    if (event === 'authorize_flow' || event === 'create_authorization') {
      this.#told.set(`${gatewayId}/${payload.client.id}/${payload.resource.id}`, addressing(payload.resource));
      this.#peerOfGateway.set(`${gatewayId}/${payload.client.id}/${payload.resource.id}`, addressesOf(payload.client));
    } else if (event === 'resource_updated') {
      for (const name of this.#told.keys()) {
        if (name.startsWith(gatewayId) && name.endsWith(payload.id)) this.#told.set(name, addressing(payload));
      }
    }
    return table.take(this.#generations.get(gatewayId) ?? 'A', message)?.ref ?? null;
  }

  /** The device's connection is gone. A client that is signed out keeps nothing. */
  leave(deviceId: string, now: number, isSignedOut: boolean): void {
    this.#lastSeenAt.set(deviceId, now);
    this.#seen.delete(deviceId);
    this.#interfaces.delete(deviceId);
    if (isSignedOut) this.#peers.delete(deviceId);
  }

  #return(clientId: string, now: number): void {
    if (now - (this.#lastSeenAt.get(clientId) ?? now) > clientAwayMsMax) this.#peers.delete(clientId);
    this.#lastSeenAt.delete(clientId);
  }

  #access(gatewayId: string): ReadonlySet<string> {
    return this.#tables.get(gatewayId)?.access ?? new Set();
  }

  /** Whom the gateway lets pass though it should not, or no longer. */
  #passing(state: State, gatewayId: string): string[] {
    const live = new Set<string>();
    for (const grant of state.grants.values()) {
      if (grant.phase === 'live' && grant.gatewayId === gatewayId) live.add(`${grant.clientId}/${grant.resourceId}`);
    }
    const ends = this.#tables.get(gatewayId)?.expiries;
    const passing = [...this.#access(gatewayId)].filter((pair) => (ends?.get(pair) ?? 0) * 1000 > state.now);
    const wrong = passing.filter((pair) => !live.has(pair));
    return wrong.map((pair) => `${gatewayId} lets ${pair} pass without a live grant`);
  }

  /** What is wrong with a live grant: nothing justifies it, or its gateway does not act as it says. */
  #faultsOf(state: State, grant: LiveGrant): string[] {
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
    if (gateway === null || !gateway.joined || !grant.acknowledged) return problems;
    const pair = `${clientId}/${resourceId}`;
    if (!this.#access(gatewayId).has(pair)) problems.push(`${gatewayId} does not let ${pair} pass`);
    const row = state.tables.rows.resources.get(resourceId);
    const should = row === undefined ? 'nothing' : addressing(gatewayResource(row));
    const does = this.#told.get(`${gatewayId}/${pair}`);
    if (does !== should) problems.push(`${gatewayId} takes ${pair} for ${does}, it is ${should}`);
    const { clients: clientRows, gateways: gatewayRows } = state.tables.rows;
    const name = `${gatewayId}/${pair}`;
    if (this.#peerOfGateway.get(name) !== addressesOf(clientRows.get(clientId))) {
      problems.push(`${gatewayId} knows other addresses of the client of ${pair}`);
    }
    const isTold = client !== null && this.#peers.get(clientId)?.has(resourceId) === true;
    if (isTold && this.#peerOfClient.get(name) !== addressesOf(gatewayRows.get(gatewayId))) {
      problems.push(`${client.deviceId} knows other addresses of the gateway of ${pair}`);
    }
    return problems;
  }

  /** Connected clients that keep using a resource for which no flow is left: they will not ask again by themselves. */
  #blackHoles(state: State): string[] {
    return [...this.#peers].flatMap(([clientId, resourceIds]) => {
      const session = [...state.sessions.values()].find(({ deviceId }) => deviceId === clientId);
      if (session?.joined !== true) return [];
      const live = [...state.grants.values()].filter((grant) => grant.phase === 'live' && grant.clientId === clientId);
      const lost = [...resourceIds].filter((resourceId) => !live.some((grant) => grant.resourceId === resourceId));
      return lost.map((resourceId) => `${clientId} goes on using ${resourceId}, for which no flow is left`);
    });
  }

  #liveInView(state: State): Map<FlowId, InView> {
    const found = new Map<FlowId, InView>();
    for (const [flowId, { phase, clientId, resourceId }] of state.grants) {
      const sessionId = state.sessionOfDevice.get(clientId);
      if (sessionId === undefined || this.#seen.get(clientId)?.has(resourceId) !== true) continue;
      if (phase === 'live') found.set(flowId, { clientId, sessionId, resourceId });
    }
    return found;
  }
}

function isAsking(state: State, clientId: string, resourceId: string): boolean {
  return [...state.grants.values()].some(
    (grant) =>
      grant.phase === 'live' &&
      grant.clientId === clientId &&
      grant.resourceId === resourceId &&
      grant.question !== null,
  );
}
