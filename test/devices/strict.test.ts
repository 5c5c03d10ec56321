// The simulated devices drop what real ones drop.
import { expect, test } from 'vitest';
import { id } from '../support/world.ts';
import { readFrame } from '../../devices/strict.ts';

const cidr = {
  type: 'cidr',
  id: id('res'),
  name: 'N',
  address: '10.0.0.0/8',
  gateway_groups: [{ id: id('site'), name: 'HQ' }],
};
const push = (event: string, payload: unknown) => JSON.stringify({ topic: 'client', event, payload, ref: null });

test.each([
  ['a ref that is text', '{"topic":"client","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"0"}'],
  [
    'an ok reply with a response that is null',
    '{"topic":"client","event":"phx_reply","payload":{"status":"ok","response":null},"ref":0}',
  ],
  [
    'an ok reply with a response that says something',
    '{"topic":"client","event":"phx_reply","payload":{"status":"ok","response":{"a":1}},"ref":0}',
  ],
  ['an unknown event', push('no_such_event', {})],
  ['an address with host bits', push('resource_created_or_updated', { ...cidr, address: '10.1.0.0/8' })],
  ['an address without a prefix', push('resource_created_or_updated', { ...cidr, address: '10.0.0.0' })],
  ['an IPv6 address with host bits', push('resource_created_or_updated', { ...cidr, address: 'fd00::1/64' })],
  ['both names of a site', push('resource_created_or_updated', { ...cidr, sites: [] })],
  ['a missing required field', push('resource_created_or_updated', { ...cidr, name: undefined })],
  ['a disconnect for another reason', push('disconnect', { reason: 'elsewhere' })],
])('a device drops %s', (_, text) => {
  expect(readFrame('client', text).type).toBe('dropped');
});

test('a device reads what the contract allows', () => {
  for (const address of ['10.0.0.0/8', '1.2.3.4/32', 'fd00::/64', '::1/128', '0.0.0.0/0']) {
    expect(readFrame('client', push('resource_created_or_updated', { ...cidr, address })).type).toBe('frame');
  }
  expect(readFrame('client', push('resource_deleted', id('res'))).type).toBe('frame');
});
