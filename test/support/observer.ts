// Watches every frame between the portal and its devices and knows the rules of their order (P9 to P11), whatever the
// generations. It is told frames as they pass and says what was wrong with any of them.
import type { Generation } from '../../protocol/device/generations.ts';
import type { Role } from '../../protocol/roles.ts';

export type Party = {
  /** One connection. */
  readonly session: string;
  readonly role: Role;
  readonly generation: Generation;
  readonly deviceId: string;
  readonly publicKey: string;
};

type Fields = Record<string, unknown>;

export class Observer {
  readonly problems: string[] = [];
  /** Connections that have had their init. */
  readonly #inited = new Set<string>();
  /** `client/resource/gateway` that the gateway has accepted last, and not been rejected since. */
  readonly #accepted = new Set<string>();
  /** What each `ref` asks for. */
  readonly #asked = new Map<string, string>();
  /** `client/gateway` of which the client was told. */
  readonly #told = new Set<string>();
  /** Secrets by the pair and its keys, and credentials by relay, device key and expiry. */
  readonly #secrets = new Map<string, string>();
  readonly #keyOf = new Map<string, string>();
  /** What each gateway lets pass by what it was told, `client/resource`, and for how long, Unix seconds. */
  readonly #passing = new Map<string, Map<string, number>>();
  /** Pairs that an init left out, until the reject that must follow. */
  readonly #unrejected = new Map<string, Set<string>>();

  connected({ deviceId, publicKey }: Party): void {
    this.#keyOf.set(deviceId, publicKey);
  }

  /** A frame from the portal. `now`: Unix seconds. */
  sent(to: Party, event: string, payload: unknown, now: number): void {
    const fields: Fields = Object(payload);
    if (event === 'init') this.#inited.add(to.session);
    else if (event !== 'phx_reply' && event !== 'disconnect' && !this.#inited.has(to.session)) {
      this.#say(to, `is sent ${event} before its init (P9)`);
    }
    this.#seeRelays(to, fields[event === 'init' ? 'relays' : 'connected']);
    if (to.role === 'gateway') this.#toGateway(to, event, fields, now);
    else this.#toClient(to, event, fields);
  }

  /** A frame to the portal that it took. */
  received(from: Party, event: string, payload: unknown): void {
    if (event !== 'flow_authorized' && event !== 'authorization_created') return;
    const asked = this.#asked.get(String(Object(payload).ref));
    if (asked !== undefined) this.#accepted.add(`${asked}/${from.deviceId}`);
  }

  /** Nothing more follows what was sent so far: what had to follow an init has. */
  settled(): void {
    for (const [gateway, pairs] of this.#unrejected) {
      for (const pair of pairs) {
        this.problems.push(
          `${gateway} goes on letting ${pair} pass, which its init left out and no reject followed (P9)`,
        );
      }
    }
    this.#unrejected.clear();
  }

  #toClient(to: Party, event: string, fields: Fields): void {
    if (event === 'flow_created' || event === 'authorization_created') {
      const gateway = String(fields['gateway_id']);
      const flow = `${to.deviceId}/${String(fields['resource_id'])}/${gateway}`;
      if (!this.#accepted.has(flow)) this.#say(to, `is told of ${flow}, which no gateway has accepted (P10)`);
      this.#told.add(`${to.deviceId}/${gateway}`);
      if (fields['gateway_public_key'] !== this.#keyOf.get(gateway)) this.#say(to, `is told an old key of ${gateway}`);
      this.#seeSecrets(to, to.publicKey, to.deviceId, gateway, fields, fields['preshared_key']);
    }
    if (event.endsWith('ice_candidates') && !this.#told.has(`${to.deviceId}/${String(fields['gateway_id'])}`)) {
      this.#say(to, `is sent candidates of ${String(fields['gateway_id'])} before any flow through it (P10)`);
    }
  }

  #toGateway(to: Party, event: string, fields: Fields, now: number): void {
    const passing = this.#passing.get(to.deviceId) ?? new Map<string, number>();
    this.#passing.set(to.deviceId, passing);
    const pairOf = (entry: Fields) => `${String(entry['client_id'])}/${String(entry['resource_id'])}`;
    if (event === 'authorize_flow' || event === 'create_authorization') {
      const [client, resource]: Fields[] = [Object(fields['client']), Object(fields['resource'])];
      const pair = `${String(client?.['id'])}/${String(resource?.['id'])}`;
      this.#asked.set(String(fields['ref']), pair);
      passing.set(pair, Number(fields['expires_at']));
      this.#seeSecrets(
        to,
        String(client?.['public_key']),
        String(client?.['id']),
        to.deviceId,
        fields,
        client?.['preshared_key'],
      );
    } else if (event === 'reject_access') {
      passing.delete(pairOf(fields));
      this.#unrejected.get(to.deviceId)?.delete(pairOf(fields));
      this.#accepted.delete(`${pairOf(fields)}/${to.deviceId}`);
    } else if (event === 'access_authorization_expiry_updated') {
      passing.set(pairOf(fields), Number(fields['expires_at']));
    } else if (event === 'init') {
      const listed = new Set((Array.isArray(fields['authorizations']) ? fields['authorizations'] : []).map(pairOf));
      const left = [...passing].filter(([pair, until]) => !listed.has(pair) && until > now).map(([pair]) => pair);
      if (to.generation === 'B') for (const pair of left) passing.delete(pair);
      else this.#unrejected.set(to.deviceId, new Set(left));
    }
  }

  /** The same pair under the same keys has the same secrets, on both sides and at all times. */
  #seeSecrets(to: Party, clientKey: string, clientId: string, gatewayId: string, fields: Fields, psk: unknown): void {
    const ends = [clientId, clientKey, gatewayId, this.#keyOf.get(gatewayId)].join(' ');
    const secrets = JSON.stringify([psk, fields['client_ice_credentials'], fields['gateway_ice_credentials']]);
    const before = this.#secrets.get(ends);
    if (before !== undefined && before !== secrets) this.#say(to, `is told other secrets of the same pair (P11)`);
    this.#secrets.set(ends, secrets);
  }

  #seeRelays(to: Party, relays: unknown): void {
    for (const relay of Array.isArray(relays) ? relays : []) {
      const { id, addr, username, password, expires_at: expiresAt } = Object(relay);
      const name = `${id} ${addr} ${to.publicKey} ${expiresAt}`;
      const credentials = `${username} ${password}`;
      const before = this.#secrets.get(name);
      if (before !== undefined && before !== credentials) this.#say(to, `is told other credentials of a relay (P11)`);
      this.#secrets.set(name, credentials);
    }
  }

  #say({ session, generation }: Party, what: string): void {
    this.problems.push(`${session} (${generation}) ${what}`);
  }
}
