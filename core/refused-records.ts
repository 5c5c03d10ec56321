// Records that Postgres does not take (P7): the latest state of each is kept aside, and written again every hour, or after waking,
// since what refuses a row is a constraint or a trigger that somebody may mend. None is dropped; at `refusedMax` of them new flows
// are refused. While Postgres has no row of a flow because it refused it, the row's absence is no deletion.
import type { Batch, BatchAnswer, FlowRecord, HoldRecord } from '../protocol/write-back.ts';
import type { Effects } from './effect.ts';
import type { FlowId } from '../protocol/ids.ts';
import type { State } from './state.ts';

/** Records that Postgres refuses, before new flows are refused too; flows that are live by then may add theirs. */
export const refusedMax = 10_000;

/** They are written again after this time, milliseconds. */
export const refusedRetryMs = 3_600_000;

/** Of them in one flush, at most. */
const againInBatchMax = 500;

/** `isKnown`: Postgres has an earlier state of it. */
export type RefusedRecord = { readonly record: FlowRecord | HoldRecord; readonly isKnown: boolean };

export type Refused = {
  /** By the id of the flow, or by the revision of what was done to a hold; what was tried last comes last. */
  readonly records: Map<string, RefusedRecord>;
  /** When they are written again, and how many of the first of them are still to be, once that has begun. */
  dueAt: number;
  left: number;
};

export function emptyRefused(): Refused {
  return { records: new Map(), dueAt: 0, left: 0 };
}

/** Takes up one that was stored. */
export function holdRefused({ records }: Refused, refused: RefusedRecord): void {
  records.set(keyOf(refused.record), refused);
}

/** Whether Postgres refused the row of a flow, and has no earlier state of it. */
export function isRowRefused({ ledger }: State, flowId: FlowId): boolean {
  return ledger.refused.records.get(flowId)?.isKnown === false;
}

/** What is to be tried again now, but for flows of which `flows` has a later state. */
export function takeRefused(
  { ledger, now }: State,
  flows: readonly FlowRecord[],
): { readonly flows: Batch['flows']; readonly holds: readonly HoldRecord[] } {
  const { refused } = ledger;
  const taken = { flows: [] as Batch['flows'][number][], holds: [] as HoldRecord[] };
  if (refused.records.size === 0 || refused.dueAt > now) return taken;
  if (refused.left === 0) refused.left = refused.records.size;
  const later = new Set(flows.map(({ flowId }) => flowId));
  const count = Math.min(refused.left, againInBatchMax, ledger.sizes.flows);
  for (const { record, isKnown } of [...refused.records.values()].slice(0, count)) {
    if (!('flowId' in record)) taken.holds.push(record);
    else if (!later.has(record.flowId)) taken.flows.push({ ...record, isKnown });
  }
  return taken;
}

/** What became of every record of a flush that was answered. Returns the flows whose rows somebody has deleted. */
export function takeResults(state: State, batch: Batch, answer: BatchAnswer, effects: Effects): FlowId[] {
  const gone: FlowId[] = [];
  const ofFlows = new Map((answer.flows?.results ?? []).map((result) => [result.id, result]));
  for (const { isKnown, ...record } of answer.flows === null ? [] : batch.flows) {
    const { outcome = 'ok', reason = 'unknown' } = ofFlows.get(record.flowId) ?? {};
    if (outcome === 'gone') gone.push(record.flowId);
    if (outcome === 'refused') keepRefused(state, { record, isKnown }, { flow: record.flowId, reason }, effects);
    else forgetRefused(state, record, effects);
  }
  const ofHolds = new Map((answer.holds?.results ?? []).map((result) => [result.id, result]));
  for (const record of answer.holds === null ? [] : batch.holds) {
    const id = String(record.revision);
    const { outcome = 'ok', reason = 'unknown' } = ofHolds.get(id) ?? {};
    if (outcome === 'ok') forgetRefused(state, record, effects);
    else keepRefused(state, { record, isKnown: false }, { hold: id, reason }, effects);
  }
  return gone;
}

/** Keeps the record aside; `why` names it, once. */
function keepRefused(
  state: State,
  kept: RefusedRecord,
  why: { readonly reason: string; readonly [field: string]: string },
  effects: Effects,
): void {
  const { refused } = state.ledger;
  const key = keyOf(kept.record);
  const before = refused.records.get(key);
  if (refused.records.size === 0) refused.dueAt = state.now + refusedRetryMs;
  refused.records.delete(key);
  refused.records.set(key, kept);
  if (before !== undefined) countTried(state);
  if (before?.record.revision !== kept.record.revision) {
    if (before !== undefined) effects.saves.push({ type: 'delete-refused', revision: before.record.revision });
    effects.saves.push({ type: 'put-refused', ...kept, reason: why.reason });
    effects.notes.push({ event: 'record_refused', ...why });
  }
}

/** Postgres has this state, or knows that the row is gone: an earlier one that it refused is of no use. */
function forgetRefused(state: State, { revision, ...record }: FlowRecord | HoldRecord, effects: Effects): void {
  const { records } = state.ledger.refused;
  const key = keyOf({ revision, ...record });
  const before = records.get(key);
  if (before === undefined || before.record.revision > revision) return;
  records.delete(key);
  effects.saves.push({ type: 'delete-refused', revision: before.record.revision });
  countTried(state);
}

function countTried(state: State): void {
  const { refused } = state.ledger;
  if (refused.left === 0) return;
  refused.left -= 1;
  if (refused.left === 0) refused.dueAt = state.now + refusedRetryMs;
}

function keyOf(record: FlowRecord | HoldRecord): string {
  return 'flowId' in record ? record.flowId : `hold ${record.revision}`;
}
