// The edits behind `drawbridge cut`: one transaction each, and words for what it did and how to undo it.
import type { Client } from 'pg';
import { program } from './command.ts';
import type { Account, Kind } from './find.ts';

export type Cut = {
  /** Rows changed, by table. */
  readonly changed: Readonly<Record<string, number>>;
  /** What was done, what may bring it back, and what undoes it, for people. */
  readonly told: string;
};

export async function cutByEdit(db: Client, kind: Kind, account: Account, id: string): Promise<Cut> {
  await db.query('begin');
  const cut =
    kind === 'actor' || kind === 'resource'
      ? await disable(db, kind, account, id)
      : await remove(db, kind, account, id);
  await db.query('commit');
  return cut;
}

async function disable(db: Client, kind: 'actor' | 'resource', account: Account, id: string): Promise<Cut> {
  const [table, column] = kind === 'actor' ? ['actors', 'id'] : ['policies', 'resource_id'];
  const { rows } = await db.query<{ id: string }>(
    `update ${table} set disabled_at = now() where account_id = $1 and ${column} = $2 and disabled_at is null returning id::text`,
    [account.id, id],
  );
  const ids = rows.map((row) => `'${row.id}'`).join(', ');
  const undo = `${program} sql "update ${table} set disabled_at = null where id in (${ids})"`;
  const done =
    kind === 'actor'
      ? `Disabled the actor ${id}: their devices are disconnected, and keep their tokens.`
      : `Disabled ${rows.length} policies: nobody reaches the resource ${id}.`;
  if (rows.length > 0) return { changed: { [table]: rows.length }, told: `${done}\nTo undo it: ${undo}` };
  const nothing =
    kind === 'actor' ? `The actor ${id} was disabled already.` : `No enabled policy names the resource ${id}.`;
  return { changed: { [table]: 0 }, told: nothing };
}

async function remove(db: Client, kind: 'client' | 'gateway', account: Account, id: string): Promise<Cut> {
  const used = await deleteTokens(db, kind, account, id);
  const deleted = await db.query(`delete from ${kind}s where account_id = $1 and id = $2`, [account.id, id]);
  const gone = used.filter((token) => !token.is_shared).map((token) => token.id);
  const tokens = gone.length === 0 ? '' : `, with the tokens that it alone has used (${gone.join(', ')})`;
  const told = [`Deleted the ${kind} ${id}${tokens}: it is signed out.`];
  for (const token of used.filter(({ is_shared: isShared }) => isShared)) {
    const revoke = `${program} token revoke ${token.id}`;
    told.push(`It may come back as a new one by the token ${token.id}, which others use too: ${revoke}`);
  }
  if (used.length === 0)
    told.push('It may come back as a new one by a token of its owner: none is recorded that it used.');
  return { changed: { [`${kind}s`]: deleted.rowCount ?? 0, tokens: gone.length }, told: told.join('\n') };
}

/** A device whose token stays could come back as a new one: tokens go that no other device has connected under. */
async function deleteTokens(
  db: Client,
  kind: 'client' | 'gateway',
  account: Account,
  id: string,
): Promise<{ readonly id: string; readonly is_shared: boolean }[]> {
  const sessions = `drawbridge.${kind}_sessions`;
  const { rows } = await db.query<{ id: string; is_shared: boolean }>(
    `select token.id::text, exists (
       select from ${sessions} other where other.token_id = token.id and other.${kind}_id <> $2
     ) as is_shared
       from tokens token
      where token.account_id = $1 and token.id in (select token_id from ${sessions} where account_id = $1 and ${kind}_id = $2)`,
    [account.id, id],
  );
  const own = rows.filter((token) => !token.is_shared).map((token) => token.id);
  await db.query('delete from tokens where account_id = $1 and id = any ($2::uuid[])', [account.id, own]);
  return rows;
}
