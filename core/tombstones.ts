// Tokens whose rows are gone: who still shows one is told at once that it is void, however far the stream has come. Kept until
// the token would have expired, a bounded number of them; what is dropped is decided by how far the stream has come.
import { askUnlessFresh, isTokenOverdue } from './freshness.ts';
import { isUnreadable } from './tables.ts';
import type { Effects } from './effect.ts';
import type { RefusalCode } from '../protocol/reasons.ts';
import type { State } from './state.ts';
import type { TokenId } from '../protocol/ids.ts';
import type { Touched } from './touched.ts';

/** Tombstones kept at the same time, at most; beyond it those that were laid first are dropped. */
export const tombstonesMax = 10_000;

export type Tombstone = { readonly tokenId: TokenId; /** Null: never. */ readonly expiresAt: number | null };

/** Lays a stone for every touched token that was there before and is not there any more. */
export function buryTokens(state: State, touched: Touched, effects: Effects): void {
  for (const before of touched.before.values()) {
    if (before.table !== 'tokens' || state.tables.rows.tokens.has(before.row.id)) continue;
    if (isUnreadable(state.tables, 'tokens', before.row.id)) continue;
    const { id: tokenId, expires_at: expiresAt } = before.row;
    if (expiresAt !== null && expiresAt <= state.now) continue;
    keepTombstone(state, { tokenId, expiresAt });
    effects.saves.push({ type: 'put-tombstone', tombstone: { tokenId, expiresAt } });
  }
  for (const [tokenId] of state.tombstones) {
    if (state.tombstones.size <= tombstonesMax) return;
    state.tombstones.delete(tokenId);
    effects.saves.push({ type: 'delete-tombstone', tokenId });
  }
}

/** Adds one in memory alone, as when it was just read from storage. */
export function keepTombstone(state: State, { tokenId, expiresAt }: Tombstone): void {
  state.tombstones.delete(tokenId);
  state.tombstones.set(tokenId, expiresAt);
}

export function isBuried(state: State, tokenId: TokenId): boolean {
  return state.tombstones.has(tokenId);
}

/** Why nobody is admitted under a validly signed token that has no row here: it is void, or its row may be on its way. */
export function refusalOfAbsent(
  state: State,
  { id, issuedAt }: { readonly id: TokenId; readonly issuedAt: number | null },
  effects: Effects,
): RefusalCode {
  if (isBuried(state, id) || isTokenOverdue(state, issuedAt)) return 'invalid_token';
  askUnlessFresh(state, effects);
  return 'token_not_known_yet';
}
