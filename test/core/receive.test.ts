// What a delivery means to an object at every position, term and epoch.
import { expect, test } from 'vitest';
import * as v from 'valibot';
import { commit, commitsDelivery, ids, lsn, snapshotDelivery } from '../support/world.ts';
import { delivery as deliverySchema } from '../../protocol/commit.ts';
import { receive } from '../../core/receive.ts';
import type { Reception } from '../../core/receive.ts';

const at = (n: number, epoch = 1) => ({
  position: { epoch, lsn: lsn(n) },
  term: 5,
  stale: false,
  isOutdated: false,
  stage: null,
});
const nowhere = { position: null, term: 0, stale: false, isOutdated: false, stage: null };
const term = { term: 5 };

/** `applied 101 102`, `advance`, or the answer. */
function brief(reception: Reception): string {
  if (reception.type === 'answer') return `${reception.answer.type}${reception.stale ? ', stale' : ''}`;
  if (reception.type === 'stage') return `stage ${reception.index}${reception.isFirst ? ', first' : ''}`;
  return reception.steps
    .map((step) => (step.type === 'commit' ? Number.parseInt(step.commit.lsn, 16).toString() : step.type))
    .join(' ');
}

test.each([
  [
    'the next commits are applied one by one',
    at(100),
    commitsDelivery(100, [commit(101), commit(102)], term),
    '101 102',
  ],
  [
    'commits at or below the position are skipped',
    at(101),
    commitsDelivery(100, [commit(101), commit(102)], term),
    '102',
  ],
  [
    'a delivery that ends at the position is a duplicate',
    at(102),
    commitsDelivery(100, [commit(102)], term),
    'duplicate',
  ],
  ['one that begins beyond the position is a gap', at(100), commitsDelivery(101, [commit(102)], term), 'gap, stale'],
  [
    'an end beyond its last commit moves the position',
    at(100),
    commitsDelivery(100, [], { ...term, to: lsn(105) }),
    'advance',
  ],
  [
    'another epoch needs a snapshot',
    at(100),
    commitsDelivery(100, [commit(101)], { ...term, epoch: 2 }),
    'need-snapshot, stale',
  ],
  ['no history needs a snapshot', nowhere, commitsDelivery(100, [commit(101)], term), 'need-snapshot, stale'],
  ['an account that is born needs none', nowhere, commitsDelivery(null, [commit(101)], term), '101'],
  ['a birth told again is a duplicate', at(101), commitsDelivery(null, [commit(101)], term), 'duplicate'],
  ['a snapshot is one step', at(100), snapshotDelivery(200, {}, term), 'snapshot'],
  [
    'a snapshot enters another epoch, whatever its position',
    at(300),
    snapshotDelivery(200, {}, { ...term, epoch: 2 }),
    'snapshot',
  ],
  ['a snapshot at or below the position is a duplicate', at(200), snapshotDelivery(200, {}, term), 'duplicate'],
  ['a lower term is fenced', at(100), commitsDelivery(100, [commit(101)], { term: 4 }), 'fenced'],
  ['a lower term is fenced with a snapshot too', at(100), snapshotDelivery(200, {}, { term: 4 }), 'fenced'],
] as const)('[P2.23] %s', (_, held, delivery, expected) => {
  expect(brief(receive(held, delivery))).toBe(expected);
});

const part = (index: number, changes: object = {}) =>
  v.parse(deliverySchema, {
    type: 'commit-part',
    version: 2,
    account: ids.account,
    term: 5,
    epoch: 1,
    stage: 'a1',
    index,
    from: lsn(100),
    start: lsn(150),
    changes: [],
    ...changes,
  });
const rowsPart = (index: number) =>
  part(index, { type: 'snapshot-part', stage: 'b2', rows: {}, from: undefined, start: undefined });
const holding = (parts: number, changes: object = {}) => ({
  ...at(100),
  stage: { stage: 'a1', parts, term: 5, ...changes },
});
const staged = { staged: { stage: 'a1', parts: 2 } };

test.each([
  ['part 0 drops what was staged', holding(3), part(0), 'stage 0, first'],
  ['the next part is staged', holding(1), part(1), 'stage 1'],
  ['a part told again is not staged twice', holding(2), part(1), 'staged'],
  ['a part without those before it is refused', holding(1), part(2), 'need-snapshot, stale'],
  ['a part of another stage is refused', holding(1, { stage: 'ff' }), part(1), 'need-snapshot, stale'],
  ['a part of a higher term is refused', holding(1, { term: 4 }), part(1), 'need-snapshot, stale'],
  ['a part of a lower term is fenced', holding(1), part(1, { term: 4 }), 'fenced'],
  ['a part of a transaction that is held is a duplicate', { ...at(151), stage: null }, part(0), 'duplicate'],
  ['one that begins where the object stands is not', { ...at(150), stage: null }, part(0), 'stage 0, first'],
  ['a part that begins beyond the position is a gap', at(99), part(0), 'gap, stale'],
  ['a part of another epoch needs a snapshot', at(100, 2), part(0), 'need-snapshot, stale'],
  ['a part without history needs a snapshot', nowhere, part(0), 'need-snapshot, stale'],
  ['a part of a birth needs none', nowhere, part(0, { from: null }), 'stage 0, first'],
  ['a stale object takes no part of a commit', { ...at(100), stale: true }, part(0), 'need-snapshot, stale'],
  ['a stale object takes parts of a snapshot', { ...at(100), stale: true }, rowsPart(0), 'stage 0, first'],
  ['a commit takes its parts', holding(2), commitsDelivery(100, [{ ...commit(160), ...staged }], term), '160'],
  [
    'a commit that misses parts is refused',
    holding(1),
    commitsDelivery(100, [{ ...commit(160), ...staged }], term),
    'need-snapshot, stale',
  ],
  ['a snapshot takes its parts', holding(2), snapshotDelivery(200, {}, { ...term, ...staged }), 'snapshot'],
  [
    'a snapshot that misses parts is refused',
    at(100),
    snapshotDelivery(200, {}, { ...term, ...staged }),
    'need-snapshot',
  ],
] as const)('[P3.13] %s', (_, held, delivery, expected) => {
  expect(brief(receive(held, delivery))).toBe(expected);
});

test('[P1.83] an object whose rows are of an older shape than the code reads takes a snapshot and nothing else', () => {
  const outdated = { ...at(100), isOutdated: true };
  expect(brief(receive(outdated, commitsDelivery(100, [commit(101)], term)))).toBe('need-snapshot, stale');
  expect(brief(receive(outdated, commitsDelivery(90, [commit(100)], term)))).toBe('need-snapshot, stale');
  expect(brief(receive(outdated, part(0)))).toBe('need-snapshot, stale');
  expect(brief(receive(outdated, snapshotDelivery(100, {}, term)))).toBe('need-snapshot, stale');
  expect(brief(receive(outdated, snapshotDelivery(101, {}, term)))).toBe('snapshot');
});

test('[P5.11] an object that waits for a snapshot takes nothing else, and no older one', () => {
  const stale = { ...at(100), stale: true };
  expect(brief(receive(stale, commitsDelivery(100, [commit(101)], term)))).toBe('need-snapshot, stale');
  expect(brief(receive(stale, snapshotDelivery(100, {}, term)))).toBe('need-snapshot, stale');
  expect(brief(receive(stale, snapshotDelivery(101, {}, term)))).toBe('snapshot');
});
