// The table of who may pass a gateway, kept as a real one keeps it: filled by authorizations, trimmed by reject_access and by init,
// by A and C only for clients that init lists, by B for every client.
import * as v from 'valibot';
import type { DeviceFrame } from './strict.ts';
import type { Generation } from '../protocol/device/generations.ts';

const pair = v.object({ client_id: v.string(), resource_id: v.string() });
const expiring = v.object({ ...pair.entries, expires_at: v.optional(v.number()) });
const authorization = v.object({
  ref: v.string(),
  client: v.object({ id: v.string() }),
  resource: v.object({ id: v.string() }),
  expires_at: v.number(),
});
const init = v.object({ authorizations: v.array(expiring) });

/** What an authorization asks the gateway to do. */
export type Asked = { readonly ref: string; readonly clientId: string; readonly isKnown: boolean };

export class AccessTable {
  /** `client/resource` of everyone who may pass. */
  readonly access: Set<string>;
  /** By the same, until when, Unix seconds. */
  readonly expiries = new Map<string, number>();

  constructor(access: Iterable<string> = []) {
    this.access = new Set(access);
  }

  /** Takes a frame in; returns what it asks for, or null. */
  take(generation: Generation, { event, payload }: Pick<DeviceFrame, 'event' | 'payload'>): Asked | null {
    if (event === 'authorize_flow' || event === 'create_authorization') {
      const { ref, client, resource, expires_at: expiresAt } = v.parse(authorization, payload);
      const name = nameOf(client.id, resource.id);
      const isKnown = this.access.has(name);
      this.access.add(name);
      this.expiries.set(name, expiresAt);
      return { ref, clientId: client.id, isKnown };
    }
    if (event === 'reject_access') {
      const { client_id: clientId, resource_id: resourceId } = v.parse(pair, payload);
      this.#drop(nameOf(clientId, resourceId));
    } else if (event === 'access_authorization_expiry_updated') {
      const { client_id: clientId, resource_id: resourceId, expires_at: expiresAt } = v.parse(expiring, payload);
      this.expiries.set(nameOf(clientId, resourceId), expiresAt ?? 0);
    } else if (event === 'init') this.#trim(generation, v.parse(init, payload).authorizations);
    return null;
  }

  #trim(generation: Generation, authorizations: v.InferOutput<typeof init>['authorizations']): void {
    const clients = new Set(authorizations.map(({ client_id: clientId }) => clientId));
    const kept = new Set(authorizations.map(({ client_id: clientId, resource_id: id }) => nameOf(clientId, id)));
    for (const name of this.access) {
      const isInQuestion = generation === 'B' || clients.has(name.split('/')[0] ?? '');
      if (isInQuestion && !kept.has(name)) this.#drop(name);
    }
    if (generation === 'A') return;
    for (const { client_id: clientId, resource_id: id, expires_at: expiresAt } of authorizations) {
      this.expiries.set(nameOf(clientId, id), expiresAt ?? 0);
    }
  }

  #drop(name: string): void {
    this.access.delete(name);
    this.expiries.delete(name);
  }
}

function nameOf(clientId: string, resourceId: string): string {
  return `${clientId}/${resourceId}`;
}
