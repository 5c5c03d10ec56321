// Decides what a delivery of the change stream means to an object that stands at some position. A term only fences senders;
// a position orders commits within its epoch; another epoch, or a gap, can be entered by a snapshot alone. Parts have no
// effect of their own: what names their stage has it, and only while every one of them is there.
import { unreachable } from '../protocol/assert.ts';
import { compareLsnText } from '../protocol/lsn.ts';
import type { Answer, Delivery, PartContent, Position, Staged } from '../protocol/commit.ts';
import type { Input } from './input.ts';

/**
 * `steps`: each is one storage step; after the last the object stands at the delivery's end. `stage`: the part is kept
 * aside, after whatever else was staged is dropped where `isFirst`.
 */
export type Reception =
  | { readonly type: 'answer'; readonly answer: Answer; readonly stale: boolean }
  | { readonly type: 'stage'; readonly isFirst: boolean; readonly index: number; readonly content: PartContent }
  | { readonly type: 'steps'; readonly steps: readonly Input[] };

/** What an object keeps aside: `parts` of a stage, sent under `term`. */
export type StageHeld = Staged & { readonly term: number };

type Held = {
  readonly position: Position | null;
  readonly term: number;
  readonly stale: boolean;
  /** Whether its rows are of an older shape than the code reads. */
  readonly isOutdated: boolean;
  readonly stage: StageHeld | null;
};

/** `position` and `term` are those the object holds; `stale` is set while it waits for a snapshot. */
export function receive(held: Held, delivery: Delivery): Reception {
  if (delivery.term < held.term) return answered({ type: 'fenced', term: held.term }, held.stale);
  switch (delivery.type) {
    case 'commits':
      return receiveCommits(held, delivery);
    case 'snapshot':
      return receiveSnapshot(held, delivery);
    case 'commit-part': {
      const { position } = held;
      const isHeld = position?.epoch === delivery.epoch && compareLsnText(delivery.start, position.lsn) < 0;
      return obstacle(held, delivery, isHeld) ?? receivePart(held, delivery, { changes: delivery.changes }, true);
    }
    case 'snapshot-part':
      return receivePart(held, delivery, { rows: delivery.rows }, held.stale);
  }
  return unreachable(delivery);
}

function receiveCommits(held: Held, delivery: Of<'commits'>): Reception {
  const { position } = held;
  const end: Position = { epoch: delivery.epoch, lsn: delivery.to };
  const inTheWay = obstacle(held, delivery, isBehind(position, end));
  if (inTheWay !== null) return inTheWay;
  const isNew = (lsn: Position['lsn']) => position === null || compareLsnText(lsn, position.lsn) > 0;
  const commits = delivery.commits.filter(({ lsn }) => isNew(lsn));
  if (commits.some(({ staged }) => !isComplete(held, delivery, staged))) return partsMissing(held, true);
  const steps: Input[] = commits.map((commit) => ({ type: 'commit', epoch: delivery.epoch, commit }));
  if (delivery.commits.at(-1)?.lsn !== end.lsn) steps.push({ type: 'advance', position: end });
  return { type: 'steps', steps };
}

function receiveSnapshot(held: Held, delivery: Of<'snapshot'>): Reception {
  const { isOutdated, position, stale } = held;
  const { rows, commits, staged } = delivery;
  const end: Position = { epoch: delivery.epoch, lsn: delivery.to };
  if (isBehind(position, end)) {
    if (stale || isOutdated) return answered({ type: 'need-snapshot', reason: 'stale', position }, true);
    return answered({ type: 'duplicate', position }, false);
  }
  if (!isComplete(held, delivery, staged)) return partsMissing(held, stale);
  return {
    type: 'steps',
    steps: [{ type: 'snapshot', position: end, rows, commits, isStaged: staged !== undefined, ...seenOf(delivery) }],
  };
}

function receivePart(
  held: Held,
  part: Of<'commit-part' | 'snapshot-part'>,
  content: PartContent,
  stale: boolean,
): Reception {
  const { index } = part;
  if (index === 0) return { type: 'stage', isFirst: true, index, content };
  const { stage } = held;
  if (stage === null || stage.term !== part.term || stage.stage !== part.stage || index > stage.parts) {
    return partsMissing(held, stale);
  }
  if (index < stage.parts) return answered({ type: 'staged', parts: stage.parts }, held.stale);
  return { type: 'stage', isFirst: false, index, content };
}

/** What keeps the object from taking commits, or parts of one, that continue from `from`; null when nothing does. */
function obstacle(held: Held, delivery: Of<'commits' | 'commit-part'>, isHeld: boolean): Reception | null {
  const { position, stale } = held;
  if (stale) return answered({ type: 'need-snapshot', reason: 'stale', position }, true);
  if (position === null) {
    if (delivery.from === null) return null;
    return answered({ type: 'need-snapshot', reason: 'no history', position: null }, true);
  }
  if (held.isOutdated) return answered({ type: 'need-snapshot', reason: 'rows of an older shape', position }, true);
  if (isHeld) return answered({ type: 'duplicate', position }, false);
  if (position.epoch !== delivery.epoch)
    return answered({ type: 'need-snapshot', reason: 'another epoch', position }, true);
  if (delivery.from !== null && compareLsnText(delivery.from, position.lsn) > 0) {
    return answered({ type: 'gap', position }, true);
  }
  return null;
}

function isBehind(position: Position | null, end: Position): position is Position {
  return position !== null && position.epoch === end.epoch && compareLsnText(end.lsn, position.lsn) <= 0;
}

function isComplete({ stage }: Held, { term }: Delivery, staged: Staged | undefined): boolean {
  if (staged === undefined) return true;
  return stage !== null && stage.term === term && stage.stage === staged.stage && stage.parts === staged.parts;
}

function partsMissing({ position }: Held, stale: boolean): Reception {
  return answered({ type: 'need-snapshot', reason: 'parts are missing', position }, stale);
}

type Of<Type extends Delivery['type']> = Extract<Delivery, { type: Type }>;

function answered(answer: Answer, stale: boolean): Reception {
  return { type: 'answer', answer, stale };
}

function seenOf({ seen }: Of<'snapshot'>): { readonly seen?: string } {
  return seen === undefined ? {} : { seen };
}
