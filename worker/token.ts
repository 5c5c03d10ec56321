// The envelope of a token: `drawbridge.<key id>.<payload>.<signature>`, payload and signature in base64url.
//
// The signature is a filter: a forged token wakes no object. Whether a token admits is decided by its row, which holds only
// a salted hash of the secret. The type is part of what is signed, so one type cannot stand in for another.
import * as v from 'valibot';
import { createHash, createHmac } from 'node:crypto';
import { accountId, tokenId } from '../protocol/ids.ts';
import { isEqualText } from './hashes.ts';
import { place, type Place } from '../protocol/place.ts';
import { tokenTypeOfRole } from '../protocol/roles.ts';

/** A signing key. `secret` has 32 characters at least. */
export type TokenKey = { readonly id: string; readonly secret: string };

/** Those that admit a device of some role, and `api`, which admits none. */
const tokenType = v.picklist([...Object.values(tokenTypeOfRole), 'api']);

/** The version of the envelope's payload; the one before it, which named neither its version nor a place, is read too. */
const payloadVersion = 2;

const issuedAtSeconds = v.pipe(v.number(), v.safeInteger());
const secret = v.pipe(v.string(), v.minLength(32), v.maxLength(128));

const payload = v.union([
  v.pipe(
    v.strictTuple([v.literal(payloadVersion), tokenType, accountId, tokenId, issuedAtSeconds, secret, place]),
    v.transform(([, ...fields]) => fields),
  ),
  v.pipe(
    v.strictTuple([tokenType, accountId, tokenId, issuedAtSeconds, secret]),
    v.transform((fields) => [...fields, null] as const),
  ),
]);

export type Token = {
  readonly type: v.InferOutput<typeof tokenType>;
  readonly accountId: v.InferOutput<typeof accountId>;
  readonly tokenId: v.InferOutput<typeof tokenId>;
  /** Whole seconds since 1970-01-01 UTC. */
  readonly issuedAtSeconds: number;
  readonly secret: string;
  /** Where the account's object lives. */
  readonly place: Place;
};

/** Characters of a token, at most. */
const tokenLengthMax = 1024;

/**
 * Reads `id:secret` entries separated by commas. Throws an Error whose message says what is wrong and what was expected,
 * without repeating a secret.
 */
export function parseTokenKeys(text: string | undefined): [TokenKey, ...TokenKey[]] {
  const expected =
    'DRAWBRIDGE_TOKEN_KEYS must be `id:secret` entries separated by commas, each secret of 32 characters or more';
  const keys = (text ?? '').split(',').map((entry) => {
    const [id = '', ...rest] = entry.trim().split(':');
    const secret = rest.join(':');
    if (!/^[A-Za-z0-9_-]{1,32}$/.test(id) || secret.length < 32) throw new Error(expected);
    return { id, secret };
  });
  const [first, ...others] = keys;
  if (first === undefined) throw new Error(expected);
  return [first, ...others];
}

/** Signs `token` with `key`. */
export function signToken(token: Token, key: TokenKey): string {
  const { type, accountId: account, tokenId: id, place: where } = token;
  const fields = [payloadVersion, type, account, id, token.issuedAtSeconds, token.secret, where];
  const head = `drawbridge.${key.id}.${encode(JSON.stringify(fields))}`;
  return `${head}.${sign(head, key)}`;
}

/** The token inside `text`, or null when it is not one that a key of `keys` signed. Never throws. */
export function verifyToken(text: string, keys: readonly TokenKey[]): Token | null {
  if (text.length > tokenLengthMax) return null;
  const [prefix, keyId, body, signature, ...rest] = text.split('.');
  if (prefix !== 'drawbridge' || body === undefined || signature === undefined || rest.length > 0) return null;
  // An operator may have given two keys one name: taking the first alone would sign out whoever has a token of the other.
  const head = `drawbridge.${keyId}.${body}`;
  if (!keys.some((key) => key.id === keyId && isEqualText(signature, sign(head, key)))) return null;
  const parsed = v.safeParse(payload, decode(body));
  if (!parsed.success) return null;
  const [type, account, id, issuedAt, secretText, where] = parsed.output;
  return { type, accountId: account, tokenId: id, issuedAtSeconds: issuedAt, secret: secretText, place: where };
}

/** What a token's row stores: SHA-256 over salt and secret, as lower-case hex. */
export function hashSecret(salt: string, secret: string): string {
  return createHash('sha256')
    .update(salt + secret)
    .digest('hex');
}

function sign(head: string, key: TokenKey): string {
  return createHmac('sha256', key.secret).update(head).digest('base64url');
}

function encode(ascii: string): string {
  return btoa(ascii).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

function decode(text: string): unknown {
  try {
    const value: unknown = JSON.parse(atob(text.replaceAll('-', '+').replaceAll('_', '/')));
    return value;
  } catch {
    return null;
  }
}
