// Devices that connect for the first time: what they are given at once, and what Postgres and the stream then make of it.
import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import fc from 'fast-check';
import { addressesOf, freeAddresses } from '../../core/addresses.ts';
import {
  authorizeFlow,
  createFlow,
  drive,
  driveWithFlow,
  joinClient,
  joinGateway,
  lines,
  nodeHashes,
  refOf,
} from '../support/core.ts';
import { clientHello, gatewayHello, id, ids, insert, lsn, remove, row, update, worldRows } from '../support/world.ts';
import { registrationsMax } from '../../core/registration.ts';
import { statusOf } from '../../core/status.ts';
import { takeBatch } from '../../core/ledger.ts';
import type { Drive } from '../support/core.ts';
import type { WireRow } from '../../protocol/commit.ts';
import type { WriteResult } from '../../protocol/write-back.ts';

const emptyAccount = () => ({ ...worldRows(), clients: [], gateways: [] });

/** An account without devices, whose client and gateway have connected and have a flow. */
function registered(): Drive {
  const driven = drive(emptyAccount());
  driven.state.ledger.isConfigured = true;
  joinGateway(driven);
  joinClient(driven);
  authorizeFlow(driven, refOf(createFlow(driven)));
  return driven;
}

function only(driven: Drive, table: 'clients' | 'gateways'): WireRow {
  const found = [...driven.state.tables.registrations.values()].find((device) => device.table === table);
  if (found === undefined) throw new Error(`nothing is registered in ${table}`);
  return found.row;
}

/** Postgres has taken what there is in transaction `xid`, but for `results`. */
function written(driven: Drive, xid: number, results: readonly WriteResult[] = []) {
  const taken = takeBatch(driven.state, ids.account, driven.records());
  if (taken === null) throw new Error('nothing is to be written');
  const ok = taken.batch.devices.map((device) => ({ id: device.id, outcome: 'ok' as const }));
  const named = ok.map((result) => results.find((other) => other.id === result.id) ?? result);
  const devices = { xid: String(xid), results: named };
  return driven.step({
    type: 'flushed',
    ...taken,
    answer: { devices, flows: { xid: String(xid), results: [] }, holds: null, failed: [] },
  });
}

function snapshot(driven: Drive, seen: string, changes: object = {}): string[] {
  const flows = [...driven.state.grants.keys()].map((flow) => ({ id: flow }));
  const rows = { ...emptyAccount(), flows, ...changes };
  return lines(driven.step({ type: 'snapshot', position: { epoch: 1, lsn: lsn(900) }, rows, seen, commits: [] }));
}

const connectAgain = (driven: Drive) =>
  driven.step({ type: 'connect', sessionId: 'again', hello: clientHello({ connectedAt: 5000 }) }).admission;

test('[P6.10] a client and a gateway that nobody knows are registered as they connect, and may have a flow at once', () => {
  const driven = registered();
  const client = only(driven, 'clients');
  expect(client).toMatchObject({ account_id: ids.account, actor_id: ids.actor, external_id: 'laptop', name: 'Laptop' });
  expect(only(driven, 'gateways')).toMatchObject({ group_id: ids.site, external_id: 'rack-1' });
  expect([...driven.state.grants.values()]).toMatchObject([{ phase: 'live', acknowledged: true }]);
  expect(client['psk_base']).toMatch(/^\\x[0-9a-f]{64}$/);
});

test('[P6.29] a client is registered with what it says of its hardware, and a gateway without', () => {
  const driven = drive(emptyAccount());
  const hardware = {
    device_serial: 'S1',
    device_uuid: null,
    identifier_for_vendor: 'V1',
    firebase_installation_id: null,
  };
  joinClient(driven, { hardware });
  joinGateway(driven, { hardware });
  expect(only(driven, 'clients')).toMatchObject(hardware);
  expect(only(driven, 'gateways')).not.toHaveProperty('device_serial');
});

test('[P6.31] a gateway that connects under another name is renamed in Postgres, once, and a client is not', () => {
  const driven = drive({ ...worldRows(), gateways: [row('gateways', { name: 'Rack 1' })] });
  driven.state.ledger.isConfigured = true;
  joinGateway(driven, { name: 'Rack 2' });
  joinClient(driven, { name: 'Another' });
  const renames = () => [...driven.state.tables.registrations.values()].map(({ row: renamed }) => renamed['name']);
  expect(takeBatch(driven.state, ids.account, [])?.batch.devices).toMatchObject([
    { table: 'gateways', id: ids.gateway, isKnown: true, row: { id: ids.gateway, name: 'Rack 2' } },
  ]);
  const taken = takeBatch(driven.state, ids.account, []);
  joinGateway(driven, { name: 'Rack 3', connectedAt: 5000 });
  if (taken === null) throw new Error('nothing is to be written');
  const results = [{ id: ids.gateway, outcome: 'ok' as const }];
  const answer = { devices: { xid: '5', results }, flows: null, holds: null, failed: [] };
  driven.step({ type: 'flushed', ...taken, answer });
  expect(renames()).toEqual(['Rack 3']);
  written(driven, 6);
  expect(takeBatch(driven.state, ids.account, [])?.batch.devices ?? []).toEqual([]);
  const [renamed] = driven.state.tables.registrations.values();
  const [before, after] = [row('gateways', { name: 'Rack 1' }), row('gateways', { name: 'Rack 3' })];
  driven.commit(update('gateways', { ...after, edge_revision: String(renamed?.revision) }, before));
  expect(renames()).toEqual([]);
  joinGateway(driven, { name: null, connectedAt: 6000 });
  expect(renames()).toEqual([]);
});

test('[P6.11] the same device is found again, by owner and external id, and after waking too', () => {
  const driven = registered();
  const before = only(driven, 'clients')['id'];
  driven.sleep();
  joinClient(driven, { connectedAt: 9000 });
  expect([driven.state.sessions.get('client')?.deviceId, driven.state.tables.registrations.size]).toEqual([before, 2]);
  driven.step({ type: 'connect', sessionId: 'other', hello: clientHello({ externalId: 'phone' }) });
  expect(driven.state.tables.registrations.size).toBe(3);
});

test('[P6.12] what Postgres has and the stream has shown is a row like any other', () => {
  const driven = registered();
  const { id: clientId } = only(driven, 'clients');
  const shown = { ...only(driven, 'clients'), inserted_at: '2026-01-01 00:00:00+00' };
  written(driven, 50);
  expect(driven.commit({ op: 'insert', table: 'clients', new: shown })).toEqual([]);
  expect(driven.state.tables.registrations.size).toBe(1);
  const sent = driven.commit({ op: 'delete', table: 'clients', old: shown });
  expect([sent.filter((line) => line.includes('reject_access')).length, sent.at(-1)]).toEqual([
    1,
    'client close device_gone',
  ]);
  expect(driven.state.tables.rows.clients.has(String(clientId))).toBe(false);
});

test('[P6.13] the stream may show a device before the answer to its writing comes', () => {
  const driven = registered();
  const taken = takeBatch(driven.state, ids.account, []);
  driven.commit({ op: 'insert', table: 'clients', new: only(driven, 'clients') });
  const results = (taken?.batch.devices ?? []).map((device) => ({ id: device.id, outcome: 'ok' as const }));
  if (taken === null) throw new Error('nothing is to be written');
  driven.step({
    type: 'flushed',
    ...taken,
    answer: { devices: { xid: '5', results }, flows: null, holds: null, failed: [] },
  });
  expect([...driven.state.tables.registrations.values()].map(({ table }) => table)).toEqual(['gateways']);
});

test('[P6.14] a snapshot that does not include the writing of a device says nothing about it; one that does, and lacks it, deletes it', () => {
  const driven = registered();
  expect(snapshot(driven, '1:1:')).toEqual([]);
  written(driven, 50);
  expect(snapshot(driven, '50:60:50')).toEqual([]);
  const sent = snapshot(driven, '60:60:', { gateways: [only(driven, 'gateways')] });
  expect(sent.at(-1)).toBe('client close device_gone');
  expect(driven.state.tables.registrations.size).toBe(0);
});

test.each([
  ['key', { external_id: 'laptop' }],
  ['IPv4 address', { external_id: 'other', ipv4: 'of it' }],
  ['IPv6 address', { external_id: 'other', ipv6: 'of it' }],
])(
  '[P6.15] a row of the stream that has its %s evicts a device that Postgres does not have, and its flow',
  (_, same) => {
    const driven = registered();
    const mine = only(driven, 'clients');
    const taken = Object.fromEntries(
      Object.entries(same).map(([column, value]) => [column, value === 'of it' ? (mine[column] ?? null) : value]),
    );
    const sent = driven.commit(insert('clients', { id: id('cli', 9), ...taken }));
    expect(sent).toEqual([`gateway reject_access ${String(mine['id'])} ${ids.resource}`, 'client close moved']);
    expect(driven.state.tables.rows.clients.has(String(mine['id']))).toBe(false);
  },
);

test('[P6.16] a device that Postgres refuses is dropped with its flow, and not registered again until its row comes or a while has passed', () => {
  const driven = registered();
  const refused = {
    id: String(only(driven, 'clients')['id']),
    outcome: 'refused',
    reason: 'clients_account_id_ipv4_key',
  } as const;
  const effects = written(driven, 50, [refused]);
  expect(lines(effects)).toEqual([`gateway reject_access ${refused.id} ${ids.resource}`, 'client close moved']);
  expect(effects.notes).toMatchObject([{ event: 'registration_refused', reason: 'clients_account_id_ipv4_key' }]);
  expect(connectAgain(driven)).toMatchObject({
    type: 'refused',
    refusal: { status: 503, code: 'registration_refused' },
  });
  driven.commit(insert('clients', { ipv4: '100.64.9.9', ipv6: 'fd00:2021:1111::99' }));
  expect(connectAgain(driven)).toMatchObject({ type: 'admitted', session: { deviceId: ids.client } });
  driven.commit(remove('clients', { ipv4: '100.64.9.9', ipv6: 'fd00:2021:1111::99' }));
  driven.now += 30_000;
  expect(connectAgain(driven)?.type).toBe('admitted');
});

test('[P6.17] a device that somebody deleted before the stream showed it is signed out', () => {
  const driven = registered();
  const gone = { id: String(only(driven, 'clients')['id']), outcome: 'gone' } as const;
  expect(lines(written(driven, 50, [gone])).at(-1)).toBe('client close device_gone');
});

test('[P6.18] an object that is stale registers nothing', () => {
  const driven = drive(emptyAccount());
  driven.state.stale = true;
  expect(connectAgain(driven)).toMatchObject({ type: 'refused', refusal: { code: 'registration_refused' } });
});

test('[P6.19] truncate of a table takes what was registered in it too', () => {
  const driven = registered();
  expect(driven.commit({ op: 'truncate', table: 'clients' }).at(-1)).toBe('client close device_gone');
  expect([...driven.state.tables.registrations.values()].map(({ table }) => table)).toEqual(['gateways']);
});

test('[P15.51] so many devices wait for Postgres at a time, and others are told to come back', () => {
  const driven = drive(emptyAccount());
  const [one] = driveWithFlow().state.tables.registrations.values();
  expect(one).toBeUndefined();
  for (let n = 0; n < registrationsMax; n += 1) {
    driven.state.tables.registrations.set(id('d', n), {
      table: 'clients',
      isKnown: false,
      isUnverified: false,
      isRefused: false,
      id: id('d', n),
      row: row('clients'),
      revision: n,
      xid: '1',
    });
  }
  expect(connectAgain(driven)).toMatchObject({ type: 'refused', refusal: { code: 'registration_refused' } });
});

test('[P6.20] addresses are of the pool, as Postgres prints them, and never one that another device has', () => {
  expect(addressesOf(2)).toEqual({ ipv4: '100.64.0.2', ipv6: 'fd00:2021:1111::2' });
  expect(addressesOf(65_536)).toEqual({ ipv4: '100.65.0.0', ipv6: 'fd00:2021:1111::1:0' });
  expect(addressesOf(2 ** 21 - 2)).toEqual({ ipv4: '100.95.255.254', ipv6: 'fd00:2021:1111::1f:fffe' });
  fc.assert(
    fc.property(fc.string(), (seed) => {
      const free = freeAddresses(new Map(), seed, nodeHashes);
      const used = new Map([
        [free?.ipv4 ?? '', 'x'],
        [addressesOf(2).ipv6, 'y'],
      ]);
      const next = freeAddresses(used, seed, nodeHashes);
      expect(next).not.toBeNull();
      expect(used.has(next?.ipv4 ?? '') || used.has(next?.ipv6 ?? '')).toBe(false);
    }),
    { seed: 4, numRuns: 200 },
  );
});

test('[P6.21] a gateway without a name is given one, and no two devices share a key seed', () => {
  const driven = drive(emptyAccount());
  driven.step({ type: 'connect', sessionId: 'gateway', hello: gatewayHello({ name: null }) });
  driven.step({ type: 'connect', sessionId: 'client', hello: clientHello() });
  const [gateway, client] = [only(driven, 'gateways'), only(driven, 'clients')];
  expect(gateway['name']).toMatch(/^gateway-[0-9a-f]{5}$/);
  expect(gateway['psk_base']).not.toBe(client['psk_base']);
  expect(createHash('sha256').update(String(client['psk_base'])).digest('hex')).toHaveLength(64);
});

test('[P15.98] status counts the devices whose registration no row has shown yet', () => {
  const driven = registered();
  const pending = () => statusOf(driven.state, driven.now).registrations;
  expect(pending()).toBe(2);
  written(driven, 50);
  expect(pending()).toBe(2);
  driven.commit({ op: 'insert', table: 'clients', new: only(driven, 'clients') });
  expect(pending()).toBe(1);
});
