// Addresses and prefixes: examples of every text form, and any of them against a comparison bit by bit.
import { expect, test } from 'vitest';
import fc from 'fast-check';
import { compilePrefixes, contains, isPrintedPrefix, parseAddress } from '../../core/cidr.ts';

test.each([
  ['2001:db8::', '2001:db8:0:0:0:0:0:0'],
  ['::1', '0:0:0:0:0:0:0:1'],
  ['::', '0:0:0:0:0:0:0:0'],
  ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
  ['::2:3:4:5:6:7:8', '0:2:3:4:5:6:7:8'],
  ['FD00:0:00ab::A', 'fd00::ab:0:0:0:0:a'],
  ['64:ff9b::1.2.3.4', '64:ff9b::102:304'],
  ['1:2:3:4:5:6:1.2.3.4', '1:2:3:4:5:6:102:304'],
  ['::1.2.3.4', '::102:304'],
])('[P5.25] %s and %s are one address', (text, same) => {
  expect(parseAddress(text)).toEqual(parseAddress(same));
  expect(parseAddress(text)).toMatchObject({ family: 6 });
});

const junk = [
  '1 1.2.3 1.2.3.4.5 1.2.3.256 1.2.3.04 01.2.3.4 1.2.3.-4 0x1.2.3.4 1..2.3 .1.2.3 1.2.3. ٣.2.3.4 ::1.2.3 1.2.3.4::',
  ': ::: 1:2:3:4:5:6:7 1:2:3:4:5:6:7:8:9 1:2:3:4::5:6:7:8 1::2::3 :1:: 1:::2 12345:: g:: ::-1 1:2:3:4:5:6:7: ::1:',
  ':1:2:3:4:5:6:7 ::@ ::` ::G ::/ fe80::1%eth0 [::1] ::1.2.3.4:5 ::01.2.3.4 1:2:3:4:5:6:7:1.2.3.4',
].flatMap((line) => line.split(' '));

test.each([...junk, '', ' ', ' 1.2.3.4', '1.2.3.4 ', '1.2.3.4\n', `${'0:'.repeat(1000)}:`])(
  '[P5.25] %j is no address',
  (text) => {
    expect(parseAddress(text)).toBeNull();
    expect(compilePrefixes([text])).toBeNull();
  },
);

test('[P5.25] a prefix is no address', () => {
  expect(parseAddress('1.2.3.4/32')).toBeNull();
  expect(parseAddress('::1/128')).toBeNull();
});

test('[P5.25] a prefix may have host bits, an address alone is a single host', () => {
  expect(isIn('192.168.0.255', '192.168.0.1/24')).toBe(true);
  expect(isIn('192.168.1.0', '192.168.0.1/24')).toBe(false);
  expect(isIn('2001:db8::ffff', '2001:db8::1/112')).toBe(true);
  expect(isIn('10.0.0.1', '10.0.0.1')).toBe(true);
  expect(isIn('10.0.0.2', '10.0.0.1')).toBe(false);
  expect(isIn('255.255.255.255', '0.0.0.0/0')).toBe(true);
  expect(isIn('ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', '::/0')).toBe(true);
});

test.each([
  '10.0.0.0/33',
  '10.0.0.0/',
  '10.0.0.0/08',
  '10.0.0.0/-1',
  '::/129',
  '::/1e1',
  '10.0.0.0/8/8',
  '/8',
  'fe80::%1/64',
])('[P5.25] %s is no prefix, and makes its list unreadable', (text) => {
  expect(compilePrefixes([text])).toBeNull();
  expect(compilePrefixes(['10.0.0.0/8', text, '::/0'])).toBeNull();
});

test('[P5.26] v4 and v6 never contain each other, and a mapped v4 address is v4 on both sides', () => {
  expect(isIn('1.2.3.4', '::/0')).toBe(false);
  expect(isIn('::102:304', '0.0.0.0/0')).toBe(false);
  expect(isIn('::ffff:1.2.3.4', '::/0')).toBe(false);
  expect(isIn('::ffff:1.2.3.4', '1.2.3.0/24')).toBe(true);
  expect(isIn('::FFFF:102:304', '1.2.3.4')).toBe(true);
  expect(isIn('1.2.3.4', '::ffff:1.2.3.0/120')).toBe(true);
  expect(isIn('1.2.4.4', '::ffff:1.2.3.0/120')).toBe(false);
  expect(isIn('9.9.9.9', '::ffff:0:0/96')).toBe(true);
  expect(isIn('9.9.9.9', '::ffff:9.9.9.9/95')).toBe(false);
  expect(isIn('::fffe:1:1', '::ffff:9.9.9.9/95')).toBe(true);
});

test('[P5.20] what is no address lies in no prefix', () => {
  const everything = compiled(['0.0.0.0/0', '::/0']);
  expect(contains(everything, null)).toBe(false);
});

test('[P5.27] any address lies in any list of prefixes exactly when its bits begin with those of one', () => {
  const addresses = fc.oneof(
    fc.record({ bits: bitsOf(32), style: fc.nat() }),
    fc.record({ bits: bitsOf(128), style: fc.nat() }),
  );
  const prefixes = fc.array(
    addresses.chain((address) => fc.record({ address: fc.constant(address), length: fc.nat(address.bits.length) })),
    { maxLength: 12 },
  );
  fc.assert(
    fc.property(addresses, prefixes, (address, list) => {
      const texts = list.map(({ address, length }) => `${print(address)}/${length}`);
      const expected = list.some((prefix) => isInSlowly(address.bits, prefix.address.bits, prefix.length));
      expect(contains(compiled(texts), parseAddress(print(address)))).toBe(expected);
    }),
    { seed: 538, numRuns: 3000 },
  );
});

test('[P5.19] v6 is printed as the URL standard has it, but for those that Postgres ends in dots', () => {
  fc.assert(
    fc.property(bitsOf(128), fc.nat(), (bits, style) => {
      fc.pre(bits.slice(0, 80).includes('1'));
      const printed = new URL(`http://[${print({ bits, style })}]/`).hostname.slice(1, -1);
      expect(isPrintedPrefix(printed)).toBe(true);
      expect(isPrintedPrefix(`${printed}/64`)).toBe(true);
      expect(isPrintedPrefix(print({ bits, style }))).toBe(print({ bits, style }) === printed);
    }),
    { seed: 530, numRuns: 1000 },
  );
});

type Bits = { readonly bits: string; readonly style: number };

/** Binary digits, mostly of a few groups of zeros and ones, so that prefixes meet addresses. */
function bitsOf(length: 32 | 128): fc.Arbitrary<string> {
  const group = fc.oneof(
    { weight: 5, arbitrary: fc.constantFrom('0000', '0000', '0000', 'ffff', '0001') },
    { weight: 1, arbitrary: fc.nat(0xffff).map((n) => n.toString(16).padStart(4, '0')) },
  );
  return fc
    .array(group, { minLength: length / 16, maxLength: length / 16 })
    .map((groups) => groups.map((hex) => Number.parseInt(hex, 16).toString(2).padStart(16, '0')).join(''));
}

/** One of the text forms, chosen by `style`: groups padded or not, in either case, one run of zeros cut, the end in dots. */
function print({ bits, style }: Bits): string {
  const octets = (bits.match(/.{8}/g) ?? []).map((octet) => Number.parseInt(octet, 2));
  if (bits.length === 32) return octets.join('.');
  let groups = (bits.match(/.{16}/g) ?? []).map((group) => Number.parseInt(group, 2).toString(16));
  if (style % 2 === 1) groups = groups.map((group) => group.padStart(4, '0').toUpperCase());
  const hasDots = Math.floor(style / 2) % 3 === 1;
  if (hasDots) groups.splice(6, 2);
  const zeros = groups.map((group) => /^0+$/.test(group));
  const start = zeros.indexOf(true, Math.floor(style / 6) % 8);
  const isCut = start !== -1 && Math.floor(style / 48) % 2 === 0;
  const past = isCut ? zeros.indexOf(false, start) : -1;
  const end = past === -1 ? groups.length : past;
  const tail = hasDots ? [octets.slice(12).join('.')] : [];
  if (!isCut) return [...groups, ...tail].join(':');
  return `${groups.slice(0, start).join(':')}::${[...groups.slice(end), ...tail].join(':')}`;
}

function isInSlowly(address: string, prefix: string, length: number): boolean {
  const mapped = `${'0'.repeat(80)}${'1'.repeat(16)}`;
  const isMapped = (bits: string) => bits.length === 128 && bits.startsWith(mapped);
  if (isMapped(address)) return isInSlowly(address.slice(96), prefix, length);
  if (isMapped(prefix) && length >= 96) return isInSlowly(address, prefix.slice(96), length - 96);
  return address.length === prefix.length && address.startsWith(prefix.slice(0, length));
}

function compiled(values: readonly string[]) {
  const prefixes = compilePrefixes(values);
  if (prefixes === null) throw new Error(`unreadable: ${values.join(' ')}`);
  return prefixes;
}

function isIn(address: string, prefix: string): boolean {
  return contains(compiled([prefix]), parseAddress(address));
}
