// What a client sends (data-plane contract section 2.2): one schema per message, with the generations that say it: it is
// understood on their sockets. Unknown fields are ignored, sizes are bounded, and later names of a message map onto one meaning.
import * as v from 'valibot';
import { clientId, gatewayId, resourceId } from '../ids.ts';
import { candidates } from './shared.ts';
import { generationsOfSocket } from './generations.ts';
import type { Generation, SocketVersion } from './generations.ts';

const shortText = v.pipe(v.string(), v.maxLength(255));

const request = v.pipe(
  v.object({
    resource_id: resourceId,
    connected_gateway_ids: v.pipe(v.array(gatewayId), v.maxLength(1000)),
  }),
  v.transform((payload) => ({ type: 'create_flow' as const, ...payload })),
);

const toGateways = (event: 'candidates' | 'invalidated') =>
  v.pipe(
    v.object({ gateway_ids: v.pipe(v.array(gatewayId), v.maxLength(64)), candidates }),
    v.transform((payload) => ({ type: 'candidates' as const, event, ...payload })),
  );

const toGateway = (event: 'candidates' | 'invalidated') =>
  v.pipe(
    v.object({ gateway_id: gatewayId, candidates }),
    v.transform(({ gateway_id, candidates }) => ({
      type: 'candidates' as const,
      event,
      gateway_ids: [gateway_id],
      candidates,
    })),
  );

/** For other clients, of which none is ever reachable: device pools are not served. */
const toClients = v.pipe(
  v.object({ client_id: clientId, candidates }),
  v.transform(() => ({ type: 'nobody' as const })),
);

const resolvePool = v.pipe(
  v.object({ resource_id: resourceId, domain: shortText }),
  v.transform((payload) => ({ type: 'resolve_device_pool_domain' as const, ...payload })),
);

const noRelays = v.pipe(
  v.object({}),
  v.transform(() => ({ type: 'no_relays' as const })),
);

const capabilities = v.pipe(
  v.object({ iceless: v.boolean() }),
  v.transform(({ iceless }) => ({ type: 'set_snownet_capabilities' as const, iceless })),
);

/** By event: which generations say it, and its schema. */
export const fromClient = {
  create_flow: { by: ['A', 'C'], schema: request },
  request_authorization: { by: ['B'], schema: request },
  broadcast_ice_candidates: { by: ['A'], schema: toGateways('candidates') },
  new_gateway_ice_candidates: { by: ['C', 'B'], schema: toGateway('candidates') },
  broadcast_invalidated_ice_candidates: { by: ['A'], schema: toGateways('invalidated') },
  invalidate_gateway_ice_candidates: { by: ['C', 'B'], schema: toGateway('invalidated') },
  new_client_ice_candidates: { by: ['C', 'B'], schema: toClients },
  invalidate_client_ice_candidates: { by: ['C', 'B'], schema: toClients },
  resolve_device_pool_domain: { by: ['C', 'B'], schema: resolvePool },
  no_relays: { by: ['C', 'B'], schema: noRelays },
  set_snownet_capabilities: { by: ['B'], schema: capabilities },
} as const satisfies Record<string, { by: readonly Generation[]; schema: v.GenericSchema<unknown, unknown> }>;

export type FromClient = v.InferOutput<(typeof fromClient)[keyof typeof fromClient]['schema']>;

/** The message in `payload`, or null when no such event is spoken on this socket or its payload does not fit. */
export function parseFromClient(socket: SocketVersion, event: string, payload: unknown): FromClient | null {
  const entries: Readonly<Record<string, { by: readonly Generation[]; schema: v.GenericSchema<unknown, FromClient> }>> =
    fromClient;
  const entry = Object.hasOwn(entries, event) ? entries[event] : undefined;
  if (entry === undefined || !generationsOfSocket[socket].some((of) => entry.by.includes(of))) return null;
  const parsed = v.safeParse(entry.schema, payload);
  return parsed.success ? parsed.output : null;
}
