// Messages of gateways, version 1 sockets (data-plane contract sections 2.3 and 2.4): what a gateway sends, as schemas,
// and what it accepts, as types.
import * as v from 'valibot';
import { clientId } from '../ids.ts';
import { candidates } from './shared.ts';
import type { Filter, IceCredentials, Relay } from './shared.ts';

const candidatesForClients = v.object({ client_ids: v.pipe(v.array(clientId), v.maxLength(64)), candidates });

/** By event, what a gateway may send. */
const fromGateway = {
  flow_authorized: v.pipe(
    v.object({ ref: v.pipe(v.string(), v.maxLength(255)) }),
    v.transform((payload) => ({ type: 'flow_authorized' as const, ...payload })),
  ),
  broadcast_ice_candidates: v.pipe(
    candidatesForClients,
    v.transform((payload) => ({ type: 'candidates' as const, event: 'ice_candidates' as const, ...payload })),
  ),
  broadcast_invalidated_ice_candidates: v.pipe(
    candidatesForClients,
    v.transform((payload) => ({
      type: 'candidates' as const,
      event: 'invalidate_ice_candidates' as const,
      ...payload,
    })),
  ),
} as const;
export type FromGateway = v.InferOutput<(typeof fromGateway)[keyof typeof fromGateway]>;

/** The message in `payload`, or null when no such event is known or its payload does not fit. */
export function parseFromGateway(event: string, payload: unknown): FromGateway | null {
  const schemas: Readonly<Record<string, v.GenericSchema<unknown, FromGateway>>> = fromGateway;
  const schema = Object.hasOwn(schemas, event) ? schemas[event] : undefined;
  const parsed = schema === undefined ? null : v.safeParse(schema, payload);
  return parsed?.success === true ? parsed.output : null;
}

/** A resource as a gateway sees it. A gateway refuses the whole message for any other type. */
export type GatewayResource =
  | {
      readonly type: 'dns' | 'cidr';
      readonly id: string;
      readonly name: string;
      readonly address: string;
      readonly filters: readonly Filter[];
    }
  | { readonly type: 'internet'; readonly id: string };

type Pair = { readonly client_id: string; readonly resource_id: string };

/** What a gateway is told. Times are whole Unix seconds. */
export type ToGateway =
  | {
      readonly event: 'init';
      readonly payload: {
        readonly interface: { readonly ipv4: string; readonly ipv6: string };
        readonly config: { readonly ipv4_masquerade_enabled: true; readonly ipv6_masquerade_enabled: true };
        readonly account_slug: string | null;
        readonly authorizations: readonly (Pair & { readonly expires_at: number })[];
        readonly relays: readonly Relay[];
      };
    }
  | {
      readonly event: 'authorize_flow';
      readonly payload: {
        readonly ref: string;
        readonly resource: GatewayResource;
        readonly client: {
          readonly id: string;
          readonly public_key: string;
          readonly preshared_key: string;
          readonly ipv4: string;
          readonly ipv6: string;
        };
        readonly client_ice_credentials: IceCredentials;
        readonly gateway_ice_credentials: IceCredentials;
        readonly expires_at: number;
      };
    }
  | { readonly event: 'reject_access'; readonly payload: Pair }
  /** Only to those that act on it. */
  | { readonly event: 'access_authorization_expiry_updated'; readonly payload: Pair & { readonly expires_at: number } }
  | { readonly event: 'resource_updated'; readonly payload: GatewayResource }
  | {
      readonly event: 'ice_candidates' | 'invalidate_ice_candidates';
      readonly payload: { readonly client_id: string; readonly candidates: readonly string[] };
    };
