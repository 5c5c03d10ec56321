import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { migrate } from '../../dev/migrate.ts';
import { startPostgres, type RunningPostgres } from '../../dev/postgres.ts';
import { setRolePassword } from '../../dev/role-password.ts';
import { dumpSchema, storedSchema } from '../../dev/schema-dump.ts';
import { keyColumns, ledgerTable, tableNames } from '../../protocol/tables.ts';
import { acme, insertRow, other, refusalOf, type Values } from '../support/insert-row.ts';

const publishedTables = [...tableNames, ledgerTable] as const;

describe.each([18, 15] as const)('the schema on Postgres %i', (version) => {
  let server: RunningPostgres;
  let db: Client;
  let replicatorUrl: string;

  beforeAll(async () => {
    server = await startPostgres({ version });
    await migrate(server.url);
    replicatorUrl = await setRolePassword(server.url, 'drawbridge_replicator', 'secret');
    db = new Client({ connectionString: server.url });
    await db.connect();
  });
  afterAll(async () => {
    await db.end();
    await server.stop();
  });
  beforeEach(async () => {
    await db.query('begin');
    await insert('accounts', { id: acme, name: 'Acme' });
    await insert('accounts', { id: other, name: 'Other' });
  });
  afterEach(async () => {
    await db.query('rollback');
  });

  test('is what migrations/schema.sql says', async () => {
    expect(await dumpSchema(server.url)).toBe(storedSchema());
  });

  test('publishes exactly the tables of protocol/tables.ts, every kind of change of them', async () => {
    expect(await column(`select tablename from pg_publication_tables where pubname = 'drawbridge'`)).toEqual(
      [...tableNames].sort(),
    );
    expect(
      await column(
        `select concat_ws(' ', pubname, pubinsert::int, pubupdate::int, pubdelete::int, pubtruncate::int) from pg_publication`,
      ),
    ).toEqual(['drawbridge 1 1 1 1', 'drawbridge_flows 0 1 1 1']);
    expect(
      await column(`select tablename || rowfilter from pg_publication_tables where pubname = 'drawbridge_flows'`),
    ).toEqual(['flows(ended_at IS NULL)']);
  });

  test('keeps nothing but published tables in public, and relay groups, whose tokens are published', async () => {
    const tables = await column(`select tablename from pg_tables where schemaname = 'public'`);

    expect(tables).toEqual([...publishedTables, 'relay_groups'].sort());
  });

  test('identifies the rows of each published table by the key in protocol/tables.ts', async () => {
    const keys = await column(
      `select conrelid::regclass || ' ' || string_agg(attname, ',' order by array_position(conkey, attnum))
      from pg_constraint join pg_attribute on attrelid = conrelid and attnum = any (conkey)
      where contype = 'p' and connamespace = 'public'::regnamespace group by conrelid`,
    );

    expect(keys).toEqual(
      [...publishedTables.map((table) => `${table} ${keyColumns[table].join(',')}`), 'relay_groups id'].sort(),
    );
  });

  test('sends whole old rows of published tables, which have no generated columns', async () => {
    const identities = `select distinct relreplident from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace and relname <> 'relay_groups'`;

    expect(await column(identities)).toEqual(['f']);
    expect(await column(`select attname from pg_attribute where attgenerated <> '' and attrelid > 16384`)).toEqual([]);
  });

  test('has an index for every foreign key', async () => {
    const unindexed = await column(
      `select conrelid::regclass || ' ' || conname from pg_constraint
      where contype = 'f' and not exists (
        select from pg_index
        where indrelid = conrelid and indpred is null and conkey @> (indkey::int2[])[0:array_length(conkey, 1) - 1]
      )`,
    );

    expect(unindexed).toEqual([]);
  });

  test('has account_id in every foreign key between tables of accounts, and a plain one where there may be none', async () => {
    const loose = await column(
      `select conrelid::regclass || ' ' || conname from pg_constraint
      where contype = 'f' and confrelid <> 'accounts'::regclass
      and exists (select from pg_attribute where attrelid = conrelid and attname = 'account_id')
      and not exists (
        select from generate_subscripts(conkey, 1) as i
          join pg_attribute near on near.attrelid = conrelid and near.attnum = conkey[i]
          join pg_attribute far on far.attrelid = confrelid and far.attnum = confkey[i]
        where near.attname = 'account_id' and far.attname = 'account_id'
      )`,
    );

    expect(loose).toEqual(['tokens tokens_relay_group_id_fkey']);
  });

  test('can be pointed at with the account by every table that has an id', async () => {
    const without = await column(
      `select attrelid::regclass from pg_attribute
      where attname = 'id' and attrelid <> 'accounts'::regclass
        and attrelid in (select oid from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace)
        and not exists (
          select from pg_constraint where conrelid = attrelid and pg_get_constraintdef(oid) = 'UNIQUE (account_id, id)'
        )`,
    );

    expect(without).toEqual([]);
  });

  test('ties a token of relays to the account of their group, or to none where the group has none', async () => {
    const shared = await column(`insert into relay_groups (name) values ('Shared') returning id`);
    const own = await column(`insert into relay_groups (name, account_id) values ('Own', '${acme}') returning id`);
    const token = async (account: string | null, group: string | undefined) =>
      await refusal('tokens', {
        type: 'relay_group',
        actor_id: null,
        identity_id: null,
        account_id: account,
        relay_group_id: group ?? null,
      });

    expect(await token(null, shared[0])).toBe(null);
    expect(await token(acme, own[0])).toBe(null);
    expect(await token(null, own[0])).toBe('tokens_account_of_relay_group');
    expect(await token(acme, shared[0])).toBe('tokens_account_id_relay_group_id_fkey');
    expect(await token(other, own[0])).toBe('tokens_account_id_relay_group_id_fkey');
    expect(await token(null, undefined)).toBe('tokens_belong_by_type');
    await expect(db.query(`update relay_groups set account_id = '${acme}' where account_id is null`)).rejects.toThrow(
      'a relay group stays with its account',
    );
  });

  test('gives a tunnel address to one device of an account, client or gateway', async () => {
    await insert('clients', { ipv4: '100.64.0.2' });

    expect(await refusal('gateways', { ipv4: '100.64.0.2' })).toBe('network_addresses_pkey');
    expect(await refusal('clients', { ipv4: '100.64.0.2' })).toBe('clients_account_id_ipv4_key');
    await insert('gateways', { ipv4: '100.64.0.2', account_id: other });
  });

  test('gives a tunnel address free when its device moves or goes', async () => {
    await insert('clients', { ipv4: '100.64.0.2', ipv6: 'fd00:2021:1111::2' });
    await insert('gateways', { ipv4: '100.64.0.3', ipv6: 'fd00:2021:1111::3' });

    await db.query(`update clients set ipv4 = '100.64.0.4'`);
    await db.query(`update gateways set ipv4 = '100.64.0.2', name = 'moved'`);
    expect(await addresses()).toEqual(['100.64.0.2', '100.64.0.4', 'fd00:2021:1111::2', 'fd00:2021:1111::3']);

    await db.query('delete from gateways');
    expect(await addresses()).toEqual(['100.64.0.4', 'fd00:2021:1111::2']);

    await db.query('truncate clients');
    expect(await addresses()).toEqual([]);
  });

  test('deletes everything of an account with it', async () => {
    await insert('resource_connections', {});
    await insert('policies', {});
    await insert('clients', { identity_id: await insert('auth_identities', {}) });
    await insert('gateways', {});
    await insert('tokens', {});
    await insert('actor_group_memberships', {});

    await db.query('delete from accounts where id = $1', [acme]);

    for (const table of [...tableNames.filter((name) => name !== 'accounts'), 'drawbridge.network_addresses']) {
      expect(await column(`select '${table}' from ${table}`)).toEqual([]);
    }
  });

  test('keeps a client whose identity is deleted, without the identity', async () => {
    const identity = await insert('auth_identities', {});
    const client = await insert('clients', { identity_id: identity });

    await db.query('delete from auth_identities where id = $1', [identity]);

    expect(await column(`select id from clients where identity_id is null`)).toEqual([client]);
  });

  test('gives each device a secret of its own', async () => {
    await insert('clients', { ipv4: '100.64.0.2' });
    await insert('gateways', { ipv4: '100.64.0.3' });

    const secrets = await column(`select psk_base::text from clients union select psk_base::text from gateways`);

    expect(secrets).toEqual([expect.stringMatching(/^\\x[0-9a-f]{64}$/), expect.stringMatching(/^\\x[0-9a-f]{64}$/)]);
  });

  test("has one internet resource an account, in the system's site Internet only", async () => {
    const internet = await insert('resources', { type: 'internet', address: null });
    const internetSite = await insert('gateway_groups', { name: 'Internet', managed_by: 'system' });

    expect(await refusal('resources', { type: 'internet', address: null })).toBe('resources_one_internet_an_account');
    expect(await refusal('resource_connections', { resource_id: internet })).toBe('internet_resource_in_internet_site');
    expect(await refusal('resource_connections', { gateway_group_id: internetSite })).toBe(
      'internet_resource_in_internet_site',
    );
    await insert('resource_connections', { resource_id: internet, gateway_group_id: internetSite });
  });

  test('lets a role that may write one table do so, with all its checks', async () => {
    await db.query('create role clerk; grant insert, select on policies to clerk');
    const references = {
      actor_group_id: await insert('actor_groups'),
      resource_id: await insert('resources'),
      conditions: ['{"property": "remote_ip", "operator": "is_in_cidr", "values": ["10.0.0.0/8"]}'],
    };

    await db.query('set local role clerk');

    expect(await refusal('policies', { ...references, conditions: ['{}'] })).toBe('policies_conditions_check');
    expect(await refusal('policies', references)).toBeNull();
  });

  test('lets the replicator read what is published, keep its books, make a slot, and nothing more', async () => {
    await db.query('rollback');
    const replicator = new Client({ connectionString: replicatorUrl });
    await replicator.connect();
    const denied = { code: '42501' };
    try {
      for (const table of [...tableNames, 'drawbridge.migrations']) await replicator.query(`select from ${table}`);
      await replicator.query(
        `insert into drawbridge.lanes (account_id, epoch, to_lsn, term) values ('${acme}', 1, '0/1', 1)`,
      );
      await replicator.query(`update drawbridge.lanes set state = 'parked'; delete from drawbridge.lanes`);
      await replicator.query(`insert into drawbridge.epochs values (1, 'first', 'drawbridge', '1', 1)`);
      await replicator.query(`select pg_create_logical_replication_slot('drawbridge', 'pgoutput', true)`);

      await expect(replicator.query(`update drawbridge.epochs set reason = ''`)).rejects.toMatchObject(denied);
      await expect(replicator.query(`insert into accounts (name) values ('x')`)).rejects.toMatchObject(denied);
      await expect(replicator.query(`delete from policies`)).rejects.toMatchObject(denied);
      await expect(replicator.query(`select from drawbridge.network_addresses`)).rejects.toMatchObject(denied);
      await expect(replicator.query(`create table mine ()`)).rejects.toMatchObject(denied);
    } finally {
      await replicator.end();
    }
  });

  async function column(sql: string): Promise<string[]> {
    const { rows } = await db.query<unknown[]>({ text: sql, rowMode: 'array' });
    return rows.flat().map(String).sort();
  }

  function addresses(): Promise<string[]> {
    return column('select host(address) from drawbridge.network_addresses');
  }

  function insert(table: string, values?: Values): Promise<string> {
    return insertRow(db, table, values);
  }

  function refusal(table: string, values: Values): Promise<string | null> {
    return refusalOf(db, table, values);
  }
});
