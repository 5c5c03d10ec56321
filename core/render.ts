// Rows as devices see them. Addresses of devices travel as plain text, an `ip` resource as a cidr of one address.
import { accountOf } from './state.ts';
import { must } from '../protocol/assert.ts';
import { partners } from './tables.ts';
import type { ClientResource } from '../protocol/device/to-client.ts';
import type { Filter, Interface } from '../protocol/device/shared.ts';
import type { GatewayResource } from '../protocol/device/to-gateway.ts';
import type { Filter as FilterColumn, ResourceRow } from '../protocol/rows.ts';
import type { ResourceId } from '../protocol/ids.ts';
import type { State } from './state.ts';

/** The resource with its sites, ordered by id; null when it is gone or stands in no site. */
export function clientResource(state: State, resourceId: ResourceId): ClientResource | null {
  const row = state.tables.rows.resources.get(resourceId);
  if (row === undefined) return null;
  const sites = [...partners(state.tables.sitesOfResource, resourceId)].sort().flatMap((siteId) => {
    const site = state.tables.rows.gateway_groups.get(siteId);
    return site === undefined ? [] : [{ id: site.id, name: site.name }];
  });
  if (sites.length === 0) return null;
  if (row.type === 'internet') return { type: 'internet', id: row.id, gateway_groups: sites, can_be_disabled: true };
  return {
    type: row.type === 'dns' ? 'dns' : 'cidr',
    id: row.id,
    name: row.name,
    address: addressOf(row),
    address_description: row.address_description,
    gateway_groups: sites,
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
  const config = accountOf(state)?.config;
  const resolvers = (config?.clients_upstream_dns ?? []).filter(({ protocol }) => protocol === 'ip_port');
  return {
    ipv4: device.ipv4,
    ipv6: device.ipv6,
    upstream_dns: resolvers.map(({ address }) => ({ protocol: 'ip_port', address: withPort(address) })),
    upstream_do53: resolvers.map(({ address }) => ({ ip: withoutPort(address) })),
    search_domain: config?.search_domain ?? null,
  };
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
