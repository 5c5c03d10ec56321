// The part of node:crypto that the worker uses. The platform's own types leave it out, and Node's would bring Node's globals.
declare module 'node:crypto' {
  type Input = string | Uint8Array;
  interface Digest {
    update(data: Input): Digest;
    digest(): Uint8Array;
    digest(encoding: 'hex' | 'base64url'): string;
  }
  export function createHash(algorithm: 'sha256'): Digest;
  export function createHmac(algorithm: 'sha256', key: Input): Digest;
  export function timingSafeEqual(a: Uint8Array, b: Uint8Array): boolean;
}
