// The rows of a random account: what there is at first, and what may come, go and change.
import { holdsOf } from '../../core/holds.ts';
import { clientSecret, gatewaySecret, id, ids, row, tokenRow } from './world.ts';
import type { Input } from '../../core/input.ts';
import type { State } from '../../core/state.ts';
import type { TableName } from '../../protocol/tables.ts';
import type { WireRow } from '../../protocol/commit.ts';

/** How many there are of each. */
export const [actors, groups, resources, sites, gateways, clients] = [2, 3, 3, 2, 3, 3] as const;

export const conditionSets = [
  [],
  [],
  [{ property: 'client_verified', operator: 'is', values: ['true'] }],
  [{ property: 'remote_ip', operator: 'is_in_cidr', values: ['203.0.113.0/24'] }],
  [
    {
      property: 'current_utc_datetime',
      operator: 'is_in_day_of_week_time_ranges',
      values: ['R/00:00-06:00/UTC', 'F/true/UTC'],
    },
  ],
  [{ property: 'current_utc_datetime', operator: 'is_in_day_of_week_time_ranges', values: ['R/05:00-23:00/UTC'] }],
].map((conditions) => conditions.map((condition) => JSON.stringify(condition)));

/** The rows before anything happens: everybody connected could reach something. */
export function firstRows(): Partial<Record<TableName, WireRow[]>> {
  const each = <T>(count: number, make: (n: number) => T) => Array.from({ length: count }, (_, i) => make(i + 1));
  return {
    accounts: [row('accounts')],
    actors: each(actors, (n) => row('actors', { id: id('act', n) })),
    auth_providers: [row('auth_providers')],
    auth_identities: [row('auth_identities')],
    actor_groups: each(groups, (n) => row('actor_groups', { id: id('grp', n) })),
    actor_group_memberships: [membership(0, 0), membership(1, 1)],
    gateway_groups: each(sites, (n) => row('gateway_groups', { id: id('site', n) })),
    tokens: [
      ...each(actors, (n) => ({ ...tokenRow('client', id('tokc', n), clientSecret), actor_id: id('act', n) })),
      ...each(sites, (n) => ({
        ...tokenRow('gateway_group', id('tokg', n), gatewaySecret),
        gateway_group_id: id('site', n),
      })),
    ],
    clients: each(clients, (n) =>
      row('clients', {
        id: id('cli', n),
        actor_id: id('act', ownerOf(n)),
        external_id: `laptop-${n}`,
        ipv4: `100.64.1.${n}`,
      }),
    ),
    gateways: each(gateways, (n) => gatewayRow(n, (n % sites) + 1)),
    resources: each(resources, resource),
    resource_connections: [connection(0, 0), connection(0, 1), connection(1, 0), connection(1, 1), connection(2, 1)],
    policies: [policy(0, 0, 0), policy(0, 1, 3), policy(1, 1, 0), policy(1, 0, 4), policy(0, 2, 5)],
  };
}

export function ownerOf(client: number): number {
  return client === 3 ? 2 : 1;
}

export function nameOf(
  table: TableName,
  { id: own, resource_id: resourceId, gateway_group_id: siteId }: WireRow,
): string {
  return `${table}/${table === 'resource_connections' ? `${String(resourceId)}/${String(siteId)}` : String(own)}`;
}

export function policyId(group: number, resourceIndex: number): string {
  return id('pol', group * 10 + resourceIndex + 1);
}

export function membership(actor: number, group: number): WireRow {
  const own = { id: id('mem', actor * 10 + group + 1), actor_id: id('act', actor + 1), group_id: id('grp', group + 1) };
  return row('actor_group_memberships', own);
}

export function policy(group: number, resourceIndex: number, c: number): WireRow {
  const named = { actor_group_id: id('grp', group + 1), resource_id: id('res', resourceIndex + 1) };
  return row('policies', { id: policyId(group, resourceIndex), ...named, conditions: conditionSets[c % 6] ?? [] });
}

export function connection(resourceIndex: number, site: number): WireRow {
  return row('resource_connections', {
    resource_id: id('res', resourceIndex + 1),
    gateway_group_id: id('site', site + 1),
  });
}

export function resource(n: number): WireRow {
  return row('resources', { id: id('res', n), address: `10.${n}.0.0/16`, account_id: ids.account });
}

export function gatewayRow(n: number, site: number): WireRow {
  return row('gateways', {
    id: id('gw', n),
    external_id: `rack-${n}`,
    group_id: id('site', site),
    ipv4: `100.64.2.${n}`,
  });
}

export function disabledIf(isDisabled: boolean): WireRow {
  return { disabled_at: isDisabled ? '1970-01-01 00:00:00+00' : null };
}

export function resourceChange(b: number, c: number): WireRow {
  const changes = [
    { name: `Name ${c % 3}` },
    { address: `10.${c % 200}.0.0/16` },
    { filters: c % 2 === 0 ? '[]' : '[{"protocol":"tcp","ports":["443"]}]' },
    { address_description: `Description ${c % 2}` },
  ];
  return changes[b % changes.length] ?? {};
}

/** Lifts the hold in force, or holds one of the devices, actors or resources: one at a time, so that most goes on. */
export function toggleHold(state: State, a: number, b: number): Input {
  const targets = [
    { kind: 'client', letters: 'cli', count: clients },
    { kind: 'actor', letters: 'act', count: actors },
    { kind: 'gateway', letters: 'gw', count: gateways },
    { kind: 'resource', letters: 'res', count: resources },
  ] as const;
  const { kind, letters, count } = targets[a % targets.length] ?? targets[0];
  const target = { kind, id: id(letters, (b % count) + 1) };
  const [held] = holdsOf(state);
  if (held !== undefined) return { type: 'lift', target: held, by: 'test' };
  return { type: 'hold', hold: { ...target, at: state.now, by: 'test', reason: null } };
}
