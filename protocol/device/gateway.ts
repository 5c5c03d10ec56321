// What a gateway sends (data-plane contract section 2.4): one schema per message, with the generations that say it, as
// for clients in client.ts.
import * as v from 'valibot';
import { clientId } from '../ids.ts';
import { candidates } from './shared.ts';
import { generationsOfSocket } from './generations.ts';
import type { Generation, SocketVersion } from './generations.ts';

const accepted = v.pipe(
  v.object({ ref: v.pipe(v.string(), v.maxLength(255)) }),
  v.transform((payload) => ({ type: 'flow_authorized' as const, ...payload })),
);

const toClients = (event: 'candidates' | 'invalidated') =>
  v.pipe(
    v.object({ client_ids: v.pipe(v.array(clientId), v.maxLength(64)), candidates }),
    v.transform((payload) => ({ type: 'candidates' as const, event, ...payload })),
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
export const fromGateway = {
  flow_authorized: { by: ['A', 'C'], schema: accepted },
  authorization_created: { by: ['B'], schema: accepted },
  broadcast_ice_candidates: { by: ['A', 'C', 'B'], schema: toClients('candidates') },
  broadcast_invalidated_ice_candidates: { by: ['A', 'C', 'B'], schema: toClients('invalidated') },
  no_relays: { by: ['C', 'B'], schema: noRelays },
  set_snownet_capabilities: { by: ['B'], schema: capabilities },
} as const satisfies Record<string, { by: readonly Generation[]; schema: v.GenericSchema<unknown, unknown> }>;

export type FromGateway = v.InferOutput<(typeof fromGateway)[keyof typeof fromGateway]['schema']>;

/** The message in `payload`, or null when no such event is spoken on this socket or its payload does not fit. */
export function parseFromGateway(socket: SocketVersion, event: string, payload: unknown): FromGateway | null {
  const entries: Readonly<
    Record<string, { by: readonly Generation[]; schema: v.GenericSchema<unknown, FromGateway> }>
  > = fromGateway;
  const entry = Object.hasOwn(entries, event) ? entries[event] : undefined;
  if (entry === undefined || !generationsOfSocket[socket].some((of) => entry.by.includes(of))) return null;
  const parsed = v.safeParse(entry.schema, payload);
  return parsed.success ? parsed.output : null;
}
