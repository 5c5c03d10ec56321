// A question to an account's object about things that a person names. Postgres finds what is named and says what ids are
// called; where everything is given by its id, the object is asked without it.
import type * as v from 'valibot';
import type { Client } from 'pg';
import { UsageError } from '../dev/command.ts';
import { NoDatabaseError, withDatabase } from './database.ts';
import { findAccount, findOfKind, idOf, readPlace, type Account, type Kind } from './find.ts';
import { idsIn, readNames } from './names.ts';
import type { Place } from '../protocol/place.ts';
import type { Settings } from './settings.ts';
import { askObject } from './status-http.ts';

/** What a person named, by kind; the first finds the account where that is not named. */
export type Wanted = {
  readonly account: string | null;
  readonly things: Readonly<Partial<Record<Kind, string>>>;
  /** Where the account's object lives, for when Postgres cannot be asked. */
  readonly place?: Place;
};
type Found = {
  readonly account: string;
  readonly place: Place;
  readonly things: Readonly<Partial<Record<Kind, string>>>;
};

export type Asked<Answer> = {
  readonly answer: Answer;
  readonly account: Account;
  /** By id; empty while Postgres is away. */
  readonly names: Readonly<Record<string, string>>;
};

/** Finds what is `wanted`, sends what `compose` makes of it, and names what the answer holds. */
export async function askAbout<Answer extends object>(
  settings: Settings,
  wanted: Wanted,
  path: string,
  schema: v.GenericSchema<unknown, Answer>,
  compose: (found: Found) => object,
): Promise<Asked<Answer>> {
  const [workerUrl, key, databaseUrl] = [settings.workerUrl(), settings.ingestKey(), settings.databaseUrl()];
  const ask = async (found: Found) => await askObject(workerUrl, key, path, compose(found), schema);
  const byId = foundByIds(wanted);
  if (byId === null) {
    const asked = withDatabase(databaseUrl, async (db) => {
      const { account, things } = await find(db, wanted);
      const answer = await ask({ account: account.id, place: await readPlace(db, account.id), things });
      return { answer, account, names: await readNames(db, account.id, idsIn(answer)) };
    });
    return await asked.catch(adviseIds);
  }
  const { account: id } = byId;
  const known = await orNull(withDatabase(databaseUrl, async (db) => ({ place: await readPlace(db, id) })));
  const answer = await ask({ ...byId, place: known?.place ?? wanted.place ?? null });
  if (known === null) return { answer, account: { id, slug: null }, names: {} };
  try {
    return await withDatabase(databaseUrl, async (db) => {
      const { rows } = await db.query<Account>('select id::text, slug from accounts where id = $1', [id]);
      return { answer, account: rows[0] ?? { id, slug: null }, names: await readNames(db, id, idsIn(answer)) };
    });
  } catch (cause) {
    if (cause instanceof UsageError) throw cause;
    return { answer, account: { id, slug: null }, names: {} };
  }
}

function adviseIds(cause: unknown): never {
  if (!(cause instanceof NoDatabaseError)) throw cause;
  const advice = "without it this works with ids alone, the account's too";
  throw new Error(`${cause.message.replace(/\.$/, '')}; ${advice}.`, { cause });
}

/** What was named, where all of it, the account included, was named by its id; else null. */
function foundByIds({ account, things }: Wanted): Omit<Found, 'place'> | null {
  const accountId = account === null ? null : idOf(account);
  const found = Object.entries(things).map(([kind, text]) => [kind, idOf(text)] as const);
  if (accountId === null || found.some(([, id]) => id === null)) return null;
  return { account: accountId, things: Object.fromEntries(found.map(([kind, id]) => [kind, id ?? ''])) };
}

/** What Postgres said; null when it could not be asked. A mistake in its address is the person's. */
async function orNull<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (cause) {
    if (cause instanceof UsageError) throw cause;
    return null;
  }
}

async function find(db: Client, wanted: Wanted) {
  let account = wanted.account === null ? null : await findAccount(db, wanted.account);
  const things: Partial<Record<Kind, string>> = {};
  for (const kind of ['client', 'actor', 'gateway', 'resource'] as const) {
    const text = wanted.things[kind];
    if (text === undefined) continue;
    const found = await findOfKind(db, kind, account, text);
    account = found.account;
    things[kind] = found.id;
  }
  if (account === null) throw new UsageError('Nothing was named.');
  return { account, things };
}
