// Weekly windows: examples of every rule, and any windows against a definition that scans the clocks.
import { expect, test } from 'vitest';
import fc from 'fast-check';
import { compileWeek, evaluateWeek, lookAheadMsMax } from '../../core/week.ts';

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const never = { open: false, until: Infinity };
const always = { open: true, until: Infinity };
const allDays = ['M', 'T', 'W', 'R', 'F', 'S', 'U'];
const allButSunday = allDays.slice(0, 6);

test.each([
  ['F/10:00:00-10:00:00/UTC', '2021-01-01T10:00:00.000Z', '2021-01-01T10:00:00.001Z'],
  ['F/10:00:00-11:00:00,20:00-22:00/UTC', '2021-01-01T10:00:00.000Z', '2021-01-01T11:00:00.001Z'],
  ['F/09:00:00-10:00:00,11-22/UTC', '2021-01-01T10:00:00.000Z', '2021-01-01T10:00:00.001Z'],
  ['F/true/UTC', '2021-01-01T10:00:00.000Z', '2021-01-02T00:00:00.000Z'],
  ['F/09:00:00-11:00:00,11-15,14-22/UTC', '2021-01-01T10:00:00.000Z', '2021-01-01T22:00:00.001Z'],
  ['R/true/US/Pacific', '2021-01-01T01:00:00.000Z', '2021-01-01T08:00:00.000Z'],
  ['R/15:00:00-19:00:00/US/Pacific', '2021-01-01T01:00:00.000Z', '2021-01-01T03:00:00.001Z'],
  ['F/02:00:00-04:00:00/Poland', '2021-01-01T01:00:00.000Z', '2021-01-01T03:00:00.001Z'],
  ['F/true/UTC', '2021-01-01T01:00:00.000Z', '2021-01-02T00:00:00.000Z'],
  ['F/10:00:00-09:59:59/UTC', '2021-01-01T10:00:00.000Z', '2021-01-02T09:59:59.001Z'],
])('[P14.9] the vector %s of the reference is open at %s, until a millisecond past its end %s', (value, now, until) => {
  expect(at([value], now)).toEqual(open(until));
});

test.each([
  ['F/09:00:00-09:59:59/UTC', '2021-01-01T10:00:00.000Z', '2021-01-08T09:00:00.000Z'],
  ['F/10:00:01-11:00:00/UTC', '2021-01-01T10:00:00.000Z', '2021-01-01T10:00:01.000Z'],
  ['M/09:00:00-11:00:00/UTC', '2021-01-01T10:00:00.000Z', '2021-01-04T09:00:00.000Z'],
  ['U/true/UTC', '2021-01-01T10:00:00.000Z', '2021-01-03T00:00:00.000Z'],
  ['R/00:00:00-02:00:00/US/Pacific', '2021-01-01T01:00:00.000Z', '2021-01-07T08:00:00.000Z'],
])('[P14.9] the vector %s of the reference is closed at %s, until it opens at %s', (value, now, until) => {
  expect(at([value], now)).toEqual(closed(until));
});

test('[P14.9] a range is open from START through END, exact to the millisecond', () => {
  const value = ['F/09:00-17:00/UTC'];
  expect(at(value, '2021-01-01T08:59:59.999Z')).toEqual(closed('2021-01-01T09:00:00.000Z'));
  expect(at(value, '2021-01-01T09:00:00.000Z')).toEqual(open('2021-01-01T17:00:00.001Z'));
  expect(at(value, '2021-01-01T17:00:00.000Z')).toEqual(open('2021-01-01T17:00:00.001Z'));
  expect(at(value, '2021-01-01T17:00:00.001Z')).toEqual(closed('2021-01-08T09:00:00.000Z'));
});

test('[P14.10] ranges that touch are one run, a second between them is a gap', () => {
  expect(at(['F/10-11,11-12/UTC'], '2021-01-01T10:30:00Z')).toEqual(open('2021-01-01T12:00:00.001Z'));
  const apart = ['F/10:00:00-11:00:00,11:00:01-12:00:00/UTC'];
  expect(at(apart, '2021-01-01T10:30:00Z')).toEqual(open('2021-01-01T11:00:00.001Z'));
  expect(at(apart, '2021-01-01T11:00:00.500Z')).toEqual(closed('2021-01-01T11:00:01.000Z'));
});

test('[P14.11] the whole day joins the next day without a gap', () => {
  const weekend = ['F/18-23:59:59,true/Europe/Berlin', 'S/true/Europe/Berlin', 'U/00:00-12:00/Europe/Berlin'];
  expect(at(weekend, '2026-01-09T10:00:00Z')).toEqual(open('2026-01-11T11:00:00.001Z'));
  expect(at(['F/true/UTC'], '2021-01-01T23:59:59.999Z')).toEqual(open('2021-01-02T00:00:00.000Z'));
  const lastSecond = ['F/00:00-23:59:59/UTC', 'S/true/UTC'];
  expect(at(lastSecond, '2021-01-01T12:00:00Z')).toEqual(open('2021-01-01T23:59:59.001Z'));
});

test('[P14.12] an END before its START is on the next day', () => {
  const night = ['F/22:00-06:00/UTC'];
  expect(at(night, '2021-01-01T21:59:59.999Z')).toEqual(closed('2021-01-01T22:00:00.000Z'));
  expect(at(night, '2021-01-01T22:00:00Z')).toEqual(open('2021-01-02T06:00:00.001Z'));
  expect(at(night, '2021-01-02T06:00:00.000Z')).toEqual(open('2021-01-02T06:00:00.001Z'));
  expect(at(night, '2021-01-01T05:00:00Z')).toEqual(closed('2021-01-01T22:00:00.000Z'));
  expect(at(['U/22:00-06:00/UTC'], '2021-01-04T05:00:00Z')).toEqual(open('2021-01-04T06:00:00.001Z'));
});

test('[P14.13] a run is merged over ranges, days, values and zones, however many days it spans', () => {
  const values = [
    'M/08-20/UTC',
    'M/15-23:59:59,true/America/New_York',
    'T/true/UTC',
    'W/22-06/Asia/Tokyo',
    'W/true/UTC',
  ];
  expect(at(values, '2026-01-05T09:00:00Z')).toEqual(open('2026-01-08T00:00:00.000Z'));
  const sixDays = allButSunday.map((day) => `${day}/true/Asia/Kathmandu`);
  expect(at(sixDays, '2026-01-05T00:00:00Z')).toEqual(open('2026-01-10T18:15:00.000Z'));
  expect(at(sixDays, '2026-01-10T18:15:00Z')).toEqual(closed('2026-01-11T18:15:00.000Z'));
});

test('[P14.13] a run that only summer time ends is followed to that day', () => {
  const newYork = allDays.map((day) => `${day}/${day === 'M' ? '00-08,10-23:59:59' : 'true'}/America/New_York`);
  const values = [...newYork, 'T/00-01/America/New_York', 'M/23-00/America/New_York', 'M/12-14/UTC'];
  expect(at(values, '2026-04-01T00:00:00Z')).toEqual(open('2026-11-02T14:00:00.001Z'));
  expect(at(values, '2026-11-02T14:30:00Z')).toEqual(closed('2026-11-02T15:00:00.000Z'));
});

test.each(['UTC', 'America/New_York', 'Pacific/Apia', 'Australia/Lord_Howe', 'America/Goose_Bay'])(
  '[P14.14] a week without a gap in %s is always open',
  (zone) => {
    const wholeDays = allDays.map((day) => `${day}/true/${zone}`);
    const ranges = allDays.map((day) => `${day}/12:00-11:59:59,11:00-13:00/${zone}`);
    for (const values of [wholeDays, ranges]) {
      expect(at(values, '2026-03-07T00:00:00Z')).toEqual(always);
      expect(at([...values, 'F/10-11/Asia/Tokyo'], '2011-12-30T10:00:00Z')).toEqual(always);
    }
  },
);

test('[P14.14] a week without a window never opens', () => {
  for (const values of [[], ['M//UTC'], ['M/ , /UTC', 'F//Poland']]) {
    expect(at(values, '2026-01-01T00:00:00Z')).toEqual(never);
  }
});

test('[P14.15] a skipped reading is reached when clocks have been put forward, and a range skipped whole stays closed', () => {
  const afterGap = ['U/02:30-04:00/America/New_York'];
  expect(at(afterGap, '2026-03-08T06:59:59.999Z')).toEqual(closed('2026-03-08T07:00:00.000Z'));
  expect(at(afterGap, '2026-03-08T07:00:00.000Z')).toEqual(open('2026-03-08T08:00:00.001Z'));
  expect(at(['U/01:00-02:30/America/New_York'], '2026-03-08T06:30:00Z')).toEqual(open('2026-03-08T07:00:00.000Z'));
  const whole = ['U/02:15-02:45/America/New_York'];
  expect(at(whole, '2026-03-08T00:00:00Z')).toEqual(closed('2026-03-15T06:15:00.000Z'));
  expect(at(['U/02:10-02:20/Australia/Lord_Howe'], '2026-10-03T15:00:00Z')).toEqual(closed('2026-10-10T15:10:00.000Z'));
});

test('[P14.16] of a reading that clocks show twice START is the first and END the second', () => {
  const newYork = ['U/01:15-01:30/America/New_York'];
  expect(at(newYork, '2026-11-01T00:00:00Z')).toEqual(closed('2026-11-01T05:15:00.000Z'));
  expect(at(newYork, '2026-11-01T05:45:00Z')).toEqual(open('2026-11-01T06:30:00.001Z'));
  const lordHowe = ['U/01:30-01:45/Australia/Lord_Howe'];
  expect(at(lordHowe, '2026-04-04T14:00:00Z')).toEqual(closed('2026-04-04T14:30:00.000Z'));
  expect(at(lordHowe, '2026-04-04T14:30:00Z')).toEqual(open('2026-04-04T15:15:00.001Z'));
});

test('[P14.17] a date that clocks skip does not open, and its neighbours join', () => {
  const friday = ['F/true/Pacific/Apia', 'F/09-17/Pacific/Apia'];
  expect(at(friday, '2011-12-28T00:00:00Z')).toEqual(closed('2012-01-05T10:00:00.000Z'));
  const around = ['R/true/Pacific/Apia', 'S/true/Pacific/Apia'];
  expect(at(around, '2011-12-29T10:00:00Z')).toEqual(open('2011-12-31T10:00:00.000Z'));
});

test('[P14.17] a whole day lasts from the first instant of its date to the first of the next, also at odd midnights', () => {
  expect(at(['U/true/America/Havana'], '2026-03-08T00:00:00Z')).toEqual(closed('2026-03-08T05:00:00.000Z'));
  const saturday = ['S/true/America/Goose_Bay'];
  expect(at(saturday, '2010-11-06T12:00:00Z')).toEqual(open('2010-11-07T03:00:00.000Z'));
  expect(at(saturday, '2010-11-07T03:30:00Z').open).toBe(false);
  expect(at(['U/true/America/Goose_Bay'], '2010-11-07T03:30:00Z')).toEqual(open('2010-11-08T04:00:00.000Z'));
  expect(at(['S/22-23:30/America/Goose_Bay'], '2010-11-07T02:00:00Z')).toEqual(open('2010-11-07T03:30:00.001Z'));
});

test('[P14.18] zones that leave no gap together are answered as far as a run is followed, and then judged anew', () => {
  const sundayOfBoth = ['U/true/Etc/GMT+1', 'U/true/Etc/GMT-1'];
  const values = [...allButSunday.map((day) => `${day}/true/UTC`), ...sundayOfBoth];
  const now = Date.parse('2026-01-05T00:00:00Z');
  const first = at(values, now);
  expect(first.open).toBe(true);
  expect(first.until - now).toBeGreaterThanOrEqual(lookAheadMsMax);
  expect(first.until - now).toBeLessThan(lookAheadMsMax + 14 * dayMs);
  expect(at(values, first.until).open).toBe(true);
});

/** Days on which clocks do something, and zones to combine there. */
const scenes = [
  ['2010-11-07', 'America/Goose_Bay', 'America/New_York', 'UTC'],
  ['2011-12-30', 'Pacific/Apia', 'Asia/Kathmandu', 'Europe/Berlin'],
  ['2026-03-08', 'America/Havana', 'America/New_York', 'Africa/Casablanca'],
  ['2026-10-04', 'Australia/Lord_Howe', 'UTC', 'Europe/Berlin'],
  ['2026-11-01', 'America/New_York', 'Australia/Lord_Howe', 'Africa/Casablanca'],
] as const;

/** Mostly hours at which clocks change. */
const hour = fc.oneof({ weight: 3, arbitrary: fc.nat(3) }, { weight: 1, arbitrary: fc.nat(23) });
const clock = fc.tuple(hour, fc.constantFrom('', ':00', ':15', ':30:00', ':59:59')).map((parts) => parts.join(''));
const range = fc.oneof(
  { weight: 1, arbitrary: fc.constant('true') },
  { weight: 3, arbitrary: fc.tuple(clock, clock).map((clocks) => clocks.join('-')) },
);
const scene = fc.constantFrom(...scenes).chain(([date, ...zones]) => {
  const near = [-1, 0, 0, 0, 1].map((days) => letterOf(Date.parse(date) + days * dayMs));
  const value = fc
    .tuple(
      fc.constantFrom(...near, ...allDays),
      fc.array(range, { minLength: 1, maxLength: 2 }),
      fc.constantFrom(...zones),
    )
    .map(([day, ranges, zone]) => `${day}/${ranges.join(',')}/${zone}`);
  const instant = fc
    .tuple(
      fc.oneof(fc.integer({ min: -48, max: 96 }), fc.integer({ min: -192, max: 192 })),
      fc.constantFrom(-1, 0, 0, 0, 1),
    )
    .map(([quarters, ms]) => Date.parse(date) + quarters * 900_000 + ms);
  return fc.record({
    values: fc.array(value, { minLength: 1, maxLength: 5 }),
    now: instant,
    others: fc.array(instant, { maxLength: 20 }),
  });
});

const readings = new Map<string, Map<number, number>>();
const formatters = new Map<string, Intl.DateTimeFormat>();

test('[P14.19] over any windows, zones and instants the answer equals the slow definition', () => {
  fc.assert(
    fc.property(scene, ({ values, now }) => {
      const answer = at(values, now);
      expect(answer.open).toBe(isOpenSlowly(values, now));
      expect(answer.until).toBe(untilSlowly(values, now));
    }),
    { seed: 1420, numRuns: 1000 },
  );
});

test('[P14.20] an answer holds at every instant before its end, and is another one there', () => {
  fc.assert(
    fc.property(
      scene,
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 8 }),
      ({ values, now }, parts) => {
        const { open, until } = at(values, now);
        const last = Math.min(until, now + 30 * dayMs) - 1;
        for (const part of [...parts, 1]) expect(at(values, now + Math.floor((last - now) * part)).open).toBe(open);
        expect(until === Infinity || at(values, until).open === !open).toBe(true);
      },
    ),
    { seed: 1421, numRuns: 300 },
  );
});

test('[P14.20] a week that is asked often answers like one that is asked once, also when asked about the past', () => {
  fc.assert(
    fc.property(scene, ({ values, now, others }) => {
      const shared = compiled(values);
      for (const instant of [now, ...others, now]) {
        const answer = evaluateWeek(shared, instant);
        const fresh = at(values, instant);
        expect(answer).toEqual(fresh);
      }
    }),
    { seed: 1422, numRuns: 200 },
  );
});

test('[P14.23] what is remembered of zones is bounded, and what was dropped is read again', () => {
  const spellings = Array.from({ length: 1100 }, (_, i) => spelled('America/Chicago', i));
  const weeks = spellings.map((zone) => compiled([`R/09:00-17:00/${zone}`]));
  for (const week of [...weeks, ...weeks.slice(0, 50)]) {
    expect(evaluateWeek(week, Date.parse('2026-01-01T15:00:00Z'))).toEqual(open('2026-01-01T23:00:00.001Z'));
    expect(evaluateWeek(week, Date.parse('2026-07-02T14:00:00Z'))).toEqual(open('2026-07-02T22:00:00.001Z'));
  }
  const week = compiled(['R/09:00-17:00/America/Chicago']);
  const winters = Array.from({ length: 40 }, (_, i) => Date.parse('2026-01-01T15:00:00Z') + i * 52 * 7 * dayMs);
  for (const now of [...winters, ...winters]) expect(evaluateWeek(week, now).until).toBe(now + 8 * hourMs + 1);
});

test.each([
  'F/11:00:00-12:00:00-/US/Pacific',
  'F/false/UTC',
  'F/10-11',
  'F/10-11/',
  'X/10-11/UTC',
  'f/10-11/UTC',
  'F/24-25/UTC',
  'F/10:60-11/UTC',
  'F/10-11:00:00.5/UTC',
  'F/\ttrue/UTC',
  'F/10 - 11/UTC',
  'F/true/Mars/Phobos',
  'F/true/+01:00',
  'F/true/PST',
  'F/true/utc',
  '',
])('[P5.28] a malformed window makes the whole week unreadable: %j', (value) => {
  expect(compileWeek([value])).toBeNull();
  expect(compileWeek(['M/true/UTC', value])).toBeNull();
});

/** `zone` with capitals where `number` has binary ones: the database takes any case after the first letters. */
function spelled(zone: string, number: number): string {
  let rest = number * 2;
  return zone.replaceAll(/[a-z]/g, (letter) => {
    rest = Math.floor(rest / 2);
    return rest % 2 === 1 ? letter.toUpperCase() : letter;
  });
}

function compiled(values: readonly string[]) {
  const week = compileWeek(values);
  if (week === null) throw new Error(`unreadable: ${values.join(' ')}`);
  return week;
}

function at(values: readonly string[], now: string | number) {
  return evaluateWeek(compiled(values), typeof now === 'number' ? now : Date.parse(now));
}

function open(until: string) {
  return { open: true, until: Date.parse(until) };
}

function closed(until: string) {
  return { open: false, until: Date.parse(until) };
}

function letterOf(instant: number): string {
  return ['U', ...allButSunday][new Date(instant).getUTCDay()] ?? '';
}

function isOpenSlowly(values: readonly string[], now: number): boolean {
  return openingsAround(values, now).some(({ first, last }) => first <= now && now <= last);
}

function untilSlowly(values: readonly string[], now: number): number {
  const openings = openingsAround(values, now);
  const starts = openings.map(({ first }) => first).filter((first) => first > now);
  if (!isOpenSlowly(values, now)) return Math.min(...starts);
  let until = now;
  for (let next = now; next > -Infinity;) {
    until = next;
    const reaching = openings.filter(({ first, last }) => first <= until && until <= last);
    next = Math.max(...reaching.map(({ last }) => last + 1));
  }
  return until;
}

/** Every opening of the dates from 4 before to 16 after `now`, both ends inclusive. */
function openingsAround(values: readonly string[], now: number): { first: number; last: number }[] {
  const today = Math.floor(now / dayMs);
  return values.flatMap((value) => {
    const [letter = '', ranges = '', ...zone] = value.split('/');
    const dates = Array.from({ length: 21 }, (_, i) => today - 4 + i).filter(
      (date) => letterOf(date * dayMs) === letter,
    );
    return dates.flatMap((date) =>
      ranges
        .split(',')
        .map((range) => openingOn(zone.join('/'), date * dayMs, range))
        .filter(({ first, last }) => first <= last),
    );
  });
}

function openingOn(zone: string, day: number, range: string): { first: number; last: number } {
  if (range === 'true') return { first: firstAt(zone, day), last: firstAt(zone, day + dayMs) - 1 };
  const [start = 0, end = 0] = range.split('-').map((clock) => {
    const [h = 0, m = 0, s = 0] = clock.split(':').map(Number);
    return (h * 3600 + m * 60 + s) * 1000;
  });
  return { first: firstAt(zone, day + start), last: lastAt(zone, day + (end < start ? end + dayMs : end)) };
}

/** The first instant at which the clocks read `reading` or later. */
function firstAt(zone: string, reading: number): number {
  const piece = piecesAround(zone, reading).find(({ shown, length }) => reading < shown + length);
  return piece === undefined ? Infinity : piece.start + Math.max(0, reading - piece.shown);
}

/** The last instant at which the clocks read `reading` or earlier. */
function lastAt(zone: string, reading: number): number {
  const piece = piecesAround(zone, reading).findLast(({ shown }) => shown <= reading);
  return piece === undefined ? -Infinity : piece.start + Math.min(reading - piece.shown, piece.length - 1);
}

/** Hours in which the clocks run evenly, and the minutes of the others: no change is within a minute. */
function piecesAround(zone: string, reading: number): { start: number; shown: number; length: number }[] {
  const first = reading - (reading % hourMs) - 16 * hourMs;
  return Array.from({ length: 33 }, (_, i) => first + i * hourMs).flatMap((start) => {
    const shown = readingAt(zone, start);
    if (readingAt(zone, start + hourMs) === shown + hourMs) return [{ start, shown, length: hourMs }];
    const minutes = Array.from({ length: 60 }, (_, i) => start + i * 60_000);
    return minutes.map((minute) => ({ start: minute, shown: readingAt(zone, minute), length: 60_000 }));
  });
}

function readingAt(zone: string, instant: number): number {
  const known = readings.get(zone) ?? new Map<number, number>();
  readings.set(zone, known);
  const reading = known.get(instant) ?? Date.parse(`${formatterOf(zone).format(instant).replace(' ', 'T')}Z`);
  known.set(instant, reading);
  return reading;
}

function formatterOf(zone: string): Intl.DateTimeFormat {
  const known = formatters.get(zone);
  if (known !== undefined) return known;
  const made = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'medium' });
  formatters.set(zone, made);
  return made;
}
