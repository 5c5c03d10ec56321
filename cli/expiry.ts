// Moments on the command line: a span from now or back from now, like 30d, or a time, like 2026-12-31T00:00:00Z.
import { UsageError } from '../dev/command.ts';

const msByUnit: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** A span is at most this long. */
const spanMsMax = 100 * 366 * 86_400_000;

/** Throws a {@link UsageError} unless `text` names a time after `now`. A date without a time is its start in UTC. */
export function parseExpiry(text: string, now: Date): Date {
  const expected = 'write a span like 12h, 30d or 8w, or a time with its zone like 2026-12-31T00:00:00Z';
  const span = spanMs(text);
  const expiry = span === null ? timeIn(text) : new Date(now.getTime() + span);
  if (expiry === null) throw new UsageError(`The expiry ${JSON.stringify(text)} cannot be read: ${expected}.`);
  if (expiry > now) return expiry;
  throw new UsageError(`The expiry ${JSON.stringify(text)} is not in the future: ${expected}.`);
}

/** A span back from `now`, or a time; `option` is what the person gave it to. Throws a {@link UsageError} for anything else. */
export function parsePast(option: string, text: string, now: Date): Date {
  const span = spanMs(text);
  const moment = span === null ? timeIn(text) : new Date(now.getTime() - span);
  if (moment !== null) return moment;
  const expected = 'write a span back from now like 12h, 30d or 8w, or a time with its zone like 2026-12-31T00:00:00Z';
  throw new UsageError(`The value ${JSON.stringify(text)} of ${option} cannot be read: ${expected}.`);
}

function spanMs(text: string): number | null {
  const [, count = '', unit = ''] = /^(\d{1,7})([mhdw])$/.exec(text) ?? [];
  const span = Number(count) * (msByUnit[unit] ?? Number.NaN);
  return span <= spanMsMax ? span : null;
}

function timeIn(text: string): Date | null {
  const [, date] = /^(\d{4}-\d\d-\d\d)(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?(?:Z|[+-]\d\d:\d\d))?$/.exec(text) ?? [];
  const time = new Date(text);
  if (date === undefined || Number.isNaN(time.getTime())) return null;
  // Date takes 31 February for a day in March.
  return new Date(`${date}T00:00:00Z`).toISOString().startsWith(date) ? time : null;
}
