// The secrets of a pair, against vectors computed by other means.
import { createHash, pbkdf2Sync } from 'node:crypto';
import { expect, test } from 'vitest';
import fc from 'fast-check';
import { bytesToBase32, bytesToBase64, bytesToHex, hexToBytes } from '../../core/encoding.ts';
import { iceCredentials, presharedKey } from '../../core/secrets.ts';
import { nodeHashes } from '../support/core.ts';

test('[P11.2] ICE credentials are cut from the base32 SHA-256 over ids and public keys, as the reference vector has them', () => {
  const client = { id: '00000000-0000-0000-0000-000000000001', publicKey: `${'A'.repeat(43)}=` };
  const gateway = { id: '00000000-0000-0000-0000-000000000002', publicKey: `${'B'.repeat(42)}A=` };
  expect(iceCredentials(client, gateway, nodeHashes)).toEqual({
    client: { username: 'fz24', password: '4iiaamlounokcfxwusxavg' },
    gateway: { username: 'cklo', password: 'al5p5ir6lt2lshyg635urq' },
  });
});

test('[P11.3] the preshared key is PBKDF2-HMAC-SHA256 with one iteration over both seeds, salted with ids and keys', () => {
  const client = { id: 'c', publicKey: 'ck', pskBase: '01'.repeat(32) };
  const gateway = { id: 'g', publicKey: 'gk', pskBase: 'fe'.repeat(32) };
  const password = Buffer.from(client.pskBase + gateway.pskBase, 'hex');
  const expected = pbkdf2Sync(password, 'WG_PSK|C_ID:c|G_ID:g|C_PK:ck|G_PK:gk', 1, 32, 'sha256').toString('base64');
  expect(presharedKey(client, gateway, nodeHashes)).toBe(expected);
});

test('bytes become the base64 and hex that Node writes, and base32 of a known hash', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      expect(bytesToBase64(bytes)).toBe(Buffer.from(bytes).toString('base64'));
      expect(bytesToHex(bytes)).toBe(Buffer.from(bytes).toString('hex'));
      expect(hexToBytes(bytesToHex(bytes))).toEqual(bytes);
    }),
    { seed: 1 },
  );
  expect(bytesToBase32(new TextEncoder().encode('foobar'))).toBe('mzxw6ytboi');
  expect(bytesToBase32(createHash('sha256').update('').digest())).toHaveLength(52);
});
