// A small random account with everything that access depends on: people, providers, groups, sites, devices, tokens,
// resources and policies, of which some are disabled, expired or connected to nothing. Of the questions that its clients
// can ask, between a fifth and four fifths are granted at the instant it is made for. The oracle must be loaded.
import { DatabaseError, type ClientBase } from 'pg';
import { must } from '../../protocol/assert.ts';
import type { TableName } from '../../protocol/tables.ts';
import { askAccess, type Subject } from './oracle.ts';
import { randomConnectionFacts } from './random-conditions.ts';
import * as make from './random-rows.ts';
import { chance, integer, pick, pickOrNull, sample, uuid, type Random } from './random.ts';
import { insertSql, parentsFirst, readSqlRows, type SqlRow } from './sql-rows.ts';

const attemptsMax = 100;
const grantedShareMin = 0.2;
const grantedShareMax = 0.8;

/** Inserts an account, in one transaction, and returns its id. `db` must not be in a transaction. */
export async function createRandomAccount(db: ClientBase, random: Random, atMs: number): Promise<string> {
  await db.query('begin');
  for (let attempt = 1; attempt <= attemptsMax; attempt += 1) {
    const account = uuid(random);
    await db.query('savepoint before');
    if (
      (await insertAll(db, accountRows({ random, atMs, account }))) &&
      (await isBalanced(db, random, account, atMs))
    ) {
      await db.query('commit');
      return account;
    }
    await db.query('rollback to before');
  }
  await db.query('rollback');
  throw new Error(`none of ${attemptsMax} random accounts grants between a fifth and four fifths of what is asked`);
}

/** Every client with each of its actor's tokens, or with one of them at random, each with random facts. */
export async function randomSubjects(
  db: ClientBase,
  random: Random,
  account: string,
  tokens: 'one' | 'each',
): Promise<Subject[]> {
  const rows = await readSqlRows(db, account);
  return (rows.get('clients') ?? []).flatMap((client) => {
    const own = (rows.get('tokens') ?? []).filter(
      (token) => token['type'] === 'client' && token['actor_id'] === client['actor_id'],
    );
    return sample(random, own, tokens === 'each' ? own.length : 1).map((token) => ({
      client_id: idOf(client),
      token_id: idOf(token),
      ...randomConnectionFacts(random),
    }));
  });
}

function idOf(row: SqlRow): string {
  return must(row['id'], 'an id');
}

type Rows = Readonly<Record<TableName, readonly SqlRow[]>>;

function accountRows(making: make.Making): Rows {
  const { random } = making;
  const actors = some(making, 3, 5, () => make.actorRow(making));
  const providers = some(making, 1, 2, () => make.providerRow(making));
  const identities = actors.flatMap((actor) =>
    sample(random, providers, integer(random, 0, providers.length)).map((provider) =>
      make.identityRow(making, idOf(actor), idOf(provider)),
    ),
  );
  const identityOf = (actor: string): string | null => {
    const own = identities.filter((identity) => identity['actor_id'] === actor);
    const identity = chance(random, 0.6) ? pickOrNull(random, own) : null;
    return identity === null ? null : idOf(identity);
  };
  const groups = some(making, 3, 4, () =>
    make.groupRow(making, chance(random, 0.2) ? idOf(pick(random, providers)) : null),
  );
  const memberships = actors.flatMap((actor) =>
    groups.filter(() => chance(random, 0.65)).map((group) => make.membershipRow(making, idOf(actor), idOf(group))),
  );
  const sites = some(making, 2, 3, () => make.siteRow(making));
  const internetSite = make.internetSiteRow(making);
  const clients = some(making, 4, 6, () => {
    const actor = idOf(pick(random, actors));
    return make.clientRow(making, actor, identityOf(actor));
  });
  const tokens = [
    ...clients.flatMap(({ actor_id: actor }) =>
      some(making, 1, 2, () => make.tokenRow(making, actor ?? '', identityOf(actor ?? ''))),
    ),
    make.apiTokenRow(making, idOf(pick(random, actors))),
    make.gatewayTokenRow(making, idOf(pick(random, sites))),
  ];
  const resources = [
    ...(['dns', 'cidr', 'ip'] as const).map((type) => make.resourceRow(making, type)),
    ...some(making, 1, 2, () => make.resourceRow(making, pick(random, ['dns', 'cidr', 'ip'] as const))),
    ...(chance(random, 0.7) ? [make.resourceRow(making, 'internet')] : []),
  ];
  const connections = resources.flatMap((resource) => {
    const possible = resource['type'] === 'internet' ? [internetSite] : sites;
    const count = pick(random, [0, 1, 1, 1, 1, 2, 2]);
    return sample(random, possible, count).map((site) => make.connectionRow(making, idOf(resource), idOf(site)));
  });
  const pairs = groups.flatMap((group) => resources.map((resource) => [idOf(group), idOf(resource)] as const));
  const policies = sample(random, pairs, integer(random, 5, 10)).map(([group, resource]) =>
    make.policyRow(making, group, resource, providers.map(idOf)),
  );
  return {
    accounts: [make.accountRow(making)],
    actors,
    auth_providers: providers,
    auth_identities: identities,
    actor_groups: groups,
    actor_group_memberships: memberships,
    gateway_groups: [...sites, internetSite],
    tokens,
    clients,
    gateways: some(making, 2, 4, () => make.gatewayRow(making, idOf(pick(random, [...sites, internetSite])))),
    resources,
    resource_connections: connections,
    policies,
  };
}

function some(making: make.Making, min: number, max: number, one: () => SqlRow): SqlRow[] {
  return Array.from({ length: integer(making.random, min, max) }, one);
}

/** False where two rows happen to be alike in what has to be unique. */
async function insertAll(db: ClientBase, rows: Rows): Promise<boolean> {
  try {
    for (const table of parentsFirst) {
      if (rows[table].length > 0) await db.query(insertSql(table, rows[table]));
    }
    return true;
  } catch (error) {
    if (error instanceof DatabaseError && error.code === '23505') return false;
    throw error;
  }
}

async function isBalanced(db: ClientBase, random: Random, account: string, atMs: number): Promise<boolean> {
  const subjects = await randomSubjects(db, random, account, 'each');
  const answers = await askAccess(db, account, atMs, subjects);
  const share = answers.filter(({ verdict }) => verdict === 'granted').length / Math.max(1, answers.length);
  return share >= grantedShareMin && share <= grantedShareMax;
}
