// The token's envelope: what verifies, and what never does.
import { expect, test } from 'vitest';
import fc from 'fast-check';
import * as v from 'valibot';
import { accountId, tokenId } from '../../protocol/ids.ts';
import { id } from '../support/world.ts';
import { parseTokenKeys, signToken, verifyToken } from '../../worker/token.ts';

const [key, other] = parseTokenKeys(`a:${'1'.repeat(32)},b:${'2'.repeat(32)}`);
const token = {
  type: 'client' as const,
  accountId: v.parse(accountId, id('acc')),
  tokenId: v.parse(tokenId, id('tok')),
  issuedAtSeconds: 1_700_000_000,
  secret: 's'.repeat(43),
};

test('[P5.17] a token verifies under any of the keys in force and comes back as it was signed', () => {
  expect(verifyToken(signToken(token, key), [other ?? key, key])).toEqual(token);
  expect(verifyToken(signToken(token, key), other === undefined ? [] : [other])).toBeNull();
});

test('[P5.18] a token with any character changed does not verify', () => {
  const text = signToken(token, key);
  fc.assert(
    fc.property(fc.nat(text.length - 1), fc.constantFrom('A', 'z', '0', '.', '-'), (at, letter) => {
      const changed = text.slice(0, at) + letter + text.slice(at + 1);
      const isSameSignature = changed === text;
      expect(verifyToken(changed, [key]) === null).toBe(!isSameSignature);
    }),
    { seed: 11, numRuns: 500 },
  );
  for (const garbage of ['', '.', 'drawbridge.a..', 'x'.repeat(5000)]) expect(verifyToken(garbage, [key])).toBeNull();
});

test.each([undefined, '', 'a', 'a:short', `a b:${'1'.repeat(32)}`])(
  'keys that cannot sign are refused in words: %s',
  (text) => {
    expect(() => parseTokenKeys(text)).toThrow(/DRAWBRIDGE_TOKEN_KEYS must be/);
  },
);
