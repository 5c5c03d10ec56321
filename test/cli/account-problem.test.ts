// When `drawbridge status` calls an account well.
import { expect, test } from 'vitest';
import { accountProblem } from '../../cli/status.ts';
import { grantsMax } from '../../core/grants.ts';
import { relaysMax } from '../../core/relays.ts';
import { sessionsMax } from '../../core/sessions.ts';
import { lsn } from '../support/world.ts';

const row = { id: 'id', slug: 'acme', place: null, lane: { state: 'live', reason: null, epoch: 2, lsn: lsn(100) } };
const object = {
  position: { epoch: 2, lsn: lsn(100) },
  term: 3,
  stale: false,
  clients: 1,
  gateways: 1,
  flows: 1,
  grants: 3,
  relays: 2,
  rejectsOwed: 2,
  registrations: 1,
  writeBack: { isConfigured: true, waiting: 0, failures: 0, refused: 0, isFull: false },
  unreadableRows: [],
  holds: [],
  clonedDevices: [],
};

const writing = (changes: object) => ({ ...object, writeBack: { ...object.writeBack, ...changes } });

test('an account is well while its object stands at its lane or beyond, also with gateways yet to be told', () => {
  expect(accountProblem(row, object)).toBeNull();
  expect(accountProblem(row, { ...object, position: { epoch: 2, lsn: lsn(101) } })).toBeNull();
});

test.each([
  [{ ...row, lane: null }, object, /has no lane/],
  [{ ...row, lane: 'unknown' as const }, { ...object, stale: true }, /stale.* resync acme/],
  [{ ...row, lane: { ...row.lane, state: 'parked', reason: 'poison' } }, object, /parked \(poison\).* resync acme/],
  [row, { ...object, position: null }, /heard of nothing.* resync acme/],
  [row, { ...object, stale: true }, /stale.* resync acme/],
  [row, { ...object, position: { epoch: 2, lsn: lsn(99) } }, /has lost what was delivered.* resync acme/],
  [row, { ...object, unreadableRows: ['policies/p1'] }, /cannot be read grant nothing \(policies\/p1\)/],
  [
    row,
    { ...object, grants: grantsMax },
    /it holds 100000 grants, 1 of them live, and no new flow is granted until some end: spread/,
  ],
  [
    row,
    { ...object, clients: sessionsMax, gateways: 0 },
    /it has 11000 devices connected, and further ones are refused/,
  ],
  [row, { ...object, relays: relaysMax }, /it has 1000 relays, and further ones are refused: stop some/],
  [row, { ...object, clonedDevices: ['d1'] }, /one external_id \(devices d1\)/],
  [
    row,
    writing({ isConfigured: false, waiting: 3 }),
    /no database to write 3 records of the ledger to: bind EDGE_DATABASE/,
  ],
  [
    row,
    writing({ failures: 3, waiting: 7 }),
    /7 records of the ledger wait for Postgres after 3 failed attempts: look/,
  ],
  [row, writing({ isFull: true, waiting: 9 }), /no new flow is granted until some are: look/],
  [row, writing({ refused: 2 }), /refuses 2 records/],
])('an account that is not well is told so with the way out: %#', (account, answer, problem) => {
  expect(accountProblem(account, answer)).toMatch(problem);
});
