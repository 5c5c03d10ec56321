// The ledger of flows, as the account's object keeps it until Postgres has it (P7). Each grant carries its own record, so
// that one write stores both; a record whose grant is gone from memory waits in storage alone.
//
// Every state of a record has a revision, which only grows within the account. Records reach Postgres in order of their
// revisions, so one number, `through`, says which have. Nothing waits for Postgres but Postgres: at `unflushedMax` records
// that it does not have, new flows are refused and no record is dropped.
import { adaptSizes, fullBatches, shrinkAll } from './batch-sizes.ts';
import { fractionOf } from './encoding.ts';
import { emptyRefused, isRowRefused, refusedMax, takeRefused, takeResults } from './refused-records.ts';
import { forgetEnded, liveRecord, recordOf, revisionOf, takeSessions } from './records.ts';
import type {
  Batch,
  BatchAnswer,
  Denial,
  EndCause,
  FlowRecord,
  HoldRecord,
  Registration,
  SessionRecord,
  Told,
} from '../protocol/write-back.ts';
import type { ClientSession, Grant, LiveGrant, State } from './state.ts';
import type { Effects } from './effect.ts';
import type { FlowId, ResourceId } from '../protocol/ids.ts';
import type { BatchSizes } from './batch-sizes.ts';
import type { Refused } from './refused-records.ts';

/** Records that Postgres does not have, at most: 24 hours of 20 flows a second. */
export const unflushedMax = 24 * 3600 * 20;

/** Kinds of denial that wait for the end of their minute, at most; beyond it more of the same are counted, others are not. */
export const denialsMax = 10_000;

/** What has happened is written back after this time, milliseconds, together with what happens meanwhile. */
const flushDelayMs = 1000;

/** Waits between flushes that fail, milliseconds: the first, and the longest. */
const retryMs = { first: 1000, longest: 60_000 } as const;

/** Flushes whose transaction is remembered, to tell whether a snapshot of the database includes them. */
const flushesMax = 16;

export type Ledger = {
  /** Whether there is a database to write to; without one everything waits. */
  isConfigured: boolean;
  /** The highest revision given. */
  revision: number;
  /** Every record with a revision up to this has reached Postgres. */
  through: number;
  /** The last flushes, oldest first: Postgres had every record up to `through` once `xid` was committed. */
  flushes: { readonly through: number; readonly xid: string }[];
  /** Grants in memory whose records Postgres does not have, in order of their revisions. */
  readonly unflushed: Map<FlowId, number>;
  /** Records that Postgres does not have, and whose grants are gone. */
  stored: number;
  /** By client, resource, reason and minute. */
  readonly denials: Map<string, Denial>;
  /** Holds placed and lifted that Postgres does not have, by revision, in order; core/hold-records.ts keeps them. */
  readonly holds: Map<number, HoldRecord>;
  /** Revisions: of the last session that began or ended, and of the list that Postgres has; and how many that names. */
  sessions: { changed: number; through: number; alive: number };
  /** Connections that ended before Postgres was told of them, by id; and those of them that the present step has ended. */
  readonly ended: Map<string, SessionRecord>;
  readonly unsavedEnds: string[];
  /** Records that Postgres does not take. */
  readonly refused: Refused;
  /** When the next flush is due; null when there is nothing to write. */
  dueAt: number | null;
  /** Records in the next flush, at most. */
  readonly sizes: BatchSizes;
  /** Flushes that failed since the last that did not, and when the next may begin. */
  failures: number;
  retryAt: number;
};

/** The part of it that is stored on its own. `revision`: no record that Postgres has has a higher one. */
export type LedgerMarks = {
  readonly revision: number;
  readonly through: number;
  readonly flushes: readonly { readonly through: number; readonly xid: string }[];
  readonly sessions: { readonly through: number; readonly alive: number };
};

export function emptyLedger(): Ledger {
  return {
    isConfigured: false,
    revision: 0,
    through: 0,
    flushes: [],
    unflushed: new Map(),
    stored: 0,
    denials: new Map(),
    holds: new Map(),
    sessions: { changed: 0, through: 0, alive: 0 },
    ended: new Map(),
    unsavedEnds: [],
    refused: emptyRefused(),
    dueAt: null,
    sizes: fullBatches(),
    failures: 0,
    retryAt: 0,
  };
}

/** A revision above all before it, also above those of an object whose storage was lost: it is the time where that is higher. */
export function nextRevision(state: State): number {
  state.ledger.revision = Math.max(state.ledger.revision + 1, state.now);
  return state.ledger.revision;
}

/** `grant` with the mark of its record, a new one where what the record says has changed since `before`. */
export function marked(state: State, before: Grant | undefined, grant: LiveGrant): LiveGrant {
  const mark = before?.phase === 'live' ? before.ledger : undefined;
  const isSame =
    before?.phase === 'live' &&
    before.policyId === grant.policyId &&
    before.expiresAt === grant.expiresAt &&
    before.tokenId === grant.tokenId &&
    before.remoteIp === grant.remoteIp;
  if (mark !== undefined && isSame) return { ...grant, ledger: mark };
  const revision = nextRevision(state);
  noteUnflushed(state, grant.flowId, revision);
  return {
    ...grant,
    ledger: {
      grantedAt: mark?.grantedAt ?? state.now,
      first: firstOf(state, mark?.first ?? revision, revision),
      revision,
    },
  };
}

/** The record of a live grant that ends at this moment. */
export function endedRecord(state: State, grant: LiveGrant, cause: EndCause, told: Told): FlowRecord {
  const revision = nextRevision(state);
  return {
    ...liveRecord(grant, revision),
    endedAt: state.now,
    cause,
    told,
    toldAt: told === 'gateway_away' ? null : state.now,
    first: firstOf(state, grant.ledger?.first ?? revision, revision),
    revision,
  };
}

/**
 * The first revision of a record that gets another state: where the earlier ones were never written this is the first that will be,
 * since Postgres is taken to know a record once its first revision was passed.
 */
function firstOf({ ledger }: State, first: number, revision: number): number {
  return first > ledger.through ? revision : first;
}

/** The record with what its gateway was told since. */
export function toldRecord(state: State, record: FlowRecord, told: Told, toldAt: number): FlowRecord {
  return inNextState(state, { ...record, told, toldAt });
}

function inNextState(state: State, record: FlowRecord): FlowRecord {
  const revision = nextRevision(state);
  return { ...record, first: firstOf(state, record.first, revision), revision };
}

/** A record of a grant in memory is to be written. */
export function noteUnflushed(state: State, flowId: FlowId, revision: number): void {
  state.ledger.unflushed.delete(flowId);
  state.ledger.unflushed.set(flowId, revision);
  due(state, state.now + flushDelayMs);
}

/** The grant leaves memory: a record that Postgres does not have yet is kept by itself, under a revision of its own. */
export function keepRecord(state: State, record: FlowRecord, effects: Effects): void {
  if (!state.ledger.unflushed.delete(record.flowId)) return;
  effects.saves.push({ type: 'put-record', record: inNextState(state, record) });
  state.ledger.stored += 1;
  due(state, state.now + flushDelayMs);
}

/** Counts a refused request. */
export function recordDenial(
  state: State,
  client: ClientSession,
  resourceId: ResourceId,
  reason: Denial['reason'],
  effects: Effects,
): void {
  const minute = Math.floor(state.now / 60_000) * 60_000;
  const key = [minute, client.deviceId, resourceId, reason].join('/');
  const held = state.ledger.denials.get(key);
  if (held === undefined && state.ledger.denials.size >= denialsMax) return;
  const denial = { clientId: client.deviceId, resourceId, reason, minute, count: (held?.count ?? 0) + 1 };
  state.ledger.denials.set(key, denial);
  effects.saves.push({ type: 'put-denial', key, denial });
  due(state, minute + 60_000);
}

/** Whether so much waits for Postgres, or is refused by it, that nothing more may be granted. */
export function isLedgerFull({ ledger }: State): boolean {
  return ledger.unflushed.size + ledger.stored >= unflushedMax || ledger.refused.records.size >= refusedMax;
}

/** How write-back stands, for operators. */
export function writeBackStatus(state: State) {
  const { isConfigured, unflushed, stored, holds, ended, failures, refused } = state.ledger;
  return {
    isConfigured,
    waiting: unflushed.size + stored + holds.size + ended.size + unwritten(state).length,
    failures,
    refused: refused.records.size,
    isFull: isLedgerFull(state),
  };
}

/** When write-back has something to do; null when it has not, or has no database. */
export function flushDueAt({ ledger }: State): number | null {
  return ledger.dueAt === null || !ledger.isConfigured ? null : Math.max(ledger.dueAt, ledger.retryAt);
}

/** What the next flush writes, or null. `stored`: the first records of storage by revision, as many as a flush may have. */
export function takeBatch(
  state: State,
  account: string,
  stored: readonly FlowRecord[],
): { readonly batch: Batch; readonly storedCount: number } | null {
  const { ledger } = state;
  const inMemory: FlowRecord[] = [];
  for (const [flowId, revision] of ledger.unflushed) {
    if (inMemory.length >= ledger.sizes.flows) break;
    const grant = state.grants.get(flowId);
    const record = grant === undefined ? null : recordOf(grant, revision);
    if (record === null) ledger.unflushed.delete(flowId);
    else inMemory.push(record);
  }
  const records = [...inMemory, ...stored].sort((a, b) => a.revision - b.revision).slice(0, ledger.sizes.flows);
  const again = takeRefused(state, records);
  const isKnown = ({ first, flowId }: FlowRecord) => first <= ledger.through && !isRowRefused(state, flowId);
  const flows = [...again.flows, ...records.map((record) => ({ ...record, isKnown: isKnown(record) }))];
  const denials = [...ledger.denials.values()].filter(({ minute }) => isOver(minute, state.now));
  const sessions = takeSessions(state);
  const devices = unwritten(state).slice(0, ledger.sizes.devices);
  const holds = [...again.holds, ...[...ledger.holds.values()].slice(0, ledger.sizes.holds)];
  if ([devices, flows, denials, holds].every(({ length }) => length === 0) && sessions === null) {
    findDue(state);
    return null;
  }
  const last = records.at(-1)?.revision ?? 0;
  const storedCount = stored.filter(({ revision }) => revision <= last).length;
  return { batch: { account, devices, flows, denials, sessions, holds }, storedCount };
}

/** Postgres has answered, and taken what the answer does not name as failed. Returns the flows whose rows somebody has deleted. */
export function flushed(
  state: State,
  { batch, storedCount, answer }: { readonly batch: Batch; readonly storedCount: number; readonly answer: BatchAnswer },
  effects: Effects,
): FlowId[] {
  const { ledger } = state;
  if (answer.failed.length < partsOf(batch)) {
    ledger.failures = 0;
    ledger.retryAt = 0;
  }
  adaptSizes(ledger.sizes, answer.failed);
  const isWritten = (part: BatchAnswer['failed'][number]) => !answer.failed.includes(part);
  // What was refused before is older than `through`.
  const through = Math.max(ledger.through, batch.flows.at(-1)?.revision ?? 0);
  if (answer.flows !== null) {
    for (const [flowId, revision] of ledger.unflushed) {
      if (revision > through) break;
      ledger.unflushed.delete(flowId);
    }
    if (storedCount > 0) effects.saves.push({ type: 'delete-records', through });
    ledger.stored -= storedCount;
    ledger.through = through;
    ledger.flushes = [...ledger.flushes, { through, xid: answer.flows.xid }].slice(-flushesMax);
  }
  for (const denial of isWritten('denials') ? batch.denials : []) {
    const key = [denial.minute, denial.clientId, denial.resourceId, denial.reason].join('/');
    ledger.denials.delete(key);
    effects.saves.push({ type: 'delete-denial', key });
  }
  if (batch.sessions !== null && isWritten('sessions')) {
    ledger.sessions = { ...ledger.sessions, through: batch.sessions.revision, alive: batch.sessions.alive.length };
    forgetEnded(state, batch, effects);
  }
  effects.saves.push({ type: 'put-ledger', marks: marksOf(ledger) });
  const gone = takeResults(state, batch, answer, effects);
  findDue(state);
  return gone;
}

function partsOf({ devices, flows, denials, sessions, holds }: Batch): number {
  return [devices, flows, denials, holds].filter(({ length }) => length > 0).length + (sessions === null ? 0 : 1);
}

/** Nothing of the flush is known to have arrived. */
export function flushFailed(state: State, seed: string): void {
  shrinkAll(state.ledger.sizes);
  putOff(state, seed);
}

/** What has not arrived is written again, later each time, spread by chance. */
export function putOff(state: State, seed: string): void {
  const { ledger } = state;
  ledger.failures += 1;
  const wait = Math.min(retryMs.longest, retryMs.first * 2 ** Math.min(ledger.failures - 1, 16));
  ledger.retryAt = state.now + wait * (0.5 + fractionOf(seed) / 2);
}

/** Takes up what was stored: `stored` records wait by themselves, of which the last has `lastRevision`. */
export function resumeLedger(
  state: State,
  marks: LedgerMarks,
  stored: { readonly count: number; readonly lastRevision: number },
): void {
  const { ledger } = state;
  ledger.through = marks.through;
  ledger.flushes = [...marks.flushes];
  ledger.stored = stored.count;
  ledger.revision = Math.max(ledger.revision, marks.revision, ...ledger.holds.keys(), stored.lastRevision);
  const revisions = [...state.grants.values()].flatMap((grant) => {
    const revision = revisionOf(grant);
    return revision === null ? [] : [{ flowId: grant.flowId, revision }];
  });
  for (const { revision } of state.tables.registrations.values()) ledger.revision = Math.max(ledger.revision, revision);
  for (const { flowId, revision } of revisions.sort((a, b) => a.revision - b.revision)) {
    ledger.revision = Math.max(ledger.revision, revision);
    if (revision > marks.through) ledger.unflushed.set(flowId, revision);
  }
  ledger.sessions = { changed: marks.sessions.through, ...marks.sessions };
}

/** After waking: the sessions that are there may not be those that Postgres was told of. */
export function resumeSessions(state: State): void {
  const { sessions } = state.ledger;
  let known = 0;
  for (const { revision } of state.sessions.values()) {
    if (revision <= sessions.through) known += 1;
    sessions.changed = Math.max(sessions.changed, revision);
    state.ledger.revision = Math.max(state.ledger.revision, revision);
  }
  if (known !== sessions.alive) noteSessions(state);
  findDue(state);
}

/** A session has begun or ended. Returns the revision of that. */
export function noteSessions(state: State): number {
  const revision = nextRevision(state);
  state.ledger.sessions.changed = revision;
  due(state, state.now + flushDelayMs);
  return revision;
}

export function marksOf({ revision, through, flushes, sessions }: Ledger): LedgerMarks {
  return { revision, through, flushes, sessions: { through: sessions.through, alive: sessions.alive } };
}

/** Something is to be written. */
export function noteDue(state: State): void {
  due(state, state.now + flushDelayMs);
}

/** What was noted of devices here and is not written yet. */
function unwritten({ tables }: State): readonly Registration[] {
  return [...tables.registrations.values()].filter(({ isRefused, xid }) => xid === null && !isRefused);
}

function due(state: State, at: number): void {
  state.ledger.dueAt = Math.min(state.ledger.dueAt ?? Infinity, at);
}

function findDue(state: State): void {
  const { ledger } = state;
  ledger.dueAt = null;
  const isWaiting =
    ledger.unflushed.size > 0 ||
    ledger.stored > 0 ||
    ledger.holds.size > 0 ||
    ledger.sessions.changed > ledger.sessions.through ||
    ledger.ended.size > 0 ||
    unwritten(state).length > 0;
  if (isWaiting) due(state, state.now);
  if (ledger.refused.records.size > 0) due(state, Math.max(state.now, ledger.refused.dueAt));
  for (const { minute } of ledger.denials.values()) due(state, minute + 60_000);
}

function isOver(minute: number, now: number): boolean {
  return minute + 60_000 <= now;
}
