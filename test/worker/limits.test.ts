// How often devices may connect.
import { expect, test } from 'vitest';
import { ConnectLimiter, parseConnectLimits, rememberedMax } from '../../worker/edge/limits.ts';

const address = '203.0.113.7';
const limiter = () => new ConnectLimiter(parseConnectLimits(undefined));
const times = (count: number, take: () => number) => Array.from({ length: count }, take);

test('[P15.64] one token at one address connects five times at once, then once a second', () => {
  const limits = limiter();
  const take = (now: number) => limits.takeToken(address, 'a', now);
  expect(times(6, () => take(0))).toEqual([0, 0, 0, 0, 0, 1]);
  expect([take(999) > 0, take(1000), take(1001) > 0]).toEqual([true, 0, true]);
  expect([limits.takeToken(address, 'b', 1001), limits.takeToken('203.0.113.8', 'a', 1001)]).toEqual([0, 0]);
  expect(times(6, () => take(100_000)).filter((wait) => wait === 0)).toHaveLength(5);
});

test('[P15.65] one address connects twenty times a second, and an IPv6 network of 64 bits counts as one', () => {
  const limits = limiter();
  const take = (from: string | null) => limits.takeAddress(from, 0);
  expect(times(21, () => take(address)).filter((wait) => wait > 0)).toEqual([0.05]);
  expect(times(20, () => take('2001:db8:0:1::1')).every((wait) => wait === 0)).toBe(true);
  expect(take('2001:db8:0:1:ffff::2')).toBeGreaterThan(0);
  expect(take('2001:db8:0:2::1')).toBe(0);
  expect(times(21, () => take(null)).filter((wait) => wait > 0)).toHaveLength(1);
});

test('[P15.66] what is remembered of connects is bounded: what was used longest ago is forgotten', () => {
  const limits = limiter();
  const spent = () => limits.takeToken(address, 'spent', 0) > 0;
  times(5, () => limits.takeToken(address, 'spent', 0));
  for (let i = 0; i < rememberedMax - 1; i += 1) limits.takeToken(address, String(i), 0);
  expect(spent()).toBe(true);
  for (let i = 0; i < rememberedMax; i += 1) limits.takeToken(address, `other ${i}`, 0);
  expect(spent()).toBe(false);
});

test('a clock that goes back lets nobody in earlier', () => {
  const limits = limiter();
  times(5, () => limits.takeToken(address, 'a', 10_000));
  expect(limits.takeToken(address, 'a', 0)).toBeGreaterThan(0);
});

test.each(['5', '5,1', '0,1,20', 'a,b,c', '5,1,20,3', '5,-1,20', ','])(
  'limits that cannot be used are refused in words: %s',
  (text) => expect(() => parseConnectLimits(text)).toThrow(/three numbers of 1 or more.*like 5,1,20/),
);
