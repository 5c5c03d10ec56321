// Conditions of a policy: which are taken, what satisfies them, and until when the verdict stands.
import { expect, test } from 'vitest';
import { compileConditions, evaluate } from '../../core/condition.ts';
import type { Condition, Facts } from '../../core/condition.ts';

const now = Date.parse('2021-01-01T10:00:00Z');
const okta = '0a1b2c3d-0000-4000-8000-000000000001';
const google = '0a1b2c3d-0000-4000-8000-000000000002';
const met = { type: 'met', until: Infinity };
const facts: Facts = { region: 'DE', remoteIp: '10.1.2.3', providerId: okta, isVerified: true };
const unknown: Facts = { region: null, remoteIp: null, providerId: null, isVerified: true };

/** What migrations/0001_row_checks.sql (is_condition) accepts. */
const accepted: readonly Condition[] = [
  ...['is_in', 'is_not_in'].flatMap((operator) => [region(operator), region(operator, 'DE', 'XK')]),
  ...['is_in', 'is_not_in'].flatMap((operator) => [provider(operator), provider(operator, okta, google)]),
  ...['is_in_cidr', 'is_not_in_cidr'].map((operator) => address(operator)),
  ...each('10.0.0.1 10.0.0.1/8 0.0.0.0/0 255.255.255.255/32 fd00::/8 :: ::1/128 ::2 ::ffff ::1:2:3', inCidr),
  ...each('1:0:0:2::3 1::2:0:0:3:4 0:0:1:: 1:2:3:4:5:6:7:0 1:0:2:3:4:5:6:7 0:2:3:4:5:6:7:8', inCidr),
  ...each('::0.1.0.2 ::ffff:1.2.3.4 ::ffff:1.2.3.4/96 ::ffff:0.0.0.0/0 ::fffe:102:304 64:ff9b::102:304/100', inCidr),
  ...each('M//UTC T/true/UTC W/9-17/Europe/Berlin R/09:00-17:00:59/Poland S/22:00-06:00/UTC F/,9-9,true,/UTC', within),
  ...each('U/23:59:59-0/America/Port-au-Prince M/0-23/America/Argentina/Buenos_Aires M/true/Etc/GMT+5', within),
  ...each('M/true/EUROPE/BERLIN M/true/EST5EDT M/true/GB M/true/Asia/Calcutta M/true/Asia/Kolkata', within),
  week('F/ 1:2:3-2 , ,true /UTC'),
  week(),
  week('M/9-12/UTC', 'M/13-17/UTC'),
  verified('true'),
  verified('false'),
];

/** What it refuses. */
const refused: readonly Condition[] = [
  { property: 'hostname', operator: 'is_in', values: ['a'] },
  { property: 'Remote_ip', operator: 'is_in_cidr', values: [] },
  { property: '', operator: '', values: [] },
  { property: 'current_utc_datetime', operator: 'is_in', values: ['M/true/UTC'] },
  { property: 'client_verified', operator: 'is_in', values: ['true'] },
  ...each('contains does_not_contain is IS_IN is_in_cidr', (operator) => region(operator, 'DE')),
  ...each('contains does_not_contain is IS_IN is_in_cidr', (operator) => provider(operator, okta)),
  ...each('contains is_in is_not_in is', (operator) => address(operator, '10.0.0.0/8')),
  ...each('UK de DEU XX T1', (code) => region('is_in', code)),
  ...each('UK de DEU XX T1', (code) => region('is_not_in', 'FR', code)),
  region('is_not_in', ''),
  region('is_not_in', 'DE '),
  ...each(`okta ${okta.toUpperCase()} ${okta.replaceAll('-', '')}`, (id) => provider('is_not_in', id)),
  ...each('10.0.0.0/33 10.0.0 10.0.0.01 10.0.0.0/08 10.0.0.0/ 10.0.0.0/8/8 fd00::/129 FD00::/8 fd00:0::/16', inCidr),
  ...each('::ffff:0:0/96 ::102:304 1:0:0:2:0:0:0:3 0::1 ::1:2 ::1.2.3 1:2:3:4:5:6:7:: ::2:3:4:5:6:7:8', inCidr),
  ...each('64:ff9b::1.2.3.4 ::0.0.0.2 [::1] fe80::1%eth0', inCidr),
  address('is_not_in_cidr', ''),
  address('is_not_in_cidr', '10.0.0.0/8 '),
  ...each('F/10-11 F/10-11/ F/false/UTC F/11:00:00-12:00:00-/US/Pacific X/true/UTC m/true/UTC /true/UTC', within),
  ...each('M/24-25/UTC M/9-9:60/UTC M/9:00:00.5-10/UTC M/9/UTC M/-/UTC M/1:2:3:4-5/UTC', within),
  ...each('M/true/Mars/Phobos M/true/utc M/true/poland M/true/europe/Berlin M/true/PST M/true/FOO5', within),
  ...each('M/true/+01:00 M/true/Etc/GMT+13 M/true/SystemV/AST4', within),
  week('M/9 - 10/UTC'),
  week('M/\ttrue/UTC'),
  week('M/true/ UTC'),
  week('M/true/UTC\n'),
  week('M/true/UTC', ''),
  verified(),
  verified('yes'),
  verified('True'),
  verified('true', 'true'),
];

test.each(accepted)(
  '[P5.19] a condition that the database takes is taken: $property $operator $values',
  (condition) => {
    expect(compileConditions([condition])).toMatchObject([{ test: { type: expect.not.stringMatching('never') } }]);
  },
);

test.each(refused)(
  '[P5.19] a condition that the database refuses never holds: $property $operator $values',
  (condition) => {
    const { property } = condition;
    for (const known of [facts, { ...facts, region: 'FR', remoteIp: 'fd00::1', providerId: google }]) {
      expect(evaluate(compileConditions([condition]), known, now)).toEqual(violated(property));
    }
  },
);

test.each([
  region('is_in', 'DE'),
  region('is_not_in', 'FR'),
  region('is_not_in'),
  address('is_in_cidr', '0.0.0.0/0', '::/0'),
  address('is_not_in_cidr', '192.0.2.0/24'),
  address('is_not_in_cidr'),
  provider('is_in', okta),
  provider('is_not_in', google),
  provider('is_not_in'),
])('[P5.20] an unknown fact does not satisfy $property $operator $values, a known one does', (condition) => {
  expect(judge([condition], facts)).toEqual(met);
  expect(judge([condition], unknown)).toEqual(violated(condition.property));
});

test('[P5.21] a region that is no country and an address that cannot be read are unknown', () => {
  for (const code of ['XX', 'T1', 'de', '']) {
    expect(judge([region('is_not_in', 'FR')], { ...facts, region: code })).toMatchObject({ type: 'violated' });
  }
  for (const remoteIp of ['', 'unknown', '10.0.0.01', 'fe80::1%eth0', '10.0.0.1:443']) {
    expect(judge([address('is_not_in_cidr', '192.0.2.0/24')], { ...facts, remoteIp })).toMatchObject({
      type: 'violated',
    });
  }
});

test('[P5.22] a list holds its members, and an empty one nothing', () => {
  expect(judge([region('is_in', 'FR', 'DE')], facts)).toEqual(met);
  expect(judge([region('is_in', 'FR')], facts)).toMatchObject({ type: 'violated' });
  expect(judge([region('is_in')], facts)).toMatchObject({ type: 'violated' });
  expect(judge([region('is_not_in', 'FR', 'DE')], facts)).toMatchObject({ type: 'violated' });
  expect(judge([provider('is_in', google)], facts)).toMatchObject({ type: 'violated' });
  expect(judge([provider('is_not_in', google, okta)], facts)).toMatchObject({ type: 'violated' });
  expect(judge([address('is_in_cidr')], facts)).toMatchObject({ type: 'violated' });
  expect(judge([address('is_in_cidr', '192.0.2.0/24', '10.0.0.9/8')], facts)).toEqual(met);
  expect(judge([address('is_not_in_cidr', '192.0.2.0/24', '10.0.0.0/8')], facts)).toMatchObject({ type: 'violated' });
  expect(judge([address('is_in_cidr', '::/0')], facts)).toMatchObject({ type: 'violated' });
  expect(judge([address('is_in_cidr', '10.0.0.0/8')], { ...facts, remoteIp: '::ffff:10.1.2.3' })).toEqual(met);
});

test('[P5.23] a client that must be verified is, one that need not be may be either', () => {
  const notVerified = { ...facts, isVerified: false };
  expect(judge([verified('true')], facts)).toEqual(met);
  expect(judge([verified('true')], notVerified)).toEqual(violated('client_verified'));
  expect(judge([verified('false')], facts)).toEqual(met);
  expect(judge([verified('false')], notVerified)).toEqual(met);
});

test('[P5.24] all conditions must hold, and each violated property is named once, in order', () => {
  expect(judge([], unknown)).toEqual(met);
  expect(judge([region('is_in', 'DE'), verified('true'), provider('is_in', okta)], facts)).toEqual(met);
  const conditions = [
    provider('is_in', google),
    region('is_in', 'FR'),
    verified('true'),
    region('is_in', 'IT'),
    week('M/true/UTC'),
    provider('is_not_in', okta),
  ];
  expect(judge(conditions, facts)).toEqual(
    violated('provider_id', 'remote_ip_location_region', 'current_utc_datetime'),
  );
});

test('[P14.21] conditions that hold do so until the first of them ends, wherever it stands in the list', () => {
  const day = week('F/09:00-17:00/UTC');
  const morning = week('F/true/UTC');
  const until = Date.parse('2021-01-01T17:00:00.001Z');
  expect(judge([day, morning, region('is_in', 'DE')], facts)).toEqual({ type: 'met', until });
  expect(judge([region('is_in', 'DE'), morning, day], facts)).toEqual({ type: 'met', until });
});

test('[P14.22] conditions that only time violates may hold when the last of them opens, others never by time alone', () => {
  const weekend = week('S/true/UTC', 'U/true/UTC');
  const evening = week('F/18-20/UTC', 'S/18-20/UTC');
  const property = 'current_utc_datetime';
  const saturday = Date.parse('2021-01-02T00:00:00Z');
  expect(judge([weekend], facts)).toEqual({ type: 'violated', properties: [property], until: saturday });
  expect(judge([weekend, evening], facts)).toEqual({ type: 'violated', properties: [property], until: saturday });
  expect(judge([weekend, region('is_in', 'FR')], facts)).toEqual(violated(property, 'remote_ip_location_region'));
  expect(judge([week()], facts)).toEqual(violated(property));
});

/** One condition for each of the words of `words`. */
function each(words: string, make: (word: string) => Condition): Condition[] {
  return words.split(' ').map(make);
}

function judge(conditions: readonly Condition[], known: Facts) {
  return evaluate(compileConditions(conditions), known, now);
}

function violated(...properties: string[]) {
  return { type: 'violated', properties, until: Infinity };
}

function region(operator: string, ...values: string[]): Condition {
  return { property: 'remote_ip_location_region', operator, values };
}

function provider(operator: string, ...values: string[]): Condition {
  return { property: 'provider_id', operator, values };
}

function address(operator: string, ...values: string[]): Condition {
  return { property: 'remote_ip', operator, values };
}

function inCidr(value: string): Condition {
  return address('is_in_cidr', value);
}

function week(...values: string[]): Condition {
  return { property: 'current_utc_datetime', operator: 'is_in_day_of_week_time_ranges', values };
}

function within(value: string): Condition {
  return week(value);
}

function verified(...values: string[]): Condition {
  return { property: 'client_verified', operator: 'is', values };
}
