// What a set of changes touched, as ids: the starting point of every re-evaluation. It may name too much, never too little.
import { unreachable } from '../protocol/assert.ts';
import type { TypedRow } from './tables.ts';
import type {
  ActorId,
  ClientId,
  FlowId,
  GatewayId,
  GroupId,
  IdentityId,
  ResourceId,
  SiteId,
  TokenId,
} from '../protocol/ids.ts';

export type Touched = {
  /** The account's own row, or something every session depends on. */
  everything: boolean;
  readonly actors: Set<ActorId>;
  readonly tokens: Set<TokenId>;
  /** Who the touched tokens belong to, and the sites of those of gateways. */
  readonly tokenActors: Set<ActorId>;
  readonly tokenSites: Set<SiteId>;
  readonly identities: Set<IdentityId>;
  readonly clients: Set<ClientId>;
  readonly gateways: Set<GatewayId>;
  readonly sites: Set<SiteId>;
  readonly resources: Set<ResourceId>;
  /** The groups for which policies of a resource changed. */
  readonly policies: Map<ResourceId, Set<GroupId>>;
  /** Resources whose address, type or stack moved: what a gateway was told of them is void. */
  readonly readdressed: Set<ResourceId>;
  /** Resources whose filters changed: gateways that hold an access to them are told. */
  readonly refiltered: Set<ResourceId>;
  /** Devices whose tunnel addresses or key seed changed: what either side of a flow was told of them is void. */
  readonly rekeyed: Set<ClientId | GatewayId>;
  /** Rows of the ledger that were deleted, or ended, by whoever: a flow among them that is still live was cut by hand. */
  readonly flows: Set<FlowId>;
  /** The ledger was truncated: every live flow is cut. */
  everyFlow: boolean;
  /** Resources, clients, gateways and tokens as they were before the first change that touched them, by `table/id`. */
  readonly before: Map<string, TypedRow>;
};

export function nothingTouched(): Touched {
  return {
    everything: false,
    actors: new Set(),
    tokens: new Set(),
    tokenActors: new Set(),
    tokenSites: new Set(),
    identities: new Set(),
    clients: new Set(),
    gateways: new Set(),
    sites: new Set(),
    resources: new Set(),
    policies: new Map(),
    readdressed: new Set(),
    refiltered: new Set(),
    rekeyed: new Set(),
    flows: new Set(),
    everyFlow: false,
    before: new Map(),
  };
}

/** Notes that `entry` was there before, or is there after, a change. */
export function touch(touched: Touched, entry: TypedRow): void {
  switch (entry.table) {
    case 'accounts':
    case 'auth_providers':
      touched.everything = true;
      return;
    case 'actor_groups':
      // A group grants through its memberships and policies, which arrive as rows of their own.
      return;
    case 'actors':
      touched.actors.add(entry.row.id);
      return;
    case 'actor_group_memberships':
      touched.actors.add(entry.row.actor_id);
      return;
    case 'auth_identities':
      touched.identities.add(entry.row.id);
      return;
    case 'tokens':
      touched.tokens.add(entry.row.id);
      if (entry.row.actor_id !== null) touched.tokenActors.add(entry.row.actor_id);
      if (entry.row.gateway_group_id !== null) touched.tokenSites.add(entry.row.gateway_group_id);
      return;
    case 'clients':
      touched.clients.add(entry.row.id);
      return;
    case 'gateways':
      touched.gateways.add(entry.row.id);
      return;
    case 'gateway_groups':
      touched.sites.add(entry.row.id);
      return;
    case 'resources':
      touched.resources.add(entry.row.id);
      return;
    case 'resource_connections':
      touched.resources.add(entry.row.resource_id);
      return;
    case 'policies': {
      const groups = touched.policies.get(entry.row.resource_id) ?? new Set();
      touched.policies.set(entry.row.resource_id, groups.add(entry.row.actor_group_id));
      return;
    }
  }
  unreachable(entry);
}
