// Bytes into text and back, without a platform: hex, base64 (RFC 4648 section 4) and base32 (section 6, lower case, no
// padding).

const base64Alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const base32Alphabet = 'abcdefghijklmnopqrstuvwxyz234567';
const hexPairs = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

/** One byte per character. Throws RangeError for a character above 127. */
export function asciiToBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (code > 127) throw new RangeError('expected ASCII text');
    bytes[i] = code;
  }
  return bytes;
}

/** Pairs of hex digits into bytes; the input is known to be well-formed. */
export function hexToBytes(hex: string): Uint8Array {
  const bytes = new Uint8Array(hex.length / 2);
  for (let i = 0; i < bytes.length; i += 1) {
    bytes[i] = (hexDigit(hex.charCodeAt(2 * i)) << 4) | hexDigit(hex.charCodeAt(2 * i + 1));
  }
  return bytes;
}

/** A UUID of version 4 out of the first 32 hex digits. */
export function hexToUuid(hex: string): string {
  const variant = ((Number.parseInt(hex.slice(16, 17), 16) & 3) | 8).toString(16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

export function bytesToHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += hexPairs[byte];
  return text;
}

/** With padding. */
export function bytesToBase64(bytes: Uint8Array): string {
  const digits = toDigits(bytes, 6, base64Alphabet);
  return digits + '='.repeat((4 - (digits.length % 4)) % 4);
}

/** Lower case, without padding. */
export function bytesToBase32(bytes: Uint8Array): string {
  return toDigits(bytes, 5, base32Alphabet);
}

export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

function toDigits(bytes: Uint8Array, bitsPerDigit: number, alphabet: string): string {
  const mask = (1 << bitsPerDigit) - 1;
  let text = '';
  let buffer = 0;
  let bits = 0;
  for (const byte of bytes) {
    buffer = ((buffer << 8) | byte) & 0xffff;
    bits += 8;
    while (bits >= bitsPerDigit) {
      bits -= bitsPerDigit;
      text += alphabet[(buffer >> bits) & mask];
    }
  }
  return bits === 0 ? text : text + alphabet[(buffer << (bitsPerDigit - bits)) & mask];
}

/** The value of `0` to `9` and `a` to `f` by character code. */
function hexDigit(code: number): number {
  return code <= 57 ? code - 48 : code - 87;
}

/** From 0 to 1, not included, by the hexadecimal digits of `seed`. */
export function fractionOf(seed: string): number {
  return Number.parseInt(seed.replaceAll(/[^0-9a-f]/g, '').slice(0, 4) || '0', 16) / 0x1_0000;
}
