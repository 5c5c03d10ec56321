// A large account in the core, its memberships stored outside the heap as in an object: rows, connected clients, and steps
// whose saves are kept as the worker keeps them.
import { createHash, createHmac } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import * as v from 'valibot';
import { commit as commitSchema } from '../../protocol/commit.ts';
import { emptyState } from '../../core/state.ts';
import { hello } from '../../protocol/link.ts';
import { lsnToText } from '../../protocol/lsn.ts';
import { step } from '../../core/step.ts';
import type { Effects, Save } from '../../core/effect.ts';
import type { Hashes } from '../../core/hashes.ts';
import type { Input } from '../../core/input.ts';
import type { State } from '../../core/state.ts';
import type { StoredMemberships } from '../../core/memberships.ts';
import type { TableName } from '../../protocol/tables.ts';
import type { WireRow } from '../../protocol/commit.ts';

export type Size = {
  readonly clients: number;
  readonly groups: number;
  readonly groupsOfClient: number;
  readonly policies: number;
  readonly resources: number;
  readonly conditions: readonly string[];
};

export type Rows = Partial<Record<TableName, readonly WireRow[]>>;

const kinds = {
  account: 1,
  actor: 2,
  group: 3,
  membership: 4,
  site: 5,
  clientToken: 6,
  gatewayToken: 7,
  client: 8,
  gateway: 9,
  resource: 10,
  policy: 11,
} as const;

/** The id of the n-th of a kind; spread like random ones, the same in every run. */
export function id(kind: keyof typeof kinds, n = 0): string {
  const hex = createHash('sha256').update(`${kinds[kind]}/${n}`).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

const account_id = id('account');
const secret = 's'.repeat(32);
const gateways = 4;

/** Every client belongs to an actor of its own, every resource to one of as many sites as there are gateways. */
export function rowsOf(size: Size): Rows {
  const { clients, groups, groupsOfClient, policies, resources, conditions } = size;
  return {
    accounts: [{ id: account_id, slug: 'bench', config: '{}', disabled_at: null }],
    actors: each(clients, (n) => ({ id: id('actor', n), account_id, type: 'account_user', disabled_at: null })),
    actor_groups: each(groups, (n) => ({ id: id('group', n), account_id, name: `Group ${n}` })),
    actor_group_memberships: each(clients * groupsOfClient, (n) => membership(n, groups, groupsOfClient)),
    gateway_groups: each(gateways, (n) => ({ id: id('site', n), account_id, name: `Site ${n}` })),
    tokens: tokenRows(clients),
    clients: each(clients, (n) => ({
      ...device(n, `laptop-${n}`, id('client', n)),
      actor_id: id('actor', n),
      verified_at: null,
    })),
    gateways: each(gateways, (n) => ({
      ...device(clients + n, `rack-${n}`, id('gateway', n)),
      group_id: id('site', n),
    })),
    resources: each(resources, resourceRow),
    resource_connections: each(resources, (n) => ({
      account_id,
      resource_id: id('resource', n),
      gateway_group_id: id('site', n % gateways),
    })),
    policies: each(policies, (n) =>
      policy(n, n % groups, (n * 7 + Math.floor(n / groups) * 31) % resources, conditions),
    ),
  };
}

function tokenRows(clients: number): WireRow[] {
  const secret_hash = createHash('sha256').update(`salt${secret}`).digest('hex');
  const expires_at = '2100-01-01 00:00:00+00';
  const token = { account_id, identity_id: null, secret_salt: 'salt', secret_hash, expires_at };
  const ofClient = { ...token, type: 'client', gateway_group_id: null };
  const ofGateway = { ...token, type: 'gateway_group', actor_id: null };
  return [
    ...each(clients, (n) => ({ ...ofClient, id: id('clientToken', n), actor_id: id('actor', n) })),
    ...each(gateways, (n) => ({ ...ofGateway, id: id('gatewayToken', n), gateway_group_id: id('site', n) })),
  ];
}

function device(n: number, external_id: string, deviceId: string): WireRow {
  return {
    id: deviceId,
    account_id,
    external_id,
    ipv4: `100.64.${Math.floor(n / 250)}.${n % 250}`,
    ipv6: `fd00:2021:1111::${n.toString(16)}`,
    psk_base: `\\x${createHash('sha256').update(String(n)).digest('hex')}`,
  };
}

function each(count: number, make: (n: number) => WireRow): WireRow[] {
  return Array.from({ length: count }, (_, n) => make(n));
}

export function resourceRow(n: number): WireRow {
  return {
    id: id('resource', n),
    account_id,
    name: `Resource ${n}`,
    address: `10.${n % 250}.${Math.floor(n / 250)}.0/24`,
    address_description: null,
    type: 'cidr',
    ip_stack: null,
    filters: '[]',
  };
}

export function policy(n: number, group: number, resource: number, conditions: readonly string[] = []): WireRow {
  return {
    id: id('policy', n),
    account_id,
    actor_group_id: id('group', group),
    resource_id: id('resource', resource),
    conditions,
    disabled_at: null,
  };
}

/** The n-th membership: the groups of one client lie apart, and no two of them are the same. */
function membership(n: number, groups: number, groupsOfClient: number): WireRow {
  const client = Math.floor(n / groupsOfClient);
  const group = (client * 3 + (n % groupsOfClient) * Math.floor(groups / groupsOfClient)) % groups;
  return { id: id('membership', n), account_id, actor_id: id('actor', client), group_id: id('group', group) };
}

export const nodeHashes: Hashes = {
  sha256: (text) => new Uint8Array(createHash('sha256').update(text).digest()),
  hmacSha256: (key, data) => new Uint8Array(createHmac('sha256', key).update(data).digest()),
};

export class Driven {
  readonly state: State;
  now = Date.parse('2026-01-07T10:00:00Z');
  readonly #stored = new SqlMemberships();
  #steps = 0;
  #lsn = 1n;

  constructor() {
    this.state = emptyState(this.#stored);
  }

  take(input: Input): Effects {
    this.#steps += 1;
    const effects = step(this.state, input, { now: this.now, seed: `seed-${this.#steps}`, hashes: nodeHashes });
    this.#stored.save(effects.saves);
    return effects;
  }

  snapshot(rows: Rows): void {
    this.take({ type: 'snapshot', position: { epoch: 1, lsn: lsnToText(this.#lsn) }, rows, commits: [] });
    this.take({ type: 'shared-relays', set: { version: 1, relays: [] }, leaseMs: 365 * 86_400_000 });
  }

  commit(...changes: readonly object[]): Effects {
    this.#lsn += 1n;
    const commit = v.parse(commitSchema, {
      lsn: lsnToText(this.#lsn),
      xid: String(this.#lsn),
      committedAtUs: 0,
      changes: changes.map((change, seq) => ({ ...change, seq })),
    });
    return this.take({ type: 'commit', epoch: 1, commit });
  }

  connectGateway(n: number): Effects {
    const token = { id: id('gatewayToken', n), type: 'gateway_group', secret };
    return this.#connect('gateway', `gateway-${n}`, { externalId: `rack-${n}`, token });
  }

  connectClient(n: number): Effects {
    return this.#connect('client', `client-${n}`, {
      externalId: `laptop-${n}`,
      token: { id: id('clientToken', n), type: 'client', secret },
    });
  }

  connectAll(clients: number): void {
    for (let n = 0; n < gateways; n += 1) this.connectGateway(n);
    for (let n = 0; n < clients; n += 1) this.connectClient(n);
  }

  #connect(role: 'client' | 'gateway', sessionId: string, own: object): Effects {
    const publicKey = `${createHash('sha256').update(sessionId).digest('base64').slice(0, 42)}A=`;
    const facts = { name: null, region: 'DE', latitude: null, longitude: null, connectedAt: this.#steps };
    const device = { version: 1, role, account: account_id, publicKey, deviceVersion: '1.5.3', remoteIp: '10.77.1.1' };
    this.take({ type: 'connect', sessionId, hello: v.parse(hello, { ...device, ...facts, ...own }) });
    return this.take({ type: 'joined', sessionId });
  }
}

/** As in worker/account/storage.ts, over node:sqlite. */
class SqlMemberships implements StoredMemberships {
  readonly #db = new DatabaseSync(':memory:');
  readonly #statements = new Map<string, ReturnType<DatabaseSync['prepare']>>();

  constructor() {
    this.#db.exec(`create table rows (key text primary key, row text not null) without rowid;
      create index by_actor on rows (json_extract(row, '$.actor_id'));`);
  }

  save(saves: readonly Save[]): void {
    this.#db.exec('begin');
    for (const action of saves) {
      if (!('table' in action) || action.table !== 'actor_group_memberships') continue;
      if (action.type === 'put-row') {
        const put = 'insert into rows values (?, ?) on conflict do update set row = excluded.row';
        this.#prepare(put).run(action.key, JSON.stringify(action.row));
      } else if (action.type === 'delete-row') this.#prepare('delete from rows where key = ?').run(action.key);
      else this.#db.exec('delete from rows');
    }
    this.#db.exec('commit');
  }

  row(key: string): unknown {
    return this.#select('key = ?', key)[0]?.row;
  }

  keys(): string[] {
    return this.#select('? is not null', '').map(({ key }) => key);
  }

  ofActor(actorId: string) {
    return this.#select("json_extract(row, '$.actor_id') = ?", actorId);
  }

  ofGroup(groupId: string) {
    return this.#select("json_extract(row, '$.group_id') = ?", groupId);
  }

  #select(condition: string, value: string): { readonly key: string; readonly row: unknown }[] {
    const rows = this.#prepare(`select key, row from rows where ${condition}`).all(value);
    return rows.map(({ key, row }) => ({ key: String(key), row: parseJson(String(row)) }));
  }

  #prepare(text: string) {
    const held = this.#statements.get(text) ?? this.#db.prepare(text);
    this.#statements.set(text, held);
    return held;
  }
}

function parseJson(text: string): unknown {
  return JSON.parse(text);
}
