// Every message between the portal and devices, by role, direction and generation, and the notes of their versions. A message
// that changes changes the fingerprint, and a test asks for a note: what changed, and for which devices.
import { describe } from './describe.ts';
import { fromClient } from './client.ts';
import { fromGateway } from './gateway.ts';
import { relayJoin, toRelay } from './relay.ts';
import { toClient } from './to-client.ts';
import { toGateway } from './to-gateway.ts';
import type { Generation } from './generations.ts';
import type { GenericSchema } from 'valibot';

export type Message = {
  readonly role: 'client' | 'gateway' | 'relay';
  readonly direction: 'to the device' | 'from the device';
  readonly event: string;
  readonly schemas: Partial<Record<Generation, GenericSchema>>;
};

type Spoken = { readonly by: readonly Generation[]; readonly schema: GenericSchema };

export const messages: readonly Message[] = [
  ...sent('client', toClient),
  ...spoken('client', fromClient),
  ...sent('gateway', toGateway),
  ...spoken('gateway', fromGateway),
  ...sent('relay', toRelay),
  ...spoken('relay', { phx_join: { by: ['A', 'C', 'B'], schema: relayJoin } }),
];

/** Newest last. The fingerprint is of all messages as they are with this note. */
export const notes: readonly { readonly note: string; readonly fingerprint: string }[] = [
  { note: 'Generations A, C and B, with relays.', fingerprint: '4ed223bd167996da' },
  {
    note: 'Clients of B are told version_mismatch where no online gateway is of a compatible version.',
    fingerprint: '804d630d81c40c6a',
  },
];

/** What a fingerprint is made of: everything that the schemas say. */
export function wording(): string {
  return JSON.stringify(
    messages.map(({ schemas, ...rest }) => ({
      ...rest,
      schemas: Object.entries(schemas).map(([generation, schema]) => [generation, describe(schema)]),
    })),
  );
}

function sent(
  role: Message['role'],
  catalogue: Readonly<Record<string, Partial<Record<Generation, GenericSchema>>>>,
): Message[] {
  return Object.entries(catalogue).map(([event, schemas]) => ({ role, direction: 'to the device', event, schemas }));
}

function spoken(role: Message['role'], catalogue: Readonly<Record<string, Spoken>>): Message[] {
  return Object.entries(catalogue).map(([event, { by, schema }]) => ({
    role,
    direction: 'from the device',
    event,
    schemas: Object.fromEntries(by.map((generation) => [generation, schema])),
  }));
}
