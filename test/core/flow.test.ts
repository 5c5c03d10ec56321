// One life of a flow, and every way in which it ends or does not begin.
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
import { isOwedToAbsent } from '../../core/grants.ts';
import { clientKey, gatewayHello, id, ids, insert, remove, row, update, worldRows } from '../support/world.ts';

test('[P10.1] a client is told of a flow after its gateway has accepted it, and not before', () => {
  const driven = drive();
  joinGateway(driven);
  joinClient(driven);
  const asked = createFlow(driven);
  expect(lines(asked)).toEqual(['gateway authorize_flow']);
  expect(lines(authorizeFlow(driven, refOf(asked)))).toEqual(['gateway reply ok', 'client flow_created']);
});

test('[P11.1] both sides are given the same preshared key and ICE credentials', () => {
  const driven = drive();
  joinGateway(driven);
  joinClient(driven);
  const asked = createFlow(driven);
  const told = authorizeFlow(driven, refOf(asked));
  const [toGateway, toClient] = [asked.sends[0], told.sends[1]];
  if (toGateway?.type !== 'to-gateway' || toGateway.message.event !== 'authorize_flow') throw new Error('unexpected');
  if (toClient?.type !== 'to-client' || toClient.message.event !== 'flow_created') throw new Error('unexpected');
  const { payload } = toClient.message;
  expect(payload.preshared_key).toBe(toGateway.message.payload.client.preshared_key);
  expect(payload.client_ice_credentials).toEqual(toGateway.message.payload.client_ice_credentials);
  expect(payload.gateway_ice_credentials).toEqual(toGateway.message.payload.gateway_ice_credentials);
});

test('[P7.1] a grant is among the saves of the step that asks the gateway, and of the step that tells the client', () => {
  const driven = drive();
  joinGateway(driven);
  joinClient(driven);
  const asked = createFlow(driven);
  expect(asked.saves.map(({ type }) => type)).toEqual(['put-grant']);
  expect(authorizeFlow(driven, refOf(asked)).saves.map(({ type }) => type)).toEqual(['put-grant']);
});

test('[P4.1] a deleted policy rejects the access at the gateway, then takes the resource from the client, in one step', () => {
  const driven = driveWithFlow();
  expect(driven.commit(remove('policies'))).toEqual([
    `gateway reject_access ${ids.client} ${ids.resource}`,
    `client resource_deleted ${ids.resource}`,
  ]);
});

test('[P4.2] a grant that no gateway has accepted yet is revoked like any other', () => {
  const driven = drive();
  joinGateway(driven);
  joinClient(driven);
  const asked = createFlow(driven);
  expect(driven.commit(remove('policies'))).toEqual([
    `gateway reject_access ${ids.client} ${ids.resource}`,
    `client resource_deleted ${ids.resource}`,
  ]);
  expect(lines(authorizeFlow(driven, refOf(asked)))).toEqual(['gateway reply invalid_ref']);
});

test('[P4.3] when access ends at the gateway while the resource stays in view, the client is made to ask again', () => {
  const rows = worldRows();
  const otherSite = id('site', 2);
  rows.gateway_groups?.push(row('gateway_groups', { id: otherSite, name: 'DR' }));
  rows.resource_connections?.push(row('resource_connections', { gateway_group_id: otherSite }));
  const driven = driveWithFlow(rows);
  expect(driven.commit(remove('resource_connections'))).toEqual([
    `gateway reject_access ${ids.client} ${ids.resource}`,
    `client resource_deleted ${ids.resource}`,
    `client resource_created_or_updated ${ids.resource}`,
  ]);
});

test('[P13.1] losing one of two policies that grant the same access says nothing to anyone', () => {
  const rows = worldRows();
  const group = id('grp', 2);
  rows.actor_groups?.push(row('actor_groups', { id: group, name: 'Ops' }));
  rows.actor_group_memberships?.push(row('actor_group_memberships', { id: id('mem', 2), group_id: group }));
  rows.policies?.push(row('policies', { id: id('pol', 2), actor_group_id: group }));
  const driven = driveWithFlow(rows);
  expect(driven.commit(remove('policies'))).toEqual([]);
  expect(driven.commit(remove('policies', { id: id('pol', 2), actor_group_id: group }))).toEqual([
    `gateway reject_access ${ids.client} ${ids.resource}`,
    `client resource_deleted ${ids.resource}`,
  ]);
});

test('[P3.8] a policy replaced by an equal one in a single transaction says nothing to anyone', () => {
  const driven = driveWithFlow();
  expect(driven.commit(remove('policies'), insert('policies', { id: id('pol', 9) }))).toEqual([]);
});

test('[P5.10] a policy whose condition does not hold grants nothing, and a request names the property', () => {
  const rows = worldRows();
  const condition = JSON.stringify({ property: 'client_verified', operator: 'is', values: ['true'] });
  rows.policies = [row('policies', { conditions: [condition] })];
  const driven = drive(rows);
  joinGateway(driven);
  const init = joinClient(driven).sends[0];
  expect(init?.type === 'to-client' && init.message.event === 'init' && init.message.payload.resources).toEqual([]);
  expect(lines(createFlow(driven))).toEqual(['client flow_creation_failed forbidden']);
});

test('[P12.3] a resource without a policy for the client is refused like one that does not exist', () => {
  const rows = worldRows();
  const hidden = id('res', 2);
  rows.resources?.push(row('resources', { id: hidden }));
  const driven = drive(rows);
  joinGateway(driven);
  joinClient(driven);
  expect(lines(createFlow(driven, hidden))).toEqual(['client flow_creation_failed not_found']);
  expect(lines(createFlow(driven, id('none')))).toEqual(['client flow_creation_failed not_found']);
});

test('[P10.2] without a gateway online in a connected site the answer is offline', () => {
  const driven = drive();
  joinClient(driven);
  expect(lines(createFlow(driven))).toEqual(['client flow_creation_failed offline']);
});

test('[P10.3] a repeated request is swallowed while its answer is awaited, and put to the same gateway after it', () => {
  const driven = driveWithFlow();
  const again = createFlow(driven);
  expect(lines(again)).toEqual(['gateway authorize_flow']);
  expect(lines(createFlow(driven))).toEqual([]);
  expect(driven.state.grants.size).toBe(1);
  expect(lines(authorizeFlow(driven, refOf(again)))).toEqual(['gateway reply ok', 'client flow_created']);
});

test('[P10.4] a request under a new key is put to the gateway again, and the answer for the old key tells nothing', () => {
  const driven = drive();
  joinGateway(driven);
  joinClient(driven);
  const first = createFlow(driven);
  joinClient(driven, { publicKey: clientKey.replace('AAA', 'ABC'), connectedAt: 2000 });
  const second = createFlow(driven);
  expect(lines(second)).toEqual(['gateway authorize_flow']);
  expect(lines(authorizeFlow(driven, refOf(first)))).toEqual(['gateway reply invalid_ref']);
  expect(lines(authorizeFlow(driven, refOf(second)))).toEqual(['gateway reply ok', 'client flow_created']);
});

test('[P10.5] a gateway that does not answer in time is rejected and the next one is asked, else the client hears offline', () => {
  const driven = drive();
  joinGateway(driven);
  joinClient(driven);
  const asked = createFlow(driven);
  driven.now += 10_000;
  expect(lines(driven.step({ type: 'tick' }))).toEqual([
    `gateway reject_access ${ids.client} ${ids.resource}`,
    'client flow_creation_failed offline',
  ]);
  expect(lines(authorizeFlow(driven, refOf(asked)))).toEqual(['gateway reply invalid_ref']);
});

test('[P10.23] a gateway that had accepted and does not answer again is left by the client before another one is told', () => {
  const rows = worldRows();
  const spare = { id: id('gw', 2), external_id: 'rack-2', ipv4: '100.64.0.9', ipv6: 'fd00:2021:1111::9' };
  rows.gateways?.push(row('gateways', spare));
  const driven = driveWithFlow(rows);
  driven.step({ type: 'connect', sessionId: 'gateway-2', hello: gatewayHello({ externalId: 'rack-2' }) });
  driven.step({ type: 'joined', sessionId: 'gateway-2' });
  createFlow(driven);
  driven.now += 10_000;
  expect(lines(driven.step({ type: 'tick' }))).toEqual([
    `gateway reject_access ${ids.client} ${ids.resource}`,
    `client resource_deleted ${ids.resource}`,
    `client resource_created_or_updated ${ids.resource}`,
    'gateway-2 authorize_flow',
  ]);
});

test('[P10.6] candidates pass both ways between peers that share an accepted grant, and to nobody else', () => {
  const driven = drive();
  joinGateway(driven);
  joinClient(driven);
  const candidates = ['candidate:1 1 udp 1 192.0.2.1 1 typ host'];
  const fromClient = () =>
    lines(
      driven.step({
        type: 'message',
        sessionId: 'client',
        event: 'broadcast_ice_candidates',
        payload: { gateway_ids: [ids.gateway, id('gw', 2)], candidates },
        ref: 3,
      }),
    );
  const fromGateway = () =>
    lines(
      driven.step({
        type: 'message',
        sessionId: 'gateway',
        event: 'broadcast_ice_candidates',
        payload: { client_ids: [ids.client, id('cli', 2)], candidates },
        ref: 4,
      }),
    );
  expect([fromClient(), fromGateway()]).toEqual([[], []]);
  authorizeFlow(driven, refOf(createFlow(driven)));
  expect([fromClient(), fromGateway()]).toEqual([['gateway ice_candidates'], ['client ice_candidates']]);
});

test('[P9.1] a reject owed to an absent gateway follows its every init, until the expiry that it knew', () => {
  const driven = driveWithFlow();
  driven.step({ type: 'closed', sessionId: 'gateway' });
  expect(driven.commit(remove('policies'))).toEqual([`client resource_deleted ${ids.resource}`]);
  const owedToAbsent = () => [...driven.state.grants.values()].filter((grant) => isOwedToAbsent(driven.state, grant));
  expect(owedToAbsent()).toHaveLength(1);
  const expected = ['gateway init', `gateway reject_access ${ids.client} ${ids.resource}`];
  expect(lines(joinGateway(driven, { connectedAt: 2000 }))).toEqual(expected);
  expect(owedToAbsent()).toHaveLength(0);
  driven.step({ type: 'closed', sessionId: 'gateway' });
  expect(lines(joinGateway(driven, { connectedAt: 3000 }))).toEqual(expected);
  driven.now += 24 * 3_600_000;
  expect(lines(joinGateway(driven, { connectedAt: 4000 }))).toEqual(['gateway init']);
});

test('[P9.2] access that was taken and given back is not rejected at the next init', () => {
  const driven = driveWithFlow();
  driven.commit(remove('policies'));
  driven.commit(insert('policies'));
  authorizeFlow(driven, refOf(createFlow(driven)));
  driven.step({ type: 'closed', sessionId: 'gateway' });
  const effects = joinGateway(driven, { connectedAt: 2000 });
  expect(lines(effects)).toEqual(['gateway init', `gateway resource_updated ${ids.resource}`]);
  const init = effects.sends[0];
  const authorizations =
    init?.type === 'to-gateway' && init.message.event === 'init' && init.message.payload.authorizations;
  expect(authorizations).toMatchObject([{ client_id: ids.client, resource_id: ids.resource }]);
});

test('[P14.1] a grant ends at its expiry: reject, and the client is made to ask again', () => {
  const driven = driveWithFlow();
  driven.now += 24 * 3_600_000;
  expect(lines(driven.step({ type: 'tick' }))).toEqual([
    `gateway reject_access ${ids.client} ${ids.resource}`,
    `client resource_deleted ${ids.resource}`,
    `client resource_created_or_updated ${ids.resource}`,
  ]);
});

test('[P4.4] a disabled policy counts as a deleted one, and an enabled one grants again', () => {
  const driven = driveWithFlow();
  const disabled = { disabled_at: '2026-01-01 00:00:00+00' };
  expect(driven.commit(update('policies', disabled))).toEqual([
    `gateway reject_access ${ids.client} ${ids.resource}`,
    `client resource_deleted ${ids.resource}`,
  ]);
  expect(driven.commit(update('policies', { disabled_at: null }, disabled))).toEqual([
    `client resource_created_or_updated ${ids.resource}`,
  ]);
});

test("[P10.13] a question whose client is away is taken back at the gateway's init, and the answer to it is void", () => {
  const driven = drive();
  joinGateway(driven);
  joinClient(driven);
  const ref = refOf(createFlow(driven));
  driven.step({ type: 'closed', sessionId: 'client' });
  expect(driven.commit(update('accounts', { slug: 'other' }))).toEqual([
    'gateway init',
    `gateway reject_access ${ids.client} ${ids.resource}`,
  ]);
  expect(lines(authorizeFlow(driven, ref))).toEqual(['gateway reply invalid_ref']);
});

test('[P10.15] what the gateway of a flow was asked again is asked once more when both were lost, whichever comes back first', () => {
  for (const comesFirst of ['client', 'gateway'] as const) {
    const driven = driveWithFlow();
    createFlow(driven);
    for (const sessionId of ['client', 'gateway']) driven.step({ type: 'closed', sessionId });
    const [first, second] = comesFirst === 'client' ? [joinClient, joinGateway] : [joinGateway, joinClient];
    first(driven, { connectedAt: 3000 });
    const effects = second(driven, { connectedAt: 3000 });
    expect(lines(effects)).toContain('gateway authorize_flow');
    expect(lines(authorizeFlow(driven, refOf(effects)))).toContain('client flow_created');
  }
});
