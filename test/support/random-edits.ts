// Random edits of a random account: its rows as they are, and the changes of the stream that edit them.
import {
  actors,
  clients,
  conditionSets,
  connection,
  disabledIf,
  firstRows,
  gatewayRow,
  gateways,
  groups,
  membership,
  nameOf,
  policy,
  policyId,
  resource,
  resourceChange,
  resources,
  sites,
} from './random-rows.ts';
import { id } from './world.ts';
import { tableNames } from '../../protocol/tables.ts';
import type { TableName } from '../../protocol/tables.ts';
import type { WireRow } from '../../protocol/commit.ts';

/** The numbers choose among what there is. */
type Numbers = { readonly a: number; readonly b: number; readonly c: number };
type Change = { readonly op: string; readonly table: TableName; readonly old?: WireRow; readonly new?: WireRow };

export class RandomRows {
  readonly #rows = new Map<string, { readonly table: TableName; readonly row: WireRow }>();
  /** Rows that were there once, by name, as they were last: they may come back. */
  readonly #gone = new Map<string, WireRow>();
  readonly #start: number;
  #syncs = 0;

  /** `start`: when the history begins, milliseconds since 1970-01-01 UTC. */
  constructor(start = 0) {
    this.#start = start;
    const rows = firstRows();
    for (const table of tableNames) {
      for (const only of rows[table] ?? []) this.#rows.set(nameOf(table, only), { table, row: only });
    }
  }

  /** The row that is there under `table/key`. */
  row(name: string): WireRow | undefined {
    return this.#rows.get(name)?.row;
  }

  /** Every row that is there. */
  all(): Partial<Record<TableName, WireRow[]>> {
    return Object.fromEntries(tableNames.map((table) => [table, this.#of(table)]));
  }

  /** The number of the site of a gateway, 1 where that is not known. */
  siteOf(gateway: number): number {
    return this.row(`gateways/${id('gw', gateway)}`)?.['group_id'] === id('site', 2) ? 2 : 1;
  }

  /** Makes one edit; returns its changes. */
  edit({ a, b, c }: Numbers): Change[] {
    const kinds = [
      ...this.#access(a, b, c),
      ...this.#devices(a, b, c),
      ...this.#people(a, b, c),
      ...this.#sweeps(a, b, c),
    ];
    return kinds[(5 * a + 3 * b + c) % kinds.length]?.() ?? [];
  }

  #access(a: number, b: number, c: number): (() => Change[])[] {
    const named = `policies/${policyId(a % groups, b % resources)}`;
    return [
      () => this.#toggle('actor_group_memberships', membership(a % actors, b % groups)),
      () => this.#toggle('actor_group_memberships', membership(b % actors, a % groups)),
      () => this.#toggle('policies', policy(a % groups, b % resources, c)),
      () => this.#change('policies', named, { conditions: conditionSets[c % 6] ?? [] }),
      () => this.#change('policies', named, disabledIf(c % 2 === 0)),
      () => this.#change('policies', named, { resource_id: id('res', (c % resources) + 1) }),
      () => this.#toggle('resource_connections', connection(a % resources, b % sites)),
      () => this.#change('resources', `resources/${id('res', (a % resources) + 1)}`, resourceChange(b, c)),
      () => this.#toggle('resources', resource((a % resources) + 1)),
    ];
  }

  #devices(a: number, b: number, c: number): (() => Change[])[] {
    const client = `clients/${id('cli', (a % clients) + 1)}`;
    const gateway = `gateways/${id('gw', (a % gateways) + 1)}`;
    return [
      () => this.#change('clients', client, { verified_at: b % 2 === 0 ? null : '2026-01-01 00:00:00+00' }),
      () => this.#change('clients', client, { ipv4: `100.64.1.${(b % 200) + 20}` }),
      () => this.#change('clients', client, { actor_id: id('act', (b % actors) + 1) }),
      () => this.#toggleNamed('clients', client),
      () => this.#change('gateways', gateway, { group_id: id('site', (b % sites) + 1) }),
      () => this.#change('gateways', gateway, { ipv6: `fd00:2021:1111::${(b % 200) + 20}` }),
      () => this.#toggle('gateways', gatewayRow((a % gateways) + 1, (b % sites) + 1)),
      () => this.#change('gateway_groups', `gateway_groups/${id('site', (a % sites) + 1)}`, { name: `Site ${c % 3}` }),
    ];
  }

  #people(a: number, b: number, c: number): (() => Change[])[] {
    const clientToken = `tokens/${id('tokc', (a % actors) + 1)}`;
    const ends = [
      this.#timestamp(6 * 3_600_000),
      this.#timestamp(36 * 3_600_000 + 500),
      '2100-01-01 00:00:00+00',
      null,
    ];
    const config = `{"search_domain":"corp${b % 3}.test"}`;
    return [
      () => this.#change('actors', `actors/${id('act', (a % actors) + 1)}`, disabledIf(b % 4 === 0)),
      () => this.#change('accounts', `accounts/${id('acc')}`, disabledIf(b % 5 === 0)),
      () => this.#change('accounts', `accounts/${id('acc')}`, b % 2 === 0 ? { config } : { slug: `slug${c % 3}` }),
      () => this.#change('auth_providers', `auth_providers/${id('prov')}`, disabledIf(b % 3 === 0)),
      () => this.#change('tokens', clientToken, { expires_at: ends[b % ends.length] ?? null }),
      () => this.#change('tokens', clientToken, { identity_id: c % 2 === 0 ? null : id('iden') }),
      () => this.#toggleNamed('tokens', clientToken),
      () => this.#toggleNamed('tokens', `tokens/${id('tokg', (a % sites) + 1)}`),
    ];
  }

  #sweeps(a: number, b: number, c: number): (() => Change[])[] {
    const names = [...this.#rows.keys()].filter((name) => !name.startsWith('accounts/'));
    const truncated = (['policies', 'actor_group_memberships', 'resource_connections'] as const)[a % 3] ?? 'policies';
    return [
      () => this.#again(names[(7 * a + b) % Math.max(1, names.length)] ?? ''),
      () => this.#again(names[(11 * b + c) % Math.max(1, names.length)] ?? ''),
      () => this.#sync(b % 4 === 0),
      () => this.#truncate(truncated, c % 2 === 0),
    ];
  }

  /** Deletes a row and inserts it again, as it was. */
  #again(name: string): Change[] {
    const held = this.#rows.get(name);
    return held === undefined
      ? []
      : [deletion(held.table, held.row), { op: 'insert', table: held.table, new: held.row }];
  }

  /** Rewrites every membership, under other ids or the same, as a directory sync does. */
  #sync(isSame: boolean): Change[] {
    this.#syncs += 1;
    const rows = this.#of('actor_group_memberships');
    const removed = rows.flatMap((only) => this.#remove('actor_group_memberships', only));
    const added = rows.flatMap((only, i) =>
      this.#add('actor_group_memberships', isSame ? only : { ...only, id: id('sync', this.#syncs * 100 + i) }),
    );
    return [...removed, ...added];
  }

  #truncate(table: TableName, isGivenBack: boolean): Change[] {
    const rows = this.#of(table);
    for (const only of rows) this.#remove(table, only);
    return [{ op: 'truncate', table }, ...(isGivenBack ? rows.flatMap((only) => this.#add(table, only)) : [])];
  }

  /** So many milliseconds after the start, as Postgres prints it. */
  #timestamp(ms: number): string {
    return `${new Date(this.#start + ms).toISOString().replace('T', ' ').slice(0, -1)}+00`;
  }

  #of(table: TableName): WireRow[] {
    return [...this.#rows.values()].flatMap((held) => (held.table === table ? [held.row] : []));
  }

  /** Another row of the same client and group, under another id, stands for a membership too. */
  #toggle(table: TableName, only: WireRow): Change[] {
    const held = this.#rows.get(nameOf(table, only));
    return held === undefined ? this.#add(table, only) : this.#remove(table, held.row);
  }

  /** Deletes a row, or inserts it as it was when it was deleted. */
  #toggleNamed(table: TableName, name: string): Change[] {
    const held = this.#rows.get(name);
    if (held !== undefined) return this.#remove(table, held.row);
    const gone = this.#gone.get(name);
    return gone === undefined ? [] : this.#add(table, gone);
  }

  #add(table: TableName, only: WireRow): Change[] {
    this.#rows.set(nameOf(table, only), { table, row: only });
    return [{ op: 'insert', table, new: only }];
  }

  #remove(table: TableName, only: WireRow): Change[] {
    this.#rows.delete(nameOf(table, only));
    this.#gone.set(nameOf(table, only), only);
    return [deletion(table, only)];
  }

  #change(table: TableName, name: string, changes: WireRow): Change[] {
    const held = this.#rows.get(name);
    if (held === undefined) return [];
    const after = { ...held.row, ...changes };
    this.#rows.set(name, { table, row: after });
    return [{ op: 'update', table, old: held.row, new: after }];
  }
}

function deletion(table: TableName, row: WireRow): Change {
  return { op: 'delete', table, old: row };
}
