// What is recorded of holds for Postgres: each that is placed or lifted, once, without a hold ever waiting for it.
import { expect, test } from 'vitest';
import { drive } from '../support/core.ts';
import { flushDueAt, takeBatch, writeBackStatus } from '../../core/ledger.ts';
import { holdRecordsMax } from '../../core/hold-records.ts';
import { isHeld } from '../../core/holds.ts';
import { ids } from '../support/world.ts';
import type { Batch, WriteResult } from '../../protocol/write-back.ts';
import type { Drive } from '../support/core.ts';
import type { Effects } from '../../core/effect.ts';

const client = { kind: 'client', id: ids.client } as const;

function configured(): Drive {
  const driven = drive();
  driven.state.ledger.isConfigured = true;
  return driven;
}

function place(driven: Drive): Effects {
  return driven.step({ type: 'hold', hold: { ...client, at: driven.now, by: 'alice', reason: 'INC-42' } });
}

function lift(driven: Drive): Effects {
  return driven.step({ type: 'lift', target: client, by: 'bob' });
}

function batchOf(driven: Drive): Batch {
  const taken = takeBatch(driven.state, ids.account, driven.records());
  if (taken === null) throw new Error('nothing is to be written');
  return taken.batch;
}

function answer(driven: Drive, batch: Batch, results: readonly WriteResult[] = []): Effects {
  const holds = { xid: '5', results: [...results] };
  const written = { devices: null, flows: null, holds, failed: [] };
  return driven.step({ type: 'flushed', batch, storedCount: 0, answer: written });
}

test('[P7.38] a hold that is placed or lifted is recorded in that step, and due to be written; what changes nothing is not', () => {
  const driven = configured();
  const placed = { ...client, action: 'placed', at: driven.now, by: 'alice', reason: 'INC-42' };
  const saved = (effects: Effects) =>
    effects.saves.flatMap((save) => (save.type === 'put-hold-record' ? [save.record] : []));
  expect(saved(place(driven))).toEqual([{ ...placed, revision: driven.now }]);
  expect(flushDueAt(driven.state)).toBe(driven.now + 1000);
  expect(saved(place(driven))).toEqual([]);
  const lifted = { ...client, action: 'lifted', at: driven.now, by: 'bob', reason: null };
  expect(saved(lift(driven))).toEqual([{ ...lifted, revision: driven.now + 1 }]);
  expect(saved(lift(driven))).toEqual([]);
  expect(batchOf(driven).holds.map(({ action }) => action)).toEqual(['placed', 'lifted']);
});

test('[P7.39] records of holds wait through failures and sleep, under the same revisions, until Postgres has them', () => {
  const driven = configured();
  place(driven);
  lift(driven);
  const before = batchOf(driven);
  driven.step({ type: 'flush-failed' });
  driven.sleep();
  expect(batchOf(driven)).toEqual(before);
  const refusedWhole = { devices: null, flows: null, holds: null, failed: ['holds'] } as const;
  driven.step({ type: 'flushed', batch: before, storedCount: 0, answer: refusedWhole });
  expect(flushDueAt(driven.state)).toBeGreaterThan(driven.now);
  place(driven);
  answer(driven, before);
  const [meanwhile, ...others] = batchOf(driven).holds;
  expect([meanwhile?.action, others]).toEqual(['placed', []]);
  answer(driven, batchOf(driven));
  expect([flushDueAt(driven.state), writeBackStatus(driven.state).waiting]).toEqual([null, 0]);
  // Within the same millisecond, which no state in memory tells of.
  driven.sleep();
  lift(driven);
  expect(batchOf(driven).holds[0]?.revision).toBeGreaterThan(meanwhile?.revision ?? Infinity);
});

test('[P7.40] a record of a hold that Postgres refuses is kept aside and named, and holds up no other', () => {
  const driven = configured();
  place(driven);
  lift(driven);
  const batch = batchOf(driven);
  const [first] = batch.holds;
  const refused = { id: String(first?.revision), outcome: 'refused', reason: 'by_us' } as const;
  const effects = answer(driven, batch, [refused]);
  expect(effects.saves).toContainEqual({ type: 'put-refused', record: first, isKnown: false, reason: 'by_us' });
  expect(effects.notes).toEqual([{ event: 'record_refused', hold: refused.id, reason: 'by_us' }]);
  expect(writeBackStatus(driven.state)).toMatchObject({ refused: 1, waiting: 0 });
});

test('[P15.78] beyond so many records that wait holds go on, and are told of in the log of the worker alone', () => {
  const driven = configured();
  for (let n = 0; n < holdRecordsMax; n += 2) {
    place(driven);
    lift(driven);
  }
  const { done, notes, saves } = place(driven);
  expect([done, isHeld(driven.state, 'client', ids.client)]).toEqual([true, true]);
  expect(saves.map(({ type }) => type)).toEqual(['put-hold']);
  expect(notes).toContainEqual({ event: 'hold_unrecorded', action: 'placed', ...client, by: 'alice' });
  answer(driven, batchOf(driven));
  lift(driven);
  expect(driven.state.ledger.holds.size).toBe(holdRecordsMax - 1000 + 1);
});
