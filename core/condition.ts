// A policy's conditions, made ready once and judged often: whether they all hold, and until when that answer stands by
// itself. Properties, operators and spellings are those that migrations/0001_row_checks.sql takes (is_condition).
//
// Fails closed: a condition that is not one of those never holds, and neither does one whose fact is unknown, the
// operators that exclude included. An unreadable address and a region that is no country, like the XX and T1 that the
// edge reports when it cannot tell, are unknown.
import { compilePrefixes, contains, isPrintedPrefix, parseAddress } from './cidr.ts';
import { compileWeek, evaluateWeek } from './week.ts';
import { unreachable } from '../protocol/assert.ts';
import type { RowOf } from '../protocol/rows.ts';
import type { Address, Prefixes } from './cidr.ts';
import type { Week } from './week.ts';

export type Condition = RowOf<'policies'>['conditions'][number];

/** What is known of a client and its connection; null is unknown. */
export type Facts = {
  /** ISO 3166-1 alpha-2, upper case. */
  readonly region: string | null;
  /** In any text form. */
  readonly remoteIp: string | null;
  readonly providerId: string | null;
  readonly isVerified: boolean;
};

/**
 * `met`: all conditions hold from now up to `until`, exclusive. `violated`: `properties` of those that do not, each once,
 * in their order; before `until` time alone does not change that. Milliseconds since 1970-01-01 UTC, or Infinity.
 */
export type Verdict =
  | { readonly type: 'met'; readonly until: number }
  | { readonly type: 'violated'; readonly properties: readonly string[]; readonly until: number };

type Test =
  | { readonly type: 'never' }
  | { readonly type: 'always' }
  | { readonly type: 'verified' }
  | { readonly type: 'region' | 'provider'; readonly values: ReadonlySet<string>; readonly isExcluded: boolean }
  | { readonly type: 'address'; readonly prefixes: Prefixes; readonly isExcluded: boolean }
  | { readonly type: 'week'; readonly week: Week };

export type CompiledConditions = readonly { readonly property: string; readonly test: Test }[];

type Answer = { readonly isMet: boolean; readonly until: number };

const met: Answer = { isMet: true, until: Infinity };
const violated: Answer = { isMet: false, until: Infinity };

/** ISO 3166-1 alpha-2, and XK, which geolocation uses for Kosovo: the list of is_country. */
const countries = new Set(
  (
    'AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ ' +
    'CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO ' +
    'FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE ' +
    'JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO ' +
    'MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW ' +
    'PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM ' +
    'TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW'
  ).split(' '),
);

/** What cannot be read compiles to a condition that never holds. */
export function compileConditions(conditions: readonly Condition[]): CompiledConditions {
  return conditions.map((condition) => ({
    property: condition.property,
    test: compileCondition(condition) ?? { type: 'never' },
  }));
}

/** Judges `compiled` at `now`, milliseconds since 1970-01-01 UTC; no conditions always hold. */
export function evaluate(compiled: CompiledConditions, facts: Facts, now: number): Verdict {
  let metUntil = Infinity;
  let violatedUntil = now;
  const properties: string[] = [];
  for (const { property, test } of compiled) {
    const { isMet, until } = judge(test, facts, now);
    if (isMet) {
      metUntil = Math.min(metUntil, until);
      continue;
    }
    violatedUntil = Math.max(violatedUntil, until);
    if (!properties.includes(property)) properties.push(property);
  }
  return properties.length === 0
    ? { type: 'met', until: metUntil }
    : { type: 'violated', properties, until: violatedUntil };
}

function judge(test: Test, facts: Facts, now: number): Answer {
  switch (test.type) {
    case 'never':
      return violated;
    case 'always':
      return met;
    case 'verified':
      return facts.isVerified ? met : violated;
    case 'region':
      return facts.region !== null && countries.has(facts.region) ? membership(test, facts.region) : violated;
    case 'provider':
      return facts.providerId === null ? violated : membership(test, facts.providerId);
    case 'address': {
      const address = facts.remoteIp === null ? null : addressOf(facts.remoteIp);
      return address !== null && contains(test.prefixes, address) !== test.isExcluded ? met : violated;
    }
    case 'week': {
      const { open, until } = evaluateWeek(test.week, now);
      return { isMet: open, until };
    }
  }
  unreachable(test);
}

/** The address read last: the policies of one client are judged one after the other. */
let readLast: { readonly text: string; readonly address: Address | null } = { text: '', address: null };

function addressOf(text: string): Address | null {
  if (readLast.text !== text) readLast = { text, address: parseAddress(text) };
  return readLast.address;
}

function membership(
  test: { readonly values: ReadonlySet<string>; readonly isExcluded: boolean },
  fact: string,
): Answer {
  return test.values.has(fact) !== test.isExcluded ? met : violated;
}

function compileCondition({ property, operator, values }: Condition): Test | null {
  switch (property) {
    case 'remote_ip_location_region':
      return compileMembership('region', operator, values, (value) => countries.has(value));
    case 'provider_id':
      return compileMembership('provider', operator, values, isProviderId);
    case 'remote_ip':
      return compileAddress(operator, values);
    case 'current_utc_datetime': {
      const week = operator === 'is_in_day_of_week_time_ranges' ? compileWeek(values) : null;
      return week === null ? null : { type: 'week', week };
    }
    case 'client_verified': {
      if (operator !== 'is' || values.length !== 1) return null;
      if (values[0] === 'true') return { type: 'verified' };
      return values[0] === 'false' ? { type: 'always' } : null;
    }
  }
  return null;
}

function compileMembership(
  type: 'region' | 'provider',
  operator: string,
  values: readonly string[],
  isValue: (value: string) => boolean,
): Test | null {
  if ((operator !== 'is_in' && operator !== 'is_not_in') || !values.every(isValue)) return null;
  return { type, values: new Set(values), isExcluded: operator === 'is_not_in' };
}

function compileAddress(operator: string, values: readonly string[]): Test | null {
  if ((operator !== 'is_in_cidr' && operator !== 'is_not_in_cidr') || !values.every(isPrintedPrefix)) return null;
  const prefixes = compilePrefixes(values);
  return prefixes === null ? null : { type: 'address', prefixes, isExcluded: operator === 'is_not_in_cidr' };
}

function isProviderId(value: string): boolean {
  return /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/.test(value);
}
