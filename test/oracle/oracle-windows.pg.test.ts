// Windows of time as the oracle reads them, on examples worked out by hand: in zones whose clocks are changed in
// different ways, and everywhere else against the local clock.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { must } from '../../protocol/assert.ts';
import { startOracleDatabase } from './database.ts';
import type { Database } from '../support/database.ts';

const hourMs = 3_600_000;

let database: Database;
beforeAll(async () => {
  database = await startOracleDatabase();
});
afterAll(() => database.stop());

// The window, its first open millisecond and its last.
test.each([
  ['in UTC', 'W/09:00-17:00/UTC', '2026-07-15T09:00:00.000Z', '2026-07-15T17:00:00.000Z'],
  ['with times spelled short', 'W/9-17:5:7/UTC', '2026-07-15T09:00:00.000Z', '2026-07-15T17:05:07.000Z'],
  ['with several ranges: the first', 'W/9-12, 13-17/UTC', '2026-07-15T09:00:00.000Z', '2026-07-15T12:00:00.000Z'],
  ['with several ranges: the second', 'W/9-12, 13-17/UTC', '2026-07-15T13:00:00.000Z', '2026-07-15T17:00:00.000Z'],
  ['of a single instant', 'W/12-12/UTC', '2026-07-15T12:00:00.000Z', '2026-07-15T12:00:00.000Z'],
  ['of a whole day', 'W/true/UTC', '2026-07-15T00:00:00.000Z', '2026-07-15T23:59:59.999Z'],
  ['overnight', 'W/22:00-06:00/UTC', '2026-07-15T22:00:00.000Z', '2026-07-16T06:00:00.000Z'],
  ['overnight into the next week', 'U/22:00-06:00/UTC', '2026-07-19T22:00:00.000Z', '2026-07-20T06:00:00.000Z'],
  ['on local dates', 'R/00:00-08:00/Asia/Kathmandu', '2026-07-15T18:15:00.000Z', '2026-07-16T02:15:00.000Z'],
  ['of a short day', 'U/true/America/New_York', '2026-03-08T05:00:00.000Z', '2026-03-09T03:59:59.999Z'],
  ['of a long day', 'U/true/America/New_York', '2026-11-01T04:00:00.000Z', '2026-11-02T04:59:59.999Z'],
  ['whose start is skipped', 'U/02:15-05:00/America/New_York', '2026-03-08T07:00:00.000Z', '2026-03-08T09:00:00.000Z'],
  ['whose end is skipped', 'U/01:00-02:30/America/New_York', '2026-03-08T06:00:00.000Z', '2026-03-08T07:00:00.000Z'],
  ['skipped altogether', 'U/02:15-02:45/America/New_York', '2026-03-08T07:00:00.000Z', '2026-03-08T07:00:00.000Z'],
  ['whose start comes twice', 'U/01:30-03:00/America/New_York', '2026-11-01T05:30:00.000Z', '2026-11-01T08:00:00.000Z'],
  ['whose end comes twice', 'U/00:00-01:30/America/New_York', '2026-11-01T04:00:00.000Z', '2026-11-01T06:30:00.000Z'],
  [
    'of an instant that comes twice',
    'U/1:30-1:30/America/New_York',
    '2026-11-01T05:30:00.000Z',
    '2026-11-01T06:30:00.000Z',
  ],
  [
    'overnight, its end skipped',
    'S/23:00-02:30/America/New_York',
    '2026-03-08T04:00:00.000Z',
    '2026-03-08T07:00:00.000Z',
  ],
  [
    'of Berlin, its start skipped',
    'U/02:30-04:00/Europe/Berlin',
    '2026-03-29T01:00:00.000Z',
    '2026-03-29T02:00:00.000Z',
  ],
  ['of Berlin, its start twice', 'U/02:30-03:00/Europe/Berlin', '2026-10-25T00:30:00.000Z', '2026-10-25T02:00:00.000Z'],
  [
    'of Berlin overnight, its end twice',
    'S/22:00-02:30/Europe/Berlin',
    '2026-10-24T20:00:00.000Z',
    '2026-10-25T01:30:00.000Z',
  ],
  [
    'of Lord Howe, half an hour skipped',
    'U/02:15-03:00/Australia/Lord_Howe',
    '2026-10-03T15:30:00.000Z',
    '2026-10-03T16:00:00.000Z',
  ],
  [
    'of Lord Howe, its start twice',
    'U/01:45-02:30/Australia/Lord_Howe',
    '2026-04-04T14:45:00.000Z',
    '2026-04-04T16:00:00.000Z',
  ],
  [
    'of Lord Howe, its end twice',
    'U/00:00-01:45/Australia/Lord_Howe',
    '2026-04-04T13:00:00.000Z',
    '2026-04-04T15:15:00.000Z',
  ],
  ['of Apia, an hour skipped', 'U/03:30-06:00/Pacific/Apia', '2020-09-26T14:00:00.000Z', '2020-09-26T16:00:00.000Z'],
  ['of Apia, its start twice', 'U/03:30-05:00/Pacific/Apia', '2021-04-03T13:30:00.000Z', '2021-04-03T16:00:00.000Z'],
  [
    'of Apia, on the eve of a skipped date',
    'R/true/Pacific/Apia',
    '2011-12-29T10:00:00.000Z',
    '2011-12-30T09:59:59.999Z',
  ],
  [
    'of Apia, into a skipped date',
    'R/22:00-02:00/Pacific/Apia',
    '2011-12-30T08:00:00.000Z',
    '2011-12-30T10:00:00.000Z',
  ],
  ['of Apia, after a skipped date', 'S/true/Pacific/Apia', '2011-12-30T10:00:00.000Z', '2011-12-31T09:59:59.999Z'],
  ['of Havana, its midnight skipped', 'U/true/America/Havana', '2026-03-08T05:00:00.000Z', '2026-03-09T03:59:59.999Z'],
  ['of Havana, its midnight twice', 'U/true/America/Havana', '2026-11-01T04:00:00.000Z', '2026-11-02T04:59:59.999Z'],
])('a window %s: %s is open from %s to %s and not a millisecond longer', async (_, window, first, last) => {
  const opens = Date.parse(first);
  const closes = Date.parse(last);
  const instants = [opens - 1, opens, (opens + closes) / 2, closes, closes + 1];
  const open: boolean[] = [];
  for (const atMs of instants) open.push(await isOpen(window, atMs));
  expect(open).toEqual([false, true, true, true, false]);
});

test('a window of a date that the zone skips, or without a range, is never open', async () => {
  for (let hour = -72; hour <= 72; hour += 1) {
    const atMs = Date.parse('2011-12-30T10:00:00.001Z') + hour * hourMs;
    expect(await isOpen('F/true/Pacific/Apia', atMs)).toBe(false);
    expect(await isOpen('F//Pacific/Apia', atMs)).toBe(false);
  }
});

test('END is open for its millisecond and closed from the next one on', async () => {
  const end = Date.parse('2026-07-15T17:00:00Z');
  const { rows } = await database.db.query<{ open: boolean }>(
    `select oracle.window_open('W/9-17/UTC', $1::timestamptz + interval '0.999 ms') as open`,
    [new Date(end).toISOString()],
  );
  expect(rows[0]?.open).toBe(true);
  expect(await isOpen('W/9-17/UTC', end + 1)).toBe(false);
});

test('a window opens at the same instants whatever the time zone of the session', async () => {
  await database.db.query(`set time zone 'Pacific/Kiritimati'`);
  expect(await isOpen('W/true/UTC', Date.parse('2026-07-15T00:00:00.000Z'))).toBe(true);
  expect(await isOpen('W/true/UTC', Date.parse('2026-07-14T23:59:59.999Z'))).toBe(false);
  expect(await isOpen('U/02:15-05:00/America/New_York', Date.parse('2026-03-08T07:00:00Z'))).toBe(true);
  await database.db.query(`set time zone 'UTC'`);
});

test('on dates without a clock change a window is open when the local clock and calendar say so', async () => {
  const { rows } = await database.db.query<{ checked: string; wrong: unknown }>(`
    with
      windows as (
        select zone, start_time, end_time, 'W/' || start_time || '-' || end_time || '/' || zone as value
        from unnest(array['UTC', 'America/New_York', 'Australia/Lord_Howe']) as zone,
          (values (time '09:00', time '17:00'), ('00:00', '23:45'), ('22:15', '06:30'), ('00:15', '00:00'), ('12:00', '12:00'))
            as times (start_time, end_time)
      ),
      readings as (
        select value, at, start_time, end_time, (at at time zone zone)::time as time,
          extract(isodow from at at time zone zone) as day
        from windows, generate_series(timestamptz '2026-07-12T00:00Z', '2026-07-19T00:00Z', '15 minutes') as at
      ),
      answers as (
        select value, at, oracle.window_open(value, at) as actual,
          case
            when start_time <= end_time then day = 3 and time between start_time and end_time
            else day = 3 and time >= start_time or day = 4 and time <= end_time
          end as expected
        from readings
      )
    select count(*)::text as checked, jsonb_agg(answers) filter (where actual <> expected) as wrong from answers`);
  expect(rows).toEqual([{ checked: '10095', wrong: null }]);
});

async function isOpen(window: string, atMs: number): Promise<boolean> {
  const { rows } = await database.db.query<{ open: boolean }>('select oracle.window_open($1, $2) as open', [
    window,
    new Date(atMs).toISOString(),
  ]);
  return must(rows[0], 'an answer').open;
}
