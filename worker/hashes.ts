// The hash functions of the core on this platform: node:crypto, which is synchronous.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { Hashes } from '../core/hashes.ts';

export const hashes: Hashes = {
  sha256: (text) => new Uint8Array(createHash('sha256').update(text).digest()),
  hmacSha256: (key, data) => new Uint8Array(createHmac('sha256', key).update(data).digest()),
};

/** Compares in constant time; texts of different length are different. */
export function isEqualText(a: string, b: string): boolean {
  const encoder = new TextEncoder();
  const [left, right] = [encoder.encode(a), encoder.encode(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
