// Which lines of docs/consequences.md a transaction was an instance of. A line that takes something away counts where somebody
// was granted something on the path of the row in question, a line that gives where somebody is. Lines of time and of
// connections are told apart by what the core says before and after; that it is right is what the oracle is asked about.
import type { TableName } from '../../protocol/tables.ts';
import { differenceOf, keyOf, rowsByKey, type Difference, type Path, type Transition } from './transition.ts';
import type { SqlRow } from './sql-rows.ts';

type Detector = (seen: Seen) => boolean;

/** A transition with what detectors ask of it. */
class Seen {
  readonly transition: Transition;
  readonly #differences = new Map<TableName, Difference>();

  constructor(transition: Transition) {
    this.transition = transition;
  }

  inserted(table: TableName): readonly SqlRow[] {
    return this.#difference(table).inserted;
  }

  deleted(table: TableName): readonly SqlRow[] {
    return this.#difference(table).deleted;
  }

  /** Rows of which a column changed, and no column of `besides`. */
  changed(table: TableName, columns: readonly string[], besides: readonly string[] = []) {
    return this.#difference(table).updated.filter(
      ({ old, row }) =>
        columns.some((column) => old[column] !== row[column]) && besides.every((column) => old[column] === row[column]),
    );
  }

  set(table: TableName, column: string): readonly SqlRow[] {
    return this.changed(table, [column]).flatMap(({ old, row }) => (old[column] === null ? [row] : []));
  }

  cleared(table: TableName, column: string): readonly SqlRow[] {
    return this.changed(table, [column]).flatMap(({ row }) => (row[column] === null ? [row] : []));
  }

  before(table: TableName): readonly SqlRow[] {
    return this.transition.before.get(table) ?? [];
  }

  after(table: TableName): readonly SqlRow[] {
    return this.transition.after.get(table) ?? [];
  }

  /** Rows that the transaction deleted and inserted, by key, as they were and as they came back. */
  reborn(table: TableName): readonly { readonly old: SqlRow; readonly row: SqlRow }[] {
    const [old, now] = [rowsByKey(table, this.transition.before), rowsByKey(table, this.transition.after)];
    const keys = new Set<string>();
    const gone = new Set<string>();
    for (const change of this.transition.changes) {
      if (change.table !== table) continue;
      if (change.op === 'delete') gone.add(keyOf(table, textual(change.old)));
      if (change.op === 'insert' && gone.has(keyOf(table, textual(change.new))))
        keys.add(keyOf(table, textual(change.new)));
    }
    return [...keys].flatMap((key) => {
      const [was, is] = [old.get(key), now.get(key)];
      return was === undefined || is === undefined ? [] : [{ old: was, row: is }];
    });
  }

  get paths(): readonly Path[] {
    return this.transition.paths;
  }

  get pathsAfter(): readonly Path[] {
    return this.transition.pathsAfter;
  }

  #difference(table: TableName): Difference {
    const known = this.#differences.get(table);
    if (known !== undefined) return known;
    const found = differenceOf(table, this.transition.before, this.transition.after);
    this.#differences.set(table, found);
    return found;
  }
}

function textual(row: object): SqlRow {
  return Object.fromEntries(
    Object.entries(row).map(([column, value]) => [column, typeof value === 'string' ? value : null]),
  );
}

const some = (items: readonly unknown[]) => items.length > 0;
const idOf = (row: SqlRow) => row['id'] ?? '';

/** Whether somebody was granted something by way of the row. */
function isOnPath(seen: Seen, table: TableName, row: SqlRow): boolean {
  const id = idOf(row);
  const identityOf = ({ token }: Path) =>
    seen.before('tokens').find((own) => own['id'] === token)?.['identity_id'] ?? null;
  const providerOf = (path: Path) =>
    seen.before('auth_identities').find((own) => own['id'] === identityOf(path))?.['provider_id'] ?? null;
  const isSite = ({ resource }: Path, site: string | null | undefined) =>
    seen
      .before('resource_connections')
      .some((own) => own['resource_id'] === resource && own['gateway_group_id'] === site);
  const groupsOf = (path: Path) => groupsIn(seen.before('policies'), path);
  const tests: Readonly<Partial<Record<TableName, (path: Path) => boolean>>> = {
    accounts: () => true,
    actors: ({ actor }) => actor === id,
    actor_groups: (path) => groupsOf(path).includes(id),
    actor_group_memberships: (path) => path.actor === row['actor_id'] && groupsOf(path).includes(row['group_id'] ?? ''),
    auth_providers: (path) => providerOf(path) === id,
    auth_identities: (path) => identityOf(path) === id,
    gateway_groups: (path) => isSite(path, id),
    tokens: ({ token }) => token === id,
    clients: ({ client }) => client === id,
    gateways: (path) => isSite(path, row['group_id']),
    resources: ({ resource }) => resource === id,
    resource_connections: ({ resource }) => resource === row['resource_id'],
    policies: ({ policies }) => policies.includes(id),
  };
  const test = tests[table];
  return test !== undefined && seen.paths.some(test);
}

/** The groups whose policies grant a path. */
function groupsIn(policies: readonly SqlRow[], path: Path): string[] {
  return policies.flatMap((row) => (path.policies.includes(idOf(row)) ? [row['actor_group_id'] ?? ''] : []));
}

const onPath = (seen: Seen, table: TableName, rows: readonly SqlRow[]) =>
  rows.filter((row) => isOnPath(seen, table, row));
const olds = (pairs: readonly { readonly old: SqlRow }[]) => pairs.map(({ old }) => old);

const deletedOnPath =
  (table: TableName): Detector =>
  (seen) =>
    some(onPath(seen, table, seen.deleted(table)));
const changedOnPath =
  (table: TableName, columns: readonly string[], besides: readonly string[] = []): Detector =>
  (seen) =>
    some(onPath(seen, table, olds(seen.changed(table, columns, besides))));
const disabledOnPath =
  (table: TableName): Detector =>
  (seen) =>
    some(onPath(seen, table, seen.set(table, 'disabled_at')));
const inserted =
  (table: TableName): Detector =>
  (seen) =>
    some(seen.inserted(table));

function isVerifiedOnly(rows: readonly SqlRow[], path: Path): boolean {
  return path.policies.every(
    (id) => rows.find((row) => row['id'] === id)?.['conditions']?.includes('client_verified') === true,
  );
}

/** Whether the client of some path could reach its resource before. */
const couldBefore = (seen: Seen, { client, resource }: Path) =>
  seen.paths.some((path) => path.client === client && path.resource === resource);
const canAfter = (seen: Seen, { client, resource }: Path) =>
  seen.pathsAfter.some((path) => path.client === client && path.resource === resource);

function isLater(old: string | null | undefined, row: string | null | undefined, atMs: number): boolean {
  const [before, after] = [old, row].map((text) => (typeof text === 'string' ? Date.parse(text) : Infinity));
  return before !== undefined && after !== undefined && after > before && before > atMs;
}

/** Paths on which somebody is granted what they were not before. */
const newPaths = (seen: Seen) => seen.pathsAfter.filter((path) => !couldBefore(seen, path));

const deviceColumns = ['ipv4', 'ipv6', 'psk_base'];

/** By the line's id. */
export const detectors: Readonly<Record<string, Detector>> = {
  'account-disabled': disabledOnPath('accounts'),
  'account-slug': changedOnPath('accounts', ['slug']),
  'account-config': changedOnPath('accounts', ['config']),
  'account-name': changedOnPath('accounts', ['name']),
  'account-deleted': deletedOnPath('accounts'),
  'actor-disabled': disabledOnPath('actors'),
  'actor-renamed': changedOnPath('actors', ['name']),
  'actor-deleted': deletedOnPath('actors'),
  'actor-inserted': inserted('actors'),
  'group-inserted': inserted('actor_groups'),
  'group-renamed': changedOnPath('actor_groups', ['name']),
  'group-deleted': deletedOnPath('actor_groups'),
  'membership-deleted': (seen) =>
    onPath(seen, 'actor_group_memberships', seen.deleted('actor_group_memberships')).some(
      ({ actor_id: actor, group_id: group }) =>
        seen.after('actors').some(({ id }) => id === actor) &&
        seen.after('actor_groups').some(({ id }) => id === group),
    ),
  'membership-inserted': (seen) =>
    seen
      .inserted('actor_group_memberships')
      .some(({ actor_id: actor, group_id: group }) =>
        newPaths(seen).some(
          (path) => path.actor === actor && groupsIn(seen.after('policies'), path).includes(group ?? ''),
        ),
      ),
  'membership-rewritten': (seen) => {
    const pair = ({ actor_id: actor, group_id: group }: SqlRow) => `${actor} ${group}`;
    const gone = onPath(seen, 'actor_group_memberships', [
      ...seen.deleted('actor_group_memberships'),
      ...olds(seen.reborn('actor_group_memberships')),
    ]).map(pair);
    return seen.after('actor_group_memberships').some((row) => gone.includes(pair(row)));
  },
  'provider-disabled': disabledOnPath('auth_providers'),
  'provider-deleted': deletedOnPath('auth_providers'),
  'provider-other': (seen) =>
    seen.set('auth_providers', 'disabled_at').some((row) => !isOnPath(seen, 'auth_providers', row)),
  'identity-deleted': deletedOnPath('auth_identities'),
  'token-deleted': deletedOnPath('tokens'),
  'token-inserted': (seen) => seen.inserted('tokens').some(({ type }) => type === 'client'),
  'token-expired-by-hand': (seen) =>
    seen
      .changed('tokens', ['expires_at'])
      .some(
        ({ old, row }) =>
          isOnPath(seen, 'tokens', old) && Date.parse(row['expires_at'] ?? '9999-01-01') <= seen.transition.atMs,
      ),
  'token-extended': (seen) =>
    seen
      .changed('tokens', ['expires_at'])
      .some(
        ({ old, row }) =>
          isOnPath(seen, 'tokens', old) && isLater(old['expires_at'], row['expires_at'], seen.transition.atMs),
      ),
  'site-token-deleted': (seen) => seen.deleted('tokens').some(({ type }) => type === 'gateway_group'),
  'client-deleted': deletedOnPath('clients'),
  'client-inserted': inserted('clients'),
  'client-renamed': changedOnPath('clients', ['name']),
  'client-moved': changedOnPath('clients', ['actor_id']),
  'client-address': changedOnPath('clients', deviceColumns),
  'client-verified': (seen) =>
    seen
      .set('clients', 'verified_at')
      .some(({ id }) =>
        seen.pathsAfter.some(
          (path) => path.client === id && !couldBefore(seen, path) && isVerifiedOnly(seen.after('policies'), path),
        ),
      ),
  'client-unverified': (seen) =>
    seen
      .cleared('clients', 'verified_at')
      .some(({ id }) => seen.paths.some((path) => path.client === id && isVerifiedOnly(seen.before('policies'), path))),
  'gateway-deleted': deletedOnPath('gateways'),
  'gateway-inserted': inserted('gateways'),
  'gateway-moved': changedOnPath('gateways', ['group_id']),
  'gateway-address': changedOnPath('gateways', deviceColumns),
  'gateway-renamed': changedOnPath('gateways', ['name']),
  'site-renamed': changedOnPath('gateway_groups', ['name']),
  'site-deleted': deletedOnPath('gateway_groups'),
  'site-inserted': inserted('gateway_groups'),
  'resource-renamed': changedOnPath('resources', ['name']),
  'resource-description': changedOnPath('resources', ['address_description']),
  'resource-address': changedOnPath('resources', ['address'], ['type']),
  'resource-type': changedOnPath('resources', ['type']),
  'resource-stack': changedOnPath('resources', ['ip_stack'], ['type', 'address']),
  'resource-filters': changedOnPath('resources', ['filters']),
  'resource-replaced': (seen) =>
    seen
      .reborn('resources')
      .some(({ old, row }) => isOnPath(seen, 'resources', old) && old['address'] !== row['address']),
  'resource-rewritten': (seen) =>
    seen
      .reborn('resources')
      .some(({ old, row }) => isOnPath(seen, 'resources', old) && JSON.stringify(old) === JSON.stringify(row)),
  'resource-deleted': deletedOnPath('resources'),
  'resource-inserted': inserted('resources'),
  'connection-deleted': (seen) =>
    onPath(seen, 'resource_connections', seen.deleted('resource_connections')).some(({ resource_id: resource }) => {
      const isThere = seen.after('resources').some(({ id }) => id === resource);
      return isThere && !seen.after('resource_connections').some((row) => row['resource_id'] === resource);
    }),
  'connection-deleted-other': (seen) =>
    onPath(seen, 'resource_connections', seen.deleted('resource_connections')).some(({ resource_id: resource }) =>
      seen.after('resource_connections').some((row) => row['resource_id'] === resource),
    ),
  'connection-inserted': (seen) => some(onPath(seen, 'resource_connections', seen.inserted('resource_connections'))),
  'connection-rewritten': (seen) =>
    some(onPath(seen, 'resource_connections', olds(seen.reborn('resource_connections')))),
  'policy-deleted': (seen) =>
    seen
      .deleted('policies')
      .some(({ id }) => seen.paths.some((path) => path.policies.includes(id ?? '') && !canAfter(seen, path))),
  'policy-deleted-other': (seen) =>
    seen
      .deleted('policies')
      .some(({ id }) => seen.paths.some((path) => path.policies.includes(id ?? '') && canAfter(seen, path))),
  'policy-disabled': disabledOnPath('policies'),
  'policy-enabled': (seen) =>
    seen
      .cleared('policies', 'disabled_at')
      .some(({ id }) => newPaths(seen).some(({ policies }) => policies.includes(id ?? ''))),
  'policy-inserted': (seen) =>
    seen.inserted('policies').some(({ id }) => newPaths(seen).some(({ policies }) => policies.includes(id ?? ''))),
  'policy-inserted-same': (seen) =>
    seen
      .inserted('policies')
      .some(({ id }) =>
        seen.pathsAfter.some(
          (path) => path.policies.includes(id ?? '') && path.policies.length > 1 && couldBefore(seen, path),
        ),
      ),
  'policy-description': changedOnPath('policies', ['description']),
  'policy-group': changedOnPath('policies', ['actor_group_id']),
  'policy-resource': changedOnPath('policies', ['resource_id']),
  'policy-conditions': (seen) =>
    seen
      .changed('policies', ['conditions'])
      .some(({ old }) => seen.paths.some((path) => path.policies.includes(idOf(old)) && !canAfter(seen, path))),
  'policy-conditions-met': (seen) =>
    seen
      .changed('policies', ['conditions'])
      .some(
        ({ row }) =>
          isOnPath(seen, 'policies', row) &&
          seen.pathsAfter.some((path) => path.policies.includes(idOf(row)) && couldBefore(seen, path)),
      ),
  'policy-rewritten': (seen) => {
    const what = (row: SqlRow) => JSON.stringify([row['actor_group_id'], row['resource_id'], row['conditions']]);
    const gone = onPath(seen, 'policies', [...seen.deleted('policies'), ...olds(seen.reborn('policies'))]).map(what);
    const back = [...seen.inserted('policies'), ...seen.reborn('policies').map(({ row }) => row)].map(what);
    return back.some((row) => gone.includes(row));
  },
  'policies-truncated': (seen) =>
    some(seen.paths) && seen.transition.changes.some(({ op, table }) => op === 'truncate' && table === 'policies'),
};

/** The lines that `transition` was an instance of. */
export function linesHit(transition: Transition): string[] {
  const seen = new Seen(transition);
  return Object.entries(detectors).flatMap(([line, isHit]) => (isHit(seen) ? [line] : []));
}

/** Lines that no row changes by itself: what time or a new connection of the client does. */
export const otherLines = ['window-closes', 'window-opens', 'token-expires', 'address-leaves'] as const;
