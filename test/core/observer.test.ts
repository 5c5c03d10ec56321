// The observer of transcripts sees what it is there to see.
import { expect, test } from 'vitest';
import { Observer } from '../support/observer.ts';
import type { Party } from '../support/observer.ts';

const client: Party = { session: 'client', role: 'client', generation: 'A', deviceId: 'c', publicKey: 'ck' };
const gateway: Party = { session: 'gateway', role: 'gateway', generation: 'C', deviceId: 'g', publicKey: 'gk' };
const authorization = {
  ref: 'ref',
  client: { id: 'c', public_key: 'ck', preshared_key: 'psk' },
  resource: { id: 'r' },
  expires_at: 1000,
};
const flow = { resource_id: 'r', gateway_id: 'g', gateway_public_key: 'gk', preshared_key: 'psk' };
const pair = { client_id: 'c', resource_id: 'r' };

function watching(): Observer {
  const observer = new Observer();
  for (const party of [client, gateway]) {
    observer.connected(party);
    observer.sent(party, 'init', { relays: [], authorizations: [] }, 1);
  }
  return observer;
}

test('a flow in its order is without fault', () => {
  const observer = watching();
  observer.sent(gateway, 'authorize_flow', authorization, 1);
  observer.received(gateway, 'flow_authorized', { ref: 'ref' });
  observer.sent(client, 'flow_created', flow, 1);
  observer.sent(client, 'ice_candidates', { gateway_id: 'g' }, 1);
  observer.sent(gateway, 'init', { authorizations: [{ ...pair, expires_at: 1000 }] }, 2);
  observer.sent(gateway, 'reject_access', pair, 3);
  observer.sent(gateway, 'init', { authorizations: [] }, 4);
  observer.settled();
  expect(observer.problems).toEqual([]);
});

test.each([
  [
    'a push before init (P9)',
    (observer: Observer) => observer.sent({ ...client, session: 'x' }, 'resource_deleted', 'r', 1),
  ],
  ['a flow that no gateway accepted (P10)', (observer: Observer) => observer.sent(client, 'flow_created', flow, 1)],
  [
    'candidates before the flow (P10)',
    (observer: Observer) => observer.sent(client, 'ice_candidates', { gateway_id: 'g' }, 1),
  ],
  [
    'other secrets of one pair (P11)',
    (observer: Observer) => {
      observer.sent(gateway, 'authorize_flow', authorization, 1);
      const other = { ...authorization.client, preshared_key: 'another' };
      observer.sent(gateway, 'authorize_flow', { ...authorization, client: other }, 1);
    },
  ],
  [
    'other credentials of one relay (P11)',
    (observer: Observer) => {
      const relay = { id: 'relay', addr: 'a', username: 'u', password: 'p', expires_at: 1 };
      observer.sent(client, 'relays_presence', { connected: [relay] }, 1);
      observer.sent(client, 'relays_presence', { connected: [{ ...relay, password: 'q' }] }, 1);
    },
  ],
  [
    'an init that leaves out what no reject follows (P9)',
    (observer: Observer) => {
      observer.sent(gateway, 'authorize_flow', authorization, 1);
      observer.sent(gateway, 'init', { authorizations: [] }, 2);
      observer.settled();
    },
  ],
] as const)('the observer reports %s', (what, act) => {
  const observer = watching();
  act(observer);
  expect(observer.problems).toHaveLength(1);
  expect(observer.problems[0]).toContain(what.slice(-4, -1));
});
