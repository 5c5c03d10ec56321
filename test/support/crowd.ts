// An account whose devices differ: clients of twelve actors in groups of their own, some verified, and gateways of four sites,
// reaching resources of every form by policies of every kind. And what each device must be told, worked out from its rows by SQL.
import type { Client as Database } from 'pg';
import { mintToken } from '../../cli/mint-token.ts';
import { must } from '../../protocol/assert.ts';
import { askAccess, loadOracle, type Answer } from '../oracle/oracle.ts';
import type { Generation } from '../../protocol/device/generations.ts';
import type { Role } from '../../protocol/roles.ts';

export const crowdSize = { clients: 984, gateways: 16, actors: 12, sites: 4 } as const;

export type Member = {
  readonly role: Role;
  readonly id: string;
  readonly externalId: string;
  readonly name: string;
  readonly generation: Generation;
  readonly token: string;
  readonly tokenId: string;
  readonly ipv4: string;
  readonly ipv6: string;
};

export type Crowd = {
  readonly accountId: string;
  readonly clients: readonly Member[];
  readonly gateways: readonly Member[];
  /** Named by two policies, one of which is `contestedPolicyId`. */
  readonly contestedId: string;
  readonly contestedPolicyId: string;
};

const account = id('account', '0');
/** The same in every run, of the kind and the SQL expression of a number. */
function id(kind: string, n: string): string {
  return `md5('crowd ${kind} ' || ${n})::uuid`;
}

const openAllWeek = JSON.stringify(Array.from('MTWRFSU', (day) => `${day}/true/UTC`));

/** Numbers are spread so that no two actors are in the same groups, and no two groups reach the same. */
const statements = `
insert into accounts (id, name, slug, config) values (${account}, 'Crowd', 'crowd', '{"search_domain": "crowd.example",
  "clients_upstream_dns": [{"protocol": "ip_port", "address": "1.1.1.1"}, {"protocol": "ip_port", "address": "[2606:4700::1111]:5353"}]}');
insert into actors (id, account_id, type, name) select ${id('actor', 'n')}, ${account}, 'account_user', 'Actor ' || n
  from generate_series(0, ${crowdSize.actors - 1}) n;
insert into actor_groups (id, account_id, name) select ${id('group', 'n')}, ${account}, 'Group ' || n from generate_series(0, 11) n;
insert into actor_group_memberships (account_id, actor_id, group_id)
  select ${account}, ${id('actor', 'a')}, ${id('group', 'g')} from generate_series(0, 11) a, generate_series(0, 9) g where (a * 7 + g * 3) % 4 = 0
  union all select ${account}, ${id('actor', 'a')}, ${id('group', 'g')} from (values (0, 10), (1, 10), (1, 11), (2, 11)) contested (a, g);
insert into gateway_groups (id, account_id, name) select ${id('site', 'n')}, ${account}, 'Site ' || n from generate_series(0, ${crowdSize.sites - 1}) n;
insert into gateways (id, account_id, group_id, external_id, name, ipv4, ipv6)
  select ${id('gateway', 'n')}, ${account}, ${id('site', `(n % ${crowdSize.sites})`)}, 'rack-' || n, 'Rack ' || n, '100.64.0.1'::inet + n, 'fd00:2021:1111::1'::inet + n
  from generate_series(0, ${crowdSize.gateways - 1}) n;
insert into clients (id, account_id, actor_id, external_id, name, ipv4, ipv6, verified_at, verified_by)
  select ${id('client', 'n')}, ${account}, ${id('actor', `(n % ${crowdSize.actors})`)}, 'laptop-' || n, 'Laptop ' || n, '100.64.16.1'::inet + n, 'fd00:2021:1111::1:1'::inet + n,
         case when n % 5 = 0 then now() end, case when n % 5 = 0 then 'actor' end
  from generate_series(0, ${crowdSize.clients - 1}) n;
insert into resources (id, account_id, name, type, address, address_description, ip_stack, filters)
  select ${id('resource', 'n')}, ${account}, 'Resource ' || n, (array['dns', 'cidr', 'ip', 'ip'])[1 + n % 4],
         (array['app-' || n || '.crowd.example', '10.' || n || '.0.0/16', '172.16.0.' || 1 + n, 'fd12::' || to_hex(1 + n)])[1 + n % 4],
         case when n % 2 = 0 then 'Described ' || n end, case when n % 4 = 0 then 'dual' end,
         (array['[]', '[{"protocol": "icmp"}, {"protocol": "tcp", "ports": ["80", "443 - 444"]}]', '[{"protocol": "udp", "ports": []}]'])[1 + n % 3]::jsonb
  from generate_series(0, 24) n;
insert into resource_connections (account_id, resource_id, gateway_group_id)
  select ${account}, ${id('resource', 'r')}, ${id('site', 's')} from generate_series(0, 24) r, generate_series(0, ${crowdSize.sites - 1}) s
  where r <> 23 and (r % 4 = s or r % 6 = s or r = 24);
insert into policies (id, account_id, actor_group_id, resource_id, conditions, disabled_at)
  select ${id('policy', "(g || ' ' || r)")}, ${account}, ${id('group', 'g')}, ${id('resource', 'r')},
         case (g + r) % 5
           when 0 then array['{"property": "client_verified", "operator": "is", "values": ["true"]}'::jsonb]
           when 1 then array['{"property": "remote_ip_location_region", "operator": "is_in", "values": ["DE"]}'::jsonb]
           when 2 then array['{"property": "current_utc_datetime", "operator": "is_in_day_of_week_time_ranges", "values": ${openAllWeek}}'::jsonb]
           else '{}' end,
         case when (g + r) % 11 = 0 then now() end
  from generate_series(0, 9) g, generate_series(0, 23) r where (g * 5 + r * 3) % 7 = 0
  union all select ${id('policy', "(g || ' 24')")}, ${account}, ${id('group', 'g')}, ${id('resource', '24')}, '{}', null from generate_series(10, 11) g;
`;

/** Inserts everything in one transaction, and the oracle. */
export async function createCrowd(db: Database, tokenKeys: string): Promise<Crowd> {
  await loadOracle(db);
  await db.query('begin');
  await db.query(statements);
  const one = async (expression: string) => {
    const { rows } = await db.query<{ id: string }>(`select (${expression})::text as id`);
    return must(rows[0], 'a row').id;
  };
  const accountId = await one(account);
  const tokens: Record<string, { readonly text: string; readonly id: string }> = {};
  const { rows: holders } = await db.query<{ id: string; role: Role }>(
    `select id::text, 'client' as role from actors where account_id = $1 union all select id::text, 'gateway' from gateway_groups where account_id = $1`,
    [accountId],
  );
  for (const { id: holder, role } of holders) {
    const mint =
      role === 'client'
        ? { type: 'client' as const, actorId: holder }
        : { type: 'gateway_group' as const, siteId: holder };
    const text = await mintToken(db, tokenKeys, accountId, mint);
    const { rows } = await db.query<{ id: string }>(
      'select id::text from tokens where actor_id = $1 or gateway_group_id = $1',
      [holder],
    );
    tokens[holder] = { text, id: must(rows[0], 'a token').id };
  }
  const members = async (role: Role) => {
    const { rows } = await db.query<{
      id: string;
      holder: string;
      external_id: string;
      name: string;
      ipv4: string;
      ipv6: string;
    }>(
      `select id::text, ${role === 'client' ? 'actor_id' : 'group_id'}::text as holder, external_id, name, host(ipv4) as ipv4, host(ipv6) as ipv6
         from ${role}s where account_id = $1 order by split_part(external_id, '-', 2)::int`,
      [accountId],
    );
    // All generations for each actor, and in each site.
    const together = role === 'client' ? crowdSize.actors : crowdSize.sites;
    return rows.map(({ external_id: externalId, holder, ...row }, n): Member => {
      const generation = must((['A', 'C', 'B'] as const)[Math.floor(n / together) % 3], 'a generation');
      const token = must(tokens[holder], 'the token of its holder');
      return { ...row, role, externalId, generation, token: token.text, tokenId: token.id };
    });
  };
  const crowd = {
    accountId,
    clients: await members('client'),
    gateways: await members('gateway'),
    contestedId: await one(id('resource', '24')),
    contestedPolicyId: await one(id('policy', "'10 24'")),
  };
  await db.query('commit');
  return crowd;
}

/** What the oracle says of each of `clients` with each resource, by client. Nothing is known of where they connect from. */
export async function accessOf(
  db: Database,
  { accountId }: Crowd,
  clients: readonly Member[],
): Promise<Map<string, Answer[]>> {
  const subjects = clients.map(({ id: client_id, tokenId: token_id }) => ({
    client_id,
    token_id,
    remote_ip: null,
    region: null,
  }));
  return Map.groupBy(await askAccess(db, accountId, Date.now(), subjects), ({ client_id: clientId }) => clientId);
}

/** The `init` of every device, by its id, as it follows from the rows. */
export async function initsOf(db: Database, crowd: Crowd): Promise<Map<string, object>> {
  const { rows } = await db.query<{ id: string; resource: object; sites: unknown }>(rendering, [crowd.accountId]);
  const access = await accessOf(db, crowd, crowd.clients);
  const inits = new Map<string, object>();
  for (const { id: gateway, ipv4, ipv6, generation } of crowd.gateways) {
    inits.set(gateway, {
      interface: { ipv4, ipv6 },
      config: { ipv4_masquerade_enabled: true, ipv6_masquerade_enabled: true },
      account_slug: 'crowd',
      authorizations: [],
      relays: [],
      ...(generation === 'B' ? { flow_logs: flowLogs } : {}),
    });
  }
  for (const { id: client, ipv4, ipv6, generation } of crowd.clients) {
    const granted = new Set(
      access.get(client)?.flatMap((answer) => (answer.verdict === 'granted' ? [answer.resource_id] : [])),
    );
    const resources = rows.filter((row) => granted.has(row.id));
    const sitesKey = generation === 'A' ? 'gateway_groups' : 'sites';
    inits.set(client, {
      interface: { ipv4, ipv6, ...resolvers },
      resources: resources.map(({ resource, sites }) => ({ ...resource, [sitesKey]: sites })),
      relays: [],
      ...(generation === 'B' ? { authorizations: [], flow_logs: flowLogs } : {}),
    });
  }
  return inits;
}

const flowLogs = { api_url: 'https://flow-logs.invalid/', upload_interval_secs: 0, upload_batch_size: 1000 };

/** Of the account's config. */
const resolvers = {
  upstream_dns: [
    { protocol: 'ip_port', address: '1.1.1.1:53' },
    { protocol: 'ip_port', address: '[2606:4700::1111]:5353' },
  ],
  upstream_do53: [{ ip: '1.1.1.1' }, { ip: '2606:4700::1111' }],
  search_domain: 'crowd.example',
};

/** Every resource of account $1 as clients are told of it, and its sites, which generations name in two ways. */
const rendering = `
select r.id::text,
       jsonb_build_object('id', r.id, 'type', case when r.type = 'dns' then 'dns' else 'cidr' end, 'name', r.name,
         'address', case when r.type = 'ip' then text(address::inet) else address end, 'address_description', r.address_description,
         'filters', (
           select coalesce(jsonb_agg(jsonb_build_object('protocol', f ->> 'protocol') || case when port is null then '{}' else
               jsonb_build_object('port_range_start', split_part(port, ' - ', 1)::int, 'port_range_end', split_part(port, ' - ', -1)::int) end
             order by i, j), '[]')
           from jsonb_array_elements(r.filters) with ordinality filters (f, i)
           left join lateral jsonb_array_elements_text(f -> 'ports') with ordinality ports (port, j) on true))
         || case when ip_stack is null then '{}' else jsonb_build_object('ip_stack', ip_stack) end as resource,
       (select coalesce(jsonb_agg(jsonb_build_object('id', s.id, 'name', s.name) order by s.id), '[]')
          from resource_connections c join gateway_groups s on s.id = c.gateway_group_id where c.resource_id = r.id) as sites
  from resources r where r.account_id = $1 order by r.id`;
