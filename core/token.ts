// Whether a token admits: its row decides, which holds only a salted hash of the secret.
import { bytesToHex } from './encoding.ts';
import { tokenTypeOfRole } from '../protocol/roles.ts';
import type { AnyHello } from '../protocol/link.ts';
import type { Env } from './env.ts';
import type { TokenRow } from '../protocol/rows.ts';

/** Whether `token`, a row that is there, admits whoever says `hello`: by type, expiry and secret. */
export function isValidToken(token: TokenRow, hello: AnyHello, now: number, env: Env): boolean {
  if (token.type !== tokenTypeOfRole[hello.role] || hello.token.type !== token.type) return false;
  if ((token.expires_at ?? Infinity) <= now) return false;
  return isEqual(bytesToHex(env.hashes.sha256(token.secret_salt + hello.token.secret)), token.secret_hash);
}

/** Compares in a time that depends on the lengths alone. */
function isEqual(a: string, b: string): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i += 1) difference |= a.charCodeAt(i) ^ b.charCodeAt(i);
  return difference === 0;
}
