// The two hash functions that decisions need, handed in by the caller so that the core imports no platform.

export type Hashes = {
  /** SHA-256 of ASCII text: 32 bytes. */
  readonly sha256: (text: string) => Uint8Array;
  /** HMAC-SHA256 (RFC 2104): 32 bytes. */
  readonly hmacSha256: (key: Uint8Array, data: Uint8Array) => Uint8Array;
};
