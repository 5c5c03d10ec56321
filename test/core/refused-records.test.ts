// Records of the ledger that Postgres does not take: kept, tried again, and never mistaken for rows that somebody deleted.
import * as v from 'valibot';
import { expect, test } from 'vitest';
import { flowId } from '../../protocol/ids.ts';
import { createFlow, driveWithFlow, lines } from '../support/core.ts';
import { flushDueAt, takeBatch, writeBackStatus } from '../../core/ledger.ts';
import { id, ids, lsn, remove, worldRows } from '../support/world.ts';
import { refusedMax, refusedRetryMs, holdRefused } from '../../core/refused-records.ts';
import type { Batch, WriteResult } from '../../protocol/write-back.ts';
import type { Drive } from '../support/core.ts';
import type { Effects } from '../../core/effect.ts';

test('[P7.50] what Postgres refuses is tried again an hour later under its revision, as often as it takes, and then no more', () => {
  const driven = refusedFlow();
  const [refused] = driven.state.ledger.refused.records.values();
  for (let hour = 1; hour <= 3; hour += 1) {
    const dueAt = driven.now + refusedRetryMs;
    expect(flushDueAt(driven.state)).toBe(dueAt);
    driven.now = dueAt;
    expect(flush(driven, 'refused').effects.notes).toEqual([]);
  }
  driven.now += refusedRetryMs;
  const { batch, effects } = flush(driven, 'ok');
  expect(batch.flows).toEqual([{ ...refused?.record, isKnown: false }]);
  expect(effects.saves).toContainEqual({ type: 'delete-refused', revision: refused?.record.revision });
  expect([writeBackStatus(driven.state).refused, flushDueAt(driven.state)]).toEqual([0, null]);
});

test('[P7.50] what was refused comes back with what is later, keeps nothing from being written, and counts for nothing in the order', () => {
  const driven = refusedFlow();
  const { through } = driven.state.ledger;
  driven.sleep();
  expect(writeBackStatus(driven.state).refused).toBe(1);
  flush(driven, 'refused');
  expect(driven.state.ledger.through).toBe(through);
  driven.commit(remove('policies'));
  const { batch } = flush(driven, 'ok');
  expect(batch.flows).toMatchObject([{ endedAt: driven.now, isKnown: false }]);
  expect([writeBackStatus(driven.state).refused, flushDueAt(driven.state)]).toEqual([0, null]);
});

test('[P7.50] of two states that are refused the later one is kept, and a row that is found gone ends the trying', () => {
  const driven = driveWithFlow();
  driven.state.ledger.isConfigured = true;
  flush(driven, 'ok');
  driven.commit(remove('policies'));
  flush(driven, 'refused');
  driven.now += 1;
  driven.step({ type: 'closed', sessionId: 'gateway' });
  expect([...driven.state.ledger.refused.records.values()]).toMatchObject([
    { isKnown: true, record: { endedAt: driven.now - 1 } },
  ]);
  driven.now += refusedRetryMs;
  flush(driven, 'gone');
  expect([writeBackStatus(driven.state).refused, flushDueAt(driven.state)]).toEqual([0, null]);
});

test('[P7.51] a flow whose row was refused is cut neither by a snapshot without it nor after waking, and its end is a row all the same', () => {
  const driven = refusedFlow();
  for (const _ of ['awake', 'after sleep']) {
    const rows = { ...worldRows(), flows: [] };
    const seen = '9000:9000:';
    const position = { epoch: 1, lsn: lsn(900) };
    expect(lines(driven.step({ type: 'snapshot', position, rows, seen, commits: [] }))).toEqual([]);
    driven.sleep();
  }
  driven.commit(remove('policies'));
  expect(flush(driven, 'ok').batch.flows).toMatchObject([{ endedAt: driven.now, isKnown: false }]);
});

test('[P15.99] when so many records are refused as are kept aside new flows are refused, and what ends is kept all the same', () => {
  const driven = refusedFlow();
  const [refused] = driven.state.ledger.refused.records.values();
  if (refused === undefined || !('flowId' in refused.record)) throw new Error('nothing was refused');
  for (let n = 1; n < refusedMax; n += 1) {
    const record = { ...refused.record, flowId: v.parse(flowId, id('more', n)) };
    holdRefused(driven.state.ledger.refused, { record, isKnown: false });
  }
  driven.commit({ op: 'delete', table: 'flows', old: { id: refused.record.flowId, account_id: ids.account } });
  flush(driven, 'refused');
  expect([...driven.state.ledger.refused.records.values()].at(-1)).toMatchObject({ record: { endedAt: driven.now } });
  expect(lines(createFlow(driven))).toEqual(['client flow_creation_failed offline']);
  expect(writeBackStatus(driven.state)).toMatchObject({ refused: refusedMax, isFull: true });
});

/** A live flow of whose row Postgres has nothing. */
function refusedFlow(): Drive {
  const driven = driveWithFlow();
  driven.state.ledger.isConfigured = true;
  flush(driven, 'refused');
  return driven;
}

/** Writes what is due, all flows of which have this outcome. */
function flush(driven: Drive, outcome: WriteResult['outcome']): { readonly batch: Batch; readonly effects: Effects } {
  driven.step({ type: 'tick' });
  const taken = takeBatch(driven.state, ids.account, driven.records());
  if (taken === null) throw new Error('nothing is to be written');
  const results = taken.batch.flows.map(({ flowId }) => ({ id: flowId, outcome, reason: 'flows_check' }));
  const answer = { devices: null, flows: { xid: '100', results }, holds: null, failed: [] };
  return { batch: taken.batch, effects: driven.step({ type: 'flushed', ...taken, answer }) };
}
