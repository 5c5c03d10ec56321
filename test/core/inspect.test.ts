// What operators are told is what devices are told: the verdict, the gateway and the refusal of a connection, on facts whose
// origin is named. Asking changes nothing.
import { expect, test } from 'vitest';
import fc from 'fast-check';
import * as v from 'valibot';
import { accessAnswer, accessRequest, explainAnswer, explainRequest } from '../../protocol/explain.ts';
import {
  authorizeFlow,
  createFlow,
  drive,
  driveWithFlow,
  joinClient,
  joinGateway,
  nodeHashes,
  refOf,
} from '../support/core.ts';
import { clientHello, id, ids, insert, remove, row, update, worldRows } from '../support/world.ts';
import { flowId } from '../../protocol/ids.ts';
import { grantsMax } from '../../core/grants.ts';
import { unflushedMax } from '../../core/ledger.ts';
import { emptyState } from '../../core/state.ts';
import { explainClient, listAccess } from '../../core/inspect.ts';
import { history } from '../support/history.ts';
import { StoredMemberships } from '../support/stored-memberships.ts';
import { requestOf } from '../support/random-frames.ts';
import { RandomAccount } from '../support/random-core.ts';
import type { Drive } from '../support/core.ts';
import type { Effects } from '../../core/effect.ts';
import type { ExplainAnswer } from '../../protocol/explain.ts';
import type { ToClient } from '../../protocol/device/to-client.ts';
import type { State } from '../../core/state.ts';

const office = '203.0.113.7';
const officeOnly = JSON.stringify({ property: 'remote_ip', operator: 'is_in_cidr', values: ['203.0.113.0/24'] });
const disabled = { disabled_at: '1970-01-01 00:00:00+00' };
const nothing = { token: null, remoteIp: null, region: null };

test('[P5.33] over random histories a connected client is answered as the explanation says, by the gateway that it names', () => {
  const verdicts = new Set<string>();
  const questions = fc.tuple(history, fc.nat(1000), fc.constantFrom(1, 2, 3));
  fc.assert(
    fc.property(questions, ([steps, chosen, n]) => {
      const account = new RandomAccount();
      for (const ops of steps) account.happen(ops);
      const { driven } = account;
      const clients = [...driven.state.sessions.values()].filter(({ role, joined }) => role === 'client' && joined);
      const session = clients[chosen % Math.max(1, clients.length)];
      if (session === undefined) return;
      const told = explained(driven, { client: session.deviceId, resource: id('res', n) });
      verdicts.add(told.verdict);
      const open = [...driven.state.grants.values()].flatMap((grant) =>
        grant.phase === 'live' && grant.acknowledged && grant.clientId === session.deviceId ? [grant.gatewayId] : [],
      );
      const payload = { resource_id: id('res', n), connected_gateway_ids: open };
      const effects = driven.step({
        type: 'message',
        sessionId: session.id,
        event: requestOf(session),
        payload,
        ref: 1,
      });
      const { reason, gatewayId } = answerIn(driven, effects);
      expect([told.verdict, told.missing.length === 0]).toEqual([reason ?? 'allow', reason === null]);
      expect(gatewayId ?? told.gatewayId).toBe(told.gatewayId);
    }),
    { seed: 5, numRuns: 400 },
  );
  expect([...verdicts].toSorted()).toEqual(['allow', 'forbidden', 'not_found', 'offline']);
});

test('[P5.34] an explanation names the facts it used: of the live connection, of the newest flow, given, or none', () => {
  const driven = drive();
  joinGateway(driven);
  const given = { token: ids.clientToken, remoteIp: '192.0.2.1', region: 'DE' };
  const longest = { id: ids.clientToken, source: 'longest', expiresAt: Date.UTC(2100, 0, 1) };
  const unknown = { value: null, source: 'unknown' };
  expect(explained(driven).facts).toMatchObject({ token: longest, remoteIp: unknown, region: unknown });
  expect(explained(driven, { given }).facts).toMatchObject({
    token: { id: ids.clientToken, source: 'given' },
    remoteIp: { value: '192.0.2.1', source: 'given' },
    region: { value: 'DE', source: 'given' },
  });

  joinClient(driven);
  authorizeFlow(driven, refOf(createFlow(driven)));
  const session = explained(driven, { given });
  expect(session.facts).toMatchObject({
    token: { id: ids.clientToken, source: 'session' },
    remoteIp: { value: office, source: 'session' },
    version: clientHello().deviceVersion,
  });
  expect(session.connection).toMatchObject({ since: clientHello().connectedAt, isJoined: true, refusal: null });
  expect(session.flow).toMatchObject({ gatewayId: ids.gateway, isOpen: true });

  driven.step({ type: 'closed', sessionId: 'client' });
  const flow = explained(driven, { given });
  expect(flow.facts).toMatchObject({ remoteIp: { value: office, source: 'flow' }, version: null });
  expect([flow.verdict, flow.connection.since]).toEqual(['allow', null]);
});

test('[P5.35] whatever keeps a flow from being carried is among what is missing, and supplying all of it allows', () => {
  const rows = worldRows();
  rows.gateways = [];
  rows.policies = [row('policies', { conditions: [officeOnly], ...disabled })];
  const driven = drive(rows);
  driven.state.stale = true;
  const given = { ...nothing, remoteIp: '192.0.2.1' };
  expect(explained(driven, { given }).missing.map(({ type }) => type)).toEqual([
    'stale',
    'policy_disabled',
    'condition',
    'gateway',
  ]);
  driven.state.stale = false;
  driven.commit(
    update('policies', { disabled_at: null }, { conditions: [officeOnly], ...disabled }),
    insert('gateways'),
  );
  const atOffice = { ...nothing, remoteIp: office };
  expect(explained(driven, { given: atOffice }).missing).toEqual([{ type: 'gateway', detail: 'offline' }]);
  joinGateway(driven, { deviceVersion: '1.0.0' });
  expect(explained(driven, { given: atOffice }).verdict).toBe('allow');
  joinClient(driven);
  expect(explained(driven).missing).toEqual([{ type: 'gateway', detail: 'incompatible' }]);
  joinGateway(driven, { connectedAt: 3000 });
  expect(explained(driven)).toMatchObject({ verdict: 'allow', missing: [], gatewayId: ids.gateway });
});

test('[P5.36] a connection is said to be refused for the reason for which it is refused', () => {
  const expired = { expires_at: '1970-01-01 00:10:00+00' };
  const cases: [string | null, Parameters<typeof drive>[0]][] = [
    [null, worldRows()],
    ['token_not_known_yet', { ...worldRows(), tokens: [] }],
    ['invalid_token', { ...worldRows(), tokens: [row('tokens', expired)] }],
    ['account_disabled', { ...worldRows(), accounts: [row('accounts', disabled)] }],
    ['actor_disabled', { ...worldRows(), actors: [row('actors', disabled)] }],
    ['provider_disabled', { ...worldRows(), tokens: [row('tokens', { identity_id: id('iden') })] }],
    [null, { ...worldRows(), clients: [] }],
    ['invalid_token', {}],
  ];
  for (const [code, rows] of cases) {
    const driven = drive(rows);
    const given = { ...nothing, token: ids.clientToken };
    expect(explained(driven, { given }).connection.refusal?.code ?? null).toBe(code);
    const { admission } = driven.step({ type: 'connect', sessionId: 'x', hello: clientHello() });
    expect(admission?.type === 'refused' ? admission.refusal.code : null).toBe(code);
  }
});

test('[P5.36] a connection that an operator holds, by its device or by its owner, is said to be refused for that', () => {
  for (const of of [
    { kind: 'client', id: ids.client },
    { kind: 'actor', id: ids.actor },
  ] as const) {
    const driven = drive();
    driven.step({ type: 'hold', hold: { ...of, at: 1, by: 'oncall', reason: null } });
    expect(explained(driven, {}).connection.refusal?.code).toBe('held');
    const { admission } = driven.step({ type: 'connect', sessionId: 'x', hello: clientHello() });
    expect(admission).toMatchObject({ type: 'refused', refusal: { code: 'held' } });
  }
});

test('[P5.37] before its first snapshot an object says that this is what is missing, and that nobody is admitted', () => {
  const told = explainClient(emptyState(new StoredMemberships()), questionOf({}), env(1));
  expect(told).toMatchObject({ position: null, client: null, verdict: 'not_found', missing: [{ type: 'snapshot' }] });
  expect(told.connection.refusal?.code).toBe('account_not_ready');
  const listed = listAccess(
    emptyState(new StoredMemberships()),
    v.parse(accessRequest, { ...about, of: resourceAsked }),
    env(1),
  );
  expect(listed).toMatchObject({ position: null, isKnown: false, rows: [], total: 0 });
});

test('[P12.9] an explanation of ids of another account is that of ids that do not exist', () => {
  const driven = drive();
  joinGateway(driven);
  for (const of of ['client', 'resource'] as const) {
    const [one, two] = [id('foreign', 1), id('foreign', 2)].map((foreign) => {
      const told = JSON.stringify(explained(driven, { [of]: foreign }));
      return told.replaceAll(foreign, 'foreign');
    });
    expect(one).toBe(two);
    expect(explained(driven, { [of]: id('foreign') })).toMatchObject({ verdict: 'not_found', [of]: null });
  }
});

test('[P5.31] what is listed for a resource, an actor and a client is what each explanation says, pair by pair', () => {
  const counts = { rows: 0, allowed: 0 };
  fc.assert(
    fc.property(history, (steps) => {
      const account = new RandomAccount();
      for (const ops of steps) account.happen(ops);
      const { driven } = account;
      const before = stateText(driven.state);
      // Those that registered themselves are among them.
      const clients = [...new Set([...[1, 2, 3].map((n) => id('cli', n)), ...driven.state.tables.rows.clients.keys()])];
      const lists = [
        ...[1, 2, 3].map((n) => listed(driven, { type: 'resource', id: id('res', n) })),
        ...[1, 2].map((n) => listed(driven, { type: 'actor', id: id('act', n) })),
        ...clients.map((client) => listed(driven, { type: 'client', id: client })),
      ];
      for (const { rows, total, allowed } of lists) {
        expect([total, allowed]).toEqual([rows.length, rows.filter(({ verdict }) => verdict === 'allow').length]);
        for (const { clientId, resourceId, verdict, until, policyId, facts } of rows) {
          const told = explained(driven, { client: clientId, resource: resourceId });
          expect([verdict, until, policyId, facts]).toEqual([
            told.verdict,
            told.until,
            told.policyId,
            told.facts.token.source,
          ]);
        }
        counts.rows += rows.length;
        counts.allowed += allowed;
      }
      const pairs = lists.map(({ rows }) => rows.map((pair) => `${pair.clientId} ${pair.resourceId}`).toSorted());
      const ofAll = (from: number, to: number) => pairs.slice(from, to).flat().toSorted();
      expect(ofAll(3, 5)).toEqual(ofAll(5, lists.length));
      expect(ofAll(0, 3)).toEqual(expect.arrayContaining(ofAll(3, 5)));
      for (const n of [1, 2, 3]) {
        for (const m of [1, 2, 3]) {
          const told = explained(driven, { client: id('cli', n), resource: id('res', m) });
          const isListed = ofAll(5, lists.length).includes(`${id('cli', n)} ${id('res', m)}`);
          expect(isListed || told.verdict !== 'allow').toBe(true);
        }
      }
      expect(stateText(driven.state)).toBe(before);
    }),
    { seed: 31, numRuns: 60 },
  );
  expect(counts.allowed).toBeGreaterThan(counts.rows / 10);
  expect(counts.allowed).toBeLessThan(counts.rows);
});

test('[P15.29] a list holds a bounded number of pairs, and says how many there are', () => {
  const rows = worldRows();
  const clients = Array.from({ length: 1100 }, (_, n) =>
    row('clients', { id: id('cli', n + 1), external_id: `laptop-${n}` }),
  );
  const answer = listed(drive({ ...rows, clients }), { type: 'resource', id: ids.resource });
  expect([answer.rows.length, answer.total, answer.allowed]).toEqual([1000, 1100, 0]);
  expect(answer.rows.every(({ verdict }) => verdict === 'offline')).toBe(true);
});

test('[P5.38] an access that ends within the second is refused, and the explanation says that this is why', () => {
  const driven = drive();
  joinGateway(driven);
  joinClient(driven);
  driven.commit(update('tokens', { expires_at: '1970-01-01 00:16:40.9+00' }));
  const told = explained(driven);
  expect([told.verdict, told.missing]).toEqual(['forbidden', [{ type: 'time', until: 1_000_900 }]]);
  driven.commit(remove('policies'));
  expect(explained(driven).missing).toEqual([{ type: 'policy', resourceId: ids.resource }]);
});

test('[P5.102] where the account itself lets nothing be granted, the explanation says why', () => {
  const denying = { ...worldRows(), accounts: [row('accounts', { when_behind: 'deny' })] };
  const cases: readonly (readonly [string, (state: State) => void])[] = [
    ['behind', (state) => (state.freshness.isBehind = true)],
    ['ledger', (state) => (state.ledger.stored = unflushedMax)],
    ['grants', fillGrants],
  ];
  for (const [type, happen] of cases) {
    const driven = drive(denying);
    joinGateway(driven);
    joinClient(driven);
    expect(explained(driven).verdict).toBe('allow');
    happen(driven.state);
    const told = explained(driven);
    expect([told.verdict, told.missing]).toEqual(['offline', [{ type }]]);
  }
});

/** With copies of one that only awaits being told of. */
function fillGrants({ grants }: State): void {
  const { state } = driveWithFlow();
  const [live] = state.grants.values();
  if (live === undefined) throw new Error('no flow');
  for (let n = grants.size; n < grantsMax; n += 1) {
    const flow = v.parse(flowId, id('flow', n));
    grants.set(flow, { ...live, flowId: flow });
  }
}

const about = { version: 1, account: ids.account };
const resourceAsked = { type: 'resource', id: ids.resource };

function env(now: number) {
  return { now, seed: 'asked', hashes: nodeHashes };
}

function questionOf(changes: object) {
  return v.parse(explainRequest, { ...about, client: ids.client, resource: ids.resource, given: nothing, ...changes });
}

/** The explanation as it travels. */
function explained({ state, now }: Drive, changes: object = {}): ExplainAnswer {
  return travelled(explainAnswer, explainClient(state, questionOf(changes), env(now)));
}

function listed({ state, now }: Drive, of: object) {
  return travelled(accessAnswer, listAccess(state, v.parse(accessRequest, { ...about, of }), env(now)));
}

function travelled<T>(schema: v.GenericSchema<unknown, T>, answer: T): T {
  const read = v.parse(schema, JSON.parse(JSON.stringify(answer)));
  expect(read).toEqual(answer);
  return read;
}

/** Why a request failed, or null; and the gateway that it was put to, or null. */
function answerIn({ state }: Drive, { sends }: Effects): { reason: string | null; gatewayId: string | null } {
  let [reason, gatewayId]: [string | null, string | null] = [null, null];
  for (const send of sends) {
    if (send.type === 'to-client' && isFailure(send.message)) ({ reason } = send.message.payload);
    if (send.type === 'to-gateway' && 'ref' in send.message.payload) {
      gatewayId = state.sessions.get(send.sessionId)?.deviceId ?? null;
    }
  }
  return { reason, gatewayId };
}

function isFailure(message: ToClient): message is Extract<ToClient, { event: 'flow_creation_failed' }> {
  return message.event === 'flow_creation_failed' || message.event === 'authorization_creation_failed';
}

/** All that a state holds, as text; of those who are awake, whom it holds with which groups. */
function stateText(state: State): string {
  const awake = [...state.tables.memberships.members.values()].map((member) => [
    member.id,
    member.groups.map(({ id: own }) => own),
  ]);
  return JSON.stringify([awake, state], (key, value: unknown) => {
    if (key === 'memberships') return null;
    return value instanceof Map || value instanceof Set ? [...value] : value;
  });
}
