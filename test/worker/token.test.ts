// The token's envelope: what verifies, and what never does.
import { createHmac } from 'node:crypto';
import { expect, test } from 'vitest';
import fc from 'fast-check';
import * as v from 'valibot';
import previousToken from '../fixtures/previous/token.json' with { type: 'json' };
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
  place: 'weur',
};

test('[P5.17] a token verifies under any of the keys in force and comes back as it was signed', () => {
  expect(verifyToken(signToken(token, key), [other ?? key, key])).toEqual(token);
  expect(verifyToken(signToken(token, key), other === undefined ? [] : [other])).toBeNull();
});

test('[P5.69] a token of the version before, which names no place, is read as one that lives anywhere', () => {
  const { type, accountId: account, tokenId: tokenOf, issuedAtSeconds, secret } = token;
  const head = `drawbridge.a.${encoded([type, account, tokenOf, issuedAtSeconds, secret])}`;
  const signature = createHmac('sha256', key.secret).update(head).digest('base64url');
  expect(verifyToken(`${head}.${signature}`, [key])).toEqual({ ...token, place: null });
  expect(verifyToken(previousToken.text, parseTokenKeys(previousToken.key))).toMatchObject({
    type: 'client',
    place: null,
  });
});

test('[P5.70] keys rotate: while two are in force tokens of both are read, and one that is taken away reads none', () => {
  const [older, newer] = [key, other ?? key];
  const [before, after] = [signToken(token, older), signToken(token, newer)];
  expect([older, newer].map(({ id: name }) => name)).toEqual(['a', 'b']);
  for (const text of [before, after]) expect(verifyToken(text, [newer, older])).toEqual(token);
  expect([verifyToken(before, [newer]), verifyToken(after, [newer])]).toEqual([null, token]);
  expect(verifyToken(before.replace('drawbridge.a.', 'drawbridge.b.'), [newer, older])).toBeNull();
});

test('[P5.70] two keys that were given one name are two keys all the same', () => {
  const renewed = { id: key.id, secret: '3'.repeat(32) };
  for (const signedBy of [key, renewed]) {
    expect(verifyToken(signToken(token, signedBy), [renewed, key])).toEqual(token);
  }
  expect(verifyToken(signToken(token, { ...key, secret: '4'.repeat(32) }), [renewed, key])).toBeNull();
});

function encoded(fields: readonly unknown[]): string {
  return Buffer.from(JSON.stringify(fields)).toString('base64url');
}

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
