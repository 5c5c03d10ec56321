// Relays: which a device is told of, under which credentials, and what it is told when they come, go and come back.
import { expect, test } from 'vitest';
import { drive, driveWithFlow, joinClient, joinGateway, lines, nodeHashes } from '../support/core.ts';
import { chooseRelays, graceMs, relaysMax } from '../../core/relays.ts';
import { clientHello, id, ids, relayHello, relayRows, remove, stampSecret } from '../support/world.ts';
import { tokenRow, update, worldRows } from '../support/world.ts';
import { relaysWaitMsMax } from '../../core/sessions.ts';
import { speaking } from '../support/generations.ts';
import { turnCredentials } from '../../core/relay-credentials.ts';
import type { Drive } from '../support/core.ts';
import type { Effects } from '../../core/effect.ts';
import type { Relay } from '../../protocol/device/shared.ts';
import type { RelayEntry } from '../../protocol/relays.ts';

const other = '6'.repeat(64);
const relayToken = tokenRow('relay_group', ids.relayToken, 'r'.repeat(32));
const elsewhere = { ipv4: '198.51.100.10', ipv6: null };

/** Connects a relay and joins it under `secret`; returns what follows from the join. */
function joinRelay(
  driven: Drive,
  secret = stampSecret,
  changes: object = {},
  sessionId = `relay-${secret[0]}`,
): Effects {
  driven.step({ type: 'connect', sessionId, hello: relayHello(changes) });
  return driven.step({ type: 'joined', sessionId, stampSecret: secret });
}

function leave(driven: Drive, sessionId = `relay-${stampSecret[0]}`): Effects {
  return driven.step({ type: 'closed', sessionId });
}

type Change = { readonly disconnected_ids: readonly string[]; readonly connected: readonly Relay[] };

/** Every relays_presence that `sessionId` is told. */
function changesOf(effects: Effects, sessionId = 'client'): Change[] {
  return effects.sends.flatMap((send) =>
    send.sessionId === sessionId && 'message' in send && send.message.event === 'relays_presence'
      ? [send.message.payload]
      : [],
  );
}

function relaysOfInit(effects: Effects): readonly Relay[] {
  for (const send of effects.sends) {
    if ('message' in send && send.message.event === 'init') return send.message.payload.relays;
  }
  throw new Error('no init was sent');
}

function tickAt(driven: Drive, at: number): Effects {
  driven.now = at;
  return driven.step({ type: 'tick' });
}

function entry(n: number, place: Partial<RelayEntry> = {}): RelayEntry {
  const base = { id: id('rel', n), stampSecret: `secret-of-relay-${n}`, ipv4: `198.51.100.${n}`, ipv6: null };
  return { ...base, port: 3478, latitude: null, longitude: null, ...place };
}

test('[P11.5] credentials of relays are those of both reference vectors', () => {
  expect(
    turnCredentials('test_secret', '5d9CsB7vot2KRIXMGXivBcgmjnW0ClvN5q/DxOeFotA', 1_696_118_400, nodeHashes),
  ).toEqual({
    username: '1696118400:5d9CsB7vot2KRIXMGXivBcgmjnW0ClvN5q/DxOeFotA',
    password: '+dkKyS/Rl06h5jatgTWfKcZoeDxEmT+TfsrH4x4cddA',
  });
  const secret = '1cab293a-4032-46f4-862a-40e5d174b0d2';
  expect(turnCredentials(secret, 'uvdgKvS9GXYZ_vmv', 1_685_984_278, nodeHashes).password).toBe(
    '6xUIoZ+QvxKhRasLifwfRkMXl+ETLJUsFkHlXjlHAkg',
  );
});

test('[P11.6] credentials end at the token of a client and in 2038 for a gateway, and a reconnect changes none', () => {
  const driven = drive(relayRows());
  joinRelay(driven);
  const client = relaysOfInit(joinClient(driven));
  const gateway = relaysOfInit(joinGateway(driven));
  expect(client.map(({ expires_at: at }) => at)).toEqual([4_102_444_800, 4_102_444_800]);
  expect(gateway.map(({ expires_at: at }) => at)).toEqual([2_145_916_800, 2_145_916_800]);
  expect(client[0]?.username).toMatch(/^4102444800:[A-Za-z0-9+/]{43}$/);
  leave(driven);
  joinRelay(driven, stampSecret, { connectedAt: 2000 });
  driven.now += 86_400_000;
  expect(relaysOfInit(joinClient(driven, { connectedAt: 3000 }))).toEqual(client);
  expect(relaysOfInit(joinGateway(driven, { connectedAt: 3000 }))).toEqual(gateway);
});

test('[P11.7] a token that gets another expiry changes the credentials of its client, who is told', () => {
  const driven = drive(relayRows());
  joinRelay(driven);
  const [before] = relaysOfInit(joinClient(driven));
  const [change] = changesOf(driven.commitEffects(update('tokens', { expires_at: '2099-01-01 00:00:00+00' })));
  expect(change?.disconnected_ids).toEqual([]);
  expect(change?.connected[0]?.expires_at).toBe(4_070_908_800);
  expect(change?.connected[0]?.id).toBe(before?.id);
});

test('[P9.20] the entries of one relay stand next to each other, IPv4 first', () => {
  const driven = drive(relayRows());
  joinRelay(driven);
  joinRelay(driven, other, { ...elsewhere, ipv6: '2001:db8::10' });
  const relays = relaysOfInit(joinClient(driven));
  expect(relays.map(({ addr }) => addr).toSorted()).toEqual([
    '198.51.100.10:3478',
    '198.51.100.9:3478',
    '[2001:db8::10]:3478',
    '[2001:db8::9]:3478',
  ]);
  const relayIds = relays.map((relay) => relay.id);
  expect([relayIds[0], relayIds[2]]).toEqual([relayIds[1], relayIds[3]]);
  expect(relays.map(({ addr }) => addr.startsWith('['))).toEqual([false, true, false, true]);
});

test('[P9.21] [D19] a relay that comes back with its secret in time was never gone', () => {
  const driven = drive(relayRows());
  joinRelay(driven);
  joinClient(driven);
  joinGateway(driven);
  const left = leave(driven);
  expect([left.sends, left.wakeAt]).toEqual([[], driven.now + graceMs]);
  driven.now += graceMs - 1;
  expect(lines(joinRelay(driven, stampSecret, { connectedAt: 2000 }))).toEqual(['relay-5 init']);
  expect(lines(tickAt(driven, driven.now + 10 * graceMs))).toEqual([]);
});

test('[P9.22] a relay that stays away is gone after its time, which each device is told once', () => {
  const driven = drive(relayRows());
  joinRelay(driven);
  joinRelay(driven, other, elsewhere);
  const [first] = relaysOfInit(joinClient(driven)).filter(({ addr }) => addr.startsWith('198.51.100.9'));
  joinGateway(driven);
  leave(driven);
  const gone = tickAt(driven, driven.now + graceMs);
  expect(lines(gone)).toEqual(['client relays_presence', 'gateway relays_presence']);
  const [change] = changesOf(gone);
  expect(change?.disconnected_ids).toEqual([first?.id]);
  expect(change?.connected.map(({ addr }) => addr)).toEqual(['198.51.100.10:3478']);
  expect(lines(tickAt(driven, driven.now + graceMs))).toEqual([]);
});

test('[P9.23] a relay that comes back with another secret replaces at once what stood at its address', () => {
  const driven = drive(relayRows());
  joinRelay(driven);
  const before = relaysOfInit(joinClient(driven));
  const replaced = joinRelay(driven, other, { connectedAt: 2000 });
  expect(lines(replaced)).toEqual(['relay-5 close superseded', 'relay-6 init', 'client relays_presence']);
  const [change] = changesOf(replaced);
  expect(change?.disconnected_ids).toEqual([before[0]?.id]);
  expect(change?.connected.map(({ addr }) => addr)).toEqual(before.map(({ addr }) => addr));
  expect(change?.connected[0]?.id).not.toBe(before[0]?.id);
  expect(lines(tickAt(driven, driven.now + 10 * graceMs))).toEqual([]);
});

test('[P9.24] devices without a relay are told of the first one that comes, and of a second, and of no third', () => {
  const driven = drive(relayRows());
  joinClient(driven);
  joinGateway(driven);
  expect(lines(joinRelay(driven))).toEqual(['relay-5 init', 'client relays_presence', 'gateway relays_presence']);
  expect(changesOf(joinRelay(driven, other, elsewhere))[0]?.disconnected_ids).toEqual([]);
  expect(lines(joinRelay(driven, '7'.repeat(64), { ipv4: '198.51.100.11', ipv6: null }))).toEqual(['relay-7 init']);
});

test('[P9.25] a relay that is connected is never named as disconnected, whatever comes and goes', () => {
  const driven = drive(relayRows());
  joinClient(driven);
  joinGateway(driven);
  const secrets = ['5', '6', '7', '8'].map((digit) => digit.repeat(64));
  for (let n = 0; n < 200; n += 1) {
    const secret = secrets[(n * 7) % 4] ?? other;
    const changes = { ipv4: `198.51.100.${(n * 3) % 5}`, ipv6: null, connectedAt: 2000 + n };
    const effects = [joinRelay(driven, secret, changes)];
    if (n % 3 === 0) effects.push(leave(driven, `relay-${(secrets[n % 4] ?? other)[0]}`));
    if (n % 5 === 0) effects.push(tickAt(driven, driven.now + graceMs / 2));
    for (const change of effects.flatMap((one) => [...changesOf(one), ...changesOf(one, 'gateway')])) {
      const connected = change.connected.map((relay) => relay.id);
      expect(change.disconnected_ids.filter((gone) => connected.includes(gone))).toEqual([]);
    }
  }
});

test('[P9.26] the first init waits three seconds for a first set of relays, and no longer', () => {
  const early = drive(worldRows(), null);
  expect(joinClient(early)).toMatchObject({ sends: [], isLeaseDue: true, wakeAt: early.now + relaysWaitMsMax });
  early.now += 1000;
  const set = { version: 4, relays: [entry(1)] };
  const came = early.step({ type: 'shared-relays', set, leaseMs: 1000 });
  expect([lines(came), relaysOfInit(came).length]).toEqual([['client init'], 1]);
  expect(lines(joinGateway(early))).toEqual(['gateway init']);
  const late = drive(worldRows(), null);
  joinClient(late, speaking.B.client);
  const payload = { iceless: true };
  const said = late.step({ type: 'message', sessionId: 'client', event: 'set_snownet_capabilities', payload, ref: 1 });
  expect(said.sends).toEqual([]);
  late.sleep();
  const given = tickAt(late, late.now + relaysWaitMsMax);
  expect([lines(given), relaysOfInit(given)]).toEqual([['client init'], []]);
  expect(late.state.sessions.get('client')).toMatchObject({ iceless: true, joined: true });
});

test('[P9.27] no_relays is answered with others than those that failed, if there are, and with what there is', () => {
  const relays = [1, 2, 3, 4].map((n) => entry(n));
  const driven = drive(worldRows(), { version: 1, relays });
  const told = new Set(relaysOfInit(joinClient(driven)).map((relay) => relay.id));
  const ask = () => driven.step({ type: 'message', sessionId: 'client', event: 'no_relays', payload: {}, ref: 1 });
  const [first] = changesOf(ask());
  expect(new Set(first?.disconnected_ids)).toEqual(told);
  expect(first?.connected).toHaveLength(2);
  const only = drive(worldRows(), { version: 1, relays: [entry(1)] });
  joinGateway(only);
  const effects = only.step({ type: 'message', sessionId: 'gateway', event: 'no_relays', payload: {}, ref: 1 });
  expect(changesOf(effects, 'gateway')).toMatchObject([{ disconnected_ids: [], connected: [{ id: id('rel', 1) }] }]);
});

test('[P9.28] two relays are given, the nearest first, in different places if there are, and equals are spread', () => {
  const berlin = { latitude: 52.5, longitude: 13.4 };
  const paris = { latitude: 48.9, longitude: 2.4 };
  const tokyo = { latitude: 35.7, longitude: 139.7 };
  const device = { deviceId: 'device', latitude: 50.1, longitude: 8.7 };
  const relays = [entry(1, tokyo), entry(2, berlin), entry(3, berlin), entry(4, paris)];
  const [first, second, ...rest] = chooseRelays(relays, device, []);
  expect([first?.latitude, second?.latitude, rest]).toEqual([berlin.latitude, paris.latitude, []]);
  const together = chooseRelays([entry(2, berlin), entry(3, berlin)], device, []);
  expect(together).toHaveLength(2);
  const nowhere = { latitude: null, longitude: null };
  const chosen = Array.from({ length: 40 }, (_, n) =>
    chooseRelays([entry(1), entry(2), entry(3), entry(4)], { deviceId: `d${n}`, ...nowhere }, []).map(
      (relay) => relay.id,
    ),
  );
  expect(new Set(chosen.flat()).size).toBe(4);
  expect(chosen.every((pair) => new Set(pair).size === 2)).toBe(true);
  const kept = chooseRelays(relays, device, [id('rel', 1)]);
  expect(kept.map((relay) => relay.id)).toContain(id('rel', 1));
});

test('[P9.29] [D20] [D21] what devices are told of a newer set is the set, and an older or equal one says nothing', () => {
  const driven = drive(worldRows(), { version: 5, relays: [entry(1)] });
  joinClient(driven);
  joinGateway(driven);
  const take = (version: number, relays: RelayEntry[]) =>
    driven.step({ type: 'shared-relays', set: { version, relays }, leaseMs: 1000 });
  expect(take(4, []).sends).toEqual([]);
  expect(take(5, [entry(2)]).sends).toEqual([]);
  const emptied = take(6, []);
  expect(changesOf(emptied, 'gateway')).toEqual([{ disconnected_ids: [id('rel', 1)], connected: [] }]);
  expect(lines(take(7, [entry(1), entry(2)]))).toEqual(['client relays_presence', 'gateway relays_presence']);
});

test('[P5.73] a relay is admitted only under a token for relays, and is gone with it', () => {
  const driven = drive(relayRows());
  const codeOf = (hello: ReturnType<typeof relayHello>) => {
    const { admission } = driven.step({ type: 'connect', sessionId: 'x', hello });
    return admission?.type === 'refused' ? admission.refusal.code : 'admitted';
  };
  expect(codeOf(relayHello({ token: clientHello().token }))).toBe('invalid_token');
  expect(codeOf(relayHello({ token: { ...relayHello().token, secret: 'x'.repeat(32) } }))).toBe('invalid_token');
  expect(codeOf(relayHello({ token: { ...relayHello().token, id: id('tokx') } }))).toBe('token_not_known_yet');
  const asClient = driven.step({
    type: 'connect',
    sessionId: 'y',
    hello: clientHello({ token: relayHello().token }),
  });
  expect(asClient.admission).toMatchObject({ refusal: { code: 'invalid_token' } });
  joinRelay(driven);
  joinClient(driven);
  const gone = driven.commitEffects({ op: 'delete', table: 'tokens', old: relayToken });
  expect(lines(gone)).toEqual(['relay-5 close token_gone', 'client relays_presence']);
  expect(driven.state.relays.size).toBe(0);
});

test('[P5.74] an older connection of a relay, and one that claims its secret or its address, never replaces a newer one', () => {
  const driven = drive(relayRows());
  joinRelay(driven, stampSecret, { connectedAt: 2000 }, 'newer');
  joinClient(driven);
  expect(lines(joinRelay(driven, stampSecret, { connectedAt: 1999 }, 'older'))).toEqual(['older close superseded']);
  expect(lines(joinRelay(driven, other, { connectedAt: 1999 }, 'claimant'))).toEqual(['claimant close superseded']);
  const taken = joinRelay(driven, stampSecret, { ...elsewhere, connectedAt: 2001 }, 'taker');
  expect(lines(taken)).toEqual(['newer close superseded', 'taker init', 'client relays_presence']);
  expect(changesOf(taken)).toMatchObject([{ disconnected_ids: [], connected: [{ addr: '198.51.100.10:3478' }] }]);
});

test('[P5.94] under another token a relay replaces neither what stands at its address nor what has its secret, until that is gone', () => {
  const rows = relayRows();
  const strangerToken = tokenRow('relay_group', id('tokx'), 'x'.repeat(32));
  rows.tokens?.push(strangerToken);
  const driven = drive(rows);
  const stranger = { token: { id: id('tokx'), type: 'relay_group', secret: 'x'.repeat(32) }, connectedAt: 9000 };
  joinRelay(driven);
  joinClient(driven);
  expect(lines(joinRelay(driven, other, stranger))).toEqual(['relay-6 close address_taken']);
  expect(lines(joinRelay(driven, stampSecret, { ...stranger, ...elsewhere }, 'thief'))).toEqual([
    'thief close address_taken',
  ]);
  leave(driven);
  expect(lines(joinRelay(driven, other, stranger))).toEqual(['relay-6 close address_taken']);
  expect(lines(joinRelay(driven, '7'.repeat(64), { connectedAt: 9000 }))).toEqual([
    'relay-7 init',
    'client relays_presence',
  ]);
  leave(driven, 'relay-7');
  tickAt(driven, driven.now + graceMs);
  expect(lines(joinRelay(driven, other, stranger))).toEqual(['relay-6 init', 'client relays_presence']);
});

test('[P12.36] whatever a relay says beside its join is an unknown message, and a join without a secret ends it', () => {
  const driven = drive(relayRows());
  joinRelay(driven);
  const said = driven.step({ type: 'message', sessionId: 'relay-5', event: 'create_flow', payload: {}, ref: 3 });
  expect(lines(said)).toEqual(['relay-5 reply unknown_message']);
  driven.step({ type: 'connect', sessionId: 'mute', hello: relayHello({ port: 3479 }) });
  expect(lines(driven.step({ type: 'joined', sessionId: 'mute' }))).toEqual(['mute close internal_error']);
});

test('[P4.35] an object that wakes without the socket of a relay waits for it as if it had just gone', () => {
  const driven = drive(relayRows());
  joinRelay(driven);
  joinClient(driven);
  driven.state.relaySessions.clear();
  driven.sleep();
  expect(lines(tickAt(driven, driven.now + graceMs - 1))).toEqual([]);
  expect(lines(tickAt(driven, driven.now + 1))).toEqual(['client relays_presence']);
  const back = drive(relayRows());
  joinRelay(back);
  joinClient(back);
  back.sleep();
  expect(lines(tickAt(back, back.now + 10 * graceMs))).toEqual([]);
});

test('[P15.81] the relays of one account are bounded, and one beyond the bound is told to return later', () => {
  const driven = drive(relayRows());
  for (let n = 0; n < relaysMax; n += 1)
    joinRelay(driven, `relay-number-${n}`.padEnd(32, '.'), { port: n + 1 }, `r${n}`);
  expect(lines(joinRelay(driven, other, { port: 60_000 }))).toEqual(['relay-6 close overloaded']);
  expect(driven.state.relays.size).toBe(relaysMax);
});

test('[P15.118] relays that connect and never join are bounded too', () => {
  const driven = drive(relayRows());
  const connectNow = (n: number) => driven.step({ type: 'connect', sessionId: `s${n}`, hello: relayHello() }).admission;
  for (let n = 0; n < 2 * relaysMax; n += 1) connectNow(n);
  expect(connectNow(2 * relaysMax)).toMatchObject({ type: 'refused', refusal: { code: 'account_too_large' } });
  driven.step({ type: 'closed', sessionId: 's7' });
  expect(connectNow(2 * relaysMax)).toMatchObject({ type: 'admitted' });
});

test('[P10.19] a relay that restarts with another secret changes nothing of a live flow', () => {
  const driven = driveWithFlow(relayRows());
  joinRelay(driven);
  const restarted = joinRelay(driven, other, { connectedAt: 2000 });
  expect(lines(restarted)).toEqual([
    'relay-5 close superseded',
    'relay-6 init',
    'gateway relays_presence',
    'client relays_presence',
  ]);
  expect([...driven.state.grants.values()]).toMatchObject([{ phase: 'live', acknowledged: true }]);
  expect(driven.commit(remove('policies'))).toEqual([
    `gateway reject_access ${ids.client} ${ids.resource}`,
    `client resource_deleted ${ids.resource}`,
  ]);
});

test('[P9.30] a device that reconnects under its key is told which relays are gone meanwhile', () => {
  const driven = drive(relayRows());
  joinRelay(driven);
  const [relay] = relaysOfInit(joinClient(driven));
  joinGateway(driven);
  driven.step({ type: 'connect', sessionId: 'again', hello: clientHello({ connectedAt: 2000 }) });
  driven.commitEffects({ op: 'delete', table: 'tokens', old: relayToken });
  const joined = driven.step({ type: 'joined', sessionId: 'again' });
  expect(lines(joined)).toEqual(['again init', 'again relays_presence']);
  expect(changesOf(joined, 'again')).toEqual([{ disconnected_ids: [relay?.id], connected: [] }]);
});

test('[P15.89] the shared relays are asked for while devices are connected, again in half of the lease, and once it is over', () => {
  const driven = drive(worldRows(), null);
  expect(driven.step({ type: 'tick' }).isLeaseDue).toBe(false);
  driven.step({ type: 'connect', sessionId: 'client', hello: clientHello() });
  const set = { version: 1, relays: [] };
  const taken = driven.step({ type: 'shared-relays', set, leaseMs: 60_000 });
  expect([taken.isLeaseDue, taken.wakeAt]).toEqual([false, driven.now + 30_000]);
  driven.now += 30_000;
  expect(driven.step({ type: 'tick' })).toMatchObject({ isLeaseDue: true, sends: [] });
  driven.step({ type: 'shared-relays', set, leaseMs: 60_000 });
  expect(driven.step({ type: 'shared-relays', set: { version: 2, relays: [] }, leaseMs: null }).isLeaseDue).toBe(false);
  driven.step({ type: 'closed', sessionId: 'client' });
  driven.step({ type: 'shared-relays', set: { version: 3, relays: [] }, leaseMs: 0 });
  driven.sleep();
  expect(driven.step({ type: 'connect', sessionId: 'b', hello: clientHello({ connectedAt: 2000 }) }).isLeaseDue).toBe(
    true,
  );
});
