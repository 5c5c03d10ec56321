// Mints a token: a row with the salted hash of a fresh secret, and the signed text that carries the secret. The text is shown
// once and stored nowhere.
import { randomBytes } from 'node:crypto';
import * as v from 'valibot';
import { accountId, tokenId } from '../protocol/ids.ts';
import { hashSecret, parseTokenKeys, signToken } from '../worker/token.ts';
import type { Client } from 'pg';

export type TokenHolder =
  | { readonly type: 'client'; readonly actorId: string }
  | { readonly type: 'gateway_group'; readonly siteId: string };

/**
 * Inserts the row and returns the token. `tokenKeys` is the worker's DRAWBRIDGE_TOKEN_KEYS, whose first key signs. Throws
 * what Postgres says when the account or the holder does not exist.
 */
export async function mintToken(
  db: Client,
  tokenKeys: string,
  account: string,
  holder: TokenHolder,
  expiresAt: Date | null = null,
): Promise<string> {
  const [key] = parseTokenKeys(tokenKeys);
  const secret = randomBytes(32).toString('base64url');
  const salt = randomBytes(16).toString('base64url');
  const { rows } = await db.query<{ id: string }>(
    `insert into tokens (account_id, type, actor_id, gateway_group_id, secret_salt, secret_hash, expires_at)
     values ($1, $2, $3, $4, $5, $6, $7) returning id`,
    [
      account,
      holder.type,
      holder.type === 'client' ? holder.actorId : null,
      holder.type === 'gateway_group' ? holder.siteId : null,
      salt,
      hashSecret(salt, secret),
      expiresAt,
    ],
  );
  const token = {
    type: holder.type,
    accountId: v.parse(accountId, account),
    tokenId: v.parse(tokenId, rows[0]?.id),
    issuedAtSeconds: Math.floor(Date.now() / 1000),
    secret,
  };
  return signToken(token, key);
}
