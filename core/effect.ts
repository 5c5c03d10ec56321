// Everything an account's object may be told to do. Saves come first and are one transaction; sends follow in order.
import type { CloseCause } from '../protocol/reasons.ts';
import type { Change, Position, WireRow } from '../protocol/commit.ts';
import type { Denial, FlowRecord, HoldRecord, Registration, SessionRecord } from '../protocol/write-back.ts';
import type { Hold } from '../protocol/holds.ts';
import type { FlowId, TokenId } from '../protocol/ids.ts';
import type { LedgerMarks } from './ledger.ts';
import type { LsnText } from '../protocol/lsn.ts';
import type { Grant, RelaySession, Session } from './state.ts';
import type { HeldRelay, SharedRelays } from '../protocol/relays.ts';
import type { ResyncMark } from './resync.ts';
import type { Ref } from '../protocol/framing.ts';
import type { Refusal } from '../protocol/link.ts';
import type { SocketRole } from '../protocol/roles.ts';
import type { TableName } from '../protocol/tables.ts';
import type { Tombstone } from './tombstones.ts';
import type { ToClient } from '../protocol/device/to-client.ts';
import type { ToGateway } from '../protocol/device/to-gateway.ts';

/** What of the ledger of flows Postgres does not have yet. */
export type LedgerSave =
  /** A record of the ledger whose grant is gone, and that Postgres does not have. */
  | { readonly type: 'put-record'; readonly record: FlowRecord }
  /** Those with a revision up to `through`. */
  | { readonly type: 'delete-records'; readonly through: number }
  /** A record that Postgres does not take. */
  | {
      readonly type: 'put-refused';
      readonly record: FlowRecord | HoldRecord;
      readonly isKnown: boolean;
      readonly reason: string;
    }
  | { readonly type: 'delete-refused'; readonly revision: number }
  /** A device that the stream has not shown yet. */
  | { readonly type: 'put-registration'; readonly registration: Registration }
  | { readonly type: 'delete-registration'; readonly id: string }
  | { readonly type: 'put-denial'; readonly key: string; readonly denial: Denial }
  | { readonly type: 'delete-denial'; readonly key: string }
  | { readonly type: 'put-session-record'; readonly record: SessionRecord }
  | { readonly type: 'delete-session-record'; readonly id: string }
  | { readonly type: 'put-hold-record'; readonly record: HoldRecord }
  | { readonly type: 'delete-hold-record'; readonly revision: number }
  | { readonly type: 'put-ledger'; readonly marks: LedgerMarks };

export type Save =
  | { readonly type: 'put-row'; readonly table: TableName; readonly key: string; readonly row: WireRow }
  | { readonly type: 'delete-row'; readonly table: TableName; readonly key: string }
  | { readonly type: 'delete-rows'; readonly table: TableName }
  | { readonly type: 'put-grant'; readonly grant: Grant }
  | { readonly type: 'delete-grant'; readonly flowId: FlowId }
  | { readonly type: 'put-hold'; readonly hold: Hold }
  | { readonly type: 'delete-hold'; readonly kind: Hold['kind']; readonly id: string }
  | LedgerSave
  | { readonly type: 'put-stale'; readonly isStale: boolean }
  | { readonly type: 'put-resync'; readonly mark: ResyncMark }
  | { readonly type: 'put-tombstone'; readonly tombstone: Tombstone }
  | { readonly type: 'delete-tombstone'; readonly tokenId: TokenId }
  | { readonly type: 'put-position'; readonly position: Position }
  | { readonly type: 'put-session'; readonly session: Session | RelaySession }
  | { readonly type: 'put-relays'; readonly version: number; readonly relays: readonly HeldRelay[] }
  | { readonly type: 'put-shared-relays'; readonly set: SharedRelays; readonly leaseDueAt: number };

export type Send =
  | { readonly type: 'to-client'; readonly sessionId: string; readonly message: ToClient }
  | { readonly type: 'to-gateway'; readonly sessionId: string; readonly message: ToGateway }
  /** A relay's init: all that it is ever told. */
  | { readonly type: 'to-relay'; readonly sessionId: string }
  | {
      readonly type: 'reply';
      readonly sessionId: string;
      readonly topic: SocketRole;
      readonly ref: Ref;
      readonly answer: 'ok' | { readonly reason: string };
    }
  | { readonly type: 'close'; readonly sessionId: string; readonly cause: CloseCause };

/** The answer to `connect`. */
export type Admission =
  | { readonly type: 'admitted'; readonly session: Session | RelaySession }
  | { readonly type: 'refused'; readonly refusal: Refusal };

/** The commits that a step applies, and where the last of them ends; null when time or a device asks for the step. */
export type Because = { readonly lsn: LsnText; readonly changes: readonly Change[] } | null;

/** What one input leads to. */
export type Effects = {
  /** Why anything ends in this step. */
  readonly because: Because;
  readonly saves: Save[];
  readonly sends: Send[];
  /** Things worth a log line, without row contents. */
  readonly notes: { readonly event: string; readonly [field: string]: string | number }[];
  admission: Admission | null;
  /** The answer to `hold` and `lift`: whether it was done. */
  done: boolean | null;
  /** Whether to ask the Stream object how far it has come, and hand in the answer as `freshness`. */
  asksFreshness: boolean;
  /** When to send a tick, milliseconds since 1970-01-01 UTC; null when nothing changes by itself. */
  wakeAt: number | null;
  /** Whether to ask for the shared relays: devices are connected, and nobody tells of their changes. */
  isLeaseDue: boolean;
};

export function noEffects(because: Because = null): Effects {
  return {
    because,
    saves: [],
    sends: [],
    notes: [],
    admission: null,
    done: null,
    asksFreshness: false,
    wakeAt: null,
    isLeaseDue: false,
  };
}
