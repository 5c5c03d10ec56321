// The account that `npm run seed` makes: a company with every kind of row that decisions look at. Parents come before
// children; tokens are not among them.
import type { TableName } from '../protocol/tables.ts';

export type SeedRow = {
  readonly table: TableName;
  /** By column; lists of objects are JSON text. */
  readonly values: Readonly<Record<string, unknown>>;
};

/** The id of the row that `name` names in `table`. */
export type IdOf = (table: TableName, name: string) => string;

/** The time of every event that the rows tell of. */
const earlier = '2026-01-05T08:00:00Z';

const people = {
  alice: { type: 'account_admin_user', name: 'Alice Admin', groups: ['engineering', 'operations'] },
  bob: { type: 'account_user', name: 'Bob Builder', groups: ['engineering'] },
  carol: { type: 'account_user', name: 'Carol Carter', groups: ['contractors'] },
  robot: { type: 'service_account', name: 'Build robot', groups: ['operations'] },
} as const;

const groups = {
  everyone: 'Everyone',
  engineering: 'Engineering',
  operations: 'Operations',
  contractors: 'Contractors',
};

/** By name, the site's name and the names of its gateways. */
export const seedSites = {
  headquarters: { name: 'Headquarters', gateways: ['hq-1', 'hq-2'] },
  cloud: { name: 'Cloud', gateways: ['cloud-1'] },
} as const;

/** By external id, whose it is. */
export const seedClients = {
  'alice-laptop': { actor: 'alice', name: "Alice's laptop", isVerified: true },
  'bob-laptop': { actor: 'bob', name: "Bob's laptop", isVerified: false },
  'carol-phone': { actor: 'carol', name: "Carol's phone", isVerified: false },
  'robot-runner': { actor: 'robot', name: 'CI runner', isVerified: false },
} as const;

/** The identity by which a person signs in; a service account has none. */
export function identityNameOf(actor: keyof typeof people): string | null {
  return people[actor].type === 'service_account' ? null : `${actor}@acme.test`;
}

type ResourceType = 'dns' | 'cidr' | 'ip' | 'internet';
type Resource = {
  readonly type: ResourceType;
  readonly address: string | null;
  readonly ipStack?: 'dual' | 'ipv4_only' | 'ipv6_only';
  readonly description?: string;
  readonly filters?: readonly object[];
  readonly sites: readonly (keyof typeof seedSites | 'internet')[];
};

const web = [{ protocol: 'tcp', ports: ['80', '443'] }];

const resources: Readonly<Record<string, Resource>> = {
  Wiki: { type: 'dns', address: 'wiki.acme.test', ipStack: 'dual', filters: web, sites: ['headquarters', 'cloud'] },
  'Git hosts': { type: 'dns', address: '*.git.acme.test', ipStack: 'ipv4_only', sites: ['headquarters'] },
  'Lab machines': { type: 'dns', address: '**.lab.acme.test', ipStack: 'ipv6_only', sites: ['cloud'] },
  'Office network': {
    type: 'cidr',
    address: '10.20.0.0/16',
    description: 'The whole office, printers included',
    sites: ['headquarters'],
  },
  'Cloud network': {
    type: 'cidr',
    address: 'fd12:3456:789a::/48',
    filters: [{ protocol: 'tcp', ports: ['22', '8000 - 8999'] }, { protocol: 'icmp' }],
    sites: ['cloud'],
  },
  Database: {
    type: 'ip',
    address: '10.30.0.5',
    filters: [
      { protocol: 'tcp', ports: ['5432'] },
      { protocol: 'udp', ports: [] },
    ],
    sites: ['cloud'],
  },
  'Name server': { type: 'ip', address: '2001:db8::53', sites: ['cloud'] },
  'The internet': { type: 'internet', address: null, sites: ['internet'] },
};

type Policy = {
  readonly group: keyof typeof groups;
  readonly resource: string;
  readonly conditions?: readonly object[];
  readonly isDisabled?: boolean;
};

function policies(providerId: string): Readonly<Record<string, Policy>> {
  const condition = (property: string, operator: string, values: readonly string[]) => ({ property, operator, values });
  const verified = condition('client_verified', 'is', ['true']);
  const within = (...windows: string[]) => condition('current_utc_datetime', 'is_in_day_of_week_time_ranges', windows);
  return {
    'Everyone reads the wiki': { group: 'everyone', resource: 'Wiki' },
    'Engineers reach the Git hosts': { group: 'engineering', resource: 'Git hosts' },
    'Engineers reach the lab from home countries': {
      group: 'engineering',
      resource: 'Lab machines',
      conditions: [condition('remote_ip_location_region', 'is_in', ['CH', 'DE', 'US'])],
    },
    'Contractors reach the lab from elsewhere too': {
      group: 'contractors',
      resource: 'Lab machines',
      conditions: [condition('remote_ip_location_region', 'is_not_in', ['AQ'])],
    },
    'Contractors reach the office from their own': {
      group: 'contractors',
      resource: 'Office network',
      conditions: [condition('remote_ip', 'is_in_cidr', ['203.0.113.0/24', '2001:db8:cafe::/48'])],
    },
    'Engineers reach the cloud from outside it': {
      group: 'engineering',
      resource: 'Cloud network',
      conditions: [condition('remote_ip', 'is_not_in_cidr', ['198.51.100.0/24'])],
    },
    'Operations reach the database, signed in with SSO on a verified client': {
      group: 'operations',
      resource: 'Database',
      conditions: [condition('provider_id', 'is_in', [providerId]), verified],
    },
    'Engineers reach the database unless signed in with SSO': {
      group: 'engineering',
      resource: 'Database',
      conditions: [condition('provider_id', 'is_not_in', [providerId])],
    },
    'Operations reach the name server by day and on the night shift': {
      group: 'operations',
      resource: 'Name server',
      conditions: [
        within('M/08:00:00-18:00:00/UTC', 'T/true/Europe/Zurich', 'F/22:00-06:00/America/New_York', 'S//UTC'),
      ],
    },
    'Engineers go out to the internet on verified clients': {
      group: 'engineering',
      resource: 'The internet',
      conditions: [verified],
    },
    'Contractors reach the database': { group: 'contractors', resource: 'Database', isDisabled: true },
  };
}

/** Every row but the tokens. */
export function seedRows(idOf: IdOf, slug: string): readonly SeedRow[] {
  const account_id = idOf('accounts', slug);
  const config = JSON.stringify({
    search_domain: 'acme.test',
    clients_upstream_dns: [{ protocol: 'ip_port', address: '1.1.1.1' }],
  });
  const row = (table: TableName, name: string, values: SeedRow['values']): SeedRow => ({
    table,
    values: { id: idOf(table, name), account_id, ...values },
  });
  return [
    { table: 'accounts', values: { id: account_id, name: 'Acme', slug, config } },
    ...peopleRows(idOf, row),
    ...deviceRows(idOf, row),
    ...resourceRows(idOf, row, account_id),
    ...Object.entries(policies(idOf('auth_providers', 'sso'))).map(([description, policy]) =>
      row('policies', description, {
        actor_group_id: idOf('actor_groups', policy.group),
        resource_id: idOf('resources', policy.resource),
        description,
        conditions: (policy.conditions ?? []).map((condition) => JSON.stringify(condition)),
        disabled_at: policy.isDisabled === true ? earlier : null,
      }),
    ),
  ];
}

type MakeRow = (table: TableName, name: string, values: SeedRow['values']) => SeedRow;

function* peopleRows(idOf: IdOf, row: MakeRow): Generator<SeedRow> {
  for (const [actor, { type, name }] of Object.entries(people)) yield row('actors', actor, { type, name });
  for (const [group, name] of Object.entries(groups)) {
    yield row('actor_groups', group, { name, type: group === 'everyone' ? 'managed' : 'static' });
  }
  for (const [actor, person] of Object.entries(people)) {
    for (const group of ['everyone', ...person.groups]) {
      const values = { actor_id: idOf('actors', actor), group_id: idOf('actor_groups', group) };
      yield row('actor_group_memberships', `${actor} in ${group}`, values);
    }
  }
  yield row('auth_providers', 'email', { name: 'Email', adapter: 'email', provisioner: 'manual' });
  yield row('auth_providers', 'sso', { name: 'Acme SSO', adapter: 'openid_connect', provisioner: 'just_in_time' });
  for (const [actor, { type }] of Object.entries(people)) {
    if (type === 'service_account') continue;
    const email = `${actor}@acme.test`;
    const provider_id = idOf('auth_providers', actor === 'carol' ? 'email' : 'sso');
    const values = { actor_id: idOf('actors', actor), provider_id, provider_identifier: email, email };
    yield row('auth_identities', email, values);
  }
}

function* deviceRows(idOf: IdOf, row: MakeRow): Generator<SeedRow> {
  let serial = 1;
  const addresses = () => {
    serial += 1;
    return { ipv4: `100.64.0.${serial}`, ipv6: `fd00:2021:1111::${serial.toString(16)}` };
  };
  for (const [site, { name, gateways }] of Object.entries(seedSites)) {
    yield row('gateway_groups', site, { name });
    const group_id = idOf('gateway_groups', site);
    for (const gateway of gateways) {
      yield row('gateways', gateway, { group_id, external_id: gateway, name: gateway, ...addresses() });
    }
  }
  yield row('gateway_groups', 'internet', { name: 'Internet', managed_by: 'system' });
  for (const [client, { actor, name, isVerified }] of Object.entries(seedClients)) {
    const identity = identityNameOf(actor);
    yield row('clients', client, {
      actor_id: idOf('actors', actor),
      identity_id: identity === null ? null : idOf('auth_identities', identity),
      external_id: client,
      name,
      ...addresses(),
      verified_at: isVerified ? earlier : null,
      verified_by: isVerified ? 'actor' : null,
    });
  }
}

function* resourceRows(idOf: IdOf, row: MakeRow, account_id: string): Generator<SeedRow> {
  for (const [name, { type, address, ipStack, description, filters, sites }] of Object.entries(resources)) {
    yield row('resources', name, {
      name,
      type,
      address,
      address_description: description ?? null,
      ip_stack: ipStack ?? null,
      filters: JSON.stringify(filters ?? []),
    });
    for (const site of sites) {
      const resource_id = idOf('resources', name);
      yield {
        table: 'resource_connections',
        values: { resource_id, gateway_group_id: idOf('gateway_groups', site), account_id },
      };
    }
  }
}
