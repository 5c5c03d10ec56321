// Decides what a delivery of the change stream means to an object that stands at some position. A term only fences senders;
// a position orders commits within its epoch; another epoch, or a gap, can be entered by a snapshot alone.
import { compareLsnText } from '../protocol/lsn.ts';
import type { Answer, Delivery, Position } from '../protocol/commit.ts';
import type { Input } from './input.ts';

/** `steps`: each is one storage step; after the last the object stands at the delivery's end. */
export type Reception =
  | { readonly type: 'answer'; readonly answer: Answer; readonly stale: boolean }
  | { readonly type: 'steps'; readonly steps: readonly Input[] };

/** `position` and `term` are those the object holds; `stale` is set while it waits for a snapshot. */
export function receive(
  held: { readonly position: Position | null; readonly term: number; readonly stale: boolean },
  delivery: Delivery,
): Reception {
  if (delivery.term < held.term) return answered({ type: 'fenced', term: held.term }, held.stale);
  const { position } = held;
  const end: Position = { epoch: delivery.epoch, lsn: delivery.to };
  const isSameEpoch = position?.epoch === delivery.epoch;
  const isBehind = position !== null && isSameEpoch && compareLsnText(delivery.to, position.lsn) <= 0;
  if (delivery.type === 'snapshot') {
    if (isBehind && held.stale) return answered({ type: 'need-snapshot', reason: 'stale', position }, true);
    if (isBehind) return answered({ type: 'duplicate', position }, false);
    const { rows, commits } = delivery;
    return { type: 'steps', steps: [{ type: 'snapshot', position: end, rows, commits }] };
  }
  if (held.stale) return answered({ type: 'need-snapshot', reason: 'stale', position }, true);
  if (isBehind) return answered({ type: 'duplicate', position }, false);
  if (position === null) {
    if (delivery.from === null) return { type: 'steps', steps: stepsAfter(null, delivery, end) };
    return answered({ type: 'need-snapshot', reason: 'no history', position: null }, true);
  }
  if (!isSameEpoch) return answered({ type: 'need-snapshot', reason: 'another epoch', position }, true);
  if (delivery.from !== null && compareLsnText(delivery.from, position.lsn) > 0) {
    return answered({ type: 'gap', position }, true);
  }
  return { type: 'steps', steps: stepsAfter(position, delivery, end) };
}

function stepsAfter(
  position: Position | null,
  delivery: Extract<Delivery, { type: 'commits' }>,
  end: Position,
): Input[] {
  const isNew = (lsn: Position['lsn']) => position === null || compareLsnText(lsn, position.lsn) > 0;
  const steps: Input[] = delivery.commits
    .filter(({ lsn }) => isNew(lsn))
    .map((commit) => ({ type: 'commit', epoch: delivery.epoch, commit }));
  const last = delivery.commits.at(-1);
  if (last?.lsn !== end.lsn) steps.push({ type: 'advance', position: end });
  return steps;
}

function answered(answer: Answer, stale: boolean): Reception {
  return { type: 'answer', answer, stale };
}
