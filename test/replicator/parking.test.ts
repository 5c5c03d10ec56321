// When a lane is parked, what it does while it is, and how it returns.
import * as v from 'valibot';
import { expect, test } from 'vitest';
import type { Answer } from '../../protocol/commit.ts';
import { accountId } from '../../protocol/ids.ts';
import { lsnToText } from '../../protocol/lsn.ts';
import { strikesMax } from '../../replicator/blame.ts';
import { createLanes, snapshotDelayMs, type Command, type Lanes } from '../../replicator/lane.ts';
import {
  addLane,
  addParkedLane,
  answered,
  countParked,
  deliverSnapshot,
  enqueue,
  holdForSnapshot,
  parkRecorded,
  relieve,
  resync,
  retryDue,
  unanswered,
} from '../../replicator/lanes.ts';
import { laneCommit, type LaneCommit } from '../../replicator/request.ts';

const A = v.parse(accountId, '00000000-0000-4000-8000-00000000000a');
const B = v.parse(accountId, '00000000-0000-4000-8000-00000000000b');
const failed = { type: 'failed', reason: 'x', position: null } as const;
const poison = { type: 'poison', reason: 'x', position: null } as const;

test.each([
  ['does not answer', (lanes: Lanes) => unanswered(lanes, A)],
  ['answers failed', (lanes: Lanes) => answered(lanes, A, failed)],
] as const)('[P12.16] a lane that %s again and again is parked, if another advances in between', (_, fail) => {
  const lanes = bothAt(10n);
  enqueue(lanes, A, commit(20n), false);
  for (let strike = 1; strike < strikesMax; strike += 1) {
    advanceB(lanes);
    expect(fail(lanes)).toMatchObject([{ type: 'retry' }]);
    retryDue(lanes, A);
  }
  advanceB(lanes);

  expect(fail(lanes)).toEqual([{ type: 'park', account: A, position: 10n, reason: expect.any(String) }]);
  expect(lanes.windowBytes).toBe(0);
});

test('[P12.17] while no lane advances, none is parked, however often it fails', () => {
  const lanes = bothAt(10n);
  advanceB(lanes);
  enqueue(lanes, A, commit(20n), false);
  enqueue(lanes, B, commit(advancedTo + 10n), false);
  for (let attempt = 1; attempt < 100; attempt += 1) {
    for (const account of [A, B]) {
      expect(unanswered(lanes, account)).toMatchObject([{ type: 'retry' }]);
      retryDue(lanes, account);
    }
  }
  expect(countParked(lanes)).toBe(0);
});

test('[P12.18] what it has done since makes up for earlier failures', () => {
  const lanes = bothAt(10n);
  for (let end = 20n; end < 400n; end += 10n) {
    enqueue(lanes, A, commit(end), false);
    advanceB(lanes);
    expect(unanswered(lanes, A)).toMatchObject([{ type: 'retry' }]);
    retryDue(lanes, A);
    answered(lanes, A, applied(end));
  }
});

test('[P12.19] a poisonous commit parks its lane at once where another advanced, and else asks for a snapshot', () => {
  const lanes = bothAt(10n);
  enqueue(lanes, A, commit(20n), false);
  expect(answered(lanes, A, poison)).toMatchObject([{ type: 'snapshot', afterMs: 0 }]);

  const others = bothAt(10n);
  enqueue(others, A, commit(20n), false);
  advanceB(others);
  expect(answered(others, A, poison)).toMatchObject([{ type: 'park', account: A }]);
});

test('[P12.37] a lane whose every snapshot is answered by the need for another is parked where others advance, and goes on asking', () => {
  const lanes = bothAt(10n);
  const need = { type: 'need-snapshot', reason: 'a row came without its key', position: null } as const;
  enqueue(lanes, A, commit(20n), false);
  expect(answered(lanes, A, need)).toMatchObject([{ type: 'snapshot', afterMs: 0 }]);
  let commands: readonly Command[] = [];
  for (let attempt = 0; attempt <= strikesMax; attempt += 1) {
    advanceB(lanes);
    holdForSnapshot(lanes, A, String(attempt));
    deliver(lanes, String(attempt), 1_000n + BigInt(attempt));
    commands = answered(lanes, A, need);
    expect(commands).toHaveLength(1);
  }
  expect(commands).toMatchObject([{ type: 'park', account: A }]);
  expect(parkRecorded(lanes, A)).toMatchObject([{ type: 'release' }, { type: 'snapshot', account: A }]);
});

test('[P12.20] at a full window the lane that holds half of it is parked if another advanced since, else none is', () => {
  const lanes = bothAt(10n);
  enqueue(lanes, A, commit(20n, 'x'.repeat(1_000)), false);
  expect(relieve(lanes, 1_000, false)).toEqual([]);
  advanceB(lanes);
  expect(relieve(lanes, 4_000, false)).toEqual([]);
  expect(relieve(lanes, 1_000, false)).toMatchObject([{ type: 'park', account: A }]);
  expect(lanes.windowBytes).toBe(0);
});

test('[P12.23] at a full window a lane that fails alone is parked once the worker is known to answer, one that is slow is not', () => {
  const lanes = bothAt(10n);
  enqueue(lanes, A, commit(20n, 'x'.repeat(1_000)), false);
  expect(relieve(lanes, 1_000, true)).toEqual([]);
  unanswered(lanes, A);
  expect(relieve(lanes, 1_000, false)).toEqual([]);
  enqueue(lanes, B, commit(20n), false);
  unanswered(lanes, B);
  expect(relieve(lanes, 1_000, true)).toEqual([]);
  retryDue(lanes, B);
  answered(lanes, B, applied(20n));

  expect(relieve(lanes, 1_000, true)).toMatchObject([{ type: 'park', account: A }]);
});

test('[P1.80] a parked lane keeps nothing, and asks for its snapshot once that is recorded and its request has ended', () => {
  const lanes = bothAt(10n);
  enqueue(lanes, A, commit(20n, 'x'.repeat(1_000)), false);
  advanceB(lanes);
  relieve(lanes, 1_000, false);
  expect(enqueue(lanes, A, commit(30n), false)).toEqual([]);
  expect(holdForSnapshot(lanes, A, 'one')).toBe(false);
  expect(parkRecorded(lanes, A)).toEqual([]);
  expect(answered(lanes, A, applied(20n))).toMatchObject([{ type: 'release' }, { type: 'snapshot', account: A }]);
  expect(parkRecorded(lanes, A)).toEqual([]);
  expect(holdForSnapshot(lanes, A, 'one')).toBe(true);
});

test('[P1.81] the slot waits for a parked account again from the marker on, and if the snapshot fails no longer', () => {
  const lanes = createLanes({ term: 1, epoch: 1, random: () => 0 });
  expect(addParkedLane(lanes, A, 'x')).toMatchObject([{ type: 'release' }, { type: 'snapshot', afterMs: 1_000 }]);
  holdForSnapshot(lanes, A, 'one');
  expect(deliver(lanes, 'one', 100n)).toMatchObject([{ type: 'expect', account: A }, { type: 'send' }]);
  expect(unanswered(lanes, A)).toMatchObject([{ type: 'release', account: A }, { type: 'snapshot' }]);
  expect(lanes.windowBytes).toBe(0);

  holdForSnapshot(lanes, A, 'two');
  enqueue(lanes, A, commit(150n), false);
  deliver(lanes, 'two', 200n);
  enqueue(lanes, A, commit(210n), false);
  const commands = answered(lanes, A, applied(200n));
  expect(commands).toMatchObject([{ type: 'durable', lsn: 200n }, { type: 'send' }]);
  expect(countParked(lanes)).toBe(0);
});

test('[P15.46] the snapshots of a parked lane are tried at growing intervals up to five minutes, and at once when asked for', () => {
  expect(snapshotDelayMs(1, true, () => 0.999)).toBeLessThanOrEqual(4_000);
  expect(snapshotDelayMs(50, true, () => 0.999)).toBeLessThanOrEqual(300_000);
  const lanes = createLanes({ term: 1, epoch: 1, random: () => 0.5 });
  addParkedLane(lanes, A, 'x');
  expect(resync(lanes, A)).toMatchObject([{ type: 'snapshot', account: A, afterMs: 0 }]);
});

let advancedTo = 10n;

function bothAt(start: bigint): Lanes {
  const lanes = createLanes({ term: 1, epoch: 1, random: () => 0 });
  addLane(lanes, A, start);
  addLane(lanes, B, start);
  advancedTo = start;
  return lanes;
}

function advanceB(lanes: Lanes): void {
  advancedTo += 10n;
  enqueue(lanes, B, commit(advancedTo), false);
  answered(lanes, B, applied(advancedTo));
}

function deliver(lanes: Lanes, id: string, to: bigint): readonly Command[] {
  const seen = { xmin: 0n, xmax: 0n, inProgress: new Set<bigint>() };
  return deliverSnapshot(lanes, A, { id, to, rowsJson: '{}', staged: null, seen });
}

function commit(end: bigint, note = ''): LaneCommit {
  const changes = [{ op: 'insert' as const, seq: 0, table: 'actors' as const, new: { id: 'x', note } }];
  return laneCommit({ lsn: lsnToText(end), xid: String(end), committedAtUs: 0, changes });
}

function applied(end: bigint): Answer {
  return { type: 'applied', position: { epoch: 1, lsn: lsnToText(end) } };
}
