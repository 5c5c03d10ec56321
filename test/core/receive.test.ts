// What a delivery means to an object at every position, term and epoch.
import { expect, test } from 'vitest';
import { commit, commitsDelivery, lsn, snapshotDelivery } from '../support/world.ts';
import { receive } from '../../core/receive.ts';
import type { Reception } from '../../core/receive.ts';

const at = (n: number, epoch = 1) => ({ position: { epoch, lsn: lsn(n) }, term: 5, stale: false });
const nowhere = { position: null, term: 0, stale: false };
const term = { term: 5 };

/** `applied 101 102`, `advance`, or the answer. */
function brief(reception: Reception): string {
  if (reception.type === 'answer') return `${reception.answer.type}${reception.stale ? ', stale' : ''}`;
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

test('[P5.11] an object that waits for a snapshot takes nothing else, and no older one', () => {
  const stale = { ...at(100), stale: true };
  expect(brief(receive(stale, commitsDelivery(100, [commit(101)], term)))).toBe('need-snapshot, stale');
  expect(brief(receive(stale, snapshotDelivery(100, {}, term)))).toBe('need-snapshot, stale');
  expect(brief(receive(stale, snapshotDelivery(101, {}, term)))).toBe('snapshot');
});
