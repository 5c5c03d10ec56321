// A client that connects again with other hardware has lost its verification, until somebody verifies it after Postgres was told.
import { expect, test } from 'vitest';
import { authorizeFlow, createFlow, drive, joinClient, joinGateway, lines, refOf } from '../support/core.ts';
import { check } from '../../core/check.ts';
import { registrationsMax } from '../../core/registration.ts';
import { takeBatch } from '../../core/ledger.ts';
import { clientHello, id, ids, insert, lsn, remove, row, update, worldRows } from '../support/world.ts';
import type { Drive } from '../support/core.ts';
import type { Hardware } from '../../protocol/link.ts';
import type { Registration, WriteResult } from '../../protocol/write-back.ts';

const verifiedAt = '2026-01-01 00:00:00+00';
const isVerified = '{"property": "client_verified", "operator": "is", "values": ["true"]}';
const reject = `gateway reject_access ${ids.client} ${ids.resource}`;

const said = (changes: Partial<Hardware> = {}): Hardware => ({
  device_serial: 'S1',
  device_uuid: 'U1',
  identifier_for_vendor: null,
  firebase_installation_id: null,
  ...changes,
});

const verifiedRows = (client: object = {}) => ({
  ...worldRows(),
  policies: [row('policies', { conditions: [isVerified] })],
  clients: [row('clients', { ...said(), identity_id: null, verified_at: verifiedAt, ...client })],
});

/** A flow that stands on the client's verification, and the client connected from the hardware of its row. */
function verified(): Drive {
  const driven = drive(verifiedRows());
  driven.state.ledger.isConfigured = true;
  joinGateway(driven);
  joinClient(driven, { hardware: said() });
  authorizeFlow(driven, refOf(createFlow(driven)));
  return driven;
}

let connectedAt = 10_000;
function connectFrom(driven: Drive, hardware: Hardware | null, changes: object = {}) {
  connectedAt += 1;
  return driven.step({
    type: 'connect',
    sessionId: `s${connectedAt}`,
    hello: clientHello({ hardware, connectedAt, ...changes }),
  });
}

/** Whether the client that has just connected is told of the resource. */
function isTold(driven: Drive): boolean {
  const sent = driven.step({ type: 'joined', sessionId: `s${connectedAt}` });
  return JSON.stringify(sent.sends).includes(ids.resource);
}

function pending(driven: Drive): Registration {
  const [only] = driven.state.tables.registrations.values();
  if (only === undefined) throw new Error('nothing is pending');
  return only;
}

function written(driven: Drive, outcome: WriteResult['outcome'] = 'ok'): void {
  const taken = takeBatch(driven.state, ids.account, driven.records());
  if (taken === null) throw new Error('nothing is to be written');
  const results = taken.batch.devices.map((device) => ({ id: device.id, outcome }));
  const flows = { xid: '9', results: [] };
  driven.step({
    type: 'flushed',
    ...taken,
    answer: { devices: { xid: '9', results }, flows, holds: null, failed: [] },
  });
}

/** The row as Postgres has it after it was told what is pending. */
const asWritten = ({ row: told, revision }: Registration, changes: object = {}) =>
  row('clients', { ...told, verified_at: null, edge_revision: String(revision), ...changes });

test('[P5.76] a client that connects with other hardware than its row has has lost its verification in that turn', () => {
  const driven = verified();
  expect(lines(connectFrom(driven, said({ device_serial: 'S2' })))).toContain(reject);
  expect(isTold(driven)).toBe(false);
  expect(check(driven.state)).toEqual([]);
  expect(takeBatch(driven.state, ids.account, [])?.batch.devices).toMatchObject([
    { id: ids.client, isKnown: true, isUnverified: true, row: { ...said({ device_serial: 'S2' }), identity_id: null } },
  ]);
});

test('[P5.77] hardware that the row does not have is added; what it has must stay, and an edge that does not tell changes nothing', () => {
  const cases: readonly (readonly [held: Hardware, told: Hardware | null, isKept: boolean])[] = [
    [said(), said(), true],
    [said(), said({ identifier_for_vendor: 'V1' }), true],
    [said({ device_serial: null, device_uuid: null }), said(), true],
    [said(), said({ device_uuid: null }), false],
    [said(), said({ device_uuid: 'U2' }), false],
    [said({ firebase_installation_id: 'F1' }), said({ firebase_installation_id: 'F2' }), false],
    [said(), null, true],
  ];
  for (const [held, told, isKept] of cases) {
    const driven = drive(verifiedRows(held));
    driven.state.ledger.isConfigured = true;
    connectFrom(driven, told);
    expect([held, told, isTold(driven)]).toEqual([held, told, isKept]);
    const isSame = told === null || JSON.stringify(told) === JSON.stringify(held);
    expect(driven.state.tables.registrations.size).toBe(isSame ? 0 : 1);
  }
});

test('[P5.78] until a row shows that Postgres was told, no row verifies the client; from then on the row decides', () => {
  const before = verified();
  connectFrom(before, said({ device_serial: 'S2' }));
  expect(isTold(before)).toBe(false);
  const held = row('clients', { ...said(), verified_at: verifiedAt });
  const verifiedAgain = { ...said(), verified_at: '2026-02-02 00:00:00+00' };
  // Somebody verifies the hardware that the row still has.
  expect(before.commit(update('clients', verifiedAgain, held))).toEqual([]);
  written(before);
  expect(before.commit(update('clients', asWritten(pending(before)), row('clients', verifiedAgain)))).toEqual([]);
  expect(before.state.tables.registrations.size).toBe(0);
  const told = [...before.state.tables.rows.clients.values()].map(({ hardware }) => hardware.device_serial);
  expect(told).toEqual(['S2']);
});

test('[P5.79] who verifies the client after Postgres was told has the last word, by the stream or by a snapshot, answered or not', () => {
  for (const isAnswered of [true, false]) {
    for (const way of ['stream', 'snapshot'] as const) {
      const driven = verified();
      connectFrom(driven, said({ device_serial: 'S2' }));
      isTold(driven);
      const after = asWritten(pending(driven), { verified_at: verifiedAt });
      if (isAnswered) written(driven);
      const sent =
        way === 'stream'
          ? driven.commit(update('clients', after, row('clients', { ...said(), verified_at: verifiedAt })))
          : lines(
              driven.step({
                type: 'snapshot',
                position: { epoch: 1, lsn: lsn(900) },
                rows: { ...verifiedRows(), clients: [after] },
                seen: '1:1:',
                commits: [],
              }),
            );
      expect([isAnswered, way, sent]).toEqual([
        isAnswered,
        way,
        [`s${connectedAt} resource_created_or_updated ${ids.resource}`],
      ]);
      // The answer, or a retry's, may come later than the row.
      expect(takeBatch(driven.state, ids.account, [])?.batch.devices ?? []).toEqual([]);
    }
  }
});

test('[P5.80] a client that returns with its old hardware has lost its verification all the same, also over a restart', () => {
  const driven = verified();
  connectFrom(driven, said({ device_serial: 'S2' }));
  driven.sleep();
  connectFrom(driven, said());
  expect(isTold(driven)).toBe(false);
  expect(pending(driven)).toMatchObject({ isUnverified: true, row: said() });
  driven.sleep();
  connectFrom(driven, said());
  expect(isTold(driven)).toBe(false);
  // The first of the two writes is shown, which the second is to follow.
  const [second] = [pending(driven)];
  const first = row('clients', { ...said({ device_serial: 'S2' }), edge_revision: String(second.revision - 1) });
  const held = row('clients', { ...said(), verified_at: verifiedAt });
  driven.commit(update('clients', first, held));
  driven.commit(update('clients', { verified_at: verifiedAt }, first));
  expect(pending(driven)).toEqual(second);
});

test('[P5.81] an answer to what was written before does not count for what the device has said since', () => {
  const driven = verified();
  connectFrom(driven, said({ device_serial: 'S2' }));
  const taken = takeBatch(driven.state, ids.account, []);
  connectFrom(driven, said({ device_serial: 'S3' }));
  if (taken === null) throw new Error('nothing is to be written');
  for (const outcome of ['ok', 'refused', 'gone'] as const) {
    const devices = { xid: '8', results: [{ id: ids.client, outcome }] };
    driven.step({ type: 'flushed', ...taken, answer: { devices, flows: null, holds: null, failed: [] } });
    expect(pending(driven)).toMatchObject({ xid: null, isRefused: false });
  }
  expect(takeBatch(driven.state, ids.account, [])?.batch.devices).toMatchObject([{ row: { device_serial: 'S3' } }]);
});

test('[P5.82] where Postgres refuses it the loss stands, until the device says something else or its row is gone', () => {
  for (const outcome of ['refused', 'gone'] as const) {
    const driven = verified();
    connectFrom(driven, said({ device_serial: 'S2' }));
    written(driven, outcome);
    expect(isTold(driven)).toBe(false);
    expect(takeBatch(driven.state, ids.account, [])?.batch.devices ?? []).toEqual([]);
    connectFrom(driven, said({ device_serial: 'S3' }));
    expect(takeBatch(driven.state, ids.account, [])?.batch.devices).toMatchObject([{ isUnverified: true }]);
    const held = row('clients', { ...said(), verified_at: verifiedAt });
    driven.commit(remove('clients', held));
    expect(driven.state.tables.registrations.size).toBe(0);
    driven.commit(insert('clients', held));
    connectFrom(driven, said());
    expect(isTold(driven)).toBe(true);
  }
});

test('[P5.83] what a device says before Postgres has its row becomes that of its registration', () => {
  const driven = drive({ ...verifiedRows(), clients: [] });
  driven.state.ledger.isConfigured = true;
  connectFrom(driven, said());
  const first = takeBatch(driven.state, ids.account, [])?.batch.devices[0];
  connectFrom(driven, said({ device_serial: 'S2' }));
  expect(pending(driven)).toMatchObject({ isKnown: false, row: { external_id: 'laptop', device_serial: 'S2' } });
  if (first === undefined) throw new Error('nothing is to be written');
  // The first write is shown, and somebody verifies what it says.
  const shown = { ...first.row, verified_at: null, edge_revision: String(first.revision) };
  driven.commit(insert('clients', shown));
  driven.commit(update('clients', { verified_at: verifiedAt }, shown));
  expect(pending(driven)).toMatchObject({ isKnown: true, isUnverified: true, row: { device_serial: 'S2' } });
  expect(isTold(driven)).toBe(false);
});

test('[P5.84] the identity of a token that a client connects under is told to Postgres, and costs no verification', () => {
  const identity = id('iden');
  const rows = verifiedRows();
  const driven = drive({
    ...rows,
    auth_providers: [row('auth_providers')],
    auth_identities: [row('auth_identities')],
    tokens:
      rows.tokens?.map((token) => (token['type'] === 'client' ? { ...token, identity_id: identity } : token)) ?? [],
  });
  driven.state.ledger.isConfigured = true;
  connectFrom(driven, said());
  expect(isTold(driven)).toBe(true);
  expect(takeBatch(driven.state, ids.account, [])?.batch.devices).toMatchObject([
    { isUnverified: false, row: { identity_id: identity, device_serial: 'S1' } },
  ]);
});

test('[P5.85] where no room is left to note a loss the client is told to come back', () => {
  const driven = drive(verifiedRows());
  for (let n = 0; n < registrationsMax; n += 1) {
    const device = {
      table: 'gateways',
      isKnown: true,
      isUnverified: false,
      isRefused: false,
      row: {},
      xid: '1',
    } as const;
    driven.state.tables.registrations.set(id('d', n), { ...device, id: id('d', n), revision: n });
  }
  expect(connectFrom(driven, said({ device_serial: 'S2' })).admission).toMatchObject({
    type: 'refused',
    refusal: { code: 'registration_refused' },
  });
  expect(connectFrom(driven, said()).admission).toMatchObject({ type: 'admitted' });
});
