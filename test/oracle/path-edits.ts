// Edits of rows on the paths on which somebody is granted something, as statements; null where the rows leave nothing to do.
import { type TableName } from '../../protocol/tables.ts';
import { arrayText, deleteSql, insertSql, updateSql, type SqlRow } from './sql-rows.ts';
import { integer, pick, pickOrNull } from './random.ts';
import { idOf, idsOf, rowsOf, sitesFor, type World } from './world.ts';
import * as make from './random-rows.ts';
import { aPath, pathConnection, pathRow, rowOf, type PathWorld } from './path-rows.ts';
import type { Path } from './transition.ts';

type Statements = readonly string[] | null;
export type Maker = (world: PathWorld) => Statements;

export const dayMs = 86_400_000;
const hourMs = 3_600_000;

export const conditions = (...items: readonly (readonly [property: string, operator: string, ...values: string[]])[]) =>
  arrayText(items.map(([property, operator, ...values]) => JSON.stringify({ property, operator, values })));
const verifiedOnly = conditions(['client_verified', 'is', 'true']);

/** A window of UTC that holds the present hour, or begins within the next few and not before. */
function hours({ random, atMs }: World, ahead: number): string {
  const start = new Date(atMs + ahead * hourMs);
  const end = new Date(start.getTime() + integer(random, 0, 3) * hourMs);
  const day = 'UMTWRFS'.charAt(start.getUTCDay());
  return conditions([
    'current_utc_datetime',
    'is_in_day_of_week_time_ranges',
    `${day}/${start.getUTCHours()}:00-${end.getUTCHours()}:59:59/UTC`,
  ]);
}

/** Conditions that hold for whoever is on the path now: for ever, for hours, or while they connect from where they do. */
export function holding(world: World, path: Path): string {
  const always = 'MTWRFSU'.split('').map((day) => `${day}/true/UTC`);
  const free = [
    '{}',
    conditions(['client_verified', 'is', 'false']),
    conditions(['current_utc_datetime', 'is_in_day_of_week_time_ranges', ...always]),
  ];
  return pick(world.random, [pick(world.random, free), hours(world, 0), fromHere(world, path)]);
}

function fromHere(world: World, { address }: Path): string {
  const isPlain = address !== null && !address.startsWith('::ffff:');
  return isPlain ? conditions(['remote_ip', 'is_in_cidr', address]) : hours(world, 0);
}

/** Gives every policy that grants some path other conditions: those that time, or a connection from elsewhere, ends or meets. */
export function aimedAt(what: 'closing' | 'opening' | 'leaving'): Maker {
  return (world) => {
    const path = aPath(world);
    const set = { closing: hours(world, 0), opening: hours(world, 1), leaving: fromHere(world, path) }[what];
    return path.policies.flatMap((id) => update('policies', rowOf(world, 'policies', id), { conditions: set }) ?? []);
  };
}

/** Conditions that hold for nobody now: never, or not before some hours from now. */
export function failing(world: World): string {
  const never = conditions(['remote_ip_location_region', 'is_in', 'AQ']);
  return pick(world.random, [never, hours(world, 1), hours(world, 2)]);
}

/** Gives the token of some path an identity of its actor's, or its actor one. */
export function nearerToIdentity(world: PathWorld): Statements {
  const { actor, token } = aPath(world);
  const own = pickOrNull(
    world.random,
    rowsOf(world, 'auth_identities').filter((row) => row['actor_id'] === actor),
  );
  const row = rowOf(world, 'tokens', token);
  if (own !== null && row !== null) return [updateSql('tokens', row, { identity_id: idOf(own) })];
  const provider = pickOrNull(
    world.random,
    rowsOf(world, 'auth_providers').filter((only) => only['disabled_at'] === null),
  );
  if (provider === null) return [insertSql('auth_providers', [{ ...make.providerRow(world), disabled_at: null }])];
  return [insertSql('auth_identities', [make.identityRow(world, actor, idOf(provider))])];
}

export const update = (table: TableName, row: SqlRow | null, set: SqlRow): Statements =>
  row === null ? null : [updateSql(table, row, set)];
export const remove = (table: TableName, row: SqlRow | null): Statements =>
  row === null ? null : [deleteSql(table, row)];
export const insert = (table: TableName, row: SqlRow | null): Statements =>
  row === null ? null : [insertSql(table, [row])];
export const now = ({ atMs }: World): SqlRow => ({ disabled_at: make.timestamp(atMs) });
export const renamed = ({ random }: World): SqlRow => ({ name: make.randomName(random, 'renamed') });

export const ofPath =
  (
    table: 'actors' | 'clients' | 'tokens' | 'resources' | 'policies',
    set: (world: PathWorld, row: SqlRow) => SqlRow | null,
  ): Maker =>
  (world) => {
    const row = pathRow(world, table);
    const columns = row === null ? null : set(world, row);
    return columns === null ? null : update(table, row, columns);
  };

export function address(world: World): SqlRow {
  const { ipv4, ipv6, psk_base: key } = make.gatewayRow(world, '');
  return pick(world.random, [{ ipv4: ipv4 ?? null }, { ipv6: ipv6 ?? null }, { psk_base: key ?? null }]);
}

/** A connected resource that the path's client cannot reach yet, and that its group has no policy for. */
function anotherResource(world: PathWorld, { client }: Path, group: string): SqlRow | null {
  const found = rowsOf(world, 'resources').filter(
    (row) =>
      rowsOf(world, 'resource_connections').some((own) => own['resource_id'] === row['id']) &&
      !world.paths.some((path) => path.client === client && path.resource === row['id']) &&
      !rowsOf(world, 'policies').some((own) => own['resource_id'] === row['id'] && own['actor_group_id'] === group),
  );
  return pickOrNull(world.random, found);
}

function policyFor(world: World, group: string, resource: string, columns: SqlRow): SqlRow {
  return { ...make.policyRow(world, group, resource, []), conditions: '{}', disabled_at: null, ...columns };
}

/** Inserts a policy for a resource that the client of some path cannot reach, and what `more` adds; or a resource for it. */
export function givingAnother(
  world: PathWorld,
  columns: SqlRow,
  more: (path: Path) => readonly string[] = () => [],
): Statements {
  const path = aPath(world);
  const groups = rowsOf(world, 'actor_group_memberships').filter((row) => row['actor_id'] === path.actor);
  const group = pickOrNull(world.random, groups)?.['group_id'] ?? null;
  if (group === null) return null;
  const resource = anotherResource(world, path, group);
  if (resource !== null)
    return [insertSql('policies', [policyFor(world, group, idOf(resource), columns)]), ...more(path)];
  const fresh = make.resourceRow(world, pick(world.random, ['dns', 'cidr', 'ip'] as const));
  const site = pickOrNull(world.random, sitesFor(world, fresh));
  if (site === null) return null;
  return [
    insertSql('resources', [fresh]),
    insertSql('resource_connections', [make.connectionRow(world, idOf(fresh), site)]),
    insertSql('policies', [policyFor(world, group, idOf(fresh), columns)]),
    ...more(path),
  ];
}

/** Deletes the row and inserts it again, with `columns` set, and with all of `tables` that referred to it by `column`. */
export function reborn(
  world: World,
  table: TableName,
  row: SqlRow | null,
  columns: SqlRow,
  [column, ...tables]: readonly [string, ...TableName[]],
): Statements {
  if (row === null) return null;
  const children = tables.flatMap((child) => {
    const rows = rowsOf(world, child).filter((own) => own[column] === row['id']);
    return rows.length === 0 ? [] : [insertSql(child, rows)];
  });
  return [deleteSql(table, row), insertSql(table, [{ ...row, ...columns }]), ...children];
}

export const ofResource = ['resource_id', 'resource_connections', 'policies'] as const;

export function verified(world: PathWorld): Statements {
  const off = world.paths.filter(({ client }) => rowOf(world, 'clients', client)?.['verified_at'] === null);
  const path = pickOrNull(world.random, off);
  if (path === null) return ofPath('clients', () => make.verification(world, false))(world);
  const row = rowOf(world, 'clients', path.client);
  return givingAnother({ ...world, paths: [path] }, { conditions: verifiedOnly }, () =>
    row === null ? [] : [updateSql('clients', row, make.verification(world, true))],
  );
}

export function unverified(world: PathWorld): Statements {
  const isOnly = ({ policies }: Path) =>
    policies.every((id) => rowOf(world, 'policies', id)?.['conditions']?.includes('client_verified') === true);
  const on = world.paths.filter(({ client }) => rowOf(world, 'clients', client)?.['verified_at'] !== null);
  const path = pickOrNull(world.random, on.filter(isOnly));
  if (path !== null) return update('clients', rowOf(world, 'clients', path.client), make.verification(world, false));
  const nearer = pickOrNull(world.random, on);
  if (nearer === null) return ofPath('clients', () => make.verification(world, true))(world);
  return nearer.policies.flatMap(
    (id) => update('policies', rowOf(world, 'policies', id), { conditions: verifiedOnly }) ?? [],
  );
}

/** A path with as many granting policies as wanted: more than one, or one alone. */
export function pathPolicy(world: PathWorld, isShared: boolean): SqlRow | null {
  const fitting = world.paths.filter(({ policies }) => policies.length > 1 === isShared);
  return rowOf(world, 'policies', pickOrNull(world.random, pickOrNull(world.random, fitting)?.policies ?? []));
}

export function samePolicy(world: PathWorld): Statements {
  const { actor, resource } = aPath(world);
  const groups = rowsOf(world, 'actor_group_memberships').flatMap((row) =>
    row['actor_id'] === actor ? [row['group_id'] ?? ''] : [],
  );
  const isTaken = (group: string) =>
    rowsOf(world, 'policies').some((row) => row['resource_id'] === resource && row['actor_group_id'] === group);
  const group = pickOrNull(
    world.random,
    groups.filter((own) => !isTaken(own)),
  );
  if (group !== null) return [insertSql('policies', [policyFor(world, group, resource, {})])];
  const other = pickOrNull(
    world.random,
    idsOf(world, 'actor_groups').filter((own) => !groups.includes(own)),
  );
  if (other === null) return [insertSql('actor_groups', [make.groupRow(world, null)])];
  const join = insertSql('actor_group_memberships', [make.membershipRow(world, actor, other)]);
  return isTaken(other) ? [join] : [join, insertSql('policies', [policyFor(world, other, resource, {})])];
}

export function joinGroup(world: PathWorld): Statements {
  const path = aPath(world);
  const isMember = (group: string) =>
    rowsOf(world, 'actor_group_memberships').some((row) => row['actor_id'] === path.actor && row['group_id'] === group);
  const group = pickOrNull(
    world.random,
    idsOf(world, 'actor_groups').filter((own) => !isMember(own)),
  );
  if (group === null) return [insertSql('actor_groups', [make.groupRow(world, null)])];
  const resource = anotherResource(world, path, group);
  const join = insertSql('actor_group_memberships', [make.membershipRow(world, path.actor, group)]);
  return resource === null ? [join] : [insertSql('policies', [policyFor(world, group, idOf(resource), {})]), join];
}

/** Another value of a policy's column that refers to a row, such that no two policies are alike. */
export function elsewhere(
  world: PathWorld,
  column: 'actor_group_id' | 'resource_id',
  table: 'actor_groups' | 'resources',
): Statements {
  const row = pathRow(world, 'policies');
  if (row === null) return null;
  const isFree = (id: string) => {
    const wanted = { ...row, [column]: id };
    return !rowsOf(world, 'policies').some(
      (own) => own['actor_group_id'] === wanted['actor_group_id'] && own['resource_id'] === wanted['resource_id'],
    );
  };
  const id = pickOrNull(world.random, idsOf(world, table).filter(isFree));
  return id === null ? null : update('policies', row, { [column]: id });
}

export function typeOf(row: SqlRow): 'dns' | 'cidr' | 'ip' {
  return row['type'] === 'dns' || row['type'] === 'ip' ? row['type'] : 'cidr';
}

export function secondConnection(world: PathWorld): Statements {
  const row = pathConnection(world, (count) => count === 1);
  const resource = rowOf(world, 'resources', row?.['resource_id']);
  const sites = resource === null ? [] : sitesFor(world, resource).filter((site) => site !== row?.['gateway_group_id']);
  const site = pickOrNull(world.random, sites);
  if (resource === null) return null;
  if (site !== null) return insert('resource_connections', make.connectionRow(world, idOf(resource), site));
  return insert('gateway_groups', make.siteRow(world));
}
