// IP addresses and prefixes: parsing them, and whether an address lies in one of many prefixes.
//
// A v4 address mapped into v6 (::ffff:1.2.3.4, RFC 4291 section 2.5.5.2) is the v4 address, and so is a prefix of such
// addresses that is at least 96 long. v4 and v6 never contain each other: ::/0 holds no v4 address, however it is written.
// Octets with leading zeros, which some read as octal, and zone ids (fe80::1%eth0) are no addresses.

export type Address = { readonly family: 4; readonly value: number } | { readonly family: 6; readonly value: bigint };

/** Disjoint ranges in ascending order, both ends inclusive. */
type Ranges<T extends number | bigint> = { readonly firsts: readonly T[]; readonly lasts: readonly T[] };

type Range<T extends number | bigint> = { readonly first: T; readonly last: T };

type Prefix = ({ readonly family: 4 } & Range<number>) | ({ readonly family: 6 } & Range<bigint>);

export type Prefixes = { readonly v4: Ranges<number>; readonly v6: Ranges<bigint> };

/** The longest text of an address: eight groups, the last two as v4. */
const addressLengthMax = 45;

const mappedPrefix = 0xffffn;
const colon = 58;

/**
 * Ready to be searched: addresses, or prefixes `address/length` in any text form, whose host bits may be set (they are
 * masked). An address alone is a prefix of full length. Null when one of them is neither.
 */
export function compilePrefixes(values: readonly string[]): Prefixes | null {
  const v4: Range<number>[] = [];
  const v6: Range<bigint>[] = [];
  for (const value of values) {
    const prefix = parsePrefix(value);
    if (prefix === null) return null;
    if (prefix.family === 4) v4.push(prefix);
    else v6.push(prefix);
  }
  return { v4: merged(v4), v6: merged(v6) };
}

/** Whether `address` lies in one of `prefixes`; what is no address lies in none. */
export function contains(prefixes: Prefixes, address: Address | null): boolean {
  if (address === null) return false;
  return address.family === 4 ? isWithin(prefixes.v4, address.value) : isWithin(prefixes.v6, address.value);
}

/** An address in any text form of RFC 4291 section 2.2; null for anything else. */
export function parseAddress(text: string): Address | null {
  const v4 = parseV4(text);
  if (v4 !== null) return { family: 4, value: v4 };
  const v6 = parseV6(text);
  if (v6 === null) return null;
  return isMapped(v6) ? { family: 4, value: Number(v6 & 0xffff_ffffn) } : { family: 6, value: v6 };
}

/**
 * Whether `text` is an address or prefix in the one spelling that migrations/0001_row_checks.sql takes (is_ip_range): as
 * Postgres prints it, which for v6 is RFC 5952 with all of ::1.2.3.4 and ::ffff:1.2.3.4 in dots.
 */
export function isPrintedPrefix(text: string): boolean {
  const address = text.split('/', 1)[0] ?? '';
  if (parsePrefix(text) === null) return false;
  const v6 = parseV6(address);
  return v6 === null || printV6(v6) === address;
}

function parsePrefix(text: string): Prefix | null {
  const slash = text.indexOf('/');
  const address = slash === -1 ? text : text.slice(0, slash);
  const v4 = parseV4(address);
  if (v4 !== null) {
    const length = slash === -1 ? 32 : parseLength(text.slice(slash + 1), 32);
    return length === null ? null : v4Prefix(v4, length);
  }
  const v6 = parseV6(address);
  const length = slash === -1 ? 128 : parseLength(text.slice(slash + 1), 128);
  if (v6 === null || length === null) return null;
  if (isMapped(v6) && length >= 96) return v4Prefix(Number(v6 & 0xffff_ffffn), length - 96);
  const hostBits = BigInt(128 - length);
  const first = (v6 >> hostBits) << hostBits;
  return { family: 6, first, last: first + (1n << hostBits) - 1n };
}

function v4Prefix(value: number, length: number): Prefix {
  const size = 2 ** (32 - length);
  const first = Math.floor(value / size) * size;
  return { family: 4, first, last: first + size - 1 };
}

function parseLength(text: string, max: number): number | null {
  if (!/^(?:0|[1-9][0-9]{0,2})$/.test(text)) return null;
  const length = Number(text);
  return length <= max ? length : null;
}

function parseV4(text: string): number | null {
  if (!/^(?:(?:0|[1-9][0-9]{0,2})(?:\.(?!$)|$)){4}$/.test(text)) return null;
  let value = 0;
  for (const octet of text.split('.').map(Number)) {
    if (octet > 255) return null;
    value = value * 256 + octet;
  }
  return value;
}

function parseV6(text: string): bigint | null {
  if (text.length > addressLengthMax) return null;
  const groups = groupsOf(text);
  if (groups === null) return null;
  let value = 0n;
  for (let i = 0; i < 8; i += 2) value = (value << 32n) | BigInt((groups[i] ?? 0) * 65_536 + (groups[i + 1] ?? 0));
  return value;
}

/** The eight groups of a v6 address, those that `::` leaves out included. */
function groupsOf(text: string): readonly number[] | null {
  const plain = withoutDots(text);
  if (plain === null) return null;
  const cut = plain.indexOf('::');
  const head = parseGroups(cut === -1 ? plain : plain.slice(0, cut));
  if (cut === -1) return head?.length === 8 ? head : null;
  const tail = parseGroups(plain.slice(cut + 2));
  if (head === null || tail === null || head.length + tail.length > 7) return null;
  while (head.length + tail.length < 8) head.push(0);
  return [...head, ...tail];
}

/** Groups of one to four hex digits apart by colons, of an empty text none. Read by hand, three times as fast as by patterns. */
function parseGroups(text: string): number[] | null {
  const groups: number[] = [];
  let [value, digits] = [0, 0];
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (code === colon) {
      if (digits === 0) return null;
      groups.push(value);
      [value, digits] = [0, 0];
      continue;
    }
    const digit = hexDigit(code);
    if (digit === null || digits === 4) return null;
    value = value * 16 + digit;
    digits += 1;
  }
  if (digits > 0) groups.push(value);
  return digits > 0 || text === '' ? groups : null;
}

function hexDigit(code: number): number | null {
  if (code >= 48 && code <= 57) return code - 48;
  const lowerCase = code | 32;
  return lowerCase >= 97 && lowerCase <= 102 ? lowerCase - 87 : null;
}

/** The text with a v4 address at its end written as two groups; null when what stands there in dots is none. */
function withoutDots(text: string): string | null {
  if (!text.includes('.')) return text;
  const start = text.lastIndexOf(':') + 1;
  const v4 = parseV4(text.slice(start));
  if (v4 === null) return null;
  return `${text.slice(0, start)}${Math.floor(v4 / 65_536).toString(16)}:${(v4 % 65_536).toString(16)}`;
}

function isMapped(v6: bigint): boolean {
  return v6 >> 32n === mappedPrefix;
}

/** Lower case, the first of the longest runs of at least two zero groups as `::`. */
function printV6(value: bigint): string {
  const groups = Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(112 - 16 * i)) & 0xffffn));
  const hasDots = isMapped(value) || (value >> 32n === 0n && value > 0xffffn);
  if (hasDots) {
    const octets = groups.slice(6).flatMap((group) => [group >> 8, group & 255]);
    return `${isMapped(value) ? '::ffff:' : '::'}${octets.join('.')}`;
  }
  const [start, length] = longestZeros(groups);
  const hex = groups.map((group) => group.toString(16));
  if (length < 2) return hex.join(':');
  return `${hex.slice(0, start).join(':')}::${hex.slice(start + length).join(':')}`;
}

function longestZeros(groups: readonly number[]): [start: number, length: number] {
  let longest: [number, number] = [0, 0];
  let start = 0;
  for (const [i, group] of groups.entries()) {
    if (group !== 0) start = i + 1;
    else if (i + 1 - start > longest[1]) longest = [start, i + 1 - start];
  }
  return longest;
}

function merged<T extends number | bigint>(ranges: readonly Range<T>[]): Ranges<T> {
  const firsts: T[] = [];
  const lasts: T[] = [];
  for (const { first, last } of ranges.toSorted((a, b) => (a.first < b.first ? -1 : Number(a.first > b.first)))) {
    const previous = lasts.at(-1);
    if (previous === undefined || first > previous) {
      firsts.push(first);
      lasts.push(last);
    } else if (last > previous) lasts[lasts.length - 1] = last;
  }
  return { firsts, lasts };
}

/** Binary search for the last range that starts at or below `value`. */
function isWithin<T extends number | bigint>({ firsts, lasts }: Ranges<T>, value: T): boolean {
  let low = 0;
  let high = firsts.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const first = firsts[middle];
    if (first !== undefined && first <= value) low = middle + 1;
    else high = middle;
  }
  const last = lasts[low - 1];
  return last !== undefined && value <= last;
}
