// For each line of docs/consequences.md that SQL causes in one account, statements that make it happen somewhere on a path on
// which somebody is granted something; where that is not possible yet, statements that bring it nearer, or none. Foreign and
// check constraints may refuse them, as when two edits of a transaction meet.
import { keyColumns, type TableName } from '../../protocol/tables.ts';
import { insertSql, parentsFirst, type SqlRow } from './sql-rows.ts';
import { chance, hex, pick, pickOrNull, uuid } from './random.ts';
import { idOf, idsOf, rowsOf } from './world.ts';
import * as make from './random-rows.ts';
import {
  aPath,
  pathConnection,
  pathGateway,
  pathGroup,
  pathIdentity,
  pathMembership,
  pathRow,
  pathSite,
  rowOf,
} from './path-rows.ts';

import {
  type Maker,
  dayMs,
  aimedAt,
  failing,
  holding,
  nearerToIdentity,
  update,
  remove,
  insert,
  now,
  renamed,
  ofPath,
  address,
  givingAnother,
  reborn,
  ofResource,
  verified,
  unverified,
  pathPolicy,
  samePolicy,
  joinGroup,
  elsewhere,
  typeOf,
  secondConnection,
} from './path-edits.ts';
/** What must happen after the transaction for these lines to be met: a connection from elsewhere, or a few hours. */
export const aims: Readonly<Record<string, 'address' | 'hours'>> = {
  'window-closes': 'hours',
  'window-opens': 'hours',
  'address-leaves': 'address',
};

export const lineEdits: Readonly<Record<string, Maker>> = {
  'window-closes': aimedAt('closing'),
  'window-opens': aimedAt('opening'),
  'address-leaves': aimedAt('leaving'),
  'account-disabled': (world) => update('accounts', rowsOf(world, 'accounts')[0] ?? null, now(world)),
  'account-slug': (world) =>
    update('accounts', rowsOf(world, 'accounts')[0] ?? null, { slug: `slug_${hex(world.random, 10)}` }),
  'account-config': (world) =>
    update('accounts', rowsOf(world, 'accounts')[0] ?? null, {
      config: `{"search_domain": "${hex(world.random, 6)}.example"}`,
    }),
  'account-name': (world) => update('accounts', rowsOf(world, 'accounts')[0] ?? null, renamed(world)),
  'account-deleted': (world) => remove('accounts', rowsOf(world, 'accounts')[0] ?? null),
  'actor-disabled': ofPath('actors', now),
  'actor-renamed': ofPath('actors', renamed),
  'actor-deleted': (world) => remove('actors', pathRow(world, 'actors')),
  'actor-inserted': (world) => insert('actors', make.actorRow(world)),
  'group-inserted': (world) => insert('actor_groups', make.groupRow(world, null)),
  'group-renamed': (world) => update('actor_groups', pathGroup(world), renamed(world)),
  'group-deleted': (world) => remove('actor_groups', pathGroup(world)),
  'membership-deleted': (world) => remove('actor_group_memberships', pathMembership(world)),
  'membership-inserted': joinGroup,
  'membership-rewritten': (world) => {
    const row = pathMembership(world);
    const again = chance(world.random, 0.5) ? row : { ...row, id: uuid(world.random) };
    return row === null
      ? null
      : [...(remove('actor_group_memberships', row) ?? []), ...(insert('actor_group_memberships', again) ?? [])];
  },
  'provider-disabled': (world) => {
    const provider = pathIdentity(world)?.['provider_id'];
    return provider === undefined
      ? nearerToIdentity(world)
      : update('auth_providers', rowOf(world, 'auth_providers', provider), now(world));
  },
  'provider-deleted': (world) => {
    const provider = pathIdentity(world)?.['provider_id'];
    return provider === undefined
      ? nearerToIdentity(world)
      : remove('auth_providers', rowOf(world, 'auth_providers', provider));
  },
  'provider-other': (world) => {
    const used = world.paths.flatMap(({ token }) => {
      const identity = rowOf(world, 'auth_identities', rowOf(world, 'tokens', token)?.['identity_id']);
      return identity === null ? [] : [identity['provider_id']];
    });
    const other = rowsOf(world, 'auth_providers').find(
      (row) => row['disabled_at'] === null && !used.includes(idOf(row)),
    );
    const fresh = insert('auth_providers', { ...make.providerRow(world), disabled_at: null });
    return other === undefined ? fresh : update('auth_providers', other, now(world));
  },
  'identity-deleted': (world) => {
    const identity = pathIdentity(world);
    return identity === null ? nearerToIdentity(world) : remove('auth_identities', identity);
  },
  'token-deleted': (world) => remove('tokens', pathRow(world, 'tokens')),
  'token-inserted': (world) => insert('tokens', make.tokenRow(world, aPath(world).actor, null)),
  'token-expired-by-hand': ofPath('tokens', ({ atMs }) => ({ expires_at: make.timestamp(atMs - 1) })),
  'token-extended': (world) => {
    const bounded = world.paths.filter(
      ({ token }) => typeof rowOf(world, 'tokens', token)?.['expires_at'] === 'string',
    );
    const path = pickOrNull(world.random, bounded);
    const later = make.timestamp(world.atMs + 400 * dayMs + Math.floor(world.random() * 400) * dayMs);
    return update('tokens', rowOf(world, 'tokens', (path ?? aPath(world)).token), { expires_at: later });
  },
  'site-token-deleted': (world) => {
    const own = pickOrNull(
      world.random,
      rowsOf(world, 'tokens').filter(({ type }) => type === 'gateway_group'),
    );
    const site = pickOrNull(world.random, idsOf(world, 'gateway_groups'));
    if (own !== null) return remove('tokens', own);
    return site === null ? null : insert('tokens', make.gatewayTokenRow(world, site));
  },
  'client-deleted': (world) => remove('clients', pathRow(world, 'clients')),
  'client-inserted': (world) => insert('clients', make.clientRow(world, aPath(world).actor, null)),
  'client-renamed': ofPath('clients', renamed),
  'client-moved': ofPath('clients', (world, row) => {
    const actor = pickOrNull(
      world.random,
      idsOf(world, 'actors').filter((id) => id !== row['actor_id']),
    );
    return actor === null ? null : { actor_id: actor, identity_id: null };
  }),
  'client-address': ofPath('clients', address),
  'client-verified': verified,
  'client-unverified': unverified,
  'gateway-deleted': (world) => remove('gateways', pathGateway(world)),
  'gateway-inserted': (world) => {
    const site = pathSite(world);
    return site === null ? null : insert('gateways', make.gatewayRow(world, idOf(site)));
  },
  'gateway-moved': (world) => {
    const row = pathGateway(world);
    const site = pickOrNull(
      world.random,
      idsOf(world, 'gateway_groups').filter((id) => id !== row?.['group_id']),
    );
    return site === null ? null : update('gateways', row, { group_id: site });
  },
  'gateway-address': (world) => update('gateways', pathGateway(world), address(world)),
  'gateway-renamed': (world) => update('gateways', pathGateway(world), renamed(world)),
  'site-renamed': (world) => {
    const site = pathSite(world);
    return site?.['managed_by'] === 'account' ? update('gateway_groups', site, renamed(world)) : null;
  },
  'site-deleted': (world) => {
    const site = pathSite(world);
    return site?.['managed_by'] === 'account' ? remove('gateway_groups', site) : null;
  },
  'site-inserted': (world) => insert('gateway_groups', make.siteRow(world)),
  'resource-renamed': ofPath('resources', renamed),
  'resource-description': ofPath('resources', ({ random }) => ({ address_description: make.randomName(random, 'at') })),
  'resource-address': ofPath('resources', ({ random }, row) =>
    row['type'] === 'internet' ? null : { address: make.randomAddress(random, typeOf(row))['address'] ?? null },
  ),
  'resource-type': ofPath('resources', ({ random }, row) => {
    const others = (['dns', 'cidr', 'ip'] as const).filter((type) => type !== row['type']);
    return row['type'] === 'internet' ? null : make.randomAddress(random, pick(random, others));
  }),
  'resource-stack': (world) => {
    const reached = new Set(world.paths.map(({ resource }) => resource));
    const rows = rowsOf(world, 'resources').filter((own) => own['type'] === 'dns' && reached.has(idOf(own)));
    const row = pickOrNull(world.random, rows);
    if (row === null)
      return ofPath('resources', ({ random }, own) =>
        own['type'] === 'internet' ? null : make.randomAddress(random, 'dns'),
      )(world);
    const others = ['dual', 'ipv4_only', 'ipv6_only'].filter((stack) => stack !== row['ip_stack']);
    return update('resources', row, { ip_stack: pick(world.random, others) });
  },
  'resource-filters': ofPath('resources', ({ random }) => ({ filters: make.randomFilters(random) })),
  'resource-replaced': (world) => {
    const row = pathRow(world, 'resources');
    if (row === null || row['type'] === 'internet') return null;
    return reborn(
      world,
      'resources',
      row,
      { address: make.randomAddress(world.random, typeOf(row))['address'] ?? null },
      ofResource,
    );
  },
  'resource-rewritten': (world) => reborn(world, 'resources', pathRow(world, 'resources'), {}, ofResource),
  'resource-deleted': (world) => remove('resources', pathRow(world, 'resources')),
  'resource-inserted': (world) => insert('resources', make.resourceRow(world, 'cidr')),
  'connection-deleted': (world) =>
    remove(
      'resource_connections',
      pathConnection(world, (count) => count === 1),
    ),
  'connection-deleted-other': (world) => {
    const row = pathConnection(world, (count) => count > 1);
    return row === null ? secondConnection(world) : remove('resource_connections', row);
  },
  'connection-inserted': secondConnection,
  'connection-rewritten': (world) => {
    const row = pathConnection(world, () => true);
    return row === null
      ? null
      : [...(remove('resource_connections', row) ?? []), ...(insert('resource_connections', row) ?? [])];
  },
  'policy-deleted': (world) => remove('policies', pathPolicy(world, false)),
  'policy-deleted-other': (world) => {
    const row = pathPolicy(world, true);
    return row === null ? samePolicy(world) : remove('policies', row);
  },
  'policy-disabled': ofPath('policies', now),
  'policy-enabled': (world) => {
    const { client, actor } = aPath(world);
    const groups = rowsOf(world, 'actor_group_memberships').flatMap((row) =>
      row['actor_id'] === actor ? [row['group_id']] : [],
    );
    const off = rowsOf(world, 'policies').filter(
      (row) =>
        row['disabled_at'] !== null &&
        groups.includes(row['actor_group_id'] ?? '') &&
        !world.paths.some((path) => path.client === client && path.resource === row['resource_id']),
    );
    const row = pickOrNull(world.random, off);
    return row === null
      ? givingAnother(world, now(world))
      : update('policies', row, { disabled_at: null, conditions: '{}' });
  },
  'policy-inserted': (world) => givingAnother(world, {}),
  'policy-inserted-same': samePolicy,
  'policy-description': ofPath('policies', ({ random }) => ({ description: make.randomName(random, 'for') })),
  'policy-group': (world) => elsewhere(world, 'actor_group_id', 'actor_groups'),
  'policy-resource': (world) => elsewhere(world, 'resource_id', 'resources'),
  'policy-conditions': (world) => update('policies', pathPolicy(world, false), { conditions: failing(world) }),
  'policy-conditions-met': (world) => {
    const path = aPath(world);
    const row = rowOf(world, 'policies', pickOrNull(world.random, path.policies));
    return update('policies', row, { conditions: holding(world, path) });
  },
  'policy-rewritten': (world) => {
    const row = pathRow(world, 'policies');
    return row === null
      ? null
      : [...(remove('policies', row) ?? []), ...(insert('policies', { ...row, id: uuid(world.random) }) ?? [])];
  },
};

/** Inserts rows that are gone, whole, in an order that foreign keys allow; those that are there stay as they are. */
export function restoring(rows: ReadonlyMap<TableName, readonly SqlRow[]>): string[] {
  return parentsFirst.flatMap((table) => {
    const own = rows.get(table) ?? [];
    return own.length === 0
      ? []
      : [`${insertSql(table, own)} on conflict (${keyColumns[table].join(', ')}) do nothing`];
  });
}
