// Where the objects of accounts live, as their rows last said: every delivery names it, since any may create the object. It is
// known beyond the end of the row, which the object must still be told of: from the row's deletion, and from the lanes table.
import type { AccountId } from '../protocol/ids.ts';
import type { Change } from '../protocol/commit.ts';
import type { Lanes } from './lane.ts';
import type { Sender } from './request.ts';

/** Notes where the account's object lives, where one of its own row's changes says so. */
export function notePlace({ places }: Lanes, account: AccountId, changes: readonly Change[]): void {
  for (const change of changes) {
    if (change.table !== 'accounts' || change.op === 'truncate') continue;
    const { region } = change.op === 'delete' ? change.old : change.new;
    if (typeof region === 'string') places.set(account, region);
    else places.delete(account);
  }
}

export function senderTo({ places, term, epoch }: Lanes, { account }: { readonly account: AccountId }): Sender {
  return { account, place: places.get(account) ?? null, term, epoch };
}
