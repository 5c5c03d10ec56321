// Which gateway carries a flow, and which never does.
import { expect, test } from 'vitest';
import { createFlow, drive, joinClient, lines } from '../support/core.ts';
import { gatewayHello, id, ids, row, worldRows } from '../support/world.ts';
import { isCompatible } from '../../core/compatible.ts';
import type { Drive } from '../support/core.ts';

type Gateway = { readonly n: number; readonly changes: object };

/** A site with these gateways, all connected; the client of world.ts connects last. */
function siteWith(gateways: readonly Gateway[], client: object = {}): Drive {
  const rows = worldRows();
  rows.gateways = gateways.map(({ n }) => row('gateways', { id: id('gw', n), external_id: `rack-${n}` }));
  const driven = drive(rows);
  for (const { n, changes } of gateways) {
    const hello = gatewayHello({ externalId: `rack-${n}`, ...changes });
    driven.step({ type: 'connect', sessionId: `gateway-${n}`, hello });
    driven.step({ type: 'joined', sessionId: `gateway-${n}` });
  }
  joinClient(driven, client);
  return driven;
}

const near = { latitude: 52.5, longitude: 13.4 };
const far = { latitude: 40.7, longitude: -74 };

test('[P10.8] of compatible gateways the nearest is asked, and one whose place is unknown last', () => {
  const gateways = [
    { n: 1, changes: far },
    { n: 2, changes: near },
    { n: 3, changes: {} },
  ];
  expect(lines(createFlow(siteWith(gateways, { latitude: 48.1, longitude: 11.6 })))).toEqual([
    'gateway-2 authorize_flow',
  ]);
});

test('[P10.9] a gateway that the client is connected to is preferred to a nearer one', () => {
  const driven = siteWith(
    [
      { n: 1, changes: far },
      { n: 2, changes: near },
    ],
    near,
  );
  const payload = { resource_id: ids.resource, connected_gateway_ids: [id('gw', 1)] };
  const effects = driven.step({ type: 'message', sessionId: 'client', event: 'create_flow', payload, ref: 1 });
  expect(lines(effects)).toEqual(['gateway-1 authorize_flow']);
});

test('[P10.10][D22][D23] versions are compared by number, and one that cannot be read is never chosen', () => {
  const versions = ['1.4.9', '1.4.10', 'development', null].map((deviceVersion, i) => ({
    n: i + 1,
    changes: { deviceVersion },
  }));
  const driven = siteWith(versions, { deviceVersion: '1.5.0' });
  const [line] = lines(createFlow(driven));
  expect(['gateway-1 authorize_flow', 'gateway-2 authorize_flow']).toContain(line);
  expect(lines(createFlow(siteWith(versions.slice(2), { deviceVersion: '1.5.0' })))).toEqual([
    'client flow_creation_failed offline',
  ]);
});

test.each([
  ['1.5.2', '1.4.0', true],
  ['1.5.2', '1.3.9', false],
  ['1.5.2', '1.6.99', true],
  ['1.5.2', '1.7.0', false],
  ['1.5.2', '2.5.0', false],
  ['1.5.2', '1.4.0-rc.1', false],
  ['1.0.5', '1.0.0', true],
  [null, '1.0.0', true],
  ['nonsense', '1.4.0', false],
  ['1.5.2', null, false],
])('[P10.11] a client of %s and a gateway of %s: compatible %s', (client, gateway, expected) => {
  expect(isCompatible(client, gateway)).toBe(expected);
});

test('[P10.12] equal gateways share the load, and the same question has the same answer', () => {
  const gateways = [1, 2, 3].map((n) => ({ n, changes: {} }));
  const [first] = lines(createFlow(siteWith(gateways)));
  const [again] = lines(createFlow(siteWith(gateways.toReversed())));
  expect(again).toBe(first);
});
