// Mints a token: a row with the salted hash of a secret, and the signed text that carries the secret. The text is shown once
// and stored nowhere.
import { randomBytes, randomUUID } from 'node:crypto';
import * as v from 'valibot';
import { readPlace } from './find.ts';
import { accountId, sharedAccountId, tokenId } from '../protocol/ids.ts';
import { hashSecret, parseTokenKeys, signToken } from '../worker/token.ts';
import type { Client } from 'pg';
import type { Place } from '../protocol/place.ts';

/**
 * Whom a token admits, of an account, or of none where the relay group is shared. An identity is one of the actor's; conditions
 * on the provider look at it.
 */
export type TokenHolder =
  | { readonly type: 'client' | 'api'; readonly actorId: string; readonly identityId?: string | null }
  | { readonly type: 'gateway_group'; readonly siteId: string }
  | { readonly type: 'relay_group'; readonly relayGroupId: string };

/** What makes one token unlike every other. */
export type TokenSecrets = {
  readonly id: string;
  /** 32 to 128 characters. */
  readonly secret: string;
  readonly salt: string;
  /** Seconds since 1970-01-01 UTC. */
  readonly issuedAtSeconds: number;
};

export type TokenDetails = {
  readonly expiresAt?: Date | null;
  /** 1 to 255 characters, for people. */
  readonly name?: string | null;
};

export type ComposedToken = {
  readonly text: string;
  /** The row, by column of the table `tokens`. */
  readonly row: Readonly<Record<string, string | Date | null>>;
  /** The id of the key that signed it. */
  readonly keyId: string;
};

/**
 * Inserts the row and returns the token. `tokenKeys` is the worker's DRAWBRIDGE_TOKEN_KEYS, whose first key signs. Throws
 * what Postgres says when the account or the holder does not exist.
 */
export async function mintToken(
  db: Client,
  tokenKeys: string,
  account: string | null,
  holder: TokenHolder,
  details: TokenDetails = {},
  secrets: TokenSecrets = freshSecrets(),
): Promise<string> {
  const place = account === null ? null : await readPlace(db, account);
  const { keyId, row, text } = composeToken(tokenKeys, { account, place }, holder, details, secrets);
  const columns = Object.keys(row);
  await db.query(
    `with minted as (
       insert into tokens (${columns.join(', ')}) values (${columns.map((_, i) => `$${i + 2}`).join(', ')}) returning id
     ) insert into drawbridge.token_keys (token_id, key_id) select id, $1 from minted`,
    [keyId, ...Object.values(row)],
  );
  return text;
}

/** The token and its row, without a database. `place`: the account's region, which the token carries to the edge. */
export function composeToken(
  tokenKeys: string,
  { account, place }: { readonly account: string | null; readonly place: Place },
  holder: TokenHolder,
  { expiresAt = null, name = null }: TokenDetails,
  { id, secret, salt, issuedAtSeconds }: TokenSecrets,
): ComposedToken {
  const [key] = parseTokenKeys(tokenKeys);
  const token = {
    type: holder.type,
    accountId: account === null ? sharedAccountId : v.parse(accountId, account),
    tokenId: v.parse(tokenId, id),
    issuedAtSeconds,
    secret,
    place,
  };
  const row = {
    id,
    account_id: account,
    type: holder.type,
    name,
    actor_id: 'actorId' in holder ? holder.actorId : null,
    identity_id: 'actorId' in holder ? (holder.identityId ?? null) : null,
    gateway_group_id: holder.type === 'gateway_group' ? holder.siteId : null,
    relay_group_id: holder.type === 'relay_group' ? holder.relayGroupId : null,
    secret_salt: salt,
    secret_hash: hashSecret(salt, secret),
    expires_at: expiresAt,
  };
  return { text: signToken(token, key), row, keyId: key.id };
}

export function freshSecrets(): TokenSecrets {
  return {
    id: randomUUID(),
    secret: randomBytes(32).toString('base64url'),
    salt: randomBytes(16).toString('base64url'),
    issuedAtSeconds: Math.floor(Date.now() / 1000),
  };
}
