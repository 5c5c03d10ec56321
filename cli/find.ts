// What a person names on the command line, as the row that is meant: by its id, or by its exact name within the account.
// Naming none or several is an error whose sentence says how to name one.
import type { Client } from 'pg';
import type { Place } from '../protocol/place.ts';
import { program } from './command.ts';

export type Account = { readonly id: string; readonly slug: string | null };
export type Actor = { readonly id: string; readonly name: string; readonly type: string };
export type Site = { readonly id: string; readonly name: string; readonly managed_by: string };
export type RelayGroup = { readonly id: string; readonly name: string };
export type Identity = { readonly id: string; readonly actor_id: string };

/** Nothing, or not one thing alone, has the name that was given. */
export class NotFoundError extends Error {
  override readonly name = 'NotFoundError';
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** The id in `text`, in lower case; null when it is none. */
export function idOf(text: string): string | null {
  const id = text.toLowerCase();
  return uuid.test(id) ? id : null;
}

/** How people call an account. */
export function accountLabel({ slug, id }: Account): string {
  return slug ?? id;
}

/** `text` is the account's id or slug. */
export async function findAccount(db: Client, text: string): Promise<Account> {
  const sql = `select id::text, slug from accounts where ${idOf(text) === null ? 'slug' : 'id::text'} = $1`;
  const { rows } = await db.query<Account>(sql, [idOf(text) ?? text]);
  const [account] = rows;
  if (account !== undefined) return account;
  throw new NotFoundError(
    `There is no account ${quoted(text)}: give the slug or the id of one, as \`${program} status\` lists.`,
  );
}

/** Where the account's object lives: its region, or once its row is gone what its lane says; null for anywhere. */
export async function readPlace(db: Client, account: string): Promise<Place> {
  const { rows } = await db.query<{ place: Place }>(
    `select case when account.id is null then lane.place else account.region end as place
       from (select $1::uuid as id) asked left join accounts account using (id)
       left join drawbridge.lanes lane on lane.account_id = asked.id`,
    [account],
  );
  return rows[0]?.place ?? null;
}

/** `text` is the actor's id or exact name. */
export async function findActor(db: Client, account: Account, text: string): Promise<Actor> {
  const { rows } = await db.query<Actor>(
    `select id::text, name, type from actors where account_id = $1 and (id::text = $2 or name = $3) order by id limit 5`,
    [account.id, idOf(text), text],
  );
  return only(rows, { noun: 'actor', table: 'actors', account, text }, ({ id, type }) => `${id} (${type})`);
}

/** `text` is the site's id or exact name. */
export async function findSite(db: Client, account: Account, text: string): Promise<Site> {
  const { rows } = await db.query<Site>(
    `select id::text, name, managed_by from gateway_groups
      where account_id = $1 and (id::text = $2 or name = $3) order by id limit 5`,
    [account.id, idOf(text), text],
  );
  const described = ({ id, managed_by: manager }: Site) => `${id} (managed by the ${manager})`;
  return only(rows, { noun: 'site', table: 'gateway_groups', account, text }, described);
}

/** `text` is the relay group's id or exact name; without an account, of a shared one. */
export async function findRelayGroup(db: Client, account: Account | null, text: string): Promise<RelayGroup> {
  const { rows } = await db.query<RelayGroup>(
    `select id::text, name from relay_groups
      where account_id is not distinct from $1 and (id::text = $2 or name = $3) order by id limit 5`,
    [account?.id ?? null, idOf(text), text],
  );
  const [group] = rows;
  if (group !== undefined) return group;
  const owner = account === null ? 'There is no shared' : `The account ${accountLabel(account)} has no`;
  throw new NotFoundError(
    `${owner} relay group ${quoted(text)}: give an exact name or an id from \`${program} sql "select id, name, account_id from relay_groups"\`, or insert one.`,
  );
}

/** `text` is the identity's id. */
export async function findIdentity(db: Client, account: Account, text: string): Promise<Identity> {
  const { rows } = await db.query<Identity>(
    'select id::text, actor_id::text from auth_identities where account_id = $1 and id::text = $2',
    [account.id, idOf(text)],
  );
  const [identity] = rows;
  if (identity !== undefined) return identity;
  const list = listing('auth_identities', 'id, email, provider_identifier', account);
  throw new NotFoundError(
    `The account ${accountLabel(account)} has no identity with the id ${quoted(text)}: take one from ${list}.`,
  );
}

/** The kinds of rows that `explain`, `access` and `cut` are asked of: their table, and the columns that people know them by. */
const kinds = {
  client: { table: 'clients', names: ['name', 'external_id'] },
  actor: { table: 'actors', names: ['name'] },
  gateway: { table: 'gateways', names: ['name', 'external_id'] },
  resource: { table: 'resources', names: ['name'] },
} as const;
export type Kind = keyof typeof kinds;
export type Found = { readonly id: string; readonly account: Account };

/** `text` is the row's id or exact name, a client's its external id too; in any account when `account` is null. */
export async function findOfKind(db: Client, kind: Kind, account: Account | null, text: string): Promise<Found> {
  const { table, names } = kinds[kind];
  const { rows } = await db.query<{ id: string; account_id: string; slug: string | null }>(
    `select found.id::text, account.id::text as account_id, account.slug
       from ${table} found join accounts account on account.id = found.account_id
      where account.id = coalesce($1, account.id) and (found.id::text = $2 or $3 in (${names.map((name) => `found.${name}`).join(', ')}))
      order by found.id limit 5`,
    [account?.id ?? null, idOf(text), text],
  );
  const found = rows.map(({ id, account_id: accountId, slug }) => ({ id, account: { id: accountId, slug } }));
  return only(found, { noun: kind, table, account, text }, (row) => `${row.id} (of ${accountLabel(row.account)})`);
}

type Named = {
  readonly noun: string;
  readonly table: string;
  /** Null where every account was looked at. */
  readonly account: Account | null;
  readonly text: string;
};

function only<Row>(rows: readonly Row[], { noun, table, account, text }: Named, describe: (row: Row) => string): Row {
  const [first, ...others] = rows;
  const owner = account === null ? 'The database' : `The account ${accountLabel(account)}`;
  if (first === undefined) {
    const list = listing(table, 'id, name', account);
    throw new NotFoundError(`${owner} has no ${noun} ${quoted(text)}: give an exact name or an id from ${list}.`);
  }
  if (others.length === 0) return first;
  const ids = rows.map(describe).join(', ');
  throw new NotFoundError(`${owner} has several ${noun}s named ${quoted(text)}: give the id of one, among ${ids}.`);
}

function listing(table: string, columns: string, account: Account | null): string {
  const where = account === null ? '' : ` where account_id = '${account.id}'`;
  return `\`${program} sql "select ${columns} from ${table}${where}"\``;
}

function quoted(text: string): string {
  return JSON.stringify(text);
}
