// Holds everything that the core says against the schemas of protocol/: a name, a key or a value that the generation of the
// device does not have is a fault of ours.
import * as v from 'valibot';
import { generationOf } from './generations.ts';
import { toClient } from '../../protocol/device/to-client.ts';
import { toGateway } from '../../protocol/device/to-gateway.ts';
import type { Generation } from '../../protocol/device/generations.ts';
import type { Hello } from '../../protocol/link.ts';
import type { Send } from '../../core/effect.ts';

const catalogues: Readonly<Record<string, Readonly<Record<string, Partial<Record<Generation, v.GenericSchema>>>>>> = {
  client: toClient,
  gateway: toGateway,
};

/** What is wrong with `payload` as this event to this role and generation; null when nothing is. */
export function misfit(
  role: 'client' | 'gateway',
  generation: Generation,
  event: string,
  payload: unknown,
): string | null {
  const schema = catalogues[role]?.[event]?.[generation];
  if (schema === undefined) return `${event} is not for a ${role} of generation ${generation}`;
  const parsed = v.safeParse(schema, payload);
  return parsed.success ? null : `${event} to a ${role} of generation ${generation}: ${v.summarize(parsed.issues)}`;
}

/** Remembers who connected, and throws for the first thing that is told to one of them in the wrong words. */
export class Fits {
  readonly #generations = new Map<string, Generation>();

  connected(sessionId: string, hello: Hello): void {
    this.#generations.set(sessionId, generationOf(hello.role, hello));
  }

  expect(sends: readonly Send[]): void {
    for (const send of sends) {
      if (send.type !== 'to-client' && send.type !== 'to-gateway') continue;
      const role = send.type === 'to-client' ? 'client' : 'gateway';
      const generation = this.#generations.get(send.sessionId);
      if (generation === undefined) throw new Error(`${send.sessionId} is told something and never connected`);
      const problem = misfit(role, generation, send.message.event, send.message.payload);
      if (problem !== null) throw new Error(problem);
    }
  }
}
