// Holds: what an operator denies at the edge is denied whatever the rows say, and nothing else is.
import { expect, test } from 'vitest';
import {
  authorizeFlow,
  createFlow,
  drive,
  driveWithFlow,
  joinClient,
  joinGateway,
  lines,
  refOf,
} from '../support/core.ts';
import { check } from '../../core/check.ts';
import { clientHello, gatewayHello, id, ids, lsn, row, update, worldRows } from '../support/world.ts';
import { holdsMax } from '../../protocol/holds.ts';
import { refusalOf } from '../../protocol/reasons.ts';
import { holdsOf } from '../../core/holds.ts';
import type { Drive } from '../support/core.ts';
import type { HoldTarget } from '../../protocol/holds.ts';

const targets = {
  client: { kind: 'client', id: ids.client },
  actor: { kind: 'actor', id: ids.actor },
  gateway: { kind: 'gateway', id: ids.gateway },
  resource: { kind: 'resource', id: ids.resource },
} as const;
const reject = `gateway reject_access ${ids.client} ${ids.resource}`;
const deleted = `client resource_deleted ${ids.resource}`;
const created = `client resource_created_or_updated ${ids.resource}`;

function place(driven: Drive, target: HoldTarget) {
  return driven.step({ type: 'hold', hold: { ...target, at: driven.now, by: 'alice', reason: 'INC-42' } });
}

function lift(driven: Drive, target: HoldTarget) {
  return driven.step({ type: 'lift', target, by: 'alice' });
}

test('[P5.60] a hold on a device, an actor, a gateway or a resource cuts its flows in that turn, gateway first', () => {
  const expected = {
    client: [reject, 'client close held'],
    actor: [reject, 'client close held'],
    gateway: [reject, deleted, created, 'gateway close held'],
    resource: [reject, deleted],
  };
  for (const kind of ['client', 'actor', 'gateway', 'resource'] as const) {
    const driven = driveWithFlow();
    const effects = place(driven, targets[kind]);
    expect([kind, effects.done, lines(effects)]).toEqual([kind, true, expected[kind]]);
    expect(check(driven.state)).toEqual([]);
  }
});

test('[P5.61] what is held is denied whatever comes: connects, requests, commits, snapshots and restarts', () => {
  const expected = {
    client: [['gateway'], 'held', []],
    actor: [['gateway'], 'held', []],
    gateway: [['client'], 'held', []],
    resource: [['client', 'gateway'], 'admitted', ['again flow_creation_failed not_found']],
  };
  for (const kind of ['client', 'actor', 'gateway', 'resource'] as const) {
    const driven = driveWithFlow();
    place(driven, targets[kind]);
    driven.commit(update('resources', { name: 'Renamed' }));
    driven.step({ type: 'snapshot', position: { epoch: 1, lsn: lsn(500) }, rows: worldRows(), commits: [] });
    driven.sleep();
    joinClient(driven);
    joinGateway(driven);
    const roles = [...driven.state.sessions.values()].map(({ role }) => role);
    const hello = kind === 'gateway' ? gatewayHello({ connectedAt: 9000 }) : clientHello({ connectedAt: 9000 });
    const { admission } = driven.step({ type: 'connect', sessionId: 'again', hello });
    driven.step({ type: 'joined', sessionId: 'again' });
    const payload = { resource_id: ids.resource, connected_gateway_ids: [] };
    const asked = driven.step({ type: 'message', sessionId: 'again', event: 'create_flow', payload, ref: 1 });
    const code = admission?.type === 'refused' ? admission.refusal.code : 'admitted';
    expect([kind, roles, code, lines(asked)]).toEqual([kind, ...expected[kind]]);
  }
  expect(refusalOf('held').status).toBe(403);
});

test('[P5.62] a hold ends only by hand, and gives back what the rows grant then', () => {
  for (const kind of ['client', 'actor', 'gateway', 'resource'] as const) {
    const driven = driveWithFlow();
    place(driven, targets[kind]);
    driven.now += 400 * 24 * 3_600_000;
    driven.step({ type: 'tick' });
    expect(holdsOf(driven.state)).toHaveLength(1);
    expect(lift(driven, targets[kind]).done).toBe(true);
    joinGateway(driven, { connectedAt: 5000 });
    joinClient(driven, { connectedAt: 5000 });
    authorizeFlow(driven, refOf(createFlow(driven)));
    expect([kind, driven.state.grants.size]).toEqual([kind, 1]);
    expect(lift(driven, targets[kind]).done).toBe(false);
  }
});

test('[P5.63] a gateway that is held is replaced by another of its site, and a second hold of the same changes nothing', () => {
  const rows = worldRows();
  const other = id('gw', 2);
  rows.gateways?.push(row('gateways', { id: other, external_id: 'rack-2', ipv4: '100.64.0.9', ipv6: 'fd00::9' }));
  const driven = drive(rows);
  joinGateway(driven);
  driven.step({ type: 'connect', sessionId: 'second', hello: gatewayHello({ externalId: 'rack-2' }) });
  driven.step({ type: 'joined', sessionId: 'second' });
  joinClient(driven);
  place(driven, targets.gateway);
  expect(lines(createFlow(driven))).toEqual(['second authorize_flow']);
  expect(place(driven, targets.gateway)).toMatchObject({ done: true, sends: [], saves: [] });
});

test('[P5.64] a hold reaches only what it names', () => {
  const driven = driveWithFlow();
  for (const kind of ['client', 'actor', 'gateway', 'resource'] as const) {
    expect(lines(place(driven, { kind, id: id('oth', 1) }))).toEqual([]);
    const others = Object.values(targets).filter((target) => target.kind !== kind);
    for (const other of others) expect(lines(place(driven, { kind, id: other.id }))).toEqual([]);
  }
  expect([...driven.state.grants.values()].map(({ phase }) => phase)).toEqual(['live']);
});

test('[P15.73] an account has a thousand holds at most: another one is refused, and said to be', () => {
  const driven = drive();
  for (let n = 0; n < holdsMax; n += 1)
    expect(place(driven, { kind: 'resource', id: id('res', 100 + n) }).done).toBe(true);
  expect(place(driven, { kind: 'resource', id: id('res', 99) })).toMatchObject({ done: false, saves: [] });
  expect(holdsOf(driven.state)).toHaveLength(holdsMax);
});

test('[P5.65] an object without rows takes a hold, and observes it once the rows have come', () => {
  const driven = drive({});
  place(driven, targets.client);
  driven.step({ type: 'snapshot', position: { epoch: 1, lsn: lsn(200) }, rows: worldRows(), commits: [] });
  const { admission } = driven.step({ type: 'connect', sessionId: 'x', hello: clientHello() });
  expect(admission).toMatchObject({ refusal: { code: 'held' } });
});
