// The kinds of random edits, each a few statements made from the rows as they are. A kind is weighted so that an account
// keeps its size and its health over hundreds of edits: what is missing is added, what is disabled gets enabled. Nothing
// crosses the account, truncates, or turns the internet resource into another one or back.
import type { TableName } from '../../protocol/tables.ts';
import { randomConditions } from './random-conditions.ts';
import * as make from './random-rows.ts';
import { chance, pick, pickOrNull, sample, uuid } from './random.ts';
import { deleteSql, insertSql, literal, parentsFirst, updateSql, type SqlRow } from './sql-rows.ts';
import { identityOf, idOf, idsOf, rowsOf, sitesFor, type World } from './world.ts';

/** `rebirth`: the row is deleted, and inserted again with all that went with it. */
export type Made = readonly string[] | { readonly rebirth: { readonly table: TableName; readonly row: SqlRow } };

export interface EditKind {
  readonly name: string;
  readonly weight: number | ((world: World) => number);
  /** Null where the rows leave nothing to do. */
  readonly make: (world: World) => Made | null;
}

/** How many rows of a table an account is kept near. */
const usualCount: Readonly<Record<TableName, number>> = {
  accounts: 1,
  actors: 4,
  auth_providers: 2,
  auth_identities: 5,
  actor_groups: 4,
  actor_group_memberships: 13,
  gateway_groups: 4,
  tokens: 11,
  clients: 5,
  gateways: 3,
  resources: 5,
  resource_connections: 8,
  policies: 12,
};

export function weightOf(world: World, kind: EditKind): number {
  return typeof kind.weight === 'number' ? kind.weight : kind.weight(world);
}

export const editKinds: readonly EditKind[] = [
  ...additions(),
  ...deletions(),
  ...switches(),
  ...changes(),
  ...replacements(),
  ...sweeps(),
];

function additions(): EditKind[] {
  return [
    addition('actors', (world) => {
      const actor = make.actorRow(world);
      const groups = sample(world.random, idsOf(world, 'actor_groups'), 2);
      const memberships = groups.map((group) => make.membershipRow(world, idOf(actor), group));
      return [insertSql('actors', [actor]), ...insertAll('actor_group_memberships', memberships)];
    }),
    addition('auth_providers', (world) => [insertSql('auth_providers', [make.providerRow(world)])]),
    addition('auth_identities', (world) =>
      both(world, 'actors', 'auth_providers', (actor, provider) => [
        insertSql('auth_identities', [make.identityRow(world, actor, provider)]),
      ]),
    ),
    addition('actor_groups', (world) => {
      const provider = chance(world.random, 0.2) ? pickOrNull(world.random, idsOf(world, 'auth_providers')) : null;
      return [insertSql('actor_groups', [make.groupRow(world, provider)])];
    }),
    addition('actor_group_memberships', (world) =>
      both(world, 'actors', 'actor_groups', (actor, group) => [
        insertSql('actor_group_memberships', [make.membershipRow(world, actor, group)]),
      ]),
    ),
    addition('gateway_groups', (world) => [insertSql('gateway_groups', [make.siteRow(world)])]),
    addition('tokens', (world) => {
      const client = pickOrNull(world.random, rowsOf(world, 'clients'));
      const actor = client?.['actor_id'] ?? null;
      return actor === null ? null : [insertSql('tokens', [make.tokenRow(world, actor, identityOf(world, actor))])];
    }),
    addition('clients', (world) => {
      const actor = pickOrNull(world.random, idsOf(world, 'actors'));
      if (actor === null) return null;
      return [
        insertSql('clients', [make.clientRow(world, actor, identityOf(world, actor))]),
        insertSql('tokens', [make.tokenRow(world, actor, identityOf(world, actor))]),
      ];
    }),
    addition('gateways', (world) => {
      const site = pickOrNull(world.random, idsOf(world, 'gateway_groups'));
      return site === null ? null : [insertSql('gateways', [make.gatewayRow(world, site)])];
    }),
    addition('resources', (world) => {
      const type = pick(world.random, ['dns', 'cidr', 'ip', 'internet'] as const);
      const resource = make.resourceRow(world, type);
      const site = pickOrNull(world.random, sitesFor(world, resource));
      const group = pickOrNull(world.random, idsOf(world, 'actor_groups'));
      return [
        insertSql('resources', [resource]),
        ...insertAll('resource_connections', site === null ? [] : [make.connectionRow(world, idOf(resource), site)]),
        ...insertAll('policies', group === null ? [] : [newPolicy(world, group, idOf(resource))]),
      ];
    }),
    addition('resource_connections', (world) => {
      const resource = pickOrNull(world.random, rowsOf(world, 'resources'));
      const site = resource === null ? null : pickOrNull(world.random, sitesFor(world, resource));
      if (resource === null || site === null) return null;
      return [insertSql('resource_connections', [make.connectionRow(world, idOf(resource), site)])];
    }),
    addition('policies', (world) =>
      both(world, 'actor_groups', 'resources', (group, resource) => [
        insertSql('policies', [newPolicy(world, group, resource)]),
      ]),
    ),
  ];
}

/** Adds where rows are few, and now and then where they are not. */
function addition(table: TableName, makeRows: EditKind['make']): EditKind {
  return {
    name: `add to ${table}`,
    weight: (world) => {
      const count = rowsOf(world, table).length;
      return count < usualCount[table] ? 5 : count < 1.25 * usualCount[table] ? 0.5 : 0;
    },
    make: makeRows,
  };
}

/** Rows of one table; what refers to them goes with them. The system's site stays. */
function deletions(): EditKind[] {
  const tables = parentsFirst.filter((table) => table !== 'accounts');
  return tables.map((table) => ({
    name: `delete from ${table}`,
    weight: (world) => {
      const count = rowsOf(world, table).length;
      return count > 1.2 * usualCount[table] ? 1 : count > usualCount[table] / 2 ? 0.25 : 0;
    },
    make: (world) => {
      const rows = rowsOf(world, table).filter((row) => row['managed_by'] !== 'system');
      const row = pickOrNull(world.random, rows);
      return row === null ? null : [deleteSql(table, row)];
    },
  }));
}

function switches(): EditKind[] {
  return [
    disabling('actors', 2),
    disabling('auth_providers', 1),
    disabling('policies', 4),
    {
      name: 'disable or enable the account',
      weight: ({ rows }) => (rows.get('accounts')?.[0]?.['disabled_at'] === null ? 0.2 : 40),
      make: (world) => toggled(world, 'accounts'),
    },
    {
      name: 'verify or unverify a client',
      weight: 3,
      make: (world) => updated(world, 'clients', (client) => make.verification(world, client['verified_at'] === null)),
    },
  ];
}

/** Enables what is disabled more often than the reverse. */
function disabling(table: TableName, weight: number): EditKind {
  return {
    name: `disable or enable one of ${table}`,
    weight: (world) => weight + 2 * rowsOf(world, table).filter((row) => row['disabled_at'] !== null).length,
    make: (world) => toggled(world, table),
  };
}

function toggled(world: World, table: TableName): Made | null {
  const off = rowsOf(world, table).filter((row) => row['disabled_at'] !== null);
  const isEnabling = off.length > 0 && chance(world.random, 0.7);
  const row = pickOrNull(world.random, isEnabling ? off : rowsOf(world, table));
  if (row === null) return null;
  return [updateSql(table, row, { disabled_at: row['disabled_at'] === null ? make.timestamp(world.atMs) : null })];
}

function changes(): EditKind[] {
  const { randomName, randomFilters, randomExpiry } = make;
  return [
    change('resources', 'the name', 2, ({ random }) => ({ name: randomName(random, 'resource') })),
    change('resources', 'the filters', 2, ({ random }) => ({ filters: randomFilters(random) })),
    change('resources', 'the description', 1, ({ random }) => ({ address_description: randomName(random, 'at') })),
    change('resources', 'the address', 2, ({ random }, row) => addressOf(random, row, false)),
    change('resources', 'the type', 2, ({ random }, row) => addressOf(random, row, true)),
    change('resources', 'nothing', 1, (_, row) => ({ name: row['name'] ?? '' })),
    change('resource_connections', 'the site', 2, (world, row) => {
      const resource = rowsOf(world, 'resources').find(({ id }) => id === row['resource_id']);
      return { gateway_group_id: resource === undefined ? null : pickOrNull(world.random, sitesFor(world, resource)) };
    }),
    change('gateways', 'the site', 2, (world) => ({
      group_id: pickOrNull(world.random, idsOf(world, 'gateway_groups')),
    })),
    change('gateways', 'the name', 1, ({ random }) => ({ name: randomName(random, 'gateway') })),
    change('clients', 'the name', 1, ({ random }) => ({ name: randomName(random, 'client') })),
    change('clients', 'the actor', 0.5, (world) => ({ actor_id: pickOrNull(world.random, idsOf(world, 'actors')) })),
    change('tokens', 'the expiry', 3, (world) => ({ expires_at: randomExpiry(world) })),
    {
      name: 'renew a token that has expired',
      weight: (world) => 2 * expiredTokens(world).length,
      make: (world) => {
        const token = pickOrNull(world.random, expiredTokens(world));
        return token === null ? null : [updateSql('tokens', token, { expires_at: randomExpiry(world) })];
      },
    },
    change('tokens', 'the identity', 1, (world, row) =>
      row['actor_id'] === null ? null : { identity_id: identityOf(world, row['actor_id'] ?? '') },
    ),
    change('tokens', 'the type', 0.5, (_, row) =>
      row['type'] === 'gateway_group' ? null : { type: row['type'] === 'api' ? 'client' : 'api' },
    ),
    change('auth_identities', 'the provider', 1, (world) => ({
      provider_id: pickOrNull(world.random, idsOf(world, 'auth_providers')),
    })),
    change('actor_group_memberships', 'the group', 1, (world) => ({
      group_id: pickOrNull(world.random, idsOf(world, 'actor_groups')),
    })),
    change('policies', 'the group', 2, (world) => ({
      actor_group_id: pickOrNull(world.random, idsOf(world, 'actor_groups')),
    })),
    change('policies', 'the resource', 2, (world) => ({
      resource_id: pickOrNull(world.random, idsOf(world, 'resources')),
    })),
    change('policies', 'the conditions', 5, (world) => ({
      conditions: randomConditions(world.random, idsOf(world, 'auth_providers')),
    })),
    change('accounts', 'the name', 0.5, ({ random }) => ({ name: randomName(random, 'account') })),
    change('gateway_groups', 'the name', 1, ({ random }, row) =>
      row['managed_by'] === 'system' ? null : { name: randomName(random, 'site') },
    ),
  ];
}

/** Sets columns of one row at random; null where that row is left alone. */
function change(
  table: TableName,
  what: string,
  weight: number,
  set: (world: World, row: SqlRow) => SqlRow | null,
): EditKind {
  return {
    name: `change ${what} of one of ${table}`,
    weight,
    make: (world) => updated(world, table, (row) => set(world, row)),
  };
}

function updated(world: World, table: TableName, set: (row: SqlRow) => SqlRow | null): Made | null {
  const row = pickOrNull(world.random, rowsOf(world, table));
  const columns = row === null ? null : set(row);
  return row === null || columns === null ? null : [updateSql(table, row, columns)];
}

/** Rows that go and come back within the transaction, as they were or nearly so. */
function replacements(): EditKind[] {
  const reborn = [
    'policies',
    'actor_group_memberships',
    'resource_connections',
    'resources',
    'tokens',
    'clients',
    'gateways',
    'actors',
    'actor_groups',
    'auth_identities',
    'gateway_groups',
  ] as const;
  return [
    {
      name: 'delete a row and insert it again',
      weight: 4,
      make: (world) => {
        const table = pick(world.random, reborn);
        const row = pickOrNull(world.random, rowsOf(world, table));
        return row === null ? null : { rebirth: { table, row } };
      },
    },
    {
      name: 'replace a policy by its equal',
      weight: 2,
      make: (world) => {
        const row = pickOrNull(world.random, rowsOf(world, 'policies'));
        return row === null
          ? null
          : [deleteSql('policies', row), insertSql('policies', [{ ...row, id: uuid(world.random) }])];
      },
    },
    {
      name: 'sync the memberships of a group',
      weight: 3,
      make: (world) => {
        const group = pickOrNull(world.random, idsOf(world, 'actor_groups'));
        if (group === null) return null;
        const members = rowsOf(world, 'actor_group_memberships').filter((row) => row['group_id'] === group);
        const again = chance(world.random, 0.5) ? members : members.map((row) => ({ ...row, id: uuid(world.random) }));
        return [
          `delete from actor_group_memberships where group_id = ${literal(group)}`,
          ...insertAll('actor_group_memberships', again),
        ];
      },
    },
    {
      name: 'swap the conditions of two policies',
      weight: 1,
      make: (world) => {
        const [one, two] = sample(world.random, rowsOf(world, 'policies'), 2);
        if (one === undefined || two === undefined) return null;
        return [
          updateSql('policies', one, { conditions: two['conditions'] ?? null }),
          updateSql('policies', two, { conditions: one['conditions'] ?? null }),
        ];
      },
    },
  ];
}

/** One statement, many rows. */
function sweeps(): EditKind[] {
  return [
    sweep('disable', 0.2, 'policies', ({ atMs }) => `disabled_at = ${literal(make.timestamp(atMs))}`),
    sweep('enable', 1.5, 'policies', () => 'disabled_at = null'),
    sweep('free', 0.3, 'policies', () => `conditions = '{}'`),
    sweep(
      'verify',
      0.5,
      'clients',
      ({ atMs }) => `verified_at = ${literal(make.timestamp(atMs))}, verified_by = 'system'`,
    ),
    sweep('unverify', 0.3, 'clients', () => 'verified_at = null, verified_by = null'),
    sweep('filter', 0.5, 'resources', (world) => `filters = ${literal(make.randomFilters(world.random))}`),
    sweep(
      'move',
      0.5,
      'gateways',
      (world) => `group_id = ${literal(pickOrNull(world.random, idsOf(world, 'gateway_groups')))}`,
    ),
    sweep('enable', 1.5, 'actors', () => 'disabled_at = null'),
    sweep('renew or end', 0.3, 'tokens', (world) => `expires_at = ${literal(make.randomExpiry(world))}`),
  ];
}

function sweep(verb: string, weight: number, table: TableName, set: (world: World) => string): EditKind {
  return {
    name: `${verb} all ${table}`,
    weight,
    make: (world) => [`update ${table} set ${set(world)} where account_id = ${literal(world.account)}`],
  };
}

function newPolicy(world: World, group: string, resource: string): SqlRow {
  return make.policyRow(world, group, resource, idsOf(world, 'auth_providers'));
}

/** Another address for a resource, of its own type or of another; the internet has none. */
function addressOf(random: World['random'], row: SqlRow, anotherType: boolean): SqlRow | null {
  const types = (['dns', 'cidr', 'ip'] as const).filter((type) => (type === row['type']) !== anotherType);
  return row['type'] === 'internet' ? null : make.randomAddress(random, pick(random, types));
}

function insertAll(table: TableName, rows: readonly SqlRow[]): string[] {
  return rows.length === 0 ? [] : [insertSql(table, rows)];
}

function expiredTokens(world: World): SqlRow[] {
  return rowsOf(world, 'tokens').filter(
    ({ expires_at: expiry }) => typeof expiry === 'string' && Date.parse(expiry) <= world.atMs,
  );
}

/** Two ids at random, when there are any. */
function both(
  world: World,
  first: TableName,
  second: TableName,
  use: (first: string, second: string) => Made,
): Made | null {
  const one = pickOrNull(world.random, idsOf(world, first));
  const two = pickOrNull(world.random, idsOf(world, second));
  return one === null || two === null ? null : use(one, two);
}
