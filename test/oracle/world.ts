// What a random edit is made from: chance, the present instant, and the account's rows as they are.
import type { TableName } from '../../protocol/tables.ts';
import type { Making } from './random-rows.ts';
import { chance, pickOrNull } from './random.ts';
import type { SqlRow, SqlRows } from './sql-rows.ts';

export interface World extends Making {
  readonly rows: SqlRows;
}

export function rowsOf(world: World, table: TableName): readonly SqlRow[] {
  return world.rows.get(table) ?? [];
}

export function idsOf(world: World, table: TableName): string[] {
  return rowsOf(world, table).map(idOf);
}

export function idOf(row: SqlRow): string {
  return row['id'] ?? '';
}

/** An identity of the actor's, or often none. */
export function identityOf(world: World, actor: string): string | null {
  const own = rowsOf(world, 'auth_identities').filter((identity) => identity['actor_id'] === actor);
  const identity = chance(world.random, 0.6) ? pickOrNull(world.random, own) : null;
  return identity === null ? null : idOf(identity);
}

/** The sites that a resource may be in. */
export function sitesFor(world: World, resource: SqlRow): string[] {
  const system = resource['type'] === 'internet' ? 'system' : 'account';
  return rowsOf(world, 'gateway_groups')
    .filter((site) => site['managed_by'] === system)
    .map(idOf);
}
