// What a client is told of its resources, and when nothing is to be said.
import { expect, test } from 'vitest';
import fc from 'fast-check';
import { drive, joinClient } from '../support/core.ts';
import { clientView } from '../../core/view.ts';
import { id, ids, insert, remove, row, update, worldRows } from '../support/world.ts';
import type { Drive } from '../support/core.ts';
import type { WireRow } from '../../protocol/commit.ts';

function initOf(rows = worldRows()) {
  const init = joinClient(drive(rows)).sends[0];
  if (init?.type !== 'to-client' || init.message.event !== 'init') throw new Error('no init');
  return init.message.payload;
}

test('[P9.3] init holds the interface, and every resource that a policy grants, once', () => {
  const rows = worldRows();
  rows.actor_groups?.push(row('actor_groups', { id: id('grp', 2) }));
  rows.actor_group_memberships?.push(row('actor_group_memberships', { id: id('mem', 2), group_id: id('grp', 2) }));
  rows.policies?.push(row('policies', { id: id('pol', 2), actor_group_id: id('grp', 2) }));
  rows.accounts = [
    row('accounts', { config: '{"search_domain":"corp.test","clients_upstream_dns":[{"address":"9.9.9.9"}]}' }),
  ];
  expect(initOf(rows)).toEqual({
    interface: {
      ipv4: '100.64.0.2',
      ipv6: 'fd00:2021:1111::2',
      upstream_dns: [{ protocol: 'ip_port', address: '9.9.9.9:53' }],
      upstream_do53: [{ ip: '9.9.9.9' }],
      search_domain: 'corp.test',
    },
    resources: [
      {
        type: 'cidr',
        id: ids.resource,
        name: 'Database',
        address: '10.9.0.0/24',
        address_description: null,
        gateway_groups: [{ id: ids.site, name: 'HQ' }],
        filters: [],
      },
    ],
    relays: [],
  });
});

test('[P4.8] a resource is told anew where it changed, and removed first where its site or address did', () => {
  const driven = drive();
  joinClient(driven);
  expect(driven.commit(update('resources', { name: 'Renamed' }))).toEqual([
    `client resource_created_or_updated ${ids.resource}`,
  ]);
  expect(driven.commit(update('resources', { address: '10.8.0.0/24' }, { name: 'Renamed' }))).toEqual([
    `client resource_deleted ${ids.resource}`,
    `client resource_created_or_updated ${ids.resource}`,
  ]);
  expect(driven.commit(remove('resource_connections'))).toEqual([`client resource_deleted ${ids.resource}`]);
  expect(driven.commit(insert('resource_connections'))).toEqual([`client resource_created_or_updated ${ids.resource}`]);
});

test('[P3.9] what a transaction takes away and gives back is told as its result alone', () => {
  const driven = drive();
  joinClient(driven);
  expect(
    driven.commit(remove('actor_group_memberships'), insert('actor_group_memberships', { id: id('mem', 7) })),
  ).toEqual([]);
  expect(driven.commit(remove('resource_connections'), insert('resource_connections'))).toEqual([]);
});

test('[P5.15] a row that cannot be read grants nothing and ends nothing else', () => {
  const rows = worldRows();
  rows.policies = [row('policies', { conditions: ['{"property":'] })];
  const driven = drive(rows);
  joinClient(driven);
  const good = { id: id('pol', 2), actor_group_id: id('grp', 2) };
  expect(driven.commit(insert('actor_groups', { id: id('grp', 2) }), insert('policies', good))).toEqual([]);
  expect(
    driven.commit({ op: 'delete', table: 'policies', old: row('policies', { conditions: ['{"property":'] }) }),
  ).toEqual([]);
});

test('[P9.4] after any sequence of commits a client knows what a fresh evaluation gives', () => {
  const edit = fc.record({
    table: fc.constantFrom('policies', 'memberships', 'resources', 'connections'),
    n: fc.nat(3),
  });
  fc.assert(
    fc.property(fc.array(fc.array(edit, { maxLength: 4 }), { maxLength: 12 }), (commits) => {
      const driven = drive();
      joinClient(driven);
      const model = new Rows();
      for (const edits of commits) driven.commit(...edits.map(({ table, n }) => model.toggle(table, n)));
      expect(told(driven)).toEqual(fresh(driven));
    }),
    { seed: 20_260_101, numRuns: 300 },
  );
});

function told(driven: Drive): unknown[] {
  return driven.state.announced.get('client')?.resources ?? [];
}

function fresh(driven: Drive): unknown[] {
  const session = driven.state.sessions.get('client');
  if (session?.role !== 'client') return [];
  return clientView(driven.state, session)?.resources ?? [];
}

/** Rows that may be there or not, whose presence each edit turns over. */
class Rows {
  readonly #present = new Map<string, WireRow>();

  constructor() {
    this.#present.set('policies0', {});
    this.#present.set('memberships0', {});
    this.#present.set('resources0', {});
    this.#present.set('connections0', {});
  }

  toggle(table: 'policies' | 'memberships' | 'resources' | 'connections', n: number): object {
    const name = `${table}${n}`;
    const isPresent = this.#present.delete(name);
    if (!isPresent) this.#present.set(name, {});
    const make = isPresent ? remove : insert;
    const nth = (kind: string) => id(kind, n + 1);
    switch (table) {
      case 'policies':
        return make('policies', { id: nth('pol'), resource_id: nth('res'), actor_group_id: id('grp', (n % 2) + 1) });
      case 'memberships':
        return make('actor_group_memberships', { id: nth('mem'), group_id: id('grp', (n % 2) + 1) });
      case 'resources':
        return make('resources', { id: nth('res') });
      case 'connections':
        return make('resource_connections', { resource_id: nth('res') });
    }
  }
}
