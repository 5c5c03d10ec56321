// What a snapshot of the database says of what was written there, by the transactions of the last flushes.
//
// A row that a flush wrote which the snapshot includes, and that is not there, was deleted. In another epoch the database may be one
// that was set back: what later flushes wrote is missing there, and nobody deleted it. It is written again like something that never
// was, which does no harm where it is there after all. A transaction that comes after one that is not included is of another
// history than that, since flushes of an account follow each other; but all may look included, since numbers are given again.
import { holdGrant } from './grants.ts';
import { isRowRefused } from './refused-records.ts';
import { isVisible } from '../protocol/visibility.ts';
import { marksOf, nextRevision, noteSessions, noteUnflushed } from './ledger.ts';
import { revisionOf } from './records.ts';
import type { Effects } from './effect.ts';
import type { FlowId } from '../protocol/ids.ts';
import type { Grant, State } from './state.ts';
import type { Ledger } from './ledger.ts';
import type { PgSnapshot } from '../protocol/visibility.ts';
import type { WireRow } from '../protocol/commit.ts';

/** The live grants whose rows are missing from a snapshot of the database that would hold them if nobody had removed them. */
export function missingFlows(state: State, rows: readonly WireRow[], seen: PgSnapshot): FlowId[] {
  const listed = new Set(rows.map(({ id }) => id));
  const through = seenFlushes(state, seen).at(-1)?.through ?? 0;
  return [...state.grants.values()].flatMap((grant) => {
    if (grant.phase !== 'live' || grant.ledger === undefined) return [];
    const isMissing = grant.ledger.first <= through && !listed.has(grant.flowId);
    return isMissing && !isRowRefused(state, grant.flowId) ? [grant.flowId] : [];
  });
}

/**
 * Has all written again that a snapshot of another epoch does not include, as far as it is still known here; of the flows in `missing`,
 * which are about to be cut, the end: they may be lost like the others, for a database that was set back gives numbers again.
 */
export function writeUnseen(state: State, seen: PgSnapshot, missing: readonly FlowId[], effects: Effects): void {
  const { ledger } = state;
  ledger.flushes = seenFlushes(state, seen);
  const through = ledger.flushes.at(-1)?.through ?? 0;
  const cut = new Set(missing);
  for (const grant of state.grants.values()) {
    if (cut.has(grant.flowId)) writeGrantAgain(state, grant, 0, effects);
    else if ((revisionOf(grant) ?? 0) > through) writeGrantAgain(state, grant, through, effects);
  }
  ledger.sessions = { ...ledger.sessions, through: 0 };
  noteSessions(state);
  effects.saves.push({ type: 'put-ledger', marks: marksOf(ledger) });
}

/** Under a revision that no flush under way has, and as unknown to Postgres if it became known after `through`. */
function writeGrantAgain(state: State, grant: Grant, through: number, effects: Effects): void {
  const revision = nextRevision(state);
  const again = <Marks extends { readonly first: number }>(marks: Marks) => ({
    ...marks,
    first: marks.first > through ? revision : marks.first,
    revision,
  });
  const after =
    grant.phase === 'live'
      ? { ...grant, ...(grant.ledger === undefined ? {} : { ledger: again(grant.ledger) }) }
      : { ...grant, ...(grant.ended === undefined ? {} : { ended: again(grant.ended) }) };
  holdGrant(state, after);
  effects.saves.push({ type: 'put-grant', grant: after });
  noteUnflushed(state, grant.flowId, revision);
}

/** The flushes that the snapshot includes. */
function seenFlushes({ ledger: { flushes } }: State, seen: PgSnapshot): Ledger['flushes'] {
  const unseen = flushes.findIndex(({ xid }) => !isVisible(seen, BigInt(xid)));
  return unseen === -1 ? flushes : flushes.slice(0, unseen);
}
