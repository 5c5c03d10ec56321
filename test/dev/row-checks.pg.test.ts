import type { Client } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { jurisdictions, locationHints } from '../../protocol/place.ts';
import { startDatabase, type Database } from '../support/database.ts';
import { acme, insertRow, other, refusalOf, type Values } from '../support/insert-row.ts';

describe.each([18, 15] as const)('a row on Postgres %i', (version) => {
  let database: Database;
  let db: Client;

  beforeAll(async () => {
    database = await startDatabase({ version });
    ({ db } = database);
  });
  afterAll(async () => {
    await database.stop();
  });
  beforeEach(async () => {
    await db.query('begin');
    await insertRow(db, 'accounts', { id: acme, name: 'Acme' });
    await insertRow(db, 'accounts', { id: other, name: 'Other' });
  });
  afterEach(async () => {
    await db.query('rollback');
  });

  test('[P12.29] accepts every place that the edge knows, and lets no account enter or leave a jurisdiction', async () => {
    for (const region of [...locationHints, ...jurisdictions]) {
      expect(await refusal('accounts', { name: 'Placed', region })).toBeNull();
    }
    await db.query(`update accounts set region = 'weur' where id = $1`, [acme]);
    await db.query(`update accounts set region = 'oc' where id = $1`, [acme]);
    const home = await insertRow(db, 'accounts', { name: 'Home', region: 'eu' });
    for (const [account, region] of [
      [acme, 'eu'],
      [home, 'us'],
      [home, null],
    ]) {
      await db.query('savepoint before');
      const move = db.query('update accounts set region = $1 where id = $2', [region, account]);
      await expect(move).rejects.toMatchObject({ constraint: 'accounts_keep_jurisdiction' });
      await db.query('rollback to before');
    }
  });

  test.each([
    ['policies', 'resource_id', 'policies_account_id_resource_id_fkey'],
    ['policies', 'actor_group_id', 'policies_account_id_actor_group_id_fkey'],
    ['clients', 'actor_id', 'clients_account_id_actor_id_fkey'],
    ['clients', 'identity_id', 'clients_account_id_identity_id_fkey'],
    ['gateways', 'group_id', 'gateways_account_id_group_id_fkey'],
    ['tokens', 'actor_id', 'tokens_account_id_actor_id_fkey'],
    ['resource_connections', 'gateway_group_id', 'resource_connections_account_id_gateway_group_id_fkey'],
    ['actor_group_memberships', 'group_id', 'actor_group_memberships_account_id_group_id_fkey'],
  ])('refuses a row of %s whose %s is of another account', async (table, reference, constraint) => {
    const parents: Record<string, string> = {
      resource_id: 'resources',
      actor_group_id: 'actor_groups',
      actor_id: 'actors',
      identity_id: 'auth_identities',
      group_id: table === 'gateways' ? 'gateway_groups' : 'actor_groups',
      gateway_group_id: 'gateway_groups',
    };
    const foreign = await insertRow(db, parents[reference] ?? '', { account_id: other });

    expect(await refusal(table, { [reference]: foreign })).toBe(constraint);
  });

  test.each<[string, Values, string]>([
    ['accounts', { name: ' ' }, 'accounts_name_check'],
    ['accounts', { slug: 'No' }, 'accounts_slug_check'],
    ['accounts', { when_behind: 'maybe' }, 'accounts_when_behind_check'],
    ['accounts', { region: 'atlantis' }, 'accounts_region_check'],
    ['accounts', { config: '[]' }, 'accounts_config_check'],
    ['accounts', { config: '{"search_domain": 7}' }, 'accounts_config_check'],
    ['accounts', { config: dns('8.8.8') }, 'accounts_config_check'],
    ['accounts', { config: dns('8.8.8.8:0') }, 'accounts_config_check'],
    ['accounts', { config: dns('100.100.111.1') }, 'accounts_config_check'],
    [
      'accounts',
      { config: '{"clients_upstream_dns": [{"protocol": "dns_over_tls", "address": "8.8.8.8"}]}' },
      'accounts_config_check',
    ],
    ['actors', { type: 'robot' }, 'actors_type_check'],
    ['actor_groups', { type: 'dynamic' }, 'actor_groups_type_check'],
    ['actor_groups', { provider_identifier: 'x' }, 'actor_groups_provider_fields_not_null'],
    ['auth_providers', { adapter: 'carrier_pigeon' }, 'auth_providers_adapter_check'],
    ['gateway_groups', { managed_by: 'nobody' }, 'gateway_groups_managed_by_check'],
    ['tokens', { type: 'browser' }, 'tokens_type_check'],
    ['tokens', { secret_hash: 'A'.repeat(64) }, 'tokens_secret_hash_check'],
    ['tokens', { actor_id: null }, 'tokens_belong_by_type'],
    ['tokens', { type: 'gateway_group' }, 'tokens_belong_by_type'],
    ['clients', { verified_at: 'now' }, 'clients_verified_fields_set'],
    ['clients', { ipv4: '100.96.0.1' }, 'clients_ipv4_check'],
    ['clients', { ipv4: '100.64.0.0/24' }, 'clients_ipv4_check'],
    ['clients', { ipv4: 'fd00:2021:1111::9' }, 'clients_ipv4_check'],
    ['clients', { ipv6: 'fd00:2021:1112::1' }, 'clients_ipv6_check'],
    ['clients', { psk_base: '\\x00' }, 'clients_psk_base_check'],
    ['gateways', { ipv4: '10.0.0.1' }, 'gateways_ipv4_check'],
    ['resources', { type: 'url' }, 'resources_type_check'],
    ['resources', { address: null }, 'resources_address_fits_type'],
    ['resources', { type: 'internet' }, 'resources_address_fits_type'],
    ['resources', { address: '10.0.0.5/8' }, 'resources_address_fits_type'],
    ['resources', { address: '10.0.0.0/33' }, 'resources_address_fits_type'],
    ['resources', { address: '10.0.0.0' }, 'resources_address_fits_type'],
    ['resources', { address: '10/8' }, 'resources_address_fits_type'],
    ['resources', { address: '010.0.0.0/8' }, 'resources_address_fits_type'],
    ['resources', { address: 'FD00::/8' }, 'resources_address_fits_type'],
    ['resources', { address: 'office' }, 'resources_address_fits_type'],
    ['resources', { address: '100.64.0.0/11' }, 'resources_address_not_reserved'],
    ['resources', { address: '127.0.0.0/8' }, 'resources_address_not_reserved'],
    ['resources', { type: 'ip', address: 'fd00:2021:1111::7' }, 'resources_address_not_reserved'],
    ['resources', { type: 'ip', address: '0.0.0.0' }, 'resources_address_not_reserved'],
    ['resources', { type: 'ip', address: '::1' }, 'resources_address_not_reserved'],
    ['resources', { type: 'ip', address: '10.0.0.1/32' }, 'resources_address_fits_type'],
    ['resources', { ip_stack: 'dual' }, 'resources_ip_stack_only_for_dns'],
    ['resources', { type: 'dns', address: 'a.example' }, 'resources_ip_stack_only_for_dns'],
    ['resources', { type: 'dns', ip_stack: 'ipv5', address: 'a.example' }, 'resources_ip_stack_check'],
    ...[
      '',
      '*',
      '**',
      'a.*',
      'a..b',
      '10.0.0.1',
      'localhost',
      'a.LOCALHOST',
      'a b.example',
      'a/b',
      `${'a'.repeat(64)}.example`,
      'a**.example',
      'http://a.example',
    ].map(
      (address) =>
        ['resources', { type: 'dns', ip_stack: 'dual', address }, 'resources_address_fits_type'] satisfies [
          string,
          Values,
          string,
        ],
    ),
    ...[
      '{}',
      '[1]',
      '[{}]',
      '[{"protocol": "all"}]',
      '[{"protocol": "tcp", "port": ["80"]}]',
      '[{"protocol": "tcp", "ports": "80"}]',
      '[{"protocol": "tcp", "ports": [80]}]',
      '[{"protocol": "tcp", "ports": ["80-90"]}]',
      '[{"protocol": "tcp", "ports": ["90 - 80"]}]',
      '[{"protocol": "tcp", "ports": ["65536"]}]',
      '[{"protocol": "icmp", "ports": ["1"]}]',
    ].map((filters) => ['resources', { filters }, 'resources_filters_check'] satisfies [string, Values, string]),
  ])('refuses %s with %j', async (table, values, constraint) => {
    expect(await refusal(table, values)).toBe(constraint);
  });

  test.each([
    '7',
    '{}',
    '{"property": "remote_ip", "operator": "is_in_cidr"}',
    '{"property": "remote_ip", "operator": "is_in_cidr", "values": "10.0.0.0/8"}',
    '{"property": "remote_ip", "operator": "is_in_cidr", "values": [null]}',
    '{"property": "remote_ip", "operator": "is_in_cidr", "values": [], "value": "10.0.0.0/8"}',
    condition('remote_ip', 'is_in', '10.0.0.0/8'),
    condition('remote_ip', 'is_in_cidr', '10.0.0.0/33'),
    condition('remote_ip', 'is_in_cidr', '10.0.0'),
    condition('remote_ip', 'is_in_cidr', '10.0.0.0/8 '),
    condition('hostname', 'is_in', 'a'),
    condition('remote_ip_location_region', 'is_not_in', 'UK'),
    condition('remote_ip_location_region', 'contains', 'DE'),
    condition('provider_id', 'is_in', 'okta'),
    condition('provider_id', 'is_not_in', acme.replace('8', 'A').toUpperCase()),
    condition('client_verified', 'is', 'yes'),
    condition('client_verified', 'is', 'true', 'true'),
    condition('client_verified', 'is'),
    window('M/09:00-17:00'),
    window('M/09:00-17:00/'),
    window('M/09:00-17:00/Mars/Olympus'),
    window('M/09:00-17:00/CEST'),
    window('M/09:00-17:00/FOO5'),
    window('X/09:00-17:00/UTC'),
    window('M/9-25/UTC'),
    window('M/09:60-17:00/UTC'),
    window('M/09:00/UTC'),
    window('M/false/UTC'),
    window('M/09:00-17:00-/UTC'),
  ])('refuses a policy with the condition %s', async (text) => {
    expect(await refusal('policies', { conditions: [text] })).toBe('policies_conditions_check');
  });

  test('accepts every kind of condition', async () => {
    const conditions = [
      condition('remote_ip_location_region', 'is_in', 'DE', 'FR'),
      condition('remote_ip_location_region', 'is_not_in'),
      condition('remote_ip', 'is_in_cidr', '10.0.0.1/8', '192.168.0.1', 'fd00::/8'),
      condition('remote_ip', 'is_not_in_cidr', '0.0.0.0/0'),
      condition('provider_id', 'is_in', acme),
      condition('client_verified', 'is', 'true'),
      window('M/09:00-17:00/UTC', 'T/22:00-06:00/Europe/Berlin', 'W/true/EST5EDT', 'R//US/Pacific'),
      window('U/ 9-11:30 , 13:00:00-14:5:5,/America/Port-au-Prince'),
    ];

    expect(await refusal('policies', { conditions })).toBeNull();
  });

  test.each<[string, Values]>([
    ['accounts', { config: '{"search_domain": null, "notifications": {}}' }],
    ['accounts', { config: '{"search_domain": "corp.example"}' }],
    ['accounts', { config: dns('8.8.8.8', '8.8.4.4:53', '2606:4700::1111', '[2606:4700::1111]:53') }],
    ['accounts', { region: 'apac-ne' }],
    ['tokens', { type: 'api', expires_at: 'infinity' }],
    ['resources', { address: '0.0.0.0/0' }],
    ['resources', { address: 'fd00::/8' }],
    ['resources', { type: 'ip', address: 'fd00::1' }],
    ['resources', { type: 'internet', address: null }],
    ...['gitlab', '*.example.com', '**.example.com', 'a?.example', 'bücher.example', 'a_b.x-1.Example'].map(
      (address) => ['resources', { type: 'dns', ip_stack: 'dual', address }] satisfies [string, Values],
    ),
    ['resources', { filters: '[{"protocol": "tcp", "ports": ["80", "100 - 200", "65535"]}, {"protocol": "icmp"}]' }],
    ['resources', { filters: '[{"protocol": "icmp", "ports": []}]' }],
  ])('accepts %s with %j', async (table, values) => {
    expect(await refusal(table, values)).toBeNull();
  });

  function refusal(table: string, values: Values): Promise<string | null> {
    return refusalOf(db, table, values);
  }
});

function condition(property: string, operator: string, ...values: string[]): string {
  return JSON.stringify({ property, operator, values });
}

function window(...values: string[]): string {
  return condition('current_utc_datetime', 'is_in_day_of_week_time_ranges', ...values);
}

function dns(...addresses: string[]): string {
  return JSON.stringify({ clients_upstream_dns: addresses.map((address) => ({ protocol: 'ip_port', address })) });
}
