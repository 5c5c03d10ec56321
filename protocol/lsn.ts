// Log sequence numbers: a bigint where they are computed with (replicator), 16 zero-padded lower-case hex digits on the
// wire and in storage, where plain text comparison is the order. Postgres prints the same number as `16/B374D848`.
import * as v from 'valibot';

/** An LSN as a number of bytes since the start of the WAL: 0n to 2^64 - 1. */
export type Lsn = bigint;

/** An LSN as 16 zero-padded lower-case hex digits; text order is LSN order. */
export const lsnText = v.pipe(
  v.string(),
  v.regex(/^[0-9a-f]{16}$/, 'expected an LSN as 16 lower-case hex digits'),
  v.brand('LsnText'),
);
export type LsnText = v.InferOutput<typeof lsnText>;

export const lsnMax: Lsn = 0xffff_ffff_ffff_ffffn;

/** Throws RangeError outside 0 to 2^64 - 1. */
export function lsnToText(lsn: Lsn): LsnText {
  if (lsn < 0n || lsn > lsnMax) throw new RangeError(`an LSN is an unsigned 64-bit number, got ${lsn}`);
  return v.parse(lsnText, lsn.toString(16).padStart(16, '0'));
}

export function textToLsn(text: LsnText): Lsn {
  return BigInt(`0x${text}`);
}

/**
 * Reads Postgres's own notation, `X/Y` in hex (https://www.postgresql.org/docs/18/datatype-pg-lsn.html). Throws SyntaxError
 * otherwise.
 */
export function parsePgLsn(text: string): Lsn {
  const match = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text);
  if (match === null) throw new SyntaxError(`expected an LSN like 16/B374D848, got ${JSON.stringify(text)}`);
  return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`);
}

/** Writes Postgres's own notation, `X/Y` in upper-case hex. */
export function formatPgLsn(lsn: Lsn): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffff_ffffn).toString(16).toUpperCase()}`;
}

/** Negative, zero or positive as `a` is before, at or after `b`: the one place where LSN texts are ordered. */
export function compareLsnText(a: LsnText, b: LsnText): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
