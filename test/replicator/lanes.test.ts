import fc from 'fast-check';
import * as v from 'valibot';
import { expect, test } from 'vitest';
import { delivery, deliveryBytesMax, type Answer } from '../../protocol/commit.ts';
import { accountId } from '../../protocol/ids.ts';
import { lsnToText } from '../../protocol/lsn.ts';
import { createLanes, heldBytesMax, retryDelayMs, type Command, type Lanes } from '../../replicator/lane.ts';
import {
  abandonSnapshot,
  addLane,
  addLaneWithoutHistory,
  answered,
  deliverSnapshot,
  enqueue,
  holdForSnapshot,
  retryDue,
  unanswered,
} from '../../replicator/lanes.ts';
import { notePlace } from '../../replicator/places.ts';
import { deliveryCommitsMax, laneCommit, type LaneCommit } from '../../replicator/request.ts';

const A = v.parse(accountId, '00000000-0000-4000-8000-00000000000a');
const B = v.parse(accountId, '00000000-0000-4000-8000-00000000000b');

test('[P3.7] one delivery of a lane is under way at a time, and what arrives meanwhile makes the next, chained by from', () => {
  const lanes = lanesAt(10n);

  expect(sentBy(enqueue(lanes, A, commit(20n), false))).toMatchObject({ from: lsn(10n), to: lsn(20n) });
  expect(enqueue(lanes, A, commit(30n), false)).toEqual([]);
  expect(enqueue(lanes, A, commit(40n), false)).toEqual([]);
  const next = answered(lanes, A, applied(20n));

  expect(next).toContainEqual({ type: 'durable', account: A, lsn: 20n });
  expect(sentBy(next)).toMatchObject({ from: lsn(20n), to: lsn(40n), commits: [{ lsn: lsn(30n) }, { lsn: lsn(40n) }] });
});

test('[P12.2] lanes do not wait for each other', () => {
  const lanes = lanesAt(10n);
  addLane(lanes, B, 10n);
  enqueue(lanes, A, commit(20n), false);
  unanswered(lanes, A);

  expect(sentBy(enqueue(lanes, B, commit(30n), false))).toMatchObject({ account: B, to: lsn(30n) });
});

test('[P15.11] a delivery holds a bounded number of commits', () => {
  const lanes = lanesAt(10n);
  for (let end = 11n; end < 700n; end += 1n) enqueue(lanes, A, commit(end), false);

  expect(sentBy(answered(lanes, A, applied(11n)))?.commits).toHaveLength(deliveryCommitsMax);
});

test('[P15.12] a delivery holds a bounded number of bytes, and a single larger commit travels alone', () => {
  const lanes = lanesAt(10n);
  const megabytes = (end: bigint, count: number): LaneCommit => commit(end, 'x'.repeat(count * 1024 * 1024));
  enqueue(lanes, A, commit(11n), false);
  for (const [end, count] of [
    [12n, 3],
    [13n, 3],
    [14n, 6],
    [15n, 1],
  ] as const)
    enqueue(lanes, A, megabytes(end, count), false);

  const ends = [11n, 12n, 13n, 14n].map((end) => sentBy(answered(lanes, A, applied(end)))?.to);
  expect(ends).toEqual([12n, 13n, 14n, 15n].map(lsn));
});

test('[P2.18] an account that is born in the stream is sent from null, one without history waits for a snapshot', () => {
  const lanes = createLanes({ term: 3, epoch: 2, random: () => 0 });

  expect(sentBy(enqueue(lanes, A, commit(20n), true))).toMatchObject({ from: null, term: 3, epoch: 2 });
  expect(enqueue(lanes, B, commit(20n), false)).toMatchObject([{ type: 'snapshot', account: B, afterMs: 0 }]);
  expect(enqueue(lanes, B, commit(30n), false)).toEqual([]);
});

test('[P12.28] every delivery says where the account lives, as its row last said', () => {
  const lanes = lanesAt(10n);
  const row = (region: string | null) => ({ id: A, region });
  const sentPlace = (end: bigint) => {
    const sent = sentBy(enqueue(lanes, A, commit(end), false));
    answered(lanes, A, applied(end));
    return sent?.place;
  };
  expect(sentPlace(20n)).toBeNull();
  notePlace(lanes, A, [{ op: 'insert', seq: 0, table: 'accounts', new: row('weur') }]);
  expect(sentPlace(30n)).toBe('weur');
  notePlace(lanes, A, [{ op: 'insert', seq: 0, table: 'actors', new: row('oc') }]);
  expect(sentPlace(40n)).toBe('weur');
  notePlace(lanes, A, [{ op: 'delete', seq: 0, table: 'accounts', old: row('weur') }]);
  expect(sentPlace(50n)).toBe('weur');
  notePlace(lanes, A, [{ op: 'update', seq: 0, table: 'accounts', old: row('weur'), new: row(null) }]);
  expect(sentPlace(60n)).toBeNull();
});

test('[P2.19] what the object already holds is not sent again', () => {
  const lanes = lanesAt(20n);

  expect(enqueue(lanes, A, commit(15n), false)).toEqual([]);
  expect(enqueue(lanes, A, commit(20n), false)).toEqual([]);
  expect(sentBy(enqueue(lanes, A, commit(21n), false))).toMatchObject({ from: lsn(20n) });
});

test('[P1.25] without an answer the same delivery is sent again, later and later, up to 5 seconds', () => {
  const lanes = lanesAt(10n);
  const [first] = enqueue(lanes, A, commit(20n), false);
  enqueue(lanes, A, commit(30n), false);

  expect(unanswered(lanes, A)).toEqual([{ type: 'retry', account: A, afterMs: 100, attempt: 1 }]);
  expect(retryDue(lanes, A)).toEqual([first]);
  expect(unanswered(lanes, A)).toMatchObject([{ attempt: 2 }]);
  expect(retryDelayMs(1, () => 0.999)).toBeLessThanOrEqual(200);
  expect(retryDelayMs(50, () => 0.999)).toBeLessThanOrEqual(5_000);
});

test('[P1.26] [LAB-16] a failed delivery keeps what its position says is durable, and sends the rest again', () => {
  const lanes = lanesAt(10n);
  enqueue(lanes, A, commit(20n), false);
  for (const end of [30n, 40n, 50n]) enqueue(lanes, A, commit(end), false);
  answered(lanes, A, applied(20n));
  const commands = answered(lanes, A, { type: 'failed', reason: 'x', position: position(30n) });

  expect(commands).toMatchObject([{ type: 'durable', lsn: 30n }, { type: 'retry' }]);
  expect(sentBy(retryDue(lanes, A))).toMatchObject({ from: lsn(30n), commits: [{ lsn: lsn(40n) }, { lsn: lsn(50n) }] });
});

test('[P1.27] gap and need-snapshot hold the lane: its commits are kept from the hold on, those that the snapshot sees are left out', () => {
  for (const answer of [
    { type: 'gap', position: null },
    { type: 'need-snapshot', reason: 'x', position: null },
  ] as const) {
    const lanes = lanesAt(10n);
    enqueue(lanes, A, commit(20n), false);
    expect(answered(lanes, A, answer)).toMatchObject([{ type: 'snapshot', account: A }]);
    enqueue(lanes, A, commit(30n, '', 130n), false);
    expect(holdForSnapshot(lanes, A, 'one')).toBe(true);
    enqueue(lanes, A, commit(40n, '', 140n), false);
    enqueue(lanes, A, commit(50n, '', 150n), false);
    const sent = sentBy(deliverSnapshot(lanes, A, snapshot({ id: 'one', to: 60n, seen: 145n })));

    expect(sent).toMatchObject({ type: 'snapshot', to: lsn(60n), rows: { actors: [] }, commits: [{ lsn: lsn(50n) }] });
    enqueue(lanes, A, commit(70n), false);
    expect(sentBy(answered(lanes, A, applied(60n)))).toMatchObject({ type: 'commits', from: lsn(60n) });
  }
});

test('[P1.28] a snapshot that its lane has given up, or of another id, is ignored', () => {
  const lanes = createLanes({ term: 1, epoch: 1, random: () => 0 });
  addLaneWithoutHistory(lanes, A, 'x');
  holdForSnapshot(lanes, A, 'one');

  expect(deliverSnapshot(lanes, A, snapshot({ id: 'another' }))).toEqual([]);
  expect(abandonSnapshot(lanes, A, 'one', 'x')).toMatchObject([{ type: 'snapshot', afterMs: 100 }]);
  expect(deliverSnapshot(lanes, A, snapshot({ id: 'one' }))).toEqual([]);
});

test('[P15.13] too much held for a snapshot gives it up for another, and nothing is kept', () => {
  const lanes = createLanes({ term: 1, epoch: 1, random: () => 0 });
  addLaneWithoutHistory(lanes, A, 'x');
  holdForSnapshot(lanes, A, 'one');

  expect(enqueue(lanes, A, commit(20n, 'x'.repeat(heldBytesMax)), false)).toMatchObject([
    { type: 'snapshot', afterMs: 100 },
  ]);
  expect(lanes.byAccount.get(A)).toMatchObject({ phase: { type: 'waiting' }, queue: [], queueBytes: 0 });
});

test('[P15.14] a commit or snapshot larger than a delivery may be is not sent: the lane asks for a snapshot', () => {
  const lanes = lanesAt(10n);

  expect(enqueue(lanes, A, commit(20n, 'x'.repeat(deliveryBytesMax)), false)).toMatchObject([{ type: 'snapshot' }]);
  holdForSnapshot(lanes, A, 'one');
  const tooLarge = snapshot({
    id: 'one',
    rowsJson: JSON.stringify({ actors: [{ name: 'x'.repeat(deliveryBytesMax) }] }),
  });
  expect(deliverSnapshot(lanes, A, tooLarge)).toMatchObject([{ type: 'snapshot' }]);
});

test('[P2.20] a higher term is reported, and no answer of another epoch moves a lane', () => {
  const lanes = lanesAt(10n);
  enqueue(lanes, A, commit(20n), false);
  expect(answered(lanes, A, { type: 'applied', position: { epoch: 9, lsn: lsn(20n) } })).toMatchObject([
    { type: 'retry' },
  ]);
  retryDue(lanes, A);

  expect(answered(lanes, A, { type: 'fenced', term: 4 })).toEqual([{ type: 'fenced', term: 4 }]);
});

test('[P15.15] the bytes of the window are those in flight and queued behind them, under any answers', () => {
  const answerOf = fc.constantFrom('applied', 'part', 'failed', 'gap', 'none');
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.constant('commit' as const), answerOf), { maxLength: 60 }), (steps) => {
      const lanes = lanesAt(10n);
      let end = 10n;
      for (const step of steps) {
        const phase = lanes.byAccount.get(A)?.phase;
        if (step === 'commit') enqueue(lanes, A, commit((end += 10n)), false);
        else if (phase?.type === 'retrying') retryDue(lanes, A);
        else if (phase?.type === 'sending' && phase.request.type !== 'part')
          give(lanes, step, phase.request.to, phase.request.commits[0]?.lsn ?? 0n);
        else if (phase?.type === 'waiting') holdForSnapshot(lanes, A, 'one');
        else if (phase?.type === 'held') deliverSnapshot(lanes, A, snapshot({ id: 'one', to: (end += 10n), seen: 0n }));
        expect(lanes.windowBytes).toBe(slowWindowBytes(lanes));
      }
    }),
    { seed: 42, numRuns: 500 },
  );
});

function give(lanes: Lanes, step: string, to: bigint, first: bigint): void {
  if (step === 'applied') answered(lanes, A, applied(to));
  else if (step === 'part') answered(lanes, A, applied(first));
  else if (step === 'failed') answered(lanes, A, { type: 'failed', reason: 'x', position: position(first) });
  else if (step === 'gap') answered(lanes, A, { type: 'gap', position: null });
  else unanswered(lanes, A);
}

function slowWindowBytes(lanes: Lanes): number {
  let bytes = 0;
  for (const { phase, queue } of lanes.byAccount.values()) {
    if (phase.type !== 'sending' && phase.type !== 'retrying') continue;
    bytes += phase.request.bytes + queue.reduce((sum, queued) => sum + queued.bytes, 0);
  }
  return bytes;
}

function lanesAt(start: bigint): Lanes {
  const lanes = createLanes({ term: 1, epoch: 1, random: () => 0 });
  addLane(lanes, A, start);
  return lanes;
}

function commit(end: bigint, note = '', xid = end): LaneCommit {
  const changes = [{ op: 'insert' as const, seq: 0, table: 'actors' as const, new: { id: 'x', note } }];
  return laneCommit({ lsn: lsn(end), xid: String(xid), committedAtUs: 0, changes });
}

function snapshot(given: { id: string; to?: bigint; seen?: bigint; rowsJson?: string }) {
  const { id, to = 100n, seen = 0n, rowsJson = '{"actors":[]}' } = given;
  return { id, to, rowsJson, staged: null, seen: { xmin: seen, xmax: seen, inProgress: new Set<bigint>() } };
}

function applied(end: bigint): Answer {
  return { type: 'applied', position: position(end) };
}

function position(end: bigint) {
  return { epoch: 1, lsn: lsn(end) };
}

function lsn(end: bigint) {
  return lsnToText(end);
}

/** The delivery that the commands send, checked against the contract. */
function sentBy(commands: readonly Command[]) {
  const send = commands.find((command) => command.type === 'send');
  if (send === undefined) return undefined;
  const sent = v.parse(delivery, JSON.parse(send.body));
  if (sent.type !== 'commits' && sent.type !== 'snapshot') throw new Error(`a ${sent.type} was sent`);
  return sent;
}
