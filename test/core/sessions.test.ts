// Who is admitted, what replaces what, and what ends a session.
import { expect, test } from 'vitest';
import { drive, driveWithFlow, joinClient, joinGateway, lines } from '../support/core.ts';
import { clientHello, gatewayHello, id, ids, remove, row, update, worldRows } from '../support/world.ts';
import { StoredMemberships } from '../support/stored-memberships.ts';
import { clonedDevices } from '../../core/clones.ts';
import { emptyState } from '../../core/state.ts';
import { sessionsMax } from '../../core/sessions.ts';
import { step } from '../../core/step.ts';
import { refusalOf } from '../../protocol/reasons.ts';
import { nodeHashes } from '../support/core.ts';
import type { Drive } from '../support/core.ts';
import type { Hello } from '../../protocol/link.ts';

const disabled = { disabled_at: '2026-01-01 00:00:00+00' };

function codeOf(driven: Drive, hello: Hello): string {
  const { admission } = driven.step({ type: 'connect', sessionId: 'x', hello });
  return admission?.type === 'refused' ? admission.refusal.code : 'admitted';
}

test('[P5.12] a connection is admitted only under a token that is there, of its type, unexpired, with its secret', () => {
  expect(codeOf(drive(), clientHello())).toBe('admitted');
  const wrongSecret = clientHello({ token: { ...clientHello().token, secret: 'x'.repeat(32) } });
  expect(codeOf(drive(), wrongSecret)).toBe('invalid_token');
  const otherType = clientHello({ token: { ...gatewayHello().token, type: 'client' } });
  expect(codeOf(drive(), otherType)).toBe('invalid_token');
  const rows = worldRows();
  rows.tokens = [row('tokens', { expires_at: '1970-01-01 00:10:00+00' })];
  expect(codeOf(drive(rows), clientHello())).toBe('invalid_token');
  const unknown = clientHello({ token: { ...clientHello().token, id: id('tokx') } });
  expect(codeOf(drive(), unknown)).toBe('token_not_known_yet');
});

test('[P5.13] before its first snapshot an object admits nobody', () => {
  const state = emptyState(new StoredMemberships());
  const env = { now: 1, seed: 's', hashes: nodeHashes };
  const { admission } = step(state, { type: 'connect', sessionId: 'x', hello: clientHello() }, env);
  expect(admission).toMatchObject({ type: 'refused', refusal: { code: 'account_not_ready', status: 503 } });
});

test('[P5.14] a disabled account or actor is refused, and told to come back later', () => {
  const rows = worldRows();
  expect(codeOf(drive({ ...rows, accounts: [row('accounts', disabled)] }), clientHello())).toBe('account_disabled');
  expect(codeOf(drive({ ...rows, actors: [row('actors', disabled)] }), clientHello())).toBe('actor_disabled');
});

test('[P15.118] an account with as many devices as it may have connected takes no other, and those that it has come back', () => {
  const driven = drive();
  joinGateway(driven);
  joinClient(driven);
  const [session] = driven.state.sessions.values();
  if (session === undefined) throw new Error('no session');
  for (let n = driven.state.sessions.size; n < sessionsMax; n += 1) driven.state.sessions.set(`other ${n}`, session);
  const registered = driven.state.tables.registrations.size;
  expect(codeOf(driven, clientHello({ externalId: 'another' }))).toBe('account_too_large');
  expect(driven.state.tables.registrations.size).toBe(registered);
  expect(codeOf(driven, clientHello({ connectedAt: 2_000_000 }))).toBe('admitted');
  driven.state.sessions.delete('other 2');
  expect(codeOf(driven, clientHello({ externalId: 'another' }))).toBe('admitted');
});

test('[P5.104] what cannot be read is not gone: its devices are closed, told to come back, and signed out by nothing', () => {
  const unread = [false, 'unreadable', 'too large'] as const;
  // Whose row cannot be read is not known: such a device is registered anew, which Postgres refuses.
  for (const [table, changes, closed, answer] of [
    ['tokens', { expires_at: unread }, ['client close unreadable'], 'row_unreadable'],
    ['accounts', { config: unread }, ['gateway close unreadable', 'client close unreadable'], 'row_unreadable'],
    ['clients', { psk_base: unread }, ['client close unreadable'], 'admitted'],
  ] as const) {
    const driven = driveWithFlow();
    expect(driven.commit(update(table, changes)).filter((line) => line.includes('close'))).toEqual(closed);
    expect(codeOf(driven, clientHello({ connectedAt: 9_000_000 }))).toBe(answer);
    driven.commit({ op: 'update', table, old: row(table, changes), new: row(table) });
    expect(codeOf(driven, clientHello({ connectedAt: 9_000_000 }))).toBe('admitted');
  }
});

test('[P5.105] a token that never expires, by an infinite time or a year far off, admits', () => {
  for (const expires_at of [
    'infinity',
    '9999-12-31 23:59:59+00',
    '10000-01-01 00:00:00+00',
    '294276-12-31 00:00:00+00',
  ]) {
    const driven = driveWithFlow();
    expect(driven.commit(update('tokens', { expires_at }))).not.toContainEqual(expect.stringContaining('close'));
    expect(codeOf(driven, clientHello({ connectedAt: 9_000_000 }))).toBe('admitted');
  }
});

test('[P4.5] disabling the account or the actor ends its flows and closes its sessions, signing nobody out', () => {
  const reject = `gateway reject_access ${ids.client} ${ids.resource}`;
  expect(driveWithFlow().commit(update('actors', disabled))).toEqual([reject, 'client close disabled']);
  expect(driveWithFlow().commit(update('accounts', disabled))).toEqual([
    reject,
    'gateway close disabled',
    'client close disabled',
  ]);
});

test('[P4.6] a deleted client or gateway is signed out after the flows through it were rejected', () => {
  const reject = `gateway reject_access ${ids.client} ${ids.resource}`;
  expect(driveWithFlow().commit(remove('clients'))).toEqual([reject, 'client close device_gone']);
  expect(driveWithFlow().commit(remove('gateways'))).toEqual([
    reject,
    `client resource_deleted ${ids.resource}`,
    `client resource_created_or_updated ${ids.resource}`,
    'gateway close device_gone',
  ]);
});

test('[P4.7] an older connection of a device never replaces a newer one', () => {
  const driven = drive();
  joinClient(driven, { connectedAt: 2000 });
  expect(codeOf(driven, clientHello({ connectedAt: 1999 }))).toBe('superseded');
  expect(codeOf(driven, clientHello({ connectedAt: 2001 }))).toBe('admitted');
});

test('[P14.2] a token ends its sessions at the moment it expires', () => {
  const rows = worldRows();
  rows.tokens = [row('tokens', { expires_at: '1970-01-01 01:00:00+00' })];
  const driven = drive(rows);
  const { wakeAt } = joinClient(driven);
  expect(wakeAt).toBe(3_600_000);
  driven.now = 3_600_000;
  expect(lines(driven.step({ type: 'tick' }))).toEqual(['client close token_gone']);
});

test('[P14.3] time never goes back: what has ended stays ended under a clock that is behind', () => {
  const rows = worldRows();
  rows.tokens = [row('tokens', { expires_at: '1970-01-01 01:00:00+00' })];
  const driven = drive(rows);
  driven.now = 3_600_000;
  driven.step({ type: 'tick' });
  driven.now = 1000;
  expect(codeOf(driven, clientHello())).toBe('invalid_token');
});

test('[P12.4] a message of a session that has ended changes nothing', () => {
  const driven = drive();
  joinGateway(driven);
  joinClient(driven);
  driven.step({ type: 'closed', sessionId: 'client' });
  const payload = { resource_id: ids.resource, connected_gateway_ids: [] };
  const effects = driven.step({ type: 'message', sessionId: 'client', event: 'create_flow', payload, ref: 1 });
  expect([effects.sends, effects.saves, driven.state.grants.size]).toEqual([[], [], 0]);
});

test("[P8.1] a connection under a new key or address writes no row, and a changed row leaves the session's key alone", () => {
  const driven = drive();
  joinClient(driven);
  const publicKey = `${'D'.repeat(42)}A=`;
  const again = driven.step({
    type: 'connect',
    sessionId: 'b',
    hello: clientHello({ publicKey, remoteIp: '198.51.100.1' }),
  });
  expect(again.saves.map(({ type }) => type)).toEqual(['put-session', 'put-session-record']);
  driven.commit(update('clients', { external_id: 'renamed' }));
  expect(driven.state.sessions.get('b')).toMatchObject({ publicKey, remoteIp: '198.51.100.1' });
});

test('[P15.62] a device that other keys have replaced five times in a minute keeps its session, and newcomers come back later', () => {
  const driven = drive();
  const keyOf = (n: number) => `${String(n).padStart(42, 'E')}A=`;
  const connects = (n: number) => codeOf(driven, clientHello({ publicKey: keyOf(n), connectedAt: 1000 + n }));
  for (let n = 0; n <= 5; n += 1) expect(connects(n)).toBe('admitted');
  expect(connects(5)).toBe('admitted');
  expect(clonedDevices(driven.state, driven.now)).toEqual([]);
  expect(connects(6)).toBe('device_cloned');
  expect(driven.state.sessions.get('x')).toMatchObject({ publicKey: keyOf(5) });
  expect(clonedDevices(driven.state, driven.now)).toEqual([ids.client]);
  expect(refusalOf('device_cloned')).toMatchObject({ status: 503, retryAfterSeconds: 60 });
  driven.now += 60_000;
  expect(connects(7)).toBe('admitted');
  driven.now += 600_000;
  expect(clonedDevices(driven.state, driven.now)).toEqual([]);
});

test('[P15.63] a program that starts anew after its connection has ended replaces nothing, however often', () => {
  const driven = drive();
  for (let n = 0; n < 20; n += 1) {
    expect(codeOf(driven, clientHello({ publicKey: `${String(n).padStart(42, 'E')}A=` }))).toBe('admitted');
    driven.step({ type: 'closed', sessionId: 'x' });
  }
});

test('[P4.28] a redial takes the place of its own session, and never that of a newer connection of the device', () => {
  const driven = drive();
  driven.step({ type: 'connect', sessionId: 'first', hello: clientHello({ connectedAt: 1000 }) });
  expect(
    lines(driven.step({ type: 'connect', sessionId: 'again', hello: clientHello({ connectedAt: 1000 }) })),
  ).toEqual(['first close superseded']);
  driven.step({ type: 'connect', sessionId: 'newer', hello: clientHello({ connectedAt: 2000 }) });
  expect(codeOf(driven, clientHello({ connectedAt: 1000 }))).toBe('superseded');
  expect([...driven.state.sessions.keys()]).toEqual(['newer']);
});
