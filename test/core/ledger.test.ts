// The ledger of flows as the core keeps it: what is recorded, when it is due to be written, and what follows when Postgres has
// it, refuses it, or has lost it.
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
import { denialsMax, flushDueAt, takeBatch, unflushedMax, writeBackStatus } from '../../core/ledger.ts';
import * as v from 'valibot';
import { flowId } from '../../protocol/ids.ts';
import { grantsMax } from '../../core/grants.ts';
import { statusOf } from '../../core/status.ts';
import { id, ids, insert, lsn, remove, row, update, worldRows } from '../support/world.ts';
import type { Batch, FlowRecord, WriteResult } from '../../protocol/write-back.ts';
import type { Drive } from '../support/core.ts';
import type { Effects } from '../../core/effect.ts';

const reject = `gateway reject_access ${ids.client} ${ids.resource}`;
const again = [`client resource_deleted ${ids.resource}`, `client resource_created_or_updated ${ids.resource}`];

function written(driven: Drive): Batch {
  const taken = takeBatch(driven.state, ids.account, driven.records());
  if (taken === null) throw new Error('nothing is to be written');
  return taken.batch;
}

/** Writes what there is, as Postgres does that takes it in transaction `xid` and answers `results`. */
function flush(driven: Drive, xid = 1000, results: readonly WriteResult[] = []): Effects {
  const taken = takeBatch(driven.state, ids.account, driven.records());
  if (taken === null) throw new Error('nothing is to be written');
  const flows = taken.batch.flows.length === 0 ? null : { xid: String(xid), results: [...results] };
  return driven.step({ type: 'flushed', ...taken, answer: { devices: null, flows, holds: null, failed: [] } });
}

function snapshot(driven: Drive, seen: string, flows: readonly string[] = []): string[] {
  const rows = { ...worldRows(), flows: flows.map((flow) => ({ id: flow })) };
  return lines(driven.step({ type: 'snapshot', position: { epoch: 1, lsn: lsn(900) }, rows, seen, commits: [] }));
}

function onlyFlow(driven: Drive): string {
  return [...driven.state.grants.keys()][0] ?? '';
}

function lastRecord(driven: Drive): FlowRecord {
  const record = written(driven).flows.at(-1);
  if (record === undefined) throw new Error('no record is to be written');
  return record;
}

function configured(rows = worldRows()): Drive {
  const driven = drive(rows);
  driven.state.ledger.isConfigured = true;
  return driven;
}

test('[P7.8] the record of a grant is stored with it in the step that asks the gateway, and due to be written', () => {
  const driven = configured();
  joinGateway(driven);
  joinClient(driven);
  const asked = createFlow(driven);
  const saved = asked.saves.flatMap((save) => (save.type === 'put-grant' ? [save.grant] : []));
  expect(saved.at(-1)).toMatchObject({ phase: 'live', ledger: { grantedAt: driven.now } });
  expect(lastRecord(driven)).toMatchObject({ clientId: ids.client, endedAt: null, isKnown: false });
  expect(flushDueAt(driven.state)).toBe(driven.now + 1000);
});

test('[P7.9] what changes nothing that the record says makes no other state of it', () => {
  const driven = driveWithFlow();
  flush(driven);
  authorizeFlow(driven, refOf(createFlow(driven)));
  driven.commit(update('resources', { name: 'Other' }));
  expect(takeBatch(driven.state, ids.account, [])).toBe(null);
});

test('[P7.10] an end is recorded with its cause: of the changes on the path of the flow the one that stands highest', () => {
  const driven = driveWithFlow();
  driven.commit(remove('policies'), remove('actor_group_memberships'), remove('actor_groups'));
  expect(lastRecord(driven)).toMatchObject({
    cause: { table: 'actor_groups', id: ids.group, commit: lsn(101) },
    endedAt: driven.now,
    told: 'sent',
    toldAt: driven.now,
  });
});

test.each([
  ['a membership', remove('actor_group_memberships'), 'actor_group_memberships', ids.membership],
  ['a disabled actor', update('actors', { disabled_at: '2026-01-01 00:00:00+00' }), 'actors', ids.actor],
  ['a connection', remove('resource_connections'), 'resource_connections', ids.resource],
  ['an address', update('resources', { address: '10.1.0.0/16' }), 'resources', ids.resource],
  ['a truncated table', { op: 'truncate', table: 'policies' }, 'policies', ids.policy],
])('[P7.11] the cause of an end is the row that was changed: %s', (_, change, table, cause) => {
  const driven = driveWithFlow();
  driven.commit(update('actors', { name: 'Other' }, table === 'actors' ? { disabled_at: null } : {}), change);
  expect(lastRecord(driven).cause).toEqual({ table, id: cause, commit: lsn(101) });
});

test('[P7.12] an end by time alone names the row that no longer grants, and no commit', () => {
  const rows = worldRows();
  const [clientToken, ...others] = rows.tokens ?? [];
  const driven = drive({ ...rows, tokens: [{ ...clientToken, expires_at: '1970-01-01 01:00:00+00' }, ...others] });
  joinGateway(driven);
  joinClient(driven);
  authorizeFlow(driven, refOf(createFlow(driven)));
  driven.now = 3_600_000;
  driven.step({ type: 'tick' });
  expect(lastRecord(driven).cause).toEqual({ table: 'tokens', id: ids.clientToken, commit: null });
});

test('[P7.13] a gateway that is away is recorded so, as told after its next init, or as expired', () => {
  const driven = driveWithFlow();
  flush(driven);
  driven.step({ type: 'closed', sessionId: 'gateway' });
  driven.commit(remove('policies'));
  expect(lastRecord(driven)).toMatchObject({ told: 'gateway_away', toldAt: null });
  const another = driveWithFlow();
  another.step({ type: 'closed', sessionId: 'gateway' });
  another.commit(remove('policies'));
  const { expiresAt } = lastRecord(another);

  driven.now += 5000;
  joinGateway(driven, { connectedAt: 9000 });
  expect(lastRecord(driven)).toMatchObject({ told: 'sent', toldAt: driven.now });

  another.now = expiresAt;
  another.step({ type: 'tick' });
  expect(lastRecord(another)).toMatchObject({ told: 'expired', toldAt: expiresAt });
});

test('[P7.14] what Postgres has taken is not written again, and nothing is due', () => {
  const driven = driveWithFlow();
  driven.state.ledger.isConfigured = true;
  flush(driven);
  expect([takeBatch(driven.state, ids.account, []), flushDueAt(driven.state)]).toEqual([null, null]);
});

test('[P7.15] what happens while a flush is under way is written by the next', () => {
  const driven = driveWithFlow();
  const taken = takeBatch(driven.state, ids.account, []);
  driven.commit(remove('policies'));
  if (taken === null) throw new Error('nothing is to be written');
  driven.step({
    type: 'flushed',
    ...taken,
    answer: { devices: null, flows: { xid: '5', results: [] }, holds: null, failed: [] },
  });
  expect(written(driven).flows).toMatchObject([{ endedAt: driven.now, isKnown: false }]);
});

test('[P7.16] a record whose grant is gone from memory waits in storage until Postgres has it', () => {
  const driven = driveWithFlow();
  driven.commit(remove('clients'));
  driven.now += 31 * 24 * 3_600_000;
  driven.step({ type: 'tick' });
  expect([driven.state.grants.size, driven.records().length]).toEqual([0, 1]);
  driven.sleep();
  expect(written(driven).flows).toMatchObject([{ cause: { table: 'clients' } }]);
  flush(driven);
  expect([driven.records(), driven.state.ledger.stored]).toEqual([[], 0]);
});

test('[P7.17] after a crash what Postgres is not known to have is written again, under the same revisions', () => {
  const driven = driveWithFlow();
  flush(driven);
  driven.commit(remove('policies'));
  const before = written(driven).flows;
  driven.sleep();
  expect(written(driven).flows).toEqual(before);
});

test('[P7.18] a flush that fails is made again, later each time, up to a minute', () => {
  const driven = driveWithFlow();
  driven.state.ledger.isConfigured = true;
  const waits: number[] = [];
  for (let i = 0; i < 12; i += 1) {
    driven.step({ type: 'flush-failed' });
    waits.push((flushDueAt(driven.state) ?? 0) - driven.now);
  }
  expect(waits[0]).toBeGreaterThanOrEqual(500);
  expect(Math.max(...waits)).toBeGreaterThanOrEqual(30_000);
  expect(Math.max(...waits)).toBeLessThanOrEqual(60_000);
  createFlow(driven);
  expect((flushDueAt(driven.state) ?? 0) - driven.now).toBe(waits.at(-1));
  flush(driven);
  expect(flushDueAt(driven.state)).toBe(null);
});

test('[P7.19] a part that Postgres refuses as a whole keeps the others from nothing, and is tried again later', () => {
  const driven = driveWithFlow();
  driven.state.ledger.isConfigured = true;
  const taken = takeBatch(driven.state, ids.account, []);
  if (taken === null) throw new Error('nothing is to be written');
  driven.step({
    type: 'flushed',
    ...taken,
    answer: { devices: null, flows: { xid: '5', results: [] }, holds: null, failed: ['sessions'] },
  });
  expect(written(driven)).toMatchObject({ flows: [], sessions: { clients: [{ deviceId: ids.client }] } });
  expect(flushDueAt(driven.state)).toBeGreaterThan(driven.now);
});

test('[P7.58] a flush of which Postgres refuses every part is made again later each time, and one of which it takes any is not', () => {
  const driven = driveWithFlow();
  driven.state.ledger.isConfigured = true;
  const waitAfter = (isWritten: boolean): number => {
    driven.commit(remove('policies'), insert('policies'));
    joinClient(driven, { connectedAt: driven.now });
    authorizeFlow(driven, refOf(createFlow(driven)));
    const taken = takeBatch(driven.state, ids.account, driven.records());
    if (taken === null) throw new Error('nothing is to be written');
    const flows = isWritten ? { xid: '5', results: [] } : null;
    const failed = isWritten ? (['sessions'] as const) : (['flows', 'sessions'] as const);
    driven.step({ type: 'flushed', ...taken, answer: { devices: null, flows, holds: null, failed } });
    return (flushDueAt(driven.state) ?? 0) - driven.now;
  };
  const waits = Array.from({ length: 8 }, () => waitAfter(false));
  expect(waits[0]).toBeLessThanOrEqual(1000);
  expect(waits.at(-1)).toBeGreaterThanOrEqual(30_000);
  expect(waitAfter(true)).toBeLessThanOrEqual(1000);
});

test('[P7.20] a record that Postgres refuses is kept aside and named, and holds up no other', () => {
  const driven = driveWithFlow();
  const results = [{ id: onlyFlow(driven), outcome: 'refused', reason: 'flows_told_check' } as const];
  const effects = flush(driven, 5, results);
  expect(effects.saves).toContainEqual(expect.objectContaining({ type: 'put-refused', reason: 'flows_told_check' }));
  expect(effects.notes).toMatchObject([{ event: 'record_refused' }]);
  expect(writeBackStatus(driven.state).refused).toBe(1);
  expect(takeBatch(driven.state, ids.account, [])).toBe(null);
});

test('[P7.21] a snapshot that includes the writing of a live flow, but not its row, cuts it; any other does not', () => {
  const driven = driveWithFlow();
  const flow = onlyFlow(driven);
  expect(snapshot(driven, '1:1:')).toEqual([]);
  flush(driven, 50);
  expect(snapshot(driven, '50:60:50')).toEqual([]);
  expect(snapshot(driven, '60:60:', [flow])).toEqual([]);
  expect(snapshot(driven, '60:60:')).toEqual([reject, ...again]);
  expect(lastRecord(driven).cause).toEqual({ table: 'flows', id: flow, commit: lsn(900) });
});

test('[P7.22] a flow whose row is found deleted when it is written is cut', () => {
  const driven = driveWithFlow();
  flush(driven);
  driven.commit(remove('policies'), { op: 'insert', table: 'policies', new: row('policies', { id: id('pol', 2) }) });
  const effects = flush(driven, 60, [{ id: onlyFlow(driven), outcome: 'gone' }]);
  expect(lines(effects)).toEqual([reject, ...again]);
});

test('[P7.23] the echo of an end, and of anything that the stream says of a flow, opens nothing', () => {
  const driven = driveWithFlow();
  driven.commit(remove('policies'));
  const flow = { id: onlyFlow(driven), account_id: ids.account };
  expect(driven.commit({ op: 'delete', table: 'flows', old: flow })).toEqual([]);
  expect(driven.commit({ op: 'insert', table: 'flows', new: flow })).toEqual([]);
  expect([...driven.state.grants.values()].filter(({ phase }) => phase === 'live')).toEqual([]);
});

test('[P7.24] refused requests are counted by client, resource, reason and minute, and written when the minute is over', () => {
  const driven = configured();
  joinClient(driven);
  flush(driven);
  for (const _ of [1, 2, 3]) createFlow(driven, id('res', 9));
  createFlow(driven);
  expect(flushDueAt(driven.state)).toBe(1_020_000);
  driven.now = 1_020_000;
  driven.sleep();
  expect(written(driven).denials).toEqual([
    { clientId: ids.client, resourceId: id('res', 9), reason: 'not_found', minute: 960_000, count: 3 },
    { clientId: ids.client, resourceId: ids.resource, reason: 'offline', minute: 960_000, count: 1 },
  ]);
  flush(driven);
  expect(flushDueAt(driven.state)).toBe(null);
});

test('[P15.49] when so much waits for Postgres as fits, new flows are refused as offline, and no record is dropped', () => {
  const driven = driveWithFlow();
  driven.state.ledger.stored = unflushedMax - 1;
  driven.commit({ op: 'delete', table: 'flows', old: { id: onlyFlow(driven), account_id: ids.account } });
  expect(lines(createFlow(driven))).toEqual(['client flow_creation_failed offline']);
  expect(lastRecord(driven)).toMatchObject({ cause: { table: 'flows' } });
});

test('[P15.109] an account that holds as many grants as it may grants nothing more, and what it holds lives and ends as ever', () => {
  const driven = driveWithFlow();
  const [live] = driven.state.grants.values();
  if (live?.phase !== 'live') throw new Error('no flow');
  const others = Array.from({ length: grantsMax - 1 }, (_, n) => v.parse(flowId, id('flow', n)));
  for (const other of others) driven.state.grants.set(other, { ...live, flowId: other });
  expect(statusOf(driven.state, driven.now).grants).toBe(grantsMax);
  expect(lines(createFlow(driven, id('res', 2)))).toEqual(['client flow_creation_failed offline']);
  for (const other of others) driven.state.grants.delete(other);
  expect(lines(createFlow(driven, id('res', 2)))).toEqual(['client flow_creation_failed not_found']);
  expect(driven.commit(remove('policies'))).toContain(reject);
});

test('[P15.117] what a client that is away is to be told keeps no more than half of the room for grants', () => {
  for (const isRoom of [true, false]) {
    const driven = driveWithFlow();
    const [live] = driven.state.grants.values();
    if (live?.phase !== 'live') throw new Error('no flow');
    const others = Array.from({ length: grantsMax / 2 - 1 }, (_, n) => v.parse(flowId, id('flow', n)));
    for (const other of isRoom ? others.slice(1) : others) driven.state.grants.set(other, { ...live, flowId: other });
    driven.step({ type: 'closed', sessionId: 'client' });
    driven.now = live.expiresAt;
    driven.step({ type: 'tick' });
    expect(driven.state.grants.has(live.flowId)).toBe(isRoom);
    expect(lastRecord(driven)).toMatchObject({ flowId: live.flowId, told: 'sent' });
  }
});

test('[P15.50] of refused requests so many kinds are kept at a time, and more of the same are counted', () => {
  const driven = drive();
  joinClient(driven);
  for (let n = 0; n < denialsMax + 5; n += 1) createFlow(driven, id('none', n));
  createFlow(driven, id('none', 1));
  expect(driven.state.ledger.denials.size).toBe(denialsMax);
  expect([...driven.state.ledger.denials.values()][1]?.count).toBe(2);
});

test('[P7.25] sessions are written with the list of those that live, after waking too if that has changed meanwhile', () => {
  const driven = driveWithFlow();
  expect(written(driven).sessions).toMatchObject({
    clients: [{ id: 'client' }],
    gateways: [{ id: 'gateway' }],
    alive: ['gateway', 'client'],
  });
  flush(driven);
  driven.sleep();
  expect(takeBatch(driven.state, ids.account, [])).toBe(null);
  driven.state.sessions.delete('client');
  driven.sleep();
  expect(written(driven).sessions).toMatchObject({ clients: [], alive: ['gateway'] });
});
