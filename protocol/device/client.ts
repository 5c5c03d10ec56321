// Messages of clients, version 1 sockets (data-plane contract sections 2.1 and 2.2): what a client sends, as schemas, and
// what it accepts, as types. Unknown fields are ignored on the way in and never sent on the way out.
import * as v from 'valibot';
import { gatewayId, resourceId } from '../ids.ts';
import { candidates } from './shared.ts';
import type { Filter, IceCredentials, Interface, Relay } from './shared.ts';

const createFlow = v.object({
  resource_id: resourceId,
  connected_gateway_ids: v.pipe(v.array(gatewayId), v.maxLength(1000)),
});

const candidatesForGateways = v.object({ gateway_ids: v.pipe(v.array(gatewayId), v.maxLength(64)), candidates });
const candidatesForGateway = v.object({ gateway_id: gatewayId, candidates });

const toGateways = ({ gateway_id, candidates }: v.InferOutput<typeof candidatesForGateway>) => ({
  gateway_ids: [gateway_id],
  candidates,
});

/** By event, what a client may send; later names of the same message map onto the first. */
const fromClient = {
  create_flow: v.pipe(
    createFlow,
    v.transform((payload) => ({ type: 'create_flow' as const, ...payload })),
  ),
  broadcast_ice_candidates: v.pipe(
    candidatesForGateways,
    v.transform((payload) => ({ type: 'candidates' as const, event: 'ice_candidates' as const, ...payload })),
  ),
  new_gateway_ice_candidates: v.pipe(
    candidatesForGateway,
    v.transform((payload) => ({
      type: 'candidates' as const,
      event: 'ice_candidates' as const,
      ...toGateways(payload),
    })),
  ),
  broadcast_invalidated_ice_candidates: v.pipe(
    candidatesForGateways,
    v.transform((payload) => ({
      type: 'candidates' as const,
      event: 'invalidate_ice_candidates' as const,
      ...payload,
    })),
  ),
  invalidate_gateway_ice_candidates: v.pipe(
    candidatesForGateway,
    v.transform((payload) => ({
      type: 'candidates' as const,
      event: 'invalidate_ice_candidates' as const,
      ...toGateways(payload),
    })),
  ),
} as const;
export type FromClient = v.InferOutput<(typeof fromClient)[keyof typeof fromClient]>;

/** The message in `payload`, or null when no such event is known or its payload does not fit. */
export function parseFromClient(event: string, payload: unknown): FromClient | null {
  const schemas: Readonly<Record<string, v.GenericSchema<unknown, FromClient>>> = fromClient;
  const schema = Object.hasOwn(schemas, event) ? schemas[event] : undefined;
  const parsed = schema === undefined ? null : v.safeParse(schema, payload);
  return parsed?.success === true ? parsed.output : null;
}

type Site = { readonly id: string; readonly name: string };

/** A resource as a client sees it; an `ip` resource travels as a cidr of one address. */
export type ClientResource =
  | {
      readonly type: 'dns' | 'cidr';
      readonly id: string;
      readonly name: string;
      readonly address: string;
      readonly address_description: string | null;
      readonly gateway_groups: readonly Site[];
      readonly filters: readonly Filter[];
      readonly ip_stack?: 'dual' | 'ipv4_only' | 'ipv6_only';
    }
  | {
      readonly type: 'internet';
      readonly id: string;
      readonly gateway_groups: readonly Site[];
      readonly can_be_disabled: true;
    };

export type FlowFailure = 'not_found' | 'offline' | 'forbidden';

/** What a client is told. */
export type ToClient =
  | {
      readonly event: 'init';
      readonly payload: {
        readonly interface: Interface;
        readonly resources: readonly ClientResource[];
        readonly relays: readonly Relay[];
      };
    }
  | { readonly event: 'config_changed'; readonly payload: { readonly interface: Interface } }
  | { readonly event: 'resource_created_or_updated'; readonly payload: ClientResource }
  | { readonly event: 'resource_deleted'; readonly payload: string }
  | {
      readonly event: 'ice_candidates' | 'invalidate_ice_candidates';
      readonly payload: { readonly gateway_id: string; readonly candidates: readonly string[] };
    }
  | {
      readonly event: 'flow_created';
      readonly payload: {
        readonly resource_id: string;
        readonly gateway_id: string;
        readonly gateway_group_id: string;
        readonly gateway_public_key: string;
        readonly gateway_ipv4: string;
        readonly gateway_ipv6: string;
        readonly preshared_key: string;
        readonly client_ice_credentials: IceCredentials;
        readonly gateway_ice_credentials: IceCredentials;
      };
    }
  | {
      readonly event: 'flow_creation_failed';
      readonly payload: {
        readonly resource_id: string;
        readonly reason: FlowFailure;
        readonly violated_properties?: readonly string[];
      };
    };
