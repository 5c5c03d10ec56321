// Rows by the thousand for an account that has its first ones, made in the database.
import { walEnd, untilConfirmed } from './confirmed.ts';
import type { Client } from 'pg';
import type { FirstAccount } from '../../dev/first-account.ts';

export type Growth = {
  /** Actors, each with one client. */
  readonly actors: number;
  readonly groups: number;
  readonly groupsOfActor: number;
  readonly resources: number;
  readonly policies: number;
};

/** Adds the rows, and waits until the account's object holds them. */
export async function grow(db: Client, { accountId, siteId }: FirstAccount, growth: Growth): Promise<void> {
  const { actors, groups, groupsOfActor, resources, policies } = growth;
  const statements: readonly [string, ...unknown[]][] = [
    [
      `insert into actors (account_id, type, name) select $1, 'account_user', 'Grown ' || n from generate_series(1, $2) n`,
      actors,
    ],
    [`insert into actor_groups (account_id, name) select $1, 'Grown ' || n from generate_series(1, $2) n`, groups],
    [
      `insert into actor_group_memberships (account_id, actor_id, group_id)
       select $1, a.id, g.id
       from (select id, row_number() over () as n from actors where account_id = $1 and name like 'Grown %') a
       cross join generate_series(1, $2) as k
       join (select id, row_number() over () as n from actor_groups where account_id = $1 and name like 'Grown %') g
         on g.n = 1 + (a.n * 3 + k * $3::int) % $4::int`,
      groupsOfActor,
      Math.floor(groups / groupsOfActor),
      groups,
    ],
    [
      `insert into clients (account_id, actor_id, external_id, name, ipv4, ipv6)
       select $1, id, 'grown-' || n, 'Grown', '100.64.16.0'::inet + n, 'fd00:2021:1111::1:0'::inet + n
       from (select id, row_number() over () as n from actors where account_id = $1 and name like 'Grown %' limit $2) a`,
      actors,
    ],
    [
      `insert into resources (account_id, name, type, address)
       select $1, 'Grown ' || n, 'cidr', '10.' || n % 200 || '.' || n / 200 || '.0/24' from generate_series(1, $2) n`,
      resources,
    ],
    [
      `insert into resource_connections (account_id, resource_id, gateway_group_id)
       select $1, id, $2 from resources where account_id = $1 and name like 'Grown %'`,
      siteId,
    ],
    [
      `insert into policies (account_id, actor_group_id, resource_id, description)
       select $1, g.id, r.id, 'grown' from generate_series(1, $2) as k
       join (select id, row_number() over () as n from actor_groups where account_id = $1 and name like 'Grown %') g
         on g.n = 1 + k % $3::int
       join (select id, row_number() over () as n from resources where account_id = $1 and name like 'Grown %') r
         on r.n = 1 + (k * 7 + k / $3::int) % $4::int`,
      policies,
      groups,
      resources,
    ],
  ];
  for (const [statement, ...values] of statements) await db.query(statement, [accountId, ...values]);
  await untilConfirmed(db, await walEnd(db));
}
