// One ordered lane per account: what is sent next, what an answer means, when to wait.
//
// Pure decisions over plain data: functions change `Lanes` and return commands; carry.ts performs them. A lane has one
// request in flight, what arrives meanwhile is coalesced into the next. Every lane goes its own way, none waits for
// another. A lane that cannot be delivered is retried, and what it holds counts against the reader's window; while others
// advance it is parked: recorded as such, it holds the slot no longer, and returns by a snapshot. When no lane advances, none
// is parked.
//
//                 applied, duplicate                       marker has left the stream
//        ┌──────────────────────────────┐             ┌──────────────────────────────────┐
//        ▼                              │             ▼                                  │
//      idle ──── a commit arrives ──▶ sending ──── gap, need-snapshot ──▶ waiting ──▶ held
//                                       ▲ │                                  ▲           │
//                         timer fired   │ │ failed, poison, no answer        └───────────┘
//                                       │ ▼                             too much held, snapshot too large
//                                     retrying ── failed too often while others advanced ──▶ parking ──▶ waiting
//
// `waiting` and `parking` lanes keep no commits: the snapshot that follows must see all that was decoded before it began. A
// parked lane goes through the same phases until its snapshot is durable; whatever fails on the way makes it wait again.
import type { Answer, Position, Staged } from '../protocol/commit.ts';
import { assert, unreachable } from '../protocol/assert.ts';
import type { AccountId } from '../protocol/ids.ts';
import { isOvertaken, noteAdvance, noteFailure, noteSend, strikesMax } from './blame.ts';
import {
  heldBytesMax,
  newLane,
  retryDelayMs,
  snapshotDelayMs,
  weight,
  type Command,
  type Lane,
  type Lanes,
  type Phase,
} from './lane.ts';
import { senderTo } from './places.ts';
import { textToLsn, type Lsn } from '../protocol/lsn.ts';
import {
  isHeldAt,
  snapshotRequest,
  sumBytes,
  takeRequest,
  type LaneItem,
  type LanePart,
  type Request,
} from './request.ts';
import { isVisible, type PgSnapshot } from '../protocol/visibility.ts';

/** An account whose object holds everything up to `position` of this epoch. */
export function addLane(lanes: Lanes, account: AccountId, position: Lsn): void {
  lanes.byAccount.set(account, newLane(lanes, account, position));
}

/** An account that is parked, as the table says. */
export function addParkedLane(lanes: Lanes, account: AccountId, reason: string): readonly Command[] {
  const lane = newLane(lanes, account, null);
  lanes.byAccount.set(account, lane);
  lane.parked = reason;
  return requireSnapshot(lanes, lane, reason);
}

/** An account without history in this epoch. */
export function addLaneWithoutHistory(lanes: Lanes, account: AccountId, reason: string): readonly Command[] {
  const lane = newLane(lanes, account, null);
  lanes.byAccount.set(account, lane);
  return requireSnapshot(lanes, lane, reason);
}

/** `isBorn`: the account's own row is inserted by this transaction, so that it can have no history before it. */
export function enqueue(lanes: Lanes, account: AccountId, item: LaneItem, isBorn: boolean): readonly Command[] {
  const known = lanes.byAccount.get(account);
  if (known === undefined && !isBorn) return addLaneWithoutHistory(lanes, account, 'no history');
  const lane = known ?? newLane(lanes, account, null);
  if (known === undefined) lanes.byAccount.set(account, lane);
  if (lane.phase.type === 'waiting' || lane.phase.type === 'parking') return [];
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
  if (answer.type === 'fenced') return [{ type: 'fenced', term: answer.term }];
  if (phase.type === 'parking') return afterParking(lanes, lane, { ...phase, isInFlight: false });
  assert(phase.type === 'sending', 'an answer belongs to a request in flight');
  if (lane.isResyncWanted) return requireSnapshot(lanes, lane, resyncReason);
  switch (answer.type) {
    case 'gap':
      return requireSnapshot(lanes, lane, 'the object answered gap');
    case 'need-snapshot':
      return requireSnapshot(lanes, lane, `the object needs a snapshot: ${answer.reason}`);
    case 'staged': {
      if (!isStaged(phase.request, answer.parts)) return retryLater(lanes, lane, 'it answered something else');
      noteAdvance(lanes, lane.blame);
      lane.phase = { type: 'idle' };
      return sendNext(lanes, lane);
    }
    case 'applied':
    case 'duplicate': {
      const commands = settle(lanes, lane, phase.request, answer.position);
      if (commands === null) return retryLater(lanes, lane, 'it answered a position that is not its own');
      return [...commands, ...sendNext(lanes, lane)];
    }
    case 'failed': {
      const commands = settle(lanes, lane, phase.request, answer.position);
      return [...(commands ?? []), ...retryLater(lanes, lane, answer.reason)];
    }
    case 'poison': {
      const commands = settle(lanes, lane, phase.request, answer.position);
      return [...(commands ?? []), ...takeAnew(lanes, lane, `a commit failed too often: ${answer.reason}`)];
    }
    default:
      return unreachable(answer);
  }
}

/** No usable answer came: the network failed, the worker refused, or time ran out. */
export function unanswered(lanes: Lanes, account: AccountId): readonly Command[] {
  const lane = laneOf(lanes, account);
  const { phase } = lane;
  return weighed(lanes, lane, () => {
    if (phase.type === 'parking') return afterParking(lanes, lane, { ...phase, isInFlight: false });
    if (lane.isResyncWanted) return requireSnapshot(lanes, lane, resyncReason);
    return retryLater(lanes, lane, 'it did not answer');
  });
}

/** The table says that the account is parked, so the slot need not wait for it. */
export function parkRecorded(lanes: Lanes, account: AccountId): readonly Command[] {
  const lane = laneOf(lanes, account);
  if (lane.phase.type !== 'parking') return [];
  return afterParking(lanes, lane, { ...lane.phase, isRecorded: true });
}

/**
 * The window is full. The lane that holds half of it or more is parked if others advance without it, or, where others have
 * nothing to do, if it has failed while the worker is known to answer. Else nothing is done, and reading has to wait.
 */
export function relieve(lanes: Lanes, windowBytesMax: number, isWorkerHeard: boolean): readonly Command[] {
  for (const lane of lanes.byAccount.values()) {
    if (lane.parked !== null || weight(lane) < windowBytesMax / 2) continue;
    if (!isOvertaken(lanes, lane.blame) && !(isWorkerHeard && failsAlone(lanes, lane))) continue;
    const isInFlight = lane.phase.type === 'sending';
    return weighed(lanes, lane, () => park(lane, 'it holds too much while others advance', isInFlight));
  }
  return [];
}

function failsAlone(lanes: Lanes, failing: Lane): boolean {
  if (!isFailing(failing)) return false;
  for (const lane of lanes.byAccount.values()) if (lane !== failing && isFailing(lane)) return false;
  return true;
}

function isFailing({ phase }: Lane): boolean {
  return phase.type === 'retrying' || (phase.type === 'sending' && phase.attempt > 0);
}

/** The account is to be delivered by snapshot, whatever its lane is at. An account without a lane is ignored. */
export function resync(lanes: Lanes, account: AccountId): readonly Command[] {
  const lane = lanes.byAccount.get(account);
  if (lane === undefined || lane.phase.type === 'held' || lane.phase.type === 'parking') return [];
  if (lane.phase.type === 'waiting') {
    // Its snapshot is asked for; that of a parked lane may be minutes away.
    return lane.parked === null ? [] : [{ type: 'snapshot', account, afterMs: 0, reason: resyncReason }];
  }
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
 * The snapshot's marker has left the stream; `to` is the end of the marker's commit. A snapshot that the lane gave up meanwhile
 * is ignored.
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
  const expect: Command[] = lane.parked === null ? [] : [{ type: 'expect', account }];
  return [...expect, ...weighed(lanes, lane, () => send(lanes, lane, request))];
}

/** Whether the lane is still held for this snapshot. */
export function isHeldFor(lanes: Lanes, account: AccountId, snapshotId: string): boolean {
  const { phase } = laneOf(lanes, account);
  return phase.type === 'held' && phase.snapshotId === snapshotId;
}

/** Lanes that the slot does not wait for. */
export function countParked(lanes: Lanes): number {
  let count = 0;
  for (const { parked } of lanes.byAccount.values()) if (parked !== null) count += 1;
  return count;
}

export function parkedAccounts(lanes: Lanes): readonly AccountId[] {
  return [...lanes.byAccount.values()].flatMap(({ account, parked }) => (parked === null ? [] : [account]));
}

/** Whether nothing of a resync is outstanding: its snapshot is durable, or the lane is parked and returns by one. */
export function isDelivered(lanes: Lanes, account: AccountId): boolean {
  const lane = lanes.byAccount.get(account);
  if (lane === undefined || lane.parked !== null || lane.phase.type === 'idle') return true;
  if (lane.phase.type !== 'sending' && lane.phase.type !== 'retrying') return false;
  return !lane.isResyncWanted && lane.phase.request.type !== 'snapshot';
}

/** Lanes whose object cannot be told anything until a snapshot is delivered. */
export function countWithoutHistory(lanes: Lanes): number {
  let count = 0;
  for (const { phase } of lanes.byAccount.values()) if (phase.type === 'waiting' || phase.type === 'held') count += 1;
  return count;
}

const resyncReason = 'it was asked for, or columns were altered';

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

/** The lane keeps nothing and asks for a snapshot. One that has asked before counts it as a failure. */
function requireSnapshot(lanes: Lanes, lane: Lane, reason: string): readonly Command[] {
  const attempt = lane.snapshotAttempts;
  if (attempt > 0) noteFailure(lanes, lane.blame);
  if (lane.parked === null && lane.blame.strikes >= strikesMax) return park(lane, reason, false);
  lane.snapshotAttempts += 1;
  drop(lane, { type: 'waiting' });
  const { account } = lane;
  const release: Command[] = lane.parked === null ? [] : [{ type: 'release', account }];
  const afterMs = snapshotDelayMs(attempt, lane.parked !== null, lanes.random);
  return [...release, { type: 'snapshot', account, afterMs, reason }];
}

/** What was sent cannot be taken as it is: by snapshot, and apart from the others where these advance. */
function takeAnew(lanes: Lanes, lane: Lane, reason: string): readonly Command[] {
  noteFailure(lanes, lane.blame);
  const isOwnFault = lane.blame.strikes > 0 && lane.parked === null;
  return isOwnFault ? park(lane, reason, false) : requireSnapshot(lanes, lane, reason);
}

function park(lane: Lane, reason: string, isInFlight: boolean): readonly Command[] {
  const { account, position } = lane;
  lane.parked = reason;
  drop(lane, { type: 'parking', reason, isInFlight, isRecorded: false });
  return [{ type: 'park', account, position, reason }];
}

function afterParking(lanes: Lanes, lane: Lane, phase: Extract<Phase, { type: 'parking' }>): readonly Command[] {
  lane.phase = phase;
  return phase.isInFlight || !phase.isRecorded ? [] : requireSnapshot(lanes, lane, phase.reason);
}

function drop(lane: Lane, phase: Phase): void {
  lane.isResyncWanted = false;
  lane.phase = phase;
  lane.queue = [];
  lane.queueBytes = 0;
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
  lane.parked = null;
  noteAdvance(lanes, lane.blame);
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
  if (request !== null) return send(lanes, lane, request);
  lane.phase = { type: 'idle' };
  return [];
}

function takeNext(lanes: Lanes, lane: Lane): Request | 'too-large' | null {
  const request = takeRequest(senderTo(lanes, lane), lane.position, lane.queue);
  if (request !== null && request !== 'too-large') lane.queueBytes -= request.bytes;
  return request;
}

function send(lanes: Lanes, lane: Lane, request: Request): readonly Command[] {
  noteSend(lanes, lane.blame, lane.snapshotAttempts > 1);
  lane.phase = { type: 'sending', request, attempt: 0 };
  return [{ type: 'send', account: lane.account, body: request.body }];
}

function retryLater(lanes: Lanes, lane: Lane, reason: string): readonly Command[] {
  if (lane.phase.type === 'idle') {
    // The answer moved the position before it failed: what is left is another request.
    const request = takeNext(lanes, lane);
    if (request === 'too-large') return requireSnapshot(lanes, lane, 'a commit is larger than one delivery');
    if (request === null) return [];
    lane.phase = { type: 'sending', request, attempt: 0 };
  }
  assert(lane.phase.type === 'sending', 'only a request in flight is retried');
  noteFailure(lanes, lane.blame);
  if (lane.parked !== null) return requireSnapshot(lanes, lane, reason);
  if (lane.blame.strikes >= strikesMax) return park(lane, `it failed while others advanced: ${reason}`, false);
  const attempt = lane.phase.attempt + 1;
  lane.phase = { type: 'retrying', request: lane.phase.request, attempt };
  return [{ type: 'retry', account: lane.account, afterMs: retryDelayMs(attempt, lanes.random), attempt }];
}
