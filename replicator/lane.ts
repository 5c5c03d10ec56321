// A lane as data: what it is doing, what waits in it, and what may be asked for it. lanes.ts decides.
import type { AccountId } from '../protocol/ids.ts';
import type { Lsn } from '../protocol/lsn.ts';
import { blameless, type Blame } from './blame.ts';
import type { LaneItem, Request } from './request.ts';

/** Commits kept for a lane while its snapshot is taken; beyond it the snapshot is taken again. */
export const heldBytesMax = 4 * 1024 * 1024;

export type Phase =
  | { readonly type: 'idle' }
  | { readonly type: 'sending' | 'retrying'; readonly request: Request; readonly attempt: number }
  | { readonly type: 'waiting' }
  | { readonly type: 'held'; readonly snapshotId: string }
  /** Until the table says so, and the request in flight has ended. */
  | { readonly type: 'parking'; readonly reason: string; readonly isInFlight: boolean; readonly isRecorded: boolean };

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
  /** Why it is parked: until its snapshot is durable, the slot does not wait for it. */
  parked: string | null;
  readonly blame: Blame;
};

export type Lanes = {
  readonly term: number;
  readonly epoch: number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly byAccount: Map<AccountId, Lane>;
  /** Where the objects of accounts live, as their rows last said; the others are anywhere. */
  readonly places: Map<AccountId, string>;
  /** Bytes that wait for answers: what the reader's window bounds. Commits held for a snapshot have their own bound. */
  windowBytes: number;
  /** Times that any lane has made something durable. */
  advances: number;
};

export type Command =
  | { readonly type: 'send'; readonly account: AccountId; readonly body: string }
  | { readonly type: 'retry'; readonly account: AccountId; readonly afterMs: number; readonly attempt: number }
  | { readonly type: 'snapshot'; readonly account: AccountId; readonly afterMs: number; readonly reason: string }
  | { readonly type: 'durable'; readonly account: AccountId; readonly lsn: Lsn }
  /** To be recorded; {@link parkRecorded} is called once it is. */
  | { readonly type: 'park'; readonly account: AccountId; readonly position: Lsn | null; readonly reason: string }
  /** The slot waits for the parked account again, from the next commit on; or no longer. */
  | { readonly type: 'expect' | 'release'; readonly account: AccountId }
  | { readonly type: 'fenced'; readonly term: number };

export function createLanes(options: Pick<Lanes, 'term' | 'epoch' | 'random'>): Lanes {
  return { ...options, byAccount: new Map(), places: new Map(), windowBytes: 0, advances: 0 };
}

export function newLane(lanes: Lanes, account: AccountId, position: Lsn | null): Lane {
  return {
    account,
    phase: { type: 'idle' },
    position,
    queue: [],
    queueBytes: 0,
    snapshotAttempts: 0,
    isResyncWanted: false,
    parked: null,
    blame: blameless(lanes),
  };
}

/** Bytes that count against the reader's window. */
export function weight({ phase, queueBytes }: Lane): number {
  return phase.type === 'sending' || phase.type === 'retrying' ? queueBytes + phase.request.bytes : 0;
}

/** Between 100 ms and 5 s, spread over a range that doubles. */
export function retryDelayMs(attempt: number, random: () => number): number {
  const max = Math.min(5_000, 100 * 2 ** Math.min(attempt, 10));
  return Math.round(100 + random() * (max - 100));
}

/** The first at once, later ones as retries are; of a parked lane between 1 s and 5 minutes, over a range that doubles. */
export function snapshotDelayMs(attempt: number, isParked: boolean, random: () => number): number {
  if (!isParked) return attempt === 0 ? 0 : retryDelayMs(attempt, random);
  return Math.round(1_000 + random() * (Math.min(300_000, 2_000 * 2 ** Math.min(attempt, 10)) - 1_000));
}
