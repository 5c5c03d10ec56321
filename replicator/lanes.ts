// One ordered lane per account: what is sent next, what an answer means, when to wait.
//
// Pure decisions over plain data: functions change `Lanes` and return commands; carry.ts performs them. A lane has one
// request in flight, what arrives meanwhile is coalesced into the next. Every lane goes its own way, none waits for
// another. A lane that cannot be delivered is retried without end, and what it holds counts against the reader's window.
//
//                 applied, duplicate                       marker has left the stream
//        ┌──────────────────────────────┐             ┌──────────────────────────────────┐
//        ▼                              │             ▼                                  │
//      idle ──── a commit arrives ──▶ sending ──── gap, need-snapshot ──▶ waiting ──▶ held
//                                       ▲ │                                  ▲           │
//                         timer fired   │ │ failed, poison, no answer        └───────────┘
//                                       │ ▼                             too much held, snapshot too large
//                                     retrying
//
// `waiting` lanes keep no commits: the snapshot that follows must see all that was decoded before it began.
import type { Answer, Position, Staged } from '../protocol/commit.ts';
import { assert, unreachable } from '../protocol/assert.ts';
import type { AccountId } from '../protocol/ids.ts';
import { textToLsn, type Lsn } from '../protocol/lsn.ts';
import {
  isHeldAt,
  snapshotRequest,
  sumBytes,
  takeRequest,
  type LaneItem,
  type LanePart,
  type Request,
  type Sender,
} from './request.ts';
import { isVisible, type PgSnapshot } from './visibility.ts';

/** Commits kept for a lane while its snapshot is taken; beyond it the snapshot is taken again. */
export const heldBytesMax = 4 * 1024 * 1024;

type Phase =
  | { readonly type: 'idle' }
  | { readonly type: 'sending' | 'retrying'; readonly request: Request; readonly attempt: number }
  | { readonly type: 'waiting' }
  | { readonly type: 'held'; readonly snapshotId: string };

export type Lane = {
  readonly account: AccountId;
  phase: Phase;
  /** Where the object stands, as far as it has said; null before its first delivery. */
  position: Lsn | null;
  queue: LaneItem[];
  queueBytes: number;
  /** Snapshots asked for since the position last moved. */
  snapshotAttempts: number;
  /** An operator has asked for a snapshot while a request was in flight. */
  isResyncWanted: boolean;
};

export type Lanes = {
  readonly term: number;
  readonly epoch: number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly byAccount: Map<AccountId, Lane>;
  /** Bytes that wait for answers: what the reader's window bounds. Commits held for a snapshot have their own bound. */
  windowBytes: number;
};

export type Command =
  | { readonly type: 'send'; readonly account: AccountId; readonly body: string }
  | { readonly type: 'retry'; readonly account: AccountId; readonly afterMs: number; readonly attempt: number }
  | { readonly type: 'snapshot'; readonly account: AccountId; readonly afterMs: number; readonly reason: string }
  | { readonly type: 'durable'; readonly account: AccountId; readonly lsn: Lsn }
  | { readonly type: 'fenced'; readonly term: number };

export function createLanes(options: Pick<Lanes, 'term' | 'epoch' | 'random'>): Lanes {
  return { ...options, byAccount: new Map(), windowBytes: 0 };
}

/** An account whose object holds everything up to `position` of this epoch. */
export function addLane(lanes: Lanes, account: AccountId, position: Lsn): void {
  lanes.byAccount.set(account, newLane(account, position));
}

/** An account without history in this epoch. */
export function addLaneWithoutHistory(lanes: Lanes, account: AccountId, reason: string): readonly Command[] {
  const lane = newLane(account, null);
  lanes.byAccount.set(account, lane);
  return requireSnapshot(lanes, lane, reason);
}

/** `isBorn`: the account's own row is inserted by this transaction, so that it can have no history before it. */
export function enqueue(lanes: Lanes, account: AccountId, item: LaneItem, isBorn: boolean): readonly Command[] {
  const known = lanes.byAccount.get(account);
  if (known === undefined && !isBorn) return addLaneWithoutHistory(lanes, account, 'no history');
  const lane = known ?? newLane(account, null);
  if (known === undefined) lanes.byAccount.set(account, lane);
  if (lane.phase.type === 'waiting') return [];
  if (lane.position !== null && isHeldAt(item, lane.position)) return [];
  return weighed(lanes, lane, () => {
    lane.queue.push(item);
    lane.queueBytes += item.bytes;
    if (lane.phase.type === 'idle') return sendNext(lanes, lane);
    if (lane.phase.type === 'held' && lane.queueBytes > heldBytesMax) {
      return requireSnapshot(lanes, lane, 'too much was held for the snapshot');
    }
    return [];
  });
}

/** The object's answer to the request in flight. */
export function answered(lanes: Lanes, account: AccountId, answer: Answer): readonly Command[] {
  const lane = laneOf(lanes, account);
  return weighed(lanes, lane, () => afterAnswer(lanes, lane, answer));
}

function afterAnswer(lanes: Lanes, lane: Lane, answer: Answer): readonly Command[] {
  const { phase } = lane;
  assert(phase.type === 'sending', 'an answer belongs to a request in flight');
  if (lane.isResyncWanted && answer.type !== 'fenced') return requireSnapshot(lanes, lane, resyncReason);
  switch (answer.type) {
    case 'fenced':
      return [{ type: 'fenced', term: answer.term }];
    case 'gap':
      return requireSnapshot(lanes, lane, 'the object answered gap');
    case 'need-snapshot':
      return requireSnapshot(lanes, lane, `the object needs a snapshot: ${answer.reason}`);
    case 'staged': {
      if (!isStaged(phase.request, answer.parts)) return retryLater(lanes, lane, false);
      lane.phase = { type: 'idle' };
      return sendNext(lanes, lane);
    }
    case 'applied':
    case 'duplicate': {
      const commands = settle(lanes, lane, phase.request, answer.position);
      if (commands === null) return retryLater(lanes, lane, false);
      return [...commands, ...sendNext(lanes, lane)];
    }
    case 'failed':
    case 'poison': {
      const commands = settle(lanes, lane, phase.request, answer.position);
      return [...(commands ?? []), ...retryLater(lanes, lane, answer.type === 'poison')];
    }
    default:
      return unreachable(answer);
  }
}

/** No usable answer came: the network failed, the worker refused, or time ran out. */
export function unanswered(lanes: Lanes, account: AccountId): readonly Command[] {
  const lane = laneOf(lanes, account);
  if (!lane.isResyncWanted) return retryLater(lanes, lane, false);
  return weighed(lanes, lane, () => requireSnapshot(lanes, lane, resyncReason));
}

/** An operator wants the account delivered by snapshot, whatever its lane is at. An account without a lane is ignored. */
export function resync(lanes: Lanes, account: AccountId): readonly Command[] {
  const lane = lanes.byAccount.get(account);
  if (lane === undefined || lane.phase.type === 'waiting' || lane.phase.type === 'held') return [];
  if (lane.phase.type === 'sending') {
    lane.isResyncWanted = true;
    return [];
  }
  return weighed(lanes, lane, () => requireSnapshot(lanes, lane, resyncReason));
}

/** The time of a `retry` command has come. */
export function retryDue(lanes: Lanes, account: AccountId): readonly Command[] {
  const lane = laneOf(lanes, account);
  if (lane.phase.type !== 'retrying') return [];
  lane.phase = { ...lane.phase, type: 'sending' };
  return [{ type: 'send', account, body: lane.phase.request.body }];
}

/** A snapshot begins: from here on the lane's commits are kept. False when the lane does not wait for one. */
export function holdForSnapshot(lanes: Lanes, account: AccountId, snapshotId: string): boolean {
  const lane = laneOf(lanes, account);
  if (lane.phase.type !== 'waiting') return false;
  lane.phase = { type: 'held', snapshotId };
  return true;
}

/** The lane cannot have its snapshot: it keeps nothing and asks for another. */
export function abandonSnapshot(
  lanes: Lanes,
  account: AccountId,
  snapshotId: string,
  reason: string,
): readonly Command[] {
  const lane = laneOf(lanes, account);
  if (lane.phase.type !== 'held' || lane.phase.snapshotId !== snapshotId) return [];
  return requireSnapshot(lanes, lane, reason);
}

/** `rowsJson` is the account's rows by table but those that the object has `staged`, `seen` what they include. */
export type Taken = { readonly rowsJson: string; readonly staged: Staged | null; readonly seen: PgSnapshot };

/**
 * The snapshot's marker has left the stream; `to` is the end of the marker's commit. A snapshot that the lane gave up meanwhile is ignored.
 */
export function deliverSnapshot(
  lanes: Lanes,
  account: AccountId,
  taken: Taken & { readonly id: string; readonly to: Lsn },
): readonly Command[] {
  const lane = laneOf(lanes, account);
  if (lane.phase.type !== 'held' || lane.phase.snapshotId !== taken.id) return [];
  const unseen = lane.queue.filter(({ xid }) => !isVisible(taken.seen, xid));
  const commits = unseen.filter((item) => item.type === 'commit');
  if (commits.length < unseen.length) return requireSnapshot(lanes, lane, 'a transaction in parts came meanwhile');
  const request = snapshotRequest(senderTo(lanes, lane), taken, commits);
  if (request === null) return requireSnapshot(lanes, lane, 'the snapshot is larger than one delivery');
  lane.queue = [];
  lane.queueBytes = 0;
  return weighed(lanes, lane, () => send(lane, request));
}

/** Whether the lane is still held for this snapshot. */
export function isHeldFor(lanes: Lanes, account: AccountId, snapshotId: string): boolean {
  const { phase } = laneOf(lanes, account);
  return phase.type === 'held' && phase.snapshotId === snapshotId;
}

/** Lanes whose object cannot be told anything until a snapshot is delivered. */
export function countWithoutHistory(lanes: Lanes): number {
  let count = 0;
  for (const { phase } of lanes.byAccount.values()) if (phase.type === 'waiting' || phase.type === 'held') count += 1;
  return count;
}

const resyncReason = 'an operator asked for it';

function newLane(account: AccountId, position: Lsn | null): Lane {
  return {
    account,
    phase: { type: 'idle' },
    position,
    queue: [],
    queueBytes: 0,
    snapshotAttempts: 0,
    isResyncWanted: false,
  };
}

function laneOf(lanes: Lanes, account: AccountId): Lane {
  const lane = lanes.byAccount.get(account);
  assert(lane !== undefined, 'a lane exists before it is answered');
  return lane;
}

function weighed(lanes: Lanes, lane: Lane, act: () => readonly Command[]): readonly Command[] {
  const before = weight(lane);
  const commands = act();
  lanes.windowBytes += weight(lane) - before;
  return commands;
}

function weight({ phase, queueBytes }: Lane): number {
  return phase.type === 'sending' || phase.type === 'retrying' ? queueBytes + phase.request.bytes : 0;
}

function requireSnapshot(lanes: Lanes, lane: Lane, reason: string): readonly Command[] {
  const attempt = lane.snapshotAttempts;
  lane.snapshotAttempts += 1;
  lane.isResyncWanted = false;
  lane.phase = { type: 'waiting' };
  lane.queue = [];
  lane.queueBytes = 0;
  const afterMs = attempt === 0 ? 0 : retryDelayMs(attempt, false, lanes.random);
  return [{ type: 'snapshot', account: lane.account, afterMs, reason }];
}

/** Takes what the object has made durable out of the request; null when the position did not move. */
function settle(lanes: Lanes, lane: Lane, request: Request, position: Position | null): readonly Command[] | null {
  if (position === null || position.epoch !== lanes.epoch) return null;
  const answeredLsn = textToLsn(position.lsn);
  if (request.type === 'part') return settlePart(lane, request.part, answeredLsn);
  // An object ahead of this delivery has seen it in an earlier life of the replicator; the chain goes on from `to`.
  const reached = answeredLsn > request.to ? request.to : answeredLsn;
  if (request.type === 'snapshot' && reached < request.to) return null;
  if (lane.position !== null && reached <= lane.position) return null;
  const rest = request.commits.filter((commit) => commit.lsn > reached);
  lane.position = reached;
  lane.snapshotAttempts = 0;
  lane.queue = [...rest, ...lane.queue];
  lane.queueBytes += sumBytes(rest);
  lane.phase = { type: 'idle' };
  return [{ type: 'durable', account: lane.account, lsn: reached }];
}

/** An object ahead of the part's transaction has all of it; how far it stands is told by the delivery that ends it. */
function settlePart(lane: Lane, part: LanePart, answeredLsn: Lsn): readonly Command[] | null {
  if (answeredLsn <= part.start) return null;
  lane.phase = { type: 'idle' };
  return [];
}

function isStaged(request: Request, parts: number): boolean {
  return request.type === 'part' && parts > request.part.index;
}

function sendNext(lanes: Lanes, lane: Lane): readonly Command[] {
  const request = takeNext(lanes, lane);
  if (request === 'too-large') return requireSnapshot(lanes, lane, 'a commit is larger than one delivery');
  if (request !== null) return send(lane, request);
  lane.phase = { type: 'idle' };
  return [];
}

function takeNext(lanes: Lanes, lane: Lane): Request | 'too-large' | null {
  const request = takeRequest(senderTo(lanes, lane), lane.position, lane.queue);
  if (request !== null && request !== 'too-large') lane.queueBytes -= request.bytes;
  return request;
}

function senderTo({ term, epoch }: Lanes, { account }: Lane): Sender {
  return { account, term, epoch };
}

function send(lane: Lane, request: Request): readonly Command[] {
  lane.phase = { type: 'sending', request, attempt: 0 };
  return [{ type: 'send', account: lane.account, body: request.body }];
}

function retryLater(lanes: Lanes, lane: Lane, isPoison: boolean): readonly Command[] {
  if (lane.phase.type === 'idle') {
    // The answer moved the position before it failed: what is left is another request.
    const request = takeNext(lanes, lane);
    if (request === 'too-large') return requireSnapshot(lanes, lane, 'a commit is larger than one delivery');
    if (request === null) return [];
    lane.phase = { type: 'sending', request, attempt: 0 };
  }
  assert(lane.phase.type === 'sending', 'only a request in flight is retried');
  const attempt = lane.phase.attempt + 1;
  lane.phase = { type: 'retrying', request: lane.phase.request, attempt };
  return [{ type: 'retry', account: lane.account, afterMs: retryDelayMs(attempt, isPoison, lanes.random), attempt }];
}

/** Between 100 ms and 5 s, spread over a range that doubles; for a poisonous commit between 5 s and 30 s. */
export function retryDelayMs(attempt: number, isPoison: boolean, random: () => number): number {
  const [min, max] = isPoison ? [5_000, 30_000] : [100, Math.min(5_000, 100 * 2 ** Math.min(attempt, 10))];
  return Math.round(min + random() * (max - min));
}
