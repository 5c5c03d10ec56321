// The defects of the portal being replaced that concern decisions, each shown not to be here. docs/compatibility.md lists them
// with what was decided.
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
import { clientHello, id, ids, insert, remove, row, update, worldRows } from '../support/world.ts';
import type { Drive } from '../support/core.ts';

const reject = `gateway reject_access ${ids.client} ${ids.resource}`;
const gone = `client resource_deleted ${ids.resource}`;
const back = `client resource_created_or_updated ${ids.resource}`;
const condition = (property: string, operator: string, ...values: string[]) =>
  JSON.stringify({ property, operator, values });
const always = condition(
  'current_utc_datetime',
  'is_in_day_of_week_time_ranges',
  ...Array.from('MTWRFSU', (day) => `${day}/true/UTC`),
);
const untilOne = condition('current_utc_datetime', 'is_in_day_of_week_time_ranges', 'R/00:00-01:00/UTC');

function withTwoGroups() {
  const rows = worldRows();
  rows.actor_groups?.push(row('actor_groups', { id: id('grp', 2) }));
  rows.actor_group_memberships?.push(row('actor_group_memberships', { id: id('mem', 2), group_id: id('grp', 2) }));
  rows.policies?.push(row('policies', { id: id('pol', 2), actor_group_id: id('grp', 2) }));
  return rows;
}

function initResources(driven: Drive, changes: object = {}): string[] {
  const init = joinClient(driven, changes).sends.find(({ type }) => type === 'to-client');
  if (init?.type !== 'to-client' || init.message.event !== 'init') throw new Error('no init');
  return init.message.payload.resources.map((resource) => resource.id);
}

test('[P9.8][D1] access from before a gateway returned is rejected like any other, however long ago that was', () => {
  const driven = driveWithFlow();
  driven.step({ type: 'closed', sessionId: 'gateway' });
  joinGateway(driven, { connectedAt: 2000 });
  driven.now += 3_600_000;
  driven.step({ type: 'tick' });
  expect(driven.commit(remove('policies'))).toEqual([reject, gone]);
});

test('[P9.8][D2][D4] losing one of two reasons for the same access is told to nobody', () => {
  const driven = driveWithFlow(withTwoGroups());
  expect(driven.commit(remove('actor_group_memberships'))).toEqual([]);
});

test("[P9.8][D3] the end of one client's flow says nothing to another client", () => {
  const rows = worldRows();
  rows.clients?.push(row('clients', { id: id('cli', 2), external_id: 'phone', ipv4: '100.64.0.9' }));
  const driven = driveWithFlow(rows);
  driven.step({ type: 'connect', sessionId: 'phone', hello: clientHello({ externalId: 'phone' }) });
  driven.step({ type: 'joined', sessionId: 'phone' });
  expect(driven.commit(remove('clients')).filter((line) => line.startsWith('phone'))).toEqual([]);
});

test('[P9.8][D5] a policy for a group that the user has left brings nothing', () => {
  const driven = driveWithFlow();
  driven.commit(remove('actor_group_memberships'));
  expect(driven.commit(insert('policies', { id: id('pol', 3), resource_id: id('res', 9) }))).toEqual([]);
});

test('[P9.8][D6] an ordinary user is told of a new connection', () => {
  const rows = worldRows();
  rows.resource_connections = [];
  const driven = drive(rows);
  joinClient(driven);
  expect(driven.commit(insert('resource_connections'))).toEqual([back]);
});

test('[P9.8][D7] a renamed site is told by its new name, and only to those who may know of it', () => {
  const driven = driveWithFlow();
  const effects = driven.commitEffects(update('gateway_groups', { name: 'New' }));
  const [send] = effects.sends;
  expect(send?.type === 'to-client' && send.message.payload).toMatchObject({ gateway_groups: [{ name: 'New' }] });
  driven.commit(remove('policies'));
  expect(driven.commit(update('gateway_groups', { name: 'Newer' }, { name: 'New' }))).toEqual([]);
});

test('[P9.8][D8] the order of conditions means nothing', () => {
  for (const order of [
    [always, 0],
    [0, always],
  ]) {
    const conditions = order.map((text) =>
      text === 0 ? condition('remote_ip', 'is_in_cidr', '203.0.113.0/24') : text,
    );
    const rows = worldRows();
    rows.policies = [row('policies', { conditions })];
    expect(initResources(drive(rows))).toEqual([ids.resource]);
  }
});

test('[P9.8][D9] a window that opens shows the resource, and one that closes hides it, at that moment', () => {
  const rows = worldRows();
  rows.policies = [row('policies', { conditions: [untilOne] })];
  const driven = drive(rows);
  expect(initResources(driven)).toEqual([ids.resource]);
  driven.now = 3_600_001;
  expect(lines(driven.step({ type: 'tick' }))).toEqual([gone]);
  driven.now = driven.state.deadline ?? 0;
  expect(lines(driven.step({ type: 'tick' }))).toEqual([back]);
});

test('[P9.8][D10] a flow ends with its window or its token, whichever is first, under the policy that grants longest', () => {
  const rows = withTwoGroups();
  rows.policies = [
    row('policies', { conditions: [untilOne] }),
    row('policies', { id: id('pol', 2), actor_group_id: id('grp', 2) }),
  ];
  const driven = driveWithFlow(rows);
  const [grant] = driven.state.grants.values();
  expect(grant?.phase === 'live' && grant.policyId).toBe(id('pol', 2));
});

test('[P9.8][D11] a token that never expires admits its client and grants', () => {
  const rows = worldRows();
  rows.tokens = [row('tokens', { expires_at: null }), ...(rows.tokens ?? []).slice(1)];
  expect(driveWithFlow(rows).state.grants.size).toBe(1);
});

test('[P9.8][D12] a membership that goes while its flow is asked for takes the flow with it', () => {
  const driven = drive();
  joinGateway(driven);
  joinClient(driven);
  const asked = createFlow(driven);
  driven.commit(remove('actor_group_memberships'));
  expect(lines(authorizeFlow(driven, refOf(asked)))).toEqual(['gateway reply invalid_ref']);
});

test('[P9.8][D13] the same pair gets the same preshared key each time', () => {
  const driven = drive();
  joinGateway(driven);
  joinClient(driven);
  const keyOf = (effects: ReturnType<typeof createFlow>) =>
    effects.sends.flatMap((send) =>
      send.type === 'to-gateway' && send.message.event === 'authorize_flow'
        ? send.message.payload.client.preshared_key
        : [],
    );
  const first = createFlow(driven);
  authorizeFlow(driven, refOf(first));
  expect(keyOf(createFlow(driven))).toEqual(keyOf(first));
});

test('[P9.8][D27] a connection taken away ends the flows through that site', () => {
  expect(driveWithFlow().commit(remove('resource_connections'))).toEqual([reject, gone]);
});

test('[P9.8][D28] a policy that is there again is as good as a new one', () => {
  const driven = driveWithFlow();
  driven.commit(remove('policies'));
  expect(driven.commit(insert('policies'))).toEqual([back]);
});

test('[P9.8][D29] candidates reach nobody with whom no flow is shared', () => {
  const driven = drive();
  joinGateway(driven);
  joinClient(driven);
  const payload = { gateway_ids: [ids.gateway], candidates: ['candidate:1'] };
  const effects = driven.step({
    type: 'message',
    sessionId: 'client',
    event: 'broadcast_ice_candidates',
    payload,
    ref: 1,
  });
  expect(effects.sends).toEqual([]);
});

test('[P9.8][D31] a service account under a provider condition is refused, and nothing breaks', () => {
  const rows = worldRows();
  rows.policies = [row('policies', { conditions: [condition('provider_id', 'is_not_in', id('prov', 7))] })];
  const driven = drive(rows);
  joinGateway(driven);
  expect(initResources(driven)).toEqual([]);
  expect(lines(createFlow(driven))).toEqual(['client flow_creation_failed forbidden']);
});
