// The record of holds, as the account's object keeps it until Postgres has it (P7): one entry each time that one is placed or
// lifted. It follows what was done and decides nothing, so a hold never waits for it, nor for a database.
import { nextRevision, noteDue } from './ledger.ts';
import type { Batch, BatchAnswer, HoldRecord } from '../protocol/write-back.ts';
import type { Effects } from './effect.ts';
import type { State } from './state.ts';

/** Entries that Postgres does not have, at most; what is done beyond it stands in the worker's log alone. */
export const holdRecordsMax = 10_000;

export function recordHold(state: State, done: Omit<HoldRecord, 'revision'>, effects: Effects): void {
  const { holds } = state.ledger;
  if (holds.size >= holdRecordsMax) {
    const { action, kind, id, by } = done;
    effects.notes.push({ event: 'hold_unrecorded', action, kind, id, by });
    return;
  }
  const record = { ...done, revision: nextRevision(state) };
  holds.set(record.revision, record);
  effects.saves.push({ type: 'put-hold-record', record });
  noteDue(state);
}

/** Postgres has taken the batch: its entries need not wait; those that it refuses are kept aside by core/refused-records.ts. */
export function forgetHoldRecords(state: State, batch: Batch, { holds: answer }: BatchAnswer, effects: Effects): void {
  if (answer === null) return;
  for (const { revision } of batch.holds) {
    if (!state.ledger.holds.delete(revision)) continue;
    effects.saves.push({ type: 'delete-hold-record', revision });
  }
}
