// When a token ends, as people write it.
import { expect, test } from 'vitest';
import { parseExpiry } from '../../cli/expiry.ts';
import { UsageError } from '../../dev/command.ts';

const now = new Date('2026-06-01T12:00:00Z');

test.each([
  ['90m', '2026-06-01T13:30:00.000Z'],
  ['12h', '2026-06-02T00:00:00.000Z'],
  ['30d', '2026-07-01T12:00:00.000Z'],
  ['2w', '2026-06-15T12:00:00.000Z'],
  ['2026-12-31T00:00:00Z', '2026-12-31T00:00:00.000Z'],
  ['2026-12-31T01:30+02:00', '2026-12-30T23:30:00.000Z'],
  ['2028-02-29', '2028-02-29T00:00:00.000Z'],
])('the expiry %s is %s', (text, expected) => {
  expect(parseExpiry(text, now).toISOString()).toBe(expected);
});

test.each([
  '',
  'soon',
  '30',
  'd',
  '-1d',
  '1.5d',
  '9999999w',
  '2026-12-31T00:00:00',
  '2027-02-29',
  '31.12.2026',
  '2027',
])('the expiry %j is refused with a way to write it', (text) => {
  expect(() => parseExpiry(text, now)).toThrow(UsageError);
  expect(() => parseExpiry(text, now)).toThrow(/cannot be read: write a span like 12h/);
});

test.each(['0d', '2026-06-01T12:00:00Z', '2020-01-01'])(
  'the expiry %s, which is not in the future, is refused',
  (text) => {
    expect(() => parseExpiry(text, now)).toThrow(/is not in the future/);
  },
);
