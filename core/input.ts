// Everything that can happen to an account's object.
import type { Commit, PartContent, Position, WireRow } from '../protocol/commit.ts';
import type { AnyHello } from '../protocol/link.ts';
import type { Hold, HoldTarget } from '../protocol/holds.ts';
import type { SharedRelays } from '../protocol/relays.ts';
import type { Ref } from '../protocol/framing.ts';
import type { Batch, BatchAnswer } from '../protocol/write-back.ts';
import type { StreamedTable } from '../protocol/tables.ts';

export type Input =
  /** Part of the commit or snapshot that comes next, in the same transaction of the storage. */
  | { readonly type: 'part'; readonly content: PartContent }
  /** One commit of the change stream, already known to follow the position held; after its parts, if it has some staged. */
  | { readonly type: 'commit'; readonly epoch: number; readonly commit: Commit }
  /** The position moves without changes, to the end of a delivery. */
  | { readonly type: 'advance'; readonly position: Position }
  /** All rows of the account, but those of its parts if it has some staged, and the commits after them. */
  | {
      readonly type: 'snapshot';
      readonly isStaged?: boolean;
      readonly position: Position;
      readonly rows: Readonly<Partial<Record<StreamedTable, readonly WireRow[]>>>;
      /** The database snapshot that the rows come from, as Postgres prints it; left out, it is known to see nothing. */
      readonly seen?: string;
      readonly commits: readonly Commit[];
    }
  /** A device asks to be admitted under a connection id of the caller's choice. */
  | { readonly type: 'connect'; readonly sessionId: string; readonly hello: AnyHello }
  /** `stampSecret`: a relay's. */
  | { readonly type: 'joined'; readonly sessionId: string; readonly stampSecret?: string }
  | {
      readonly type: 'message';
      readonly sessionId: string;
      readonly event: string;
      readonly payload: unknown;
      readonly ref: Ref;
    }
  | { readonly type: 'closed'; readonly sessionId: string }
  /** An operator denies something at the edge, or no longer does. */
  | { readonly type: 'hold'; readonly hold: Hold }
  | { readonly type: 'lift'; readonly target: HoldTarget; readonly by: string }
  /**
   * The relays of no account as they are; their changes are told here for `leaseMs`, not at all when that is 0, and as long as
   * before when it is null.
   */
  | { readonly type: 'shared-relays'; readonly set: SharedRelays; readonly leaseMs: number | null }
  /** Postgres has taken a batch, of which `storedCount` records came from storage. */
  | { readonly type: 'flushed'; readonly batch: Batch; readonly storedCount: number; readonly answer: BatchAnswer }
  /** A batch is not known to have arrived. */
  | { readonly type: 'flush-failed' }
  /** What the stream delivered could not be taken: the rows held are behind until a snapshot comes. */
  | { readonly type: 'stale' }
  /** Postgres is about to be asked to have the account delivered by snapshot. */
  | { readonly type: 'resync-asked' }
  /**
   * How far the stream has come for this account: everything committed up to `appliedTo`, milliseconds since 1970-01-01 UTC
   * by the database's clock, has been applied in `epoch`; both null where that could not be learned.
   */
  | { readonly type: 'freshness'; readonly epoch: number | null; readonly appliedTo: number | null }
  /** Time has passed: the moment of the last `wake` effect, or later. */
  | { readonly type: 'tick' };
