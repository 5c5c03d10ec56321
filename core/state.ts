// Everything an account's object decides from: its rows, the sessions of its devices, and what they were granted.
// Only step.ts changes it.
import * as v from 'valibot';
import * as ids from '../protocol/ids.ts';
import { emptyLedger } from './ledger.ts';
import { firstDue, nothingDue } from './due.ts';
import { emptyTables } from './tables.ts';
import { flowRecord } from '../protocol/write-back.ts';
import { noResync } from './resync.ts';
import type { Due } from './due.ts';
import type { ClientResource } from '../protocol/device/to-client.ts';
import type { Interface } from '../protocol/device/shared.ts';
import type { Hold } from '../protocol/holds.ts';
import type { Ledger } from './ledger.ts';
import type { Replacements } from './clones.ts';
import type { Position } from '../protocol/commit.ts';
import type { StoredMemberships } from './memberships.ts';
import type { Relays } from './relays.ts';
import type { Resync } from './resync.ts';
import type { SharedRelays } from '../protocol/relays.ts';
import type { Tables } from './tables.ts';
import type { Touched } from './touched.ts';

const milliseconds = v.number();

const sessionFacts = {
  /** Unique per admission: a redial of the same connection gets another one. */
  id: v.string(),
  tokenId: ids.tokenId,
  publicKey: v.string(),
  deviceVersion: v.nullable(v.string()),
  /** With the version, how the device speaks: protocol/device/generations.ts. */
  program: v.optional(v.nullable(v.string()), null),
  socketVersion: v.optional(v.picklist([1, 2]), 1),
  /** Whether it has said that it can do without ICE. */
  iceless: v.optional(v.boolean(), false),
  remoteIp: v.nullable(v.string()),
  region: v.nullable(v.string()),
  latitude: v.nullable(v.number()),
  longitude: v.nullable(v.number()),
  /** When the device connected to the edge, milliseconds since 1970-01-01 UTC. */
  connectedAt: milliseconds,
  /** False until the device's join was answered: nothing is pushed before. */
  joined: v.boolean(),
  /** When its view was last brought up to date: after waking, the view is what it was then. */
  viewedAt: v.optional(milliseconds, 0),
  /** The relays that it was told of, each with a mark of what exactly. */
  relays: v.optional(v.array(v.object({ id: v.string(), mark: v.string() })), []),
  /** Its join was answered, and its init waits until then for the first set of shared relays; null when it does not. */
  waitsUntil: v.optional(v.nullable(milliseconds), null),
  /** When it began, as a revision of the ledger. */
  revision: v.optional(v.number(), 0),
};

/** The facts of one connection, as they survive hibernation. */
export const session = v.variant('role', [
  v.object({ role: v.literal('client'), ...sessionFacts, deviceId: ids.clientId, actorId: ids.actorId }),
  v.object({ role: v.literal('gateway'), ...sessionFacts, deviceId: ids.gatewayId, siteId: ids.siteId }),
]);
export type Session = v.InferOutput<typeof session>;
/** Shared by every session that was told of no relay; nothing is ever added to the list of a session. */
export const noRelaysTold: Session['relays'] = [];

export type ClientSession = Extract<Session, { role: 'client' }>;
export type GatewaySession = Extract<Session, { role: 'gateway' }>;

/** A relay's connection. It becomes a relay by its join. */
export const relaySession = v.object({
  role: v.literal('relay'),
  id: v.string(),
  account: ids.accountId,
  tokenId: ids.tokenId,
  ipv4: v.nullable(v.string()),
  ipv6: v.nullable(v.string()),
  port: v.number(),
  latitude: v.nullable(v.number()),
  longitude: v.nullable(v.number()),
  connectedAt: milliseconds,
});
export type RelaySession = v.InferOutput<typeof relaySession>;

const pair = { flowId: ids.flowId, clientId: ids.clientId, resourceId: ids.resourceId, gatewayId: ids.gatewayId };

/** A question to a gateway that it has not answered: the keys it was told, and until when it may answer. */
const question = v.object({
  /** With the flow's id, the `ref` that the answer must carry: unguessable, another one for each asking. */
  nonce: v.string(),
  deadlineAt: milliseconds,
  clientPublicKey: v.string(),
  gatewayPublicKey: v.string(),
  /** Whether it only tells a later expiry: then the client hears nothing of the answer, and silence ends nothing. */
  isRenewal: v.optional(v.boolean(), false),
  /** Gateways that were asked for this request before and did not answer. */
  givenUp: v.array(ids.gatewayId),
});

/**
 * `live`: the client may reach the resource through the gateway until `expiresAt`. `owed`: it may no longer, and somebody
 * who was away must still be told.
 */
export const grant = v.variant('phase', [
  v.object({
    phase: v.literal('live'),
    ...pair,
    policyId: ids.policyId,
    /** Until when the policy and the token justify it; null when time alone ends neither. */
    justifiedUntil: v.nullable(milliseconds),
    /** The facts it was last judged on, those of the client's last connection. */
    actorId: ids.actorId,
    tokenId: ids.tokenId,
    remoteIp: v.nullable(v.string()),
    region: v.nullable(v.string()),
    /** When the gateway was told the expiry that it knows. */
    toldAt: milliseconds,
    /** The expiry that the gateway knows: a whole second, in milliseconds since 1970-01-01 UTC. */
    expiresAt: milliseconds,
    /** Until when it may live since it was made while behind: freshness.ts; null otherwise. */
    limitedUntil: v.optional(v.nullable(milliseconds), null),
    /** Whether the gateway has ever accepted: until then the client knows nothing of it. */
    acknowledged: v.boolean(),
    question: v.nullable(question),
    /** The public keys under which the gateway last accepted; null before. */
    keys: v.optional(v.nullable(v.object({ client: v.string(), gateway: v.string() })), null),
    /** Its record in the ledger: when it was granted, and the revisions of the record's first and last state. */
    ledger: v.optional(v.object({ grantedAt: milliseconds, first: v.number(), revision: v.number() })),
  }),
  v.object({
    phase: v.literal('owed'),
    ...pair,
    /** The expiry that the gateway knew: until then its every init is followed by the reject. */
    rejectUntil: milliseconds,
    /** Until when it is kept: as long, or longer for a client that was away. */
    expiresAt: milliseconds,
    /** Whether the client is made to ask again after its next init, in case it has not heard. */
    isClientOwed: v.boolean(),
    /** Its record in the ledger, whole. */
    ended: v.optional(flowRecord),
  }),
]);
export type Grant = v.InferOutput<typeof grant>;
export type LiveGrant = Extract<Grant, { phase: 'live' }>;
export type OwedReject = Extract<Grant, { phase: 'owed' }>;

/** What every version of a stored grant has: enough to take the access back where the rest cannot be read. */
export const grantPair = v.object({ ...pair, expiresAt: milliseconds });

/** What a joined client has been told, so that only differences are sent. */
export type Announced = {
  interface: Interface;
  /** Ordered by id; see announced.ts. */
  readonly resources: ClientResource[];
  /** The first moment at which the view may change by time alone; it may be too early, never too late. */
  until: number;
};

export type PartsTaken = {
  readonly touched: Touched;
  readonly slugBefore: string | null;
  /** `table/key` of the rows that a snapshot's parts have brought. */
  readonly keys: Set<string>;
};

/** How far the change stream has come, as far as is known: freshness.ts. Only memory knows it. */
export type Freshness = {
  /** When it was last heard how far the stream has come. */
  heardAt: number;
  /** Everything committed up to here has been applied, by the database's clock; null where that is not known. */
  appliedTo: number | null;
  isBehind: boolean;
  /** Grants made while silent, with the time of each. */
  readonly unverified: Map<ids.FlowId, number>;
};

export type State = {
  /** Where in the change stream the rows stand; null before the first snapshot. */
  position: Position | null;
  /** The highest term that has delivered. */
  term: number;
  /** Set while the rows are known to be behind: nothing is granted until a snapshot. */
  stale: boolean;
  readonly freshness: Freshness;
  /** Tokens whose rows are gone, with when each would have expired, null for never; in the order in which they went. */
  readonly tombstones: Map<ids.TokenId, number | null>;
  /** The latest time seen, milliseconds since 1970-01-01 UTC; never goes back. */
  now: number;
  /** When every grant and session changes by itself next; it may be too early, never too late. */
  readonly due: Due;
  /** The earliest of these moments, null when there is none. */
  readonly deadline: number | null;
  readonly tables: Tables;
  /** Parts of a commit or snapshot that are applied while nothing has followed from them yet; null outside of one. */
  partial: PartsTaken | null;
  readonly sessions: Map<string, Session>;
  readonly sessionOfDevice: Map<ids.ClientId | ids.GatewayId, string>;
  readonly announced: Map<string, Announced>;
  /** Of devices whose connection was taken over under another key, since the object woke. */
  readonly replacements: Map<ids.ClientId | ids.GatewayId, Replacements>;
  /** What an operator has denied, by `kind/id`; only core/holds.ts changes it. */
  readonly holds: Map<string, Hold>;
  readonly grants: Map<ids.FlowId, Grant>;
  readonly grantsOfClient: Map<ids.ClientId, Set<ids.FlowId>>;
  readonly grantsOfGateway: Map<ids.GatewayId, Set<ids.FlowId>>;
  readonly grantsOfResource: Map<ids.ResourceId, Set<ids.FlowId>>;
  /** The relays that connect here, and how often that set has changed. */
  readonly relays: Relays;
  relaysVersion: number;
  readonly relaySessions: Map<string, RelaySession>;
  /** The relays of no account, as last heard of; null before the first time. */
  shared: SharedRelays | null;
  /** When to ask for the shared relays again, so that their changes are told here, milliseconds since 1970-01-01 UTC. */
  leaseDueAt: number;
  /** When the next of those are told of relays whom a change has not reached yet; Infinity when there are none. */
  relaysNextAt: number;
  /** Actors of whom a session or a grant has gone in this step: they may fall asleep. */
  readonly maybeAsleep: Set<ids.ActorId>;
  readonly ledger: Ledger;
  /** Until when a device is not registered again that Postgres refused, by owner and external id. */
  readonly refusals: Map<string, number>;
  /** Its own request for a snapshot. */
  resync: Resync;
};

/** A state without rows, sessions and grants, over the memberships that `stored` has. */
export function emptyState(stored: StoredMemberships): State {
  const due = nothingDue();
  return {
    position: null,
    term: 0,
    stale: false,
    freshness: { heardAt: -Infinity, appliedTo: null, isBehind: false, unverified: new Map() },
    tombstones: new Map(),
    now: 0,
    due,
    get deadline() {
      return firstDue(due);
    },
    tables: emptyTables(stored),
    partial: null,
    sessions: new Map(),
    sessionOfDevice: new Map(),
    announced: new Map(),
    replacements: new Map(),
    holds: new Map(),
    grants: new Map(),
    grantsOfClient: new Map(),
    grantsOfGateway: new Map(),
    grantsOfResource: new Map(),
    relays: new Map(),
    relaysVersion: 0,
    relaySessions: new Map(),
    shared: null,
    leaseDueAt: 0,
    relaysNextAt: Infinity,
    maybeAsleep: new Set(),
    ledger: emptyLedger(),
    refusals: new Map(),
    resync: noResync(),
  };
}

/** The one account row, or null before the first snapshot and after the account's deletion. */
export function accountOf(state: State) {
  for (const row of state.tables.rows.accounts.values()) return row;
  return null;
}

/** The joined client session of `clientId`, or null. */
export function clientSession(state: State, clientId: ids.ClientId): ClientSession | null {
  const found = state.sessions.get(state.sessionOfDevice.get(clientId) ?? '');
  return found?.role === 'client' && found.joined ? found : null;
}

/** The joined gateway session of `gatewayId`, or null. */
export function gatewaySession(state: State, gatewayId: ids.GatewayId): GatewaySession | null {
  const found = state.sessions.get(state.sessionOfDevice.get(gatewayId) ?? '');
  return found?.role === 'gateway' && found.joined ? found : null;
}
