// What the one Stream object decides: who may lead the change stream, and what is known of its progress. Pure.
//
// A database cannot tell whether it was set back, or copied: its own records go with it. So the last heartbeat heard is kept
// here, and a database that lacks it is not the one that was followed.
import { compareLsnText, type LsnText } from '../protocol/lsn.ts';
import type { Beat, Heartbeat, HeartbeatAnswer, LeadAnswer, LeadRequest } from '../protocol/stream.ts';

/** While a heartbeat was heard this lately, milliseconds, no other database may take its place. */
export const aliveMsMax = 6_000;

export type StreamMemory = {
  /** The highest term issued. */
  readonly term: number;
  /** The database that was last followed. */
  readonly source: { readonly systemIdentifier: string; readonly timeline: number } | null;
  /** The last heartbeat heard, and when, milliseconds since 1970-01-01 UTC. */
  readonly heard: (Beat & { readonly atMs: number }) | null;
  readonly applied: Applied | null;
};

/** How far the stream has come. */
export type Applied = {
  readonly epoch: number;
  readonly lsn: LsnText;
  /** Commit time by the database's clock, milliseconds since 1970-01-01 UTC. */
  readonly toMs: number;
  /** From COMMIT to durable in the canary account's object; null before it was measured. */
  readonly lagMs: number | null;
  /** Accounts that have not come as far, each with the time it has come to. */
  readonly lateToMs: Readonly<Record<string, number>>;
};

export const emptyMemory: StreamMemory = { term: 0, source: null, heard: null, applied: null };

/** Answers who asks to lead; `memory` is what must be durable before the answer. */
export function lead(
  memory: StreamMemory,
  request: LeadRequest,
  now: number,
): { readonly memory: StreamMemory; readonly answer: LeadAnswer } {
  const { systemIdentifier, timeline } = request;
  const reason = whyRefused(memory, request, now);
  if (reason !== null) return { memory, answer: { type: 'refused', reason } };
  const term = Math.max(memory.term, request.termFloor) + 1;
  const { heard } = memory;
  return {
    memory: { ...memory, term, source: { systemIdentifier, timeline } },
    answer: {
      type: 'leads',
      term,
      distrust: whyDistrusted(memory, request),
      heard: heard === null ? null : { run: heard.run, count: heard.count },
    },
  };
}

/** Takes a heartbeat in. A number that was heard already, or a position that was passed, changes nothing but the time. */
export function hear(
  memory: StreamMemory,
  heartbeat: Heartbeat,
  now: number,
): { readonly memory: StreamMemory; readonly answer: HeartbeatAnswer } {
  if (heartbeat.term < memory.term) return { memory, answer: { type: 'fenced', term: memory.term } };
  const { run, count } = heartbeat.beat;
  const known = memory.heard?.run === run ? memory.heard.count : -1;
  const heard = { run, count: Math.max(count, known), atMs: now };
  const applied = appliedAfter(memory.applied, heartbeat);
  return { memory: { ...memory, term: heartbeat.term, heard, applied }, answer: { type: 'heard', lagMs: null } };
}

function appliedAfter(before: Applied | null, { epoch, applied }: Heartbeat): Applied | null {
  if (applied === null) return before;
  const isSameEpoch = before?.epoch === epoch;
  if (isSameEpoch && compareLsnText(applied.lsn, before.lsn) <= 0) return before;
  const toMs = Math.floor(applied.committedAtUs / 1000);
  const lateToMs: Record<string, number> = {};
  for (const account of applied.late) {
    lateToMs[account] = isSameEpoch ? (before.lateToMs[account] ?? before.toMs) : 0;
  }
  return { epoch, lsn: applied.lsn, toMs, lagMs: before?.lagMs ?? null, lateToMs };
}

function whyRefused({ source, heard }: StreamMemory, request: LeadRequest, now: number): string | null {
  if (source === null) return null;
  const isSameSystem = source.systemIdentifier === request.systemIdentifier;
  if (isSameSystem && request.timeline < source.timeline) {
    return `the database is on timeline ${request.timeline}, and the edge has followed it on timeline ${source.timeline}: name the primary in REPLICATOR_DATABASE_URL, or promote this one (pg_promote) so that it gets a timeline of its own`;
  }
  const isAlive = heard !== null && now - heard.atMs < aliveMsMax;
  if (!isAlive || (isSameSystem && isOnRecord(heard, request))) return null;
  const agoMs = now - heard.atMs;
  return isSameSystem
    ? `another replicator of this system feeds the edge, heard ${agoMs} ms ago, by another slot, of another database or of a copy: stop it first, or start this one with its database and its DRAWBRIDGE_SLOT, so that it stands by`
    : `another database feeds the edge, heard ${agoMs} ms ago: stop its replicator first, or give this one a worker and keys of its own`;
}

function whyDistrusted({ source, heard, applied }: StreamMemory, request: LeadRequest): string | null {
  if (heard === null) return request.beats.length === 0 ? null : 'the edge remembers no heartbeat of this database';
  if (source?.systemIdentifier !== request.systemIdentifier) return 'the database is another system';
  if (source.timeline !== request.timeline) return 'the database is on another timeline';
  if (!isOnRecord(heard, request)) return 'the database was set back: it lacks the last heartbeat that the edge heard';
  if (applied !== null && compareLsnText(request.walEnd, applied.lsn) < 0) {
    return 'the database was set back: it ends before a position that the edge has heard of';
  }
  return null;
}

function isOnRecord(heard: Beat, { beats }: LeadRequest): boolean {
  return beats.some(({ run, count }) => run === heard.run && count >= heard.count);
}
