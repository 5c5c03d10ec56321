// Edits that give: they keep an account in which much is taken away from ending with nothing granted to anybody.
import { literal, insertSql, updateSql } from './sql-rows.ts';
import { pickOrNull, sample } from './random.ts';
import { idOf, rowsOf, sitesFor, type World } from './world.ts';
import * as make from './random-rows.ts';

/** Clients and resources that are brought together in one go. */
const pairsMax = 4;

/** Groups of statements, each by itself. */
export function enrichments(world: World): (readonly string[])[] {
  const account = literal(world.account);
  const pairs = sample(world.random, rowsOf(world, 'clients'), pairsMax).flatMap(({ actor_id: actor }) => {
    const resource = pickOrNull(world.random, rowsOf(world, 'resources'));
    return resource === null || actor === null || actor === undefined
      ? []
      : [bringingTogether(world, actor, idOf(resource))];
  });
  return [
    [`update actors set disabled_at = null where account_id = ${account}`],
    [`update auth_providers set disabled_at = null where account_id = ${account}`],
    ...sample(world.random, rowsOf(world, 'tokens'), pairsMax).map((row) => [
      updateSql('tokens', row, { expires_at: make.randomExpiry(world) }),
    ]),
    ...sample(world.random, rowsOf(world, 'policies'), 2).map((row) => [
      updateSql('policies', row, { disabled_at: null, conditions: '{}' }),
    ]),
    ...pairs,
  ];
}

function bringingTogether(world: World, actor: string, resource: string): readonly string[] {
  const member = pickOrNull(
    world.random,
    rowsOf(world, 'actor_group_memberships').filter((row) => row['actor_id'] === actor),
  );
  const group = member?.['group_id'] ?? pickOrNull(world.random, rowsOf(world, 'actor_groups'))?.['id'] ?? null;
  if (group === null) return [insertSql('actor_groups', [make.groupRow(world, null)])];
  const row = rowsOf(world, 'resources').find(({ id }) => id === resource);
  const site = row === undefined ? null : pickOrNull(world.random, sitesFor(world, row));
  const isConnected = rowsOf(world, 'resource_connections').some((own) => own['resource_id'] === resource);
  const isNamed = rowsOf(world, 'policies').some(
    (own) => own['resource_id'] === resource && own['actor_group_id'] === group,
  );
  const policy = { ...make.policyRow(world, group, resource, []), disabled_at: null };
  return [
    ...(member === undefined || member === null
      ? [insertSql('actor_group_memberships', [make.membershipRow(world, actor, group)])]
      : []),
    ...(isConnected || site === null
      ? []
      : [insertSql('resource_connections', [make.connectionRow(world, resource, site)])]),
    ...(isNamed ? [] : [insertSql('policies', [policy])]),
  ];
}
