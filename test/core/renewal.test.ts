// Expiries: what a gateway is told, how a later one is told, and what happens when it is not.
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
import { clientHello, commit, id, ids, insert, lsn, remove, row, update, worldRows } from '../support/world.ts';
import type { Drive } from '../support/core.ts';
import type { Effects } from '../../core/effect.ts';

const day = 24 * 3_600_000;
const reject = `gateway reject_access ${ids.client} ${ids.resource}`;
const gone = `client resource_deleted ${ids.resource}`;
const back = `client resource_created_or_updated ${ids.resource}`;
/** 1970-01-01 is a Thursday. */
const window = (...ranges: string[]) =>
  JSON.stringify({
    property: 'current_utc_datetime',
    operator: 'is_in_day_of_week_time_ranges',
    values: ranges.map((range) => `R/${range}/UTC`),
  });

/** The expiry in the last message of this event to the gateway, Unix seconds. */
function toldExpiry(effects: Effects, event: 'authorize_flow' | 'access_authorization_expiry_updated'): number | null {
  for (const send of effects.sends.toReversed()) {
    if (send.type === 'to-gateway' && send.message.event === event && 'expires_at' in send.message.payload) {
      return send.message.payload.expires_at;
    }
  }
  return null;
}

function flowThrough(gatewayVersion: string, rows = worldRows()): { driven: Drive; asked: Effects } {
  const driven = drive(rows);
  joinGateway(driven, { deviceVersion: gatewayVersion });
  joinClient(driven, { deviceVersion: '1.5.9' });
  const asked = createFlow(driven);
  authorizeFlow(driven, refOf(asked));
  return { driven, asked };
}

/** Ticks at every moment that the core asks for, up to `end`; returns what was sent, and how often it woke. */
function runTo(driven: Drive, end: number): { sent: string[]; effects: Effects[] } {
  const effects: Effects[] = [];
  while (driven.state.deadline !== null && driven.state.deadline <= end) {
    driven.now = driven.state.deadline;
    effects.push(driven.step({ type: 'tick' }));
    if (effects.length > 100) throw new Error('the deadline does not move');
  }
  driven.now = end;
  return { sent: effects.flatMap(lines), effects };
}

test('[P14.4] a gateway is told the least of window, token and the longest grant, in whole seconds rounded down', () => {
  const windowed = worldRows();
  windowed.policies = [row('policies', { conditions: [window('00:00-02:00')] })];
  expect(toldExpiry(flowThrough('1.5.3', windowed).asked, 'authorize_flow')).toBe(7200);
  const tokened = worldRows();
  tokened.tokens = [row('tokens', { expires_at: '1970-01-01 03:00:00.999+00' }), ...(tokened.tokens ?? []).slice(1)];
  expect(toldExpiry(flowThrough('1.5.3', tokened).asked, 'authorize_flow')).toBe(10_800);
  expect(toldExpiry(flowThrough('1.5.3').asked, 'authorize_flow')).toBe((1_000_000 + day) / 1000);
});

test('[P14.5] a grant that outlives what its gateway was told is renewed in the last quarter of that time, in silence', () => {
  const { driven } = flowThrough('1.5.3');
  const { sent, effects } = runTo(driven, 1_000_000 + day);
  expect(sent).toEqual(['gateway access_authorization_expiry_updated']);
  const [renewal] = effects.filter(({ sends }) => sends.length > 0);
  const told = toldExpiry(renewal ?? effects[0]!, 'access_authorization_expiry_updated');
  expect(told).toBeGreaterThan((1_000_000 + 1.75 * day - 1000) / 1000);
  expect(told).toBeLessThan((1_000_000 + 2 * day) / 1000);
});

test('[P5.57] while an object is stale no grant is renewed, and those that were due are once a snapshot has come', () => {
  const { driven } = flowThrough('1.5.3');
  driven.state.stale = true;
  expect(runTo(driven, 1_000_000 + day - 1).sent).toEqual([]);
  const position = { epoch: 1, lsn: lsn(200) };
  driven.step({ type: 'snapshot', position, rows: worldRows(), commits: [] });
  expect(runTo(driven, driven.now).sent).toEqual(['gateway access_authorization_expiry_updated']);

  driven.state.stale = true;
  expect(runTo(driven, 1_000_000 + 3 * day).sent).toEqual([reject, gone, back]);
});

test('[P14.6] a gateway that does not understand a later expiry is rejected at the one it knows, and the client asks again', () => {
  const { driven } = flowThrough('1.4.13');
  expect(runTo(driven, 1_000_000 + day).sent).toEqual([
    `gateway reject_access ${ids.client} ${ids.resource}`,
    `client resource_deleted ${ids.resource}`,
    `client resource_created_or_updated ${ids.resource}`,
  ]);
});

test('[P13.2] where one window ends and another policy takes over at that moment, nothing is interrupted', () => {
  const rows = worldRows();
  rows.actor_groups?.push(row('actor_groups', { id: id('grp', 2) }));
  rows.actor_group_memberships?.push(row('actor_group_memberships', { id: id('mem', 2), group_id: id('grp', 2) }));
  rows.policies = [
    row('policies', { conditions: [window('00:00-01:00')] }),
    row('policies', { id: id('pol', 2), actor_group_id: id('grp', 2), conditions: [window('00:30-03:00')] }),
  ];
  const { driven, asked } = flowThrough('1.5.3', rows);
  expect(toldExpiry(asked, 'authorize_flow')).toBe(10_800);
  expect(runTo(driven, 2 * 3_600_000).sent).toEqual([]);
  expect(driven.commit(remove('policies', { conditions: [window('00:00-01:00')] }))).toEqual([]);
  expect(runTo(driven, 3 * 3_600_000 + 1).sent).toEqual([
    `gateway reject_access ${ids.client} ${ids.resource}`,
    `client resource_deleted ${ids.resource}`,
  ]);
});

test('[P14.7] an earlier end is enforced by the object at its millisecond, whatever the gateway was told', () => {
  const { driven } = flowThrough('1.5.3');
  expect(driven.commit(update('policies', { conditions: [window('00:00-00:59:59')] }))).toEqual([]);
  expect(runTo(driven, 3_599_000).sent).toEqual([]);
  expect(driven.state.deadline).toBe(3_599_001);
  expect(runTo(driven, 3_599_001).sent).toEqual([
    `gateway reject_access ${ids.client} ${ids.resource}`,
    `client resource_deleted ${ids.resource}`,
  ]);
});

test('[P14.8] an expiry beyond the longest timer is exact', () => {
  const rows = worldRows();
  rows.tokens = [row('tokens', { expires_at: '1970-06-01 00:00:00.001+00' }), ...(rows.tokens ?? []).slice(1)];
  const driven = drive(rows);
  joinClient(driven);
  const end = Date.UTC(1970, 5, 1) + 1;
  expect(runTo(driven, end - 1).sent).toEqual([]);
  expect(runTo(driven, end).sent).toEqual(['client close token_gone']);
});

test('[P4.16] a client whose flow ended is made to ask again after its every init, until the expiry that the gateway knew', () => {
  const rows = worldRows();
  rows.gateways?.push(row('gateways', { id: id('gw', 2), external_id: 'rack-2' }));
  const driven = driveWithFlow(rows);
  driven.step({ type: 'closed', sessionId: 'client' });
  expect(driven.commit(remove('gateways'))).toEqual([
    `gateway reject_access ${ids.client} ${ids.resource}`,
    'gateway close device_gone',
  ]);
  const expected = [
    'client init',
    `client resource_deleted ${ids.resource}`,
    `client resource_created_or_updated ${ids.resource}`,
  ];
  expect(lines(joinClient(driven, { connectedAt: 2000 }))).toEqual(expected);
  expect(lines(joinClient(driven, { connectedAt: 3000 })).filter((line) => line.startsWith('client r'))).toEqual([
    gone,
    back,
  ]);
  driven.now += day;
  expect(lines(joinClient(driven, { connectedAt: 4000 })).filter((line) => line.startsWith('client r'))).toEqual([]);
});

test('[P13.3] a client that reconnects with other facts keeps its flow where a policy grants under them', () => {
  const rows = worldRows();
  const inOffice = JSON.stringify({ property: 'remote_ip', operator: 'is_in_cidr', values: ['203.0.113.0/24'] });
  rows.policies = [row('policies', { conditions: [inOffice] })];
  const driven = driveWithFlow(rows);
  const moved = driven.step({ type: 'closed', sessionId: 'client' });
  expect(moved.sends).toEqual([]);
  expect(lines(joinClient(driven, { connectedAt: 2000, remoteIp: '203.0.113.99' }))).toEqual(['client init']);
  expect(driven.commit(insert('policies', { id: id('pol', 2), actor_group_id: id('grp', 2) }))).toEqual([]);
  driven.step({ type: 'closed', sessionId: 'client' });
  const hello = { connectedAt: 3000, remoteIp: '198.51.100.1' };
  expect(lines(joinClient(driven, hello))).toEqual(['client init']);
  expect([...driven.state.grants.values()].map(({ phase }) => phase)).toEqual(['owed']);
});

test('[P4.17] a client that is closed in the turn that ends its flow is made to ask again when it returns', () => {
  const driven = driveWithFlow();
  const disabled = { disabled_at: '1970-01-01 00:00:00+00' };
  driven.commit(update('actors', disabled));
  driven.commit(update('actors', { disabled_at: null }, disabled));
  const expected = [
    'client init',
    `client resource_deleted ${ids.resource}`,
    `client resource_created_or_updated ${ids.resource}`,
  ];
  expect(lines(joinClient(driven, { connectedAt: 2000 }))).toEqual(expected);
});

test('[P4.22] a client whose row goes and comes back while it is away is made to ask again when it returns', () => {
  const driven = driveWithFlow();
  driven.step({ type: 'closed', sessionId: 'client' });
  expect(driven.commit(remove('clients'))).toEqual([`gateway reject_access ${ids.client} ${ids.resource}`]);
  expect(driven.commit(insert('clients'))).toEqual([]);
  expect(lines(joinClient(driven, { connectedAt: 2000 }))).toEqual([
    'client init',
    `client resource_deleted ${ids.resource}`,
    `client resource_created_or_updated ${ids.resource}`,
  ]);
});

test('[P4.18] a gateway is told after its every init how the resources filter that it holds an access to', () => {
  const driven = driveWithFlow();
  driven.step({ type: 'closed', sessionId: 'gateway' });
  expect(driven.commit(update('resources', { filters: '[{"protocol":"icmp"}]' }))).toEqual([back]);
  expect(lines(joinGateway(driven, { connectedAt: 2000 }))).toEqual([
    'gateway init',
    `gateway resource_updated ${ids.resource}`,
  ]);
});

test('[P14.24] a client is told of a window that opened or closed while its account slept', () => {
  const rows = worldRows();
  rows.policies = [row('policies', { conditions: [window('00:00-01:00', '03:00-04:00')] })];
  const driven = driveWithFlow(rows);
  driven.sleep();
  driven.now = 3_600_500;
  expect(lines(driven.step({ type: 'tick' }))).toEqual([reject, gone]);
  driven.now = 3 * 3_600_000;
  driven.sleep();
  expect(lines(driven.step({ type: 'tick' }))).toEqual([back]);
});

test('[P14.25] where an alarm is late, whatever comes first finds what has run out already ended', () => {
  const rows = worldRows();
  rows.policies = [row('policies', { conditions: [window('00:00-01:00')] })];
  const driven = driveWithFlow(rows);
  driven.now = 3_700_000;
  expect(lines(createFlow(driven))).toEqual([reject, gone, 'client flow_creation_failed forbidden']);
  const late = driveWithFlow(rows);
  late.now = 3_700_000;
  expect(lines(joinGateway(late, { connectedAt: 2000 })).filter((line) => line.includes('authorize'))).toEqual([]);
  expect(late.state.grants.size).toBe(0);
});

test('[P14.26] a token that is made to expire earlier ends its session and its flow then', () => {
  const driven = driveWithFlow();
  expect(driven.commit(update('tokens', { expires_at: '1970-01-01 00:20:00+00' }))).toEqual([]);
  expect(runTo(driven, 1_199_999).sent).toEqual([]);
  expect(runTo(driven, 1_200_000).sent).toEqual([reject, 'client close token_gone']);
});

test('[P14.27] a renewal that was due while the account slept is made up for when it wakes', () => {
  const { driven } = flowThrough('1.5.3');
  driven.now = 1_000_000 + day - 60_000;
  driven.sleep();
  expect(runTo(driven, 1_000_000 + day).sent).toEqual(['gateway access_authorization_expiry_updated']);
});

test('[P4.19] a token that gets another identity changes what its client sees', () => {
  const rows = worldRows();
  const ofProvider = JSON.stringify({ property: 'provider_id', operator: 'is_in', values: [id('prov')] });
  rows.auth_providers = [row('auth_providers')];
  rows.auth_identities = [row('auth_identities')];
  rows.policies = [row('policies', { conditions: [ofProvider] })];
  const driven = drive(rows);
  joinClient(driven);
  expect(driven.commit(update('tokens', { identity_id: id('iden') }))).toEqual([back]);
  expect(driven.commit(update('tokens', { identity_id: null }, { identity_id: id('iden') }))).toEqual([gone]);
});

test('[P4.20] a resource that held commits of one snapshot delete and insert elsewhere counts as moved', () => {
  const driven = driveWithFlow();
  const removed = commit(300, remove('policies'), remove('resource_connections'), remove('resources'));
  const added = commit(
    301,
    insert('resources', { address: '10.8.0.0/24' }),
    insert('resource_connections'),
    insert('policies'),
  );
  const position = { epoch: 1, lsn: added.lsn };
  const effects = driven.step({ type: 'snapshot', position, rows: worldRows(), commits: [removed, added] });
  expect(lines(effects)).toEqual([reject, gone, back]);
});

test('[P4.21] a client that was told on a socket that was dead is made to ask again after its next init', () => {
  const driven = driveWithFlow();
  const disabled = { disabled_at: '1970-01-01 00:00:00+00' };
  expect(driven.commit(update('policies', disabled))).toEqual([reject, gone]);
  expect(driven.commit(update('policies', { disabled_at: null }, disabled))).toEqual([back]);
  driven.step({ type: 'connect', sessionId: 'client-again', hello: clientHello({ connectedAt: 2000 }) });
  const told = lines(driven.step({ type: 'joined', sessionId: 'client-again' })).map((line) =>
    line.replace('-again', ''),
  );
  expect(told).toEqual(['client init', gone, back]);
});
