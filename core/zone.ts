// Local time: the instants at which the clocks of an IANA time zone show a given reading. The rules come from the
// platform's own database through Intl, which formats numbers and so needs no clock.
//
// A *reading* is what the clocks show, counted like an instant: milliseconds since 1970-01-01 00:00:00 by those clocks.
// Clocks put forward skip readings, clocks put back show some twice; both functions say what that means for them.
// Offsets are read in chunks and kept in a bounded memory, which changes the speed of answers and nothing else.
import { AssertionError, must } from '../protocol/assert.ts';

const hourMs = 3_600_000;
export const dayMs = 24 * hourMs;

/** No clock is further from UTC: the widest offset in the database is Manila's before 1845, 15:56:08. */
export const offsetMsMax = 16 * hourMs;

/** How much is read at once: a formatter costs as much as some hundred readings of it, and is not kept. */
const chunkMs = 64 * dayMs;

/** An offset that lasts less than this may be overlooked; since 1970 none has lasted less than a week. */
const probeMs = dayMs;

/** More than there are names. */
const zonesMax = 1024;
const chunksMax = 16;

/** From `from` up to `to`, exclusive, the clocks show the instant plus `offset`. */
type Span = { readonly from: number; readonly to: number; readonly offset: number };

type Chunks = Map<number, readonly Span[]>;

const zones = new Map<string, Chunks>();

/** Names whose spelling the pattern of {@link isTimeZone} does not cover. Factory, which names no zone, is left out. */
const otherNames = new Set(
  (
    'Africa/Porto-Novo America/Blanc-Sablon America/Port-au-Prince Asia/Ust-Nera CET CST6CDT Cuba EET EST EST5EDT ' +
    'Egypt Eire Etc/GMT+0 Etc/GMT+1 Etc/GMT+2 Etc/GMT+3 Etc/GMT+4 Etc/GMT+5 Etc/GMT+6 Etc/GMT+7 Etc/GMT+8 Etc/GMT+9 ' +
    'Etc/GMT+10 Etc/GMT+11 Etc/GMT+12 Etc/GMT-0 Etc/GMT-1 Etc/GMT-2 Etc/GMT-3 Etc/GMT-4 Etc/GMT-5 Etc/GMT-6 ' +
    'Etc/GMT-7 Etc/GMT-8 Etc/GMT-9 Etc/GMT-10 Etc/GMT-11 Etc/GMT-12 Etc/GMT-13 Etc/GMT-14 Etc/GMT0 GB GB-Eire GMT ' +
    'GMT+0 GMT-0 GMT0 Greenwich HST Hongkong Iceland Iran Israel Jamaica Japan Kwajalein Libya MET MST MST7MDT NZ ' +
    'NZ-CHAT Navajo PRC PST8PDT Poland Portugal ROC ROK Singapore Turkey UCT US/East-Indiana US/Indiana-Starke UTC ' +
    'Universal W-SU WET Zulu'
  ).split(' '),
);

/**
 * Whether `name` is a time zone as migrations/0001_row_checks.sql takes it (is_time_zone: Area/Place in any case, other
 * names as they are spelled) and one whose rules the platform knows. Abbreviations and offsets are none.
 */
export function isTimeZone(name: string): boolean {
  return (/^[A-Z][A-Za-z_]*(?:\/[A-Z][A-Za-z_]*)+$/.test(name) || otherNames.has(name)) && chunksOf(name) !== null;
}

/**
 * The first instant at which the clocks of `zone` show `reading` or later. A skipped reading is first reached when the
 * clocks have been put forward, a repeated one the first time. `zone` is a name that {@link isTimeZone} took.
 */
export function firstReached(zone: string, reading: number): number {
  for (let at = reading - offsetMsMax; at <= reading + offsetMsMax;) {
    const { from, to, offset } = spanAt(zone, at);
    if (reading < to + offset) return Math.max(from, reading - offset);
    at = to;
  }
  throw new AssertionError('a clock is further from UTC than any can be');
}

/**
 * The end, exclusive, of the last time that the clocks of `zone` show less than `reading`: {@link firstReached}, except
 * that a repeated reading is reached the second time.
 */
export function lastReached(zone: string, reading: number): number {
  let end = -Infinity;
  for (let at = reading - offsetMsMax; at <= reading + offsetMsMax;) {
    const { from, to, offset } = spanAt(zone, at);
    if (from + offset < reading) end = Math.min(to, reading - offset);
    at = to;
  }
  return end;
}

function spanAt(zone: string, at: number): Span {
  const chunk = Math.floor(at / chunkMs);
  const chunks = must(chunksOf(zone), 'a time zone that was known');
  const spans = chunks.get(chunk) ?? keep(chunks, chunk, readSpans(zone, chunk * chunkMs), chunksMax);
  for (const span of spans) if (at < span.to) return span;
  throw new AssertionError('a chunk ends before its end');
}

/** What is remembered of `zone`; null when the platform does not know it. */
function chunksOf(zone: string): Chunks | null {
  const known = zones.get(zone);
  if (known !== undefined) return known;
  try {
    formatterOf(zone);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
  return keep<string, Chunks>(zones, zone, new Map(), zonesMax);
}

/** Puts `value` into `cache` in place of the oldest entry once `max` are held, and returns it. */
function keep<K, V>(cache: Map<K, V>, key: K, value: V, max: number): V {
  for (const oldest of cache.keys()) {
    if (cache.size < max) break;
    cache.delete(oldest);
  }
  cache.set(key, value);
  return value;
}

/** The spans of one chunk: probes find that the offset has changed, bisection finds when. */
function readSpans(zone: string, from: number): readonly Span[] {
  const formatter = formatterOf(zone);
  const spans: Span[] = [];
  const end = from + chunkMs;
  let start = from;
  let offset = offsetAt(formatter, start);
  for (let at = from + probeMs; at <= end; at += probeMs) {
    while (offsetAt(formatter, at) !== offset) {
      const to = firstOther(formatter, Math.max(start, at - probeMs), at, offset);
      spans.push({ from: start, to, offset });
      start = to;
      offset = offsetAt(formatter, to);
    }
  }
  if (start < end) spans.push({ from: start, to: end, offset });
  return spans;
}

/** The instant after `low`, where the offset is `offset`, up to `high`, where it is not, at which it changes. */
function firstOther(formatter: Intl.DateTimeFormat, low: number, high: number, offset: number): number {
  let [before, after] = [low, high];
  while (after - before > 1) {
    const middle = Math.floor((before + after) / 2);
    if (offsetAt(formatter, middle) === offset) before = middle;
    else after = middle;
  }
  return after;
}

function formatterOf(zone: string): Intl.DateTimeFormat {
  return new Intl.DateTimeFormat('en-US', { timeZone: zone, year: 'numeric', timeZoneName: 'longOffset' });
}

/** Milliseconds by which the clocks are ahead of UTC, from text like `2026, GMT+05:30` or `1970, GMT-00:44:30`. */
function offsetAt(formatter: Intl.DateTimeFormat, at: number): number {
  const match = /GMT(?:([+-])(\d\d):(\d\d)(?::(\d\d))?)?$/.exec(formatter.format(at));
  const [, sign, hours, minutes, seconds] = must(match, 'the offset in a formatted date');
  if (sign === undefined) return 0;
  const ms = Number(hours) * hourMs + Number(minutes) * 60_000 + Number(seconds ?? 0) * 1000;
  return sign === '-' ? -ms : ms;
}
