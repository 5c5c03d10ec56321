// Rows on the paths on which somebody is granted something: what an edit must meet to take anything away.
import type { TableName } from '../../protocol/tables.ts';
import { pick, pickOrNull } from './random.ts';
import type { SqlRow } from './sql-rows.ts';
import { rowsOf, type World } from './world.ts';
import type { Path } from './transition.ts';

export interface PathWorld extends World {
  /** Never empty: without anybody who is granted something there is nothing to take away. */
  readonly paths: readonly Path[];
}

export const aPath = ({ random, paths }: PathWorld) => pick(random, paths);

export function rowOf(world: World, table: TableName, id: string | null | undefined): SqlRow | null {
  return rowsOf(world, table).find((row) => row['id'] === id) ?? null;
}

/** Any row of the table on some path, by the path's own names. */
export const pathRow = (
  world: PathWorld,
  table: 'actors' | 'clients' | 'tokens' | 'resources' | 'policies',
): SqlRow | null => {
  const { actor, client, token, resource, policies } = aPath(world);
  const ids = {
    actors: actor,
    clients: client,
    tokens: token,
    resources: resource,
    policies: pickOrNull(world.random, policies),
  };
  return rowOf(world, table, ids[table]);
};

export const pathGroup = (world: PathWorld) =>
  rowOf(world, 'actor_groups', pathRow(world, 'policies')?.['actor_group_id'] ?? null);

export function pathMembership(world: PathWorld): SqlRow | null {
  const { actor, policies } = aPath(world);
  const group = rowOf(world, 'policies', pickOrNull(world.random, policies))?.['actor_group_id'];
  return (
    rowsOf(world, 'actor_group_memberships').find((row) => row['actor_id'] === actor && row['group_id'] === group) ??
    null
  );
}

export function pathConnection(world: PathWorld, isFitting: (count: number) => boolean): SqlRow | null {
  const fitting = world.paths.flatMap(({ resource }) => {
    const own = rowsOf(world, 'resource_connections').filter((row) => row['resource_id'] === resource);
    return isFitting(own.length) ? own : [];
  });
  return pickOrNull(world.random, fitting);
}

export const pathSite = (world: PathWorld) =>
  rowOf(world, 'gateway_groups', pathConnection(world, () => true)?.['gateway_group_id'] ?? null);

export function pathGateway(world: PathWorld): SqlRow | null {
  const sites = rowsOf(world, 'resource_connections').flatMap((row) =>
    world.paths.some(({ resource }) => resource === row['resource_id']) ? [row['gateway_group_id']] : [],
  );
  return pickOrNull(
    world.random,
    rowsOf(world, 'gateways').filter((row) => sites.includes(row['group_id'] ?? '')),
  );
}

export function pathIdentity(world: PathWorld): SqlRow | null {
  const held = world.paths.flatMap(({ token }) => {
    const identity = rowOf(world, 'auth_identities', rowOf(world, 'tokens', token)?.['identity_id']);
    return identity === null ? [] : [identity];
  });
  return pickOrNull(world.random, held);
}
