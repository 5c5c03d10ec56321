// Rows as devices see them. Addresses of devices travel as plain text, an `ip` resource as a cidr of one address.
import { accountOf } from './state.ts';
import { must } from '../protocol/assert.ts';
import { partners } from './tables.ts';
import type { ClientResource } from '../protocol/device/to-client.ts';
import type { Filter, Interface } from '../protocol/device/shared.ts';
import type { GatewayResource } from '../protocol/device/to-gateway.ts';
import type { Filter as FilterColumn, ResourceRow, RowOf } from '../protocol/rows.ts';
import type { ResourceId } from '../protocol/ids.ts';
import type { State } from './state.ts';

type SiteRow = RowOf<'gateway_groups'>;

/** One rendering of each resource, shared by everybody who is told of it, for as long as the rows that it comes from are held. */
const renderedByRow = new WeakMap<
  ResourceRow,
  { readonly sites: readonly SiteRow[]; readonly resource: ClientResource }
>();

/** The resource with its sites, ordered by id; null when it is gone or stands in no site. */
export function clientResource(state: State, resourceId: ResourceId): ClientResource | null {
  const row = state.tables.rows.resources.get(resourceId);
  const siteIds = partners(state.tables.sitesOfResource, resourceId);
  if (row === undefined || siteIds.length === 0) return null;
  const sites = siteIds.toSorted().flatMap((siteId) => state.tables.rows.gateway_groups.get(siteId) ?? []);
  if (sites.length === 0) return null;
  const held = renderedByRow.get(row);
  if (held?.sites.length === sites.length && sites.every((site, i) => held.sites[i] === site)) return held.resource;
  const resource = render(row, sites);
  renderedByRow.set(row, { sites, resource });
  return resource;
}

function render(row: ResourceRow, sites: readonly SiteRow[]): ClientResource {
  const gateway_groups = sites.map(({ id, name }) => ({ id, name }));
  if (row.type === 'internet') return { type: 'internet', id: row.id, gateway_groups, can_be_disabled: true };
  return {
    type: row.type === 'dns' ? 'dns' : 'cidr',
    id: row.id,
    name: row.name,
    address: addressOf(row),
    address_description: row.address_description,
    gateway_groups,
    filters: row.filters.flatMap(filtersOf),
    ...(row.ip_stack === null ? {} : { ip_stack: row.ip_stack }),
  };
}

export function gatewayResource(row: ResourceRow): GatewayResource {
  if (row.type === 'internet') return { type: 'internet', id: row.id };
  return {
    type: row.type === 'dns' ? 'dns' : 'cidr',
    id: row.id,
    name: row.name,
    address: addressOf(row),
    filters: row.filters.flatMap(filtersOf),
  };
}

/** The tunnel interface of a device with these addresses, with the account's resolvers in both forms. */
export function tunnelInterface(state: State, device: { readonly ipv4: string; readonly ipv6: string }): Interface {
  return { ipv4: device.ipv4, ipv6: device.ipv6, ...resolversOf(accountOf(state)) };
}

type Resolvers = Omit<Interface, 'ipv4' | 'ipv6'>;

/** As in the account's row, rendered once for as long as that is held. */
const resolversByRow = new WeakMap<RowOf<'accounts'>, Resolvers>();
const noResolvers: Resolvers = { upstream_dns: [], upstream_do53: [], search_domain: null };

function resolversOf(account: RowOf<'accounts'> | null): Resolvers {
  if (account === null) return noResolvers;
  const held = resolversByRow.get(account);
  if (held !== undefined) return held;
  const { search_domain, clients_upstream_dns } = account.config;
  const resolvers = clients_upstream_dns.filter(({ protocol }) => protocol === 'ip_port');
  const rendered: Resolvers = {
    upstream_dns: resolvers.map(({ address }) => ({ protocol: 'ip_port', address: withPort(address) })),
    upstream_do53: resolvers.map(({ address }) => ({ ip: withoutPort(address) })),
    search_domain,
  };
  resolversByRow.set(account, rendered);
  return rendered;
}

function addressOf(row: ResourceRow): string {
  const address = must(row.address, 'the address of a resource that is not the internet');
  if (row.type !== 'ip') return address;
  return `${address}/${address.includes(':') ? 128 : 32}`;
}

function filtersOf({ protocol, ports }: FilterColumn): Filter[] {
  if (ports.length === 0) return [{ protocol }];
  return ports.map((port) => {
    const [start, end] = port.split(' - ');
    return { protocol, port_range_start: Number(start), port_range_end: Number(end ?? start) };
  });
}

function isIpv6(address: string): boolean {
  return address.split(':').length > 2;
}

function withPort(address: string): string {
  if (isIpv6(address))
    return address.startsWith('[') && !address.endsWith(']') ? address : `[${withoutPort(address)}]:53`;
  return address.includes(':') ? address : `${address}:53`;
}

function withoutPort(address: string): string {
  if (address.startsWith('[')) return address.slice(1, address.indexOf(']'));
  return isIpv6(address) ? address : (address.split(':')[0] ?? address);
}
