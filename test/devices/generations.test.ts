// Each generation of simulated devices drops what its programs drop, and takes what they take.
import { expect, test } from 'vitest';
import { id } from '../support/world.ts';
import { readFrame } from '../../devices/strict.ts';
import type { Generation } from '../../protocol/device/generations.ts';
import type { SocketRole } from '../../protocol/roles.ts';

const key = `${'A'.repeat(43)}=`;
const site = { id: id('site'), name: 'HQ' };
const resource = { type: 'cidr', id: id('res'), name: 'N', address: '10.0.0.0/8' };
const tunnel = { ipv4: '100.64.0.2', ipv6: 'fd00:2021:1111::2' };
const turn = { type: 'turn', username: '1:salt', password: 'cGFzcw', expires_at: 1 };
const flow = {
  resource_id: id('res'),
  gateway_id: id('gw'),
  gateway_public_key: key,
  gateway_ipv4: '100.64.0.3',
  gateway_ipv6: 'fd00:2021:1111::3',
  preshared_key: key,
  client_ice_credentials: { username: 'a', password: 'b' },
  gateway_ice_credentials: { username: 'a', password: 'b' },
};
const logs = { api_url: 'https://x.invalid/', upload_interval_secs: 0, upload_batch_size: 1 };

function reads(of: Generation, role: SocketRole, event: string, payload: unknown): boolean {
  return readFrame(role, JSON.stringify({ topic: role, event, payload, ref: null }), of).type === 'frame';
}

test.each([
  ['A', 'client', 'resource_created_or_updated', { ...resource, gateway_groups: [site] }, true],
  ['A', 'client', 'resource_created_or_updated', { ...resource, sites: [site] }, false],
  ['C', 'client', 'resource_created_or_updated', { ...resource, gateway_groups: [site] }, true],
  ['C', 'client', 'resource_created_or_updated', { ...resource, sites: [site] }, true],
  ['C', 'client', 'resource_created_or_updated', { ...resource, sites: [site], gateway_groups: [site] }, false],
  ['B', 'client', 'resource_created_or_updated', { ...resource, sites: [{ id: 'no' }] }, false],
  ['A', 'client', 'resource_filters_updated', { id: id('res'), filters: [] }, false],
  ['C', 'client', 'resource_filters_updated', { id: id('res'), filters: [] }, true],
  ['C', 'client', 'init', { interface: tunnel }, true],
  ['B', 'client', 'init', { interface: tunnel }, false],
  ['B', 'client', 'init', { interface: tunnel, flow_logs: logs }, true],
  ['A', 'client', 'flow_created', { ...flow, gateway_group_id: id('site') }, true],
  ['A', 'client', 'flow_created', { ...flow, site_id: id('site') }, false],
  ['C', 'client', 'flow_created', { ...flow, site_id: id('site') }, true],
  ['B', 'client', 'flow_created', { ...flow, site_id: id('site') }, false],
  ['B', 'client', 'authorization_created', { ...flow, site_id: id('site') }, false],
  ['B', 'client', 'authorization_created', { ...flow, site_id: id('site'), flow_logs_ingest_token: 'a.b.c' }, false],
  [
    'A',
    'gateway',
    'access_authorization_expiry_updated',
    { client_id: id('cli'), resource_id: id('res'), expires_at: 1 },
    false,
  ],
  [
    'C',
    'gateway',
    'access_authorization_expiry_updated',
    { client_id: id('cli'), resource_id: id('res'), expires_at: 1.5 },
    false,
  ],
  ['A', 'gateway', 'resource_updated', { ...resource, filters: [], type: 'static_device_pool' }, false],
  ['A', 'gateway', 'resource_updated', resource, false],
  ['A', 'relay', 'init', {}, true],
  ['A', 'relay', 'relays_presence', {}, false],
] as const)('generation %s, %s: %s of %j is taken: %s', (of, role, event, payload, expected) => {
  expect(reads(of, role, event, payload)).toBe(expected);
});

test.each([
  ['one relay with both of its addresses side by side', ['1 v4', '1 v6', '2 v4'], true],
  ['the addresses of one relay apart', ['1 v4', '2 v4', '1 v6'], false],
] as const)('devices and %s', (_, list, expected) => {
  const relays = list.map((entry) => {
    const [n, family] = entry.split(' ');
    return { ...turn, id: id('rel', Number(n)), addr: family === 'v4' ? '192.0.2.1:3478' : '[2001:db8::1]:3478' };
  });
  expect(reads('A', 'client', 'init', { interface: tunnel, relays })).toBe(expected);
});

test('a relay that is connected and disconnected at once is dropped, and so is an address without a port', () => {
  const relay = { ...turn, id: id('rel'), addr: '192.0.2.1:3478' };
  const presence = (gone: string[], addr = relay.addr) => ({ disconnected_ids: gone, connected: [{ ...relay, addr }] });
  expect(reads('C', 'gateway', 'relays_presence', presence([]))).toBe(true);
  expect(reads('C', 'gateway', 'relays_presence', presence([id('rel')]))).toBe(false);
  expect(reads('C', 'gateway', 'relays_presence', presence([], '192.0.2.1'))).toBe(false);
  expect(reads('C', 'gateway', 'relays_presence', presence([], '2001:db8::1:3478'))).toBe(false);
});
