// What each generation of devices is told, and how: names, keys, and what follows where one cannot do what another can.
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
import { clientSpeech, gatewaySpeech, isAtLeast } from '../../protocol/device/generations.ts';
import { generations, speaking } from '../support/generations.ts';
import { id, ids, insert, remove, row, update, worldRows } from '../support/world.ts';
import { toClient } from '../../protocol/device/to-client.ts';
import type { Drive } from '../support/core.ts';
import type { Effects } from '../../core/effect.ts';
import type { Generation } from '../../protocol/device/generations.ts';

const day = 24 * 3_600_000;

/** The payload of the first message of this event. */
function payloadOf(effects: Effects, event: string): Record<string, unknown> {
  for (const send of effects.sends) {
    if ('message' in send && send.message.event === event) return Object(send.message.payload);
  }
  throw new Error(`no ${event} among ${lines(effects).join(', ')}`);
}

/** The header and the claims of a JSON Web Token. */
function claimsOf(token: unknown): Record<string, unknown> {
  const [head, body, signature] = String(token).split('.');
  const read = (part = ''): unknown => JSON.parse(Buffer.from(part, 'base64url').toString());
  expect(read(head)).toMatchObject({ alg: 'HS256' });
  expect(signature).toMatch(/^[A-Za-z0-9_-]+$/);
  return Object(read(body));
}

function renewalOf(driven: Drive): Effects {
  for (let ticks = 0; ticks < 20; ticks += 1) {
    driven.now = driven.state.deadline ?? driven.now;
    const effects = driven.step({ type: 'tick' });
    if (effects.sends.length > 0) return effects;
  }
  throw new Error('nothing was renewed');
}

test.each(['A', 'C', 'B'] as const)('[P9.18] init of generation %s has its keys, and sites by one name alone', (of) => {
  const client = payloadOf(joinClient(drive(), speaking[of].client), 'init');
  const gateway = payloadOf(joinGateway(drive(), speaking[of].gateway), 'init');
  const logs = ['flow_logs'];
  expect(Object.keys(client)).toEqual([
    'interface',
    'resources',
    'relays',
    ...(of === 'B' ? ['authorizations', ...logs] : []),
  ]);
  expect(Object.keys(gateway)).toEqual([
    'interface',
    'config',
    'account_slug',
    'authorizations',
    'relays',
    ...(of === 'B' ? logs : []),
  ]);
  const names = Object.keys(Object(client['resources'])[0]).filter(
    (key) => key === 'gateway_groups' || key === 'sites',
  );
  expect(names).toEqual([of === 'A' ? 'gateway_groups' : 'sites']);
});

test.each([
  ['A', 'create_flow', 'authorize_flow', 'flow_created', 'gateway_group_id'],
  ['C', 'create_flow', 'authorize_flow', 'flow_created', 'site_id'],
  ['B', 'request_authorization', 'create_authorization', 'authorization_created', 'site_id'],
] as const)('[P10.16] a flow between devices of generation %s goes by its own names', (of, _, asked, told, site) => {
  const driven = drive();
  joinGateway(driven, speaking[of].gateway);
  joinClient(driven, speaking[of].client);
  const question = createFlow(driven);
  expect(lines(question)).toEqual([`gateway ${asked}`]);
  const answer = authorizeFlow(driven, refOf(question));
  expect(lines(answer)).toEqual(['gateway reply ok', `client ${told}`]);
  expect(payloadOf(answer, told)[site]).toBe(ids.site);
  const candidates = ['candidate:1 1 udp 1 192.0.2.1 1 typ host'];
  const offered = { client_ids: [ids.client], candidates };
  const event = 'broadcast_ice_candidates';
  const passed = driven.step({ type: 'message', sessionId: 'gateway', event, payload: offered, ref: 9 });
  expect(lines(passed)).toEqual([`client ${of === 'B' ? 'gateway_ice_candidates' : 'ice_candidates'}`]);
  driven.commit(remove('policies'));
  expect(lines(createFlow(driven))).toEqual([
    `client ${of === 'B' ? 'authorization_creation_failed' : 'flow_creation_failed'} not_found`,
  ]);
});

test.each(generations)(
  '[P10.24] a client of generation %s is told each reason that its schema has, and no other',
  (of) => {
    const reasonFor = (prepare: (driven: Drive) => void, rows = worldRows()) => {
      const driven = drive(rows);
      joinClient(driven, speaking[of].client);
      prepare(driven);
      return payloadOf(createFlow(driven), clientSpeech(speaking[of].client).flowFailed)['reason'];
    };
    const conditional = worldRows();
    const condition = JSON.stringify({ property: 'client_verified', operator: 'is', values: ['true'] });
    conditional.policies = [row('policies', { conditions: [condition] })];
    const old = { ...speaking[of].gateway, deviceVersion: '1.2.0' };
    const told = {
      nothing: reasonFor((driven) => driven.commit(remove('policies'))),
      condition: reasonFor((driven) => joinGateway(driven, speaking[of].gateway), conditional),
      noGateway: reasonFor(() => undefined),
      oldGateway: reasonFor((driven) => joinGateway(driven, old)),
      stale: reasonFor((driven) => {
        joinGateway(driven, old);
        driven.state.stale = true;
      }),
    };
    expect(told).toEqual({
      nothing: 'not_found',
      condition: 'forbidden',
      noGateway: 'offline',
      oldGateway: of === 'B' ? 'version_mismatch' : 'offline',
      stale: 'offline',
    });
    const event = clientSpeech(speaking[of].client).flowFailed;
    const { options }: { options: string[] } = Object(toClient[event])[of].entries.reason;
    expect(new Set<string>(Object.values(told).map(String))).toEqual(new Set(options));
  },
);

test('[P11.4] generation B gets a token for flow logs that decodes, says that uploads are off, and is the same each time', () => {
  const driven = drive();
  joinGateway(driven, speaking.B.gateway);
  joinClient(driven, speaking.B.client);
  const asked = createFlow(driven);
  const answered = authorizeFlow(driven, refOf(asked));
  const responder = claimsOf(payloadOf(asked, 'create_authorization')['flow_logs_ingest_token']);
  const initiator = claimsOf(payloadOf(answered, 'authorization_created')['flow_logs_ingest_token']);
  expect([responder['role'], initiator['role']]).toEqual(['responder', 'initiator']);
  expect(initiator).toMatchObject({
    account_id: ids.account,
    iat: 1000,
    exp: 87_400,
    uploads_enabled: false,
    initiator_device_id: ids.client,
    responder_device_id: ids.gateway,
    policy_id: ids.policy,
    resource_id: ids.resource,
    resource_name: 'Database',
    initiator_actor_id: ids.actor,
    authorized_at: '1970-01-01T00:16:40Z',
    authorization_expires_at: '1970-01-02T00:16:40Z',
  });
});

test('[P9.19] a reject that is owed follows the init of gateways that ignore what init leaves out, and of no other', () => {
  const expected = { A: ['gateway init', 'reject'], C: ['gateway init', 'reject'], B: ['gateway init'] };
  for (const of of generations) {
    const driven = driveWithFlow(worldRows(), speaking[of]);
    driven.step({ type: 'closed', sessionId: 'gateway' });
    driven.commit(remove('policies'));
    const back = joinGateway(driven, { ...speaking[of].gateway, connectedAt: 2000 });
    const told = lines(back).map((line) => (line.startsWith('gateway reject_access') ? 'reject' : line));
    expect([of, told]).toEqual([of, expected[of]]);
    expect(payloadOf(back, 'init')['authorizations']).toEqual([]);
  }
});

test('[P14.30] a gateway of generation B is told a later expiry by the authorization again, with the same secrets, in silence', () => {
  const driven = drive();
  joinGateway(driven, speaking.B.gateway);
  joinClient(driven, speaking.B.client);
  const asked = createFlow(driven);
  authorizeFlow(driven, refOf(asked));
  const renewal = renewalOf(driven);
  expect(lines(renewal)).toEqual(['gateway create_authorization']);
  expect(driven.now).toBeGreaterThan(1_000_000 + 0.75 * day);
  const [before, after] = [asked, renewal].map((effects) => payloadOf(effects, 'create_authorization'));
  for (const key of ['resource', 'client', 'client_ice_credentials', 'gateway_ice_credentials']) {
    expect(after?.[key]).toEqual(before?.[key]);
  }
  expect(Number(after?.['expires_at'])).toBeGreaterThan(Number(before?.['expires_at']) + (0.75 * day) / 1000 - 1);
  expect(lines(authorizeFlow(driven, refOf(renewal)))).toEqual(['gateway reply ok']);
  const next = renewalOf(driven);
  expect(lines(next)).toEqual(['gateway create_authorization']);
});

test('[P14.31] a renewal that is not answered ends nothing, and a client that asks meanwhile is answered', () => {
  const driven = driveWithFlow(worldRows(), speaking.B);
  renewalOf(driven);
  driven.now += 10_000;
  expect(lines(driven.step({ type: 'tick' }))).toEqual([]);
  expect([...driven.state.grants.values()]).toMatchObject([{ phase: 'live', question: null }]);
  const again = driveWithFlow(worldRows(), speaking.B);
  const renewal = renewalOf(again);
  const asked = createFlow(again);
  expect(lines(asked)).toEqual(['gateway create_authorization']);
  expect(lines(authorizeFlow(again, refOf(renewal)))).toEqual(['gateway reply invalid_ref']);
  expect(lines(authorizeFlow(again, refOf(asked)))).toEqual(['gateway reply ok', 'client authorization_created']);
});

test('[P14.32] a renewal goes on under the keys that were accepted, and not to a gateway that has another since', () => {
  const publicKey = `${'D'.repeat(42)}A=`;
  const client = driveWithFlow(worldRows(), speaking.B);
  client.step({ type: 'closed', sessionId: 'client' });
  joinClient(client, { ...speaking.B.client, publicKey, connectedAt: 2000 });
  expect(payloadOf(renewalOf(client), 'create_authorization')['client']).toMatchObject({
    public_key: `${'A'.repeat(43)}=`,
  });
  const gateway = driveWithFlow(worldRows(), speaking.B);
  joinGateway(gateway, { ...speaking.B.gateway, publicKey, connectedAt: 2000 });
  expect(lines(renewalOf(gateway))).toEqual([
    `gateway reject_access ${ids.client} ${ids.resource}`,
    `client resource_deleted ${ids.resource}`,
    `client resource_created_or_updated ${ids.resource}`,
  ]);
});

test('[P14.33] a renewal that an open question holds up follows its answer, and a question late enough renews by itself', () => {
  const driven = driveWithFlow(worldRows(), speaking.B);
  driven.now = (driven.state.deadline ?? 0) - 5000;
  const asked = createFlow(driven);
  driven.now += 5000;
  expect(lines(driven.step({ type: 'tick' }))).toEqual([]);
  expect(authorizeFlow(driven, refOf(asked)).wakeAt).toBe(driven.now);
  expect(lines(driven.step({ type: 'tick' }))).toEqual(['gateway create_authorization']);
  const late = driveWithFlow(worldRows(), speaking.A);
  late.now += 0.99 * day;
  const told = Number(payloadOf(createFlow(late), 'authorize_flow')['expires_at']);
  expect(told).toBe(Math.floor((late.now + day) / 1000));
});

test('[P4.33] changed filters alone are told as such to clients that take it, and as the whole resource to others', () => {
  const changed = update('resources', { filters: '[{"protocol":"tcp","ports":["443"]}]' });
  const expected: Record<Generation, string> = {
    A: 'client resource_created_or_updated',
    C: 'client resource_filters_updated',
    B: 'client resource_filters_updated',
  };
  for (const of of generations) {
    const driven = drive();
    joinClient(driven, speaking[of].client);
    const effects = driven.commitEffects(changed);
    expect(lines(effects)).toEqual([`${expected[of]} ${ids.resource}`]);
    const filters = [{ protocol: 'tcp', port_range_start: 443, port_range_end: 443 }];
    expect(payloadOf(effects, expected[of].slice(7))['filters']).toEqual(filters);
    const both = { filters: '[]', name: 'Other' };
    const before = { filters: '[{"protocol":"tcp","ports":["443"]}]' };
    expect(driven.commit(update('resources', both, before))).toEqual([
      `client resource_created_or_updated ${ids.resource}`,
    ]);
  }
});

test('[P4.34] a resource that moved to another site is removed first for clients that cannot follow it', () => {
  const created = `client resource_created_or_updated ${ids.resource}`;
  const expected: Record<Generation, string[]> = {
    A: [`client resource_deleted ${ids.resource}`, created],
    C: [created],
    B: [created],
  };
  for (const of of generations) {
    const rows = worldRows();
    rows.gateway_groups?.push(row('gateway_groups', { id: id('site', 2) }));
    const driven = drive(rows);
    joinClient(driven, speaking[of].client);
    const moved = driven.commit(
      remove('resource_connections'),
      insert('resource_connections', { gateway_group_id: id('site', 2) }),
    );
    expect([of, moved]).toEqual([of, expected[of]]);
  }
});

test('[P8.2] what a device of generation B says it can do is kept with its session, also while the account sleeps', () => {
  const driven = driveWithFlow(worldRows(), speaking.B);
  for (const sessionId of ['client', 'gateway']) {
    const payload = { iceless: true };
    driven.step({ type: 'message', sessionId, event: 'set_snownet_capabilities', payload, ref: 1 });
  }
  driven.sleep();
  expect([...driven.state.sessions.values()].map(({ iceless }) => iceless)).toEqual([true, true]);
});

test('[P10.17] a name in a device pool is not found, and candidates for another client reach nobody', () => {
  const driven = driveWithFlow(worldRows(), speaking.C);
  const pool = { resource_id: ids.resource, domain: 'peer.example' };
  const event = 'resolve_device_pool_domain';
  const resolved = driven.step({ type: 'message', sessionId: 'client', event, payload: pool, ref: 1 });
  expect(payloadOf(resolved, 'device_pool_domain_resolution_failed')).toEqual({ ...pool, reason: 'not_found' });
  for (const name of ['new_client_ice_candidates', 'invalidate_client_ice_candidates']) {
    const payload = { client_id: ids.client, candidates: [] };
    const effects = driven.step({ type: 'message', sessionId: 'client', event: name, payload, ref: 1 });
    expect(effects.sends).toEqual([]);
  }
});

test('[P15.80] a version is read by its numbers, below its release before it, and as the oldest where it cannot be read', () => {
  expect([isAtLeast('1.5.10', '1.5.9'), isAtLeast('1.5.9', '1.5.9'), isAtLeast('2.0.0', '1.5.9')]).toEqual([
    true,
    true,
    true,
  ]);
  for (const version of ['1.5.8', '1.5.9-rc.1', '1.5', 'development', '', null]) {
    expect([version, isAtLeast(version, '1.5.9')]).toEqual([version, false]);
  }
  const unknown = { socketVersion: 1, program: null, deviceVersion: null } as const;
  expect(clientSpeech(unknown)).toEqual(clientSpeech(speaking.A.client));
  expect(gatewaySpeech(unknown)).toEqual(gatewaySpeech(speaking.A.gateway));
  expect(clientSpeech({ ...speaking.C.client, deviceVersion: '1.5.5' })).toMatchObject({
    siteNames: 'gateway_groups',
    followsMoves: true,
  });
  const apple = { program: 'apple-client', deviceVersion: '1.5.11', socketVersion: 1 } as const;
  expect(clientSpeech(apple)).toMatchObject({ siteNames: 'sites', takesFilters: false });
});

test('[P9.38] [D33] [D35] [D36] what devices depend on is kept: a bare id, both masquerade flags, filters without bounds', () => {
  const rows = worldRows();
  rows.resources = [
    row('resources', { filters: '[{"protocol":"udp"},{"protocol":"tcp","ports":["80","8000 - 8010"]}]' }),
  ];
  const driven = driveWithFlow(rows, speaking.A);
  const back = joinGateway(driven, { ...speaking.A.gateway, connectedAt: 2000 });
  expect(payloadOf(back, 'init')['config']).toEqual({
    ipv4_masquerade_enabled: true,
    ipv6_masquerade_enabled: true,
  });
  expect(payloadOf(back, 'resource_updated')['filters']).toEqual([
    { protocol: 'udp' },
    { protocol: 'tcp', port_range_start: 80, port_range_end: 80 },
    { protocol: 'tcp', port_range_start: 8000, port_range_end: 8010 },
  ]);
  const gone = driven.commitEffects(remove('policies'));
  const [deleted] = gone.sends.flatMap((send) =>
    'message' in send && send.type === 'to-client' ? [send.message] : [],
  );
  expect(deleted).toEqual({ event: 'resource_deleted', payload: ids.resource });
});
