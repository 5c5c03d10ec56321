// Weekly windows of access: values `DAY/RANGES/ZONE`, as migrations/0001_row_checks.sql takes them (is_time_window).
//
// DAY is one of M T W R F S U. RANGES stand apart by commas: `true` is the whole day, START-END goes from START up to
// and including END, exact to the millisecond; an END before its START is on the next day. Both are what the clocks of
// ZONE show. A reading that they skip is reached when they have been put forward; of one that they show twice, START is
// the first and END the second; so a range that is skipped whole does not open, and one that is open stays open while an
// hour is repeated. The whole day lasts until the next date begins, so it joins the next day without a gap.
//
// Windows of every value are merged on one line of time: open lasts to the end of the run, however many days it spans.
import { dayMs, firstReached, isTimeZone, lastReached, offsetMsMax } from './zone.ts';

/** `weekday` counts from Monday = 0; `start` and `end`, inclusive, are milliseconds since its midnight. */
type Window = { readonly zone: string; readonly weekday: number } & (
  | { readonly type: 'day' }
  | { readonly type: 'range'; readonly start: number; readonly end: number }
);

/** From `start` up to `end`, exclusive, milliseconds since 1970-01-01 UTC. */
type Opening = { readonly start: number; readonly end: number };

/**
 * The answer and until when it holds, exclusive, in milliseconds since 1970-01-01 UTC; Infinity when it never changes.
 * At an END as written, `until` is one millisecond later; rounded down to the whole seconds of the wire it is END.
 */
export type WeekAnswer = { readonly open: boolean; readonly until: number };

export type Week = {
  readonly windows: readonly Window[];
  readonly isAlwaysOpen: boolean;
  /** The last answer and since when it is known to hold: most questions come in the same window. */
  last: { readonly since: number; readonly answer: WeekAnswer } | null;
};

const weekdays = 'MTWRFSU';

/** The number of 1970-01-05, counted from 1970-01-01 = 0. */
const firstMonday = 4;

/** Two days from START to END, and what clocks may be put back between them. */
const openingMsMax = 4 * dayMs;

/** How much is looked at in one go: nearly every run ends, and nearly every next one begins, within the first. */
const blockMs = 8 * dayMs;

/**
 * How far a run is followed, and the next opening is looked for: zones can complement each other so that only the next
 * change to summer time leaves a gap. What lasts longer is answered until about there, and judged anew then.
 */
export const lookAheadMsMax = 400 * dayMs;

const time = String.raw`((?:[01]?[0-9]|2[0-3])(?::[0-5]?[0-9]){0,2})`;
const rangePattern = new RegExp(`^${time}-${time}$`);

/** Null when a value is malformed, or names a zone that is not known here. No value, or none with a range, never opens. */
export function compileWeek(values: readonly string[]): Week | null {
  const windows: Window[] = [];
  for (const value of values) {
    const parsed = parseWindows(value);
    if (parsed === null) return null;
    for (const window of parsed) windows.push(window);
  }
  const zones = new Set(windows.map(({ zone }) => zone));
  const isAlwaysOpen = [...zones].some((zone) => isCovered(windows.filter((window) => window.zone === zone)));
  return { windows, isAlwaysOpen, last: null };
}

/** Whether `week` is open at `now`, milliseconds since 1970-01-01 UTC. */
export function evaluateWeek(week: Week, now: number): WeekAnswer {
  const { last } = week;
  if (last !== null && last.since <= now && now < last.answer.until) return last.answer;
  const answer = answerAt(week, now);
  week.last = { since: now, answer };
  return answer;
}

function answerAt({ windows, isAlwaysOpen }: Week, now: number): WeekAnswer {
  if (isAlwaysOpen) return { open: true, until: Infinity };
  if (windows.length === 0) return { open: false, until: Infinity };
  let until = now;
  let from = now - openingMsMax;
  for (; from < now + lookAheadMsMax; from += blockMs) {
    for (const { start, end } of openings(windows, from, from + blockMs)) {
      if (end <= until) continue;
      if (start > until) return until > now ? { open: true, until } : { open: false, until: start };
      until = end;
    }
    if (until > now && until < from + blockMs) return { open: true, until };
  }
  return until > now ? { open: true, until } : { open: false, until: from };
}

/** What opens between `from` and `to`, exclusive, in order. */
function openings(windows: readonly Window[], from: number, to: number): Opening[] {
  const found: Opening[] = [];
  for (const window of windows) {
    const date = Math.floor((from - offsetMsMax) / dayMs) - 1;
    const ahead = (((window.weekday + firstMonday - date) % 7) + 7) % 7;
    for (let day = (date + ahead) * dayMs; day <= to + offsetMsMax; day += 7 * dayMs) {
      const opening = openingOn(window, day);
      if (opening.start < opening.end && from <= opening.start && opening.start < to) found.push(opening);
    }
  }
  return found.sort((a, b) => a.start - b.start);
}

/** When `window` is open on the date that begins with the reading `day`; empty when the clocks skip it. */
function openingOn(window: Window, day: number): Opening {
  const { zone } = window;
  if (window.type === 'day') return { start: firstReached(zone, day), end: firstReached(zone, day + dayMs) };
  return { start: firstReached(zone, day + window.start), end: lastReached(zone, day + window.end + 1) };
}

/**
 * Whether windows of one zone leave no reading of the week out. Then they are always open, whatever the clocks do:
 * between the first and the last time that a reading shows, the window that holds it is open; or the next date's, where
 * clocks are put back over midnight.
 */
function isCovered(windows: readonly Window[]): boolean {
  const parts = windows.flatMap((window) => {
    const day = window.weekday * dayMs;
    const [start, end] = window.type === 'day' ? [day, day + dayMs] : [day + window.start, day + window.end + 1];
    return [
      { start, end },
      { start: start - 7 * dayMs, end: end - 7 * dayMs },
    ];
  });
  let reached = 0;
  for (const { start, end } of parts.sort((a, b) => a.start - b.start)) {
    if (start <= reached) reached = Math.max(reached, end);
  }
  return reached >= 7 * dayMs;
}

function parseWindows(value: string): Window[] | null {
  const match = /^([MTWRFSU])\/([^/]*)\/(.+)$/s.exec(value);
  if (match === null) return null;
  const [, letter = '', ranges = '', zone = ''] = match;
  if (!isTimeZone(zone)) return null;
  const weekday = weekdays.indexOf(letter);
  const windows: Window[] = [];
  for (const text of ranges.split(',').map(withoutSpaces)) {
    if (text === '') continue;
    if (text === 'true') {
      windows.push({ type: 'day', zone, weekday });
      continue;
    }
    const range = parseRange(text);
    if (range === null) return null;
    windows.push({ type: 'range', zone, weekday, ...range });
  }
  return windows;
}

function parseRange(text: string): { readonly start: number; readonly end: number } | null {
  const match = rangePattern.exec(text);
  if (match === null) return null;
  const [start, end] = [timeMs(match[1] ?? ''), timeMs(match[2] ?? '')];
  return { start, end: start <= end ? end : end + dayMs };
}

/** `9`, `09:00` or `9:00:00` into milliseconds since midnight. */
function timeMs(text: string): number {
  const [hours = 0, minutes = 0, seconds = 0] = text.split(':').map(Number);
  return ((hours * 60 + minutes) * 60 + seconds) * 1000;
}

/** As btrim in SQL: blanks only, where trim() would also take tabs, which the database refuses. */
function withoutSpaces(text: string): string {
  let [start, end] = [0, text.length];
  while (text[start] === ' ') start += 1;
  while (end > start && text[end - 1] === ' ') end -= 1;
  return text.slice(start, end);
}
