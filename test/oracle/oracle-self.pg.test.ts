// The oracle by itself, on examples worked out by hand from the definition in docs/spec.md: one or more for each clause,
// each row of the table of conditions, and how long access lasts. Windows of time have a file of their own.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { must } from '../../protocol/assert.ts';
import { insertRow } from '../support/insert-row.ts';
import { startOracleDatabase } from './database.ts';
import type { Database } from '../support/database.ts';
import { askAccess, askUntil, type Answer, type Subject } from './oracle.ts';

/** A Wednesday. */
const noon = Date.parse('2026-07-15T12:00:00Z');
const dayMs = 86_400_000;

const account = '00000000-0000-4000-8000-000000000001';

let database: Database;
beforeAll(async () => {
  database = await startOracleDatabase();
  await database.db.query(`insert into accounts (id, name) values ($1, 'acme')`, [account]);
});
afterAll(() => database.stop());

/** One of each, so that the client may reach the resource. */
let ids: Readonly<
  Record<'actor' | 'group' | 'provider' | 'identity' | 'token' | 'client' | 'site' | 'resource' | 'policy', string>
>;
beforeEach(async () => {
  const { db } = database;
  await db.query('begin');
  const actor = await insertRow(db, 'actors');
  const group = await insertRow(db, 'actor_groups');
  await insertRow(db, 'actor_group_memberships', { actor_id: actor, group_id: group });
  const provider = await insertRow(db, 'auth_providers');
  const identity = await insertRow(db, 'auth_identities', { actor_id: actor, provider_id: provider });
  const token = await insertRow(db, 'tokens', { actor_id: actor, identity_id: identity });
  const client = await insertRow(db, 'clients', { actor_id: actor });
  const site = await insertRow(db, 'gateway_groups');
  const resource = await insertRow(db, 'resources');
  await insertRow(db, 'resource_connections', { resource_id: resource, gateway_group_id: site });
  const policy = await insertRow(db, 'policies', { actor_group_id: group, resource_id: resource });
  ids = { actor, group, provider, identity, token, client, site, resource, policy };
});
afterEach(async () => {
  await database.db.query('rollback');
});

describe('who may reach what', () => {
  test('all six clauses together grant, through every site of the resource', async () => {
    const another = await insertRow(database.db, 'gateway_groups');
    await insertRow(database.db, 'resource_connections', { resource_id: ids.resource, gateway_group_id: another });

    const answer = await ask();

    expect(answer).toEqual({
      client_id: ids.client,
      token_id: ids.token,
      resource_id: ids.resource,
      verdict: 'granted',
      sites: [ids.site, another].sort(),
      violated: [],
    });
  });

  test.each([
    ['1: a disabled account grants nothing', 'update accounts set disabled_at = now()'],
    ['2: a client without its row is granted nothing', 'delete from clients'],
    ['2: a disabled actor is granted nothing', 'update actors set disabled_at = now()'],
    ['3: a token without its row grants nothing', 'delete from tokens'],
    ['3: a token of another type grants nothing', `update tokens set type = 'api'`],
    ['3: a token that has expired grants nothing', `update tokens set expires_at = '2026-07-15T11:59:59.999Z'`],
    ['3: a token that expires at the moment grants nothing', `update tokens set expires_at = '2026-07-15T12:00:00Z'`],
    ['4: a disabled provider grants nothing', 'update auth_providers set disabled_at = now()'],
    ['4: an identity that is gone takes its token along', 'delete from auth_identities'],
    ['5: a resource in no site is not found', 'delete from resource_connections'],
    ['6: without a policy that names the resource it is not found', 'delete from policies'],
    ["6: without a membership in the policy's group it is not found", 'delete from actor_group_memberships'],
    ['6: a disabled policy counts as none', 'update policies set disabled_at = now()'],
  ])('%s', async (_, sql) => {
    await database.db.query(sql);
    expect((await ask()).verdict).toBe('not_found');
  });

  test.each([
    ['3: a token that expires a millisecond later', `update tokens set expires_at = '2026-07-15T12:00:00.001Z'`],
    [
      '4: a token without an identity, whatever providers do',
      'update auth_providers set disabled_at = now(); update tokens set identity_id = null',
    ],
    ['6: a verified client', `update clients set verified_at = now(), verified_by = 'system'`],
  ])('%s is granted', async (_, sql) => {
    await database.db.query(sql);
    expect((await ask()).verdict).toBe('granted');
  });

  test('3: a token of another actor grants nothing', async () => {
    const token = await insertRow(database.db, 'tokens');
    expect((await ask({ token_id: token })).verdict).toBe('not_found');
  });

  test('6: a policy of a group that the actor is not in names nothing for its client', async () => {
    const group = await insertRow(database.db, 'actor_groups');
    await database.db.query('update policies set actor_group_id = $1', [group]);
    expect((await ask()).verdict).toBe('not_found');
  });

  test('a resource of another account is nothing to ask for', async () => {
    const { rows } = await database.db.query<{ id: string }>(
      `insert into accounts (name) values ('other') returning id`,
    );
    await insertRow(database.db, 'resources', { account_id: rows[0]?.id });
    const answers = await askAccess(database.db, account, noon, [subject()]);
    expect(answers.map(({ resource_id: resource }) => resource)).toEqual([ids.resource]);
  });

  test('without a policy that grants, the properties of all conditions that do not hold are named once, in order', async () => {
    const isFrom = { property: 'remote_ip', operator: 'is_in_cidr', values: ['198.51.100.0/24'] };
    const isIn = { property: 'remote_ip_location_region', operator: 'is_in', values: ['DE'] };
    const isVerified = { property: 'client_verified', operator: 'is', values: ['true'] };
    await setConditions([isVerified, isFrom, isIn]);
    await addPolicy([isVerified], null);
    await addPolicy([{ ...isIn, values: ['US'] }], 'disabled');

    const answer = await ask();

    expect(answer).toMatchObject({ verdict: 'forbidden', sites: [], violated: ['client_verified', 'remote_ip'] });
  });

  test('one of several policies is enough', async () => {
    await setConditions([{ property: 'client_verified', operator: 'is', values: ['true'] }]);
    await addPolicy([], null);
    expect(await ask()).toMatchObject({ verdict: 'granted', violated: [] });
  });

  test('all conditions of a policy must hold', async () => {
    const isVerified = { property: 'client_verified', operator: 'is', values: ['true'] };
    await setConditions([{ property: 'client_verified', operator: 'is', values: ['false'] }, isVerified]);
    expect(await ask()).toMatchObject({ verdict: 'forbidden', violated: ['client_verified'] });
  });
});

describe('a condition', () => {
  const facts = { region: 'DE', remote_ip: '203.0.113.7', provider_id: 'p', is_verified: true };

  test.each([
    ['remote_ip_location_region', 'is_in', ['US', 'DE'], {}, true],
    ['remote_ip_location_region', 'is_in', ['US'], {}, false],
    ['remote_ip_location_region', 'is_in', [], {}, false],
    ['remote_ip_location_region', 'is_in', ['DE'], { region: null }, false],
    ['remote_ip_location_region', 'is_not_in', ['US', 'DE'], {}, false],
    ['remote_ip_location_region', 'is_not_in', ['US'], {}, true],
    ['remote_ip_location_region', 'is_not_in', [], {}, true],
    ['remote_ip_location_region', 'is_not_in', [], { region: null }, false],
    ['remote_ip', 'is_in_cidr', ['10.0.0.0/8', '203.0.113.0/24'], {}, true],
    ['remote_ip', 'is_in_cidr', ['203.0.113.99/24'], {}, true],
    ['remote_ip', 'is_in_cidr', ['203.0.113.7'], {}, true],
    ['remote_ip', 'is_in_cidr', ['203.0.113.8'], {}, false],
    ['remote_ip', 'is_in_cidr', ['::/0'], {}, false],
    ['remote_ip', 'is_in_cidr', ['203.0.113.0/24'], { remote_ip: '::ffff:203.0.113.7' }, true],
    ['remote_ip', 'is_in_cidr', ['203.0.113.0/24'], { remote_ip: '::ffff:cb00:7107' }, true],
    ['remote_ip', 'is_in_cidr', ['2001:db8::/32'], { remote_ip: '2001:db8::7' }, true],
    ['remote_ip', 'is_in_cidr', ['0.0.0.0/0'], { remote_ip: '2001:db8::7' }, false],
    ['remote_ip', 'is_in_cidr', ['0.0.0.0/0'], { remote_ip: null }, false],
    ['remote_ip', 'is_not_in_cidr', ['10.0.0.0/8', '203.0.113.0/24'], {}, false],
    ['remote_ip', 'is_not_in_cidr', ['203.0.113.0/24'], { remote_ip: '::ffff:203.0.113.7' }, false],
    ['remote_ip', 'is_not_in_cidr', ['10.0.0.0/8'], {}, true],
    ['remote_ip', 'is_not_in_cidr', [], {}, true],
    ['remote_ip', 'is_not_in_cidr', ['10.0.0.0/8'], { remote_ip: null }, false],
    ['remote_ip', 'is_not_in_cidr', [], { remote_ip: null }, false],
    ['provider_id', 'is_in', ['p'], {}, true],
    ['provider_id', 'is_in', ['q'], {}, false],
    ['provider_id', 'is_in', ['p'], { provider_id: null }, false],
    ['provider_id', 'is_not_in', ['p'], {}, false],
    ['provider_id', 'is_not_in', ['q'], {}, true],
    ['provider_id', 'is_not_in', [], { provider_id: null }, false],
    ['client_verified', 'is', ['true'], {}, true],
    ['client_verified', 'is', ['true'], { is_verified: false }, false],
    ['client_verified', 'is', ['false'], {}, true],
    ['client_verified', 'is', ['false'], { is_verified: false }, true],
    ['current_utc_datetime', 'is_in_day_of_week_time_ranges', ['M/true/UTC', 'W/9-17/UTC'], {}, true],
    ['current_utc_datetime', 'is_in_day_of_week_time_ranges', ['M/true/UTC'], {}, false],
    ['current_utc_datetime', 'is_in_day_of_week_time_ranges', [], {}, false],
    ['remote_ip', 'is_in', ['203.0.113.7'], {}, false],
    ['weather', 'is_in', ['fine'], {}, false],
  ])('%s %s %j given %j: %s', async (property, operator, values, known, holds) => {
    const { rows } = await database.db.query<{ holds: boolean }>('select oracle.condition_holds($1, $2, $3) as holds', [
      JSON.stringify({ property, operator, values }),
      new Date(noon).toISOString(),
      JSON.stringify({ ...facts, ...known }),
    ]);
    expect(rows[0]?.holds).toBe(holds);
  });

  test('the provider is that of the identity of the token, and unknown without one', async () => {
    await setConditions([{ property: 'provider_id', operator: 'is_in', values: [ids.provider] }]);
    expect((await ask()).verdict).toBe('granted');
    await setConditions([{ property: 'provider_id', operator: 'is_not_in', values: [] }]);
    expect((await ask()).verdict).toBe('granted');
    await database.db.query('update tokens set identity_id = null');
    expect(await ask()).toMatchObject({ verdict: 'forbidden', violated: ['provider_id'] });
  });
});

describe('until when', () => {
  test('without an end, infinity', async () => {
    expect(await until()).toBe(Infinity);
  });

  test('a window ends the access a millisecond after END', async () => {
    await setConditions([windows('W/9-17/UTC')]);
    expect(await until()).toBe(Date.parse('2026-07-15T17:00:00.001Z'));
  });

  test('the token ends the access at its expiry', async () => {
    await setConditions([windows('W/9-17/UTC')]);
    await database.db.query(`update tokens set expires_at = '2026-07-15T16:00:00Z'`);
    expect(await until()).toBe(Date.parse('2026-07-15T16:00:00Z'));
  });

  test('an end beyond the horizon is infinity, one on it is not', async () => {
    await database.db.query(`update tokens set expires_at = '2026-07-16T12:00:00Z'`);
    expect(await until({}, dayMs)).toBe(Date.parse('2026-07-16T12:00:00Z'));
    expect(await until({}, dayMs - 1)).toBe(Infinity);
  });

  test('of several policies the one that grants longest decides', async () => {
    await setConditions([windows('W/9-17/UTC')]);
    await addPolicy([windows('W/10-20/UTC')], null);
    await addPolicy([windows('W/true/UTC')], 'disabled');
    expect(await until()).toBe(Date.parse('2026-07-15T20:00:00.001Z'));
  });

  test('where another policy grants from the very moment that one ends, the access goes on', async () => {
    await setConditions([windows('W/true/UTC')]);
    await addPolicy([windows('R/0-9/UTC')], null);
    expect(await until()).toBe(Date.parse('2026-07-16T09:00:00.001Z'));
  });

  test('where nothing grants for a while, the access ends', async () => {
    await setConditions([windows('W/9-17/UTC', 'W/17:00:01-20/UTC')]);
    expect(await until()).toBe(Date.parse('2026-07-15T17:00:00.001Z'));
  });

  test('what is not granted is asked for its beginning', async () => {
    await setConditions([windows('W/13-17/UTC')]);
    expect((await ask()).verdict).toBe('forbidden');
    expect(await until()).toBe(Date.parse('2026-07-15T13:00:00Z'));
  });

  test('what never begins is infinity', async () => {
    await database.db.query('delete from resource_connections');
    await setConditions([windows('W/13-17/UTC')]);
    expect(await until()).toBe(Infinity);
  });
});

async function ask(facts: Partial<Subject> = {}): Promise<Answer> {
  const answers = await askAccess(database.db, account, noon, [subject(facts)]);
  return must(
    answers.find(({ resource_id: resource }) => resource === ids.resource),
    'an answer for the resource',
  );
}

function until(facts: Partial<Subject> = {}, horizonMs = 8 * dayMs): Promise<number> {
  return askUntil(database.db, { account, atMs: noon, subject: subject(facts), resource: ids.resource, horizonMs });
}

function subject(facts: Partial<Subject> = {}): Subject {
  return { client_id: ids.client, token_id: ids.token, remote_ip: '203.0.113.7', region: 'DE', ...facts };
}

interface Condition {
  readonly property: string;
  readonly operator: string;
  readonly values: readonly string[];
}

function windows(...values: string[]): Condition {
  return { property: 'current_utc_datetime', operator: 'is_in_day_of_week_time_ranges', values };
}

async function setConditions(conditions: readonly Condition[]): Promise<void> {
  const texts = conditions.map((condition) => JSON.stringify(condition));
  await database.db.query('update policies set conditions = $1 where id = $2', [texts, ids.policy]);
}

/** Of another group that the actor is in too. */
async function addPolicy(conditions: readonly Condition[], state: 'disabled' | null): Promise<void> {
  const { db } = database;
  const group = await insertRow(db, 'actor_groups');
  await insertRow(db, 'actor_group_memberships', { actor_id: ids.actor, group_id: group });
  await insertRow(db, 'policies', {
    actor_group_id: group,
    resource_id: ids.resource,
    conditions: conditions.map((condition) => JSON.stringify(condition)),
    disabled_at: state === null ? null : new Date(noon).toISOString(),
  });
}
