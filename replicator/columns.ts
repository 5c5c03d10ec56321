// Columns of published tables that were altered, by a migration or by hand: a rewrite changes rows without an event in the
// stream, so every account with rows in such a table is delivered by snapshot, a few at a time.
//
// It guarantees that a change of columns is on record as done only once each of those accounts has been delivered, so a
// replicator that dies before begins again. It reads the catalogue with each heartbeat, and so asks nothing of whoever alters.
import type { ClientBase } from 'pg';
import type { AccountId } from '../protocol/ids.ts';
import { accountColumn, ledgerTable, streamedTable, type StreamedTable } from '../protocol/tables.ts';
import type { Log } from './log.ts';

/** By published table, what tells one state of its columns from another. */
export type Columns = Readonly<Partial<Record<string, string>>>;

/** Accounts delivered anew at the same time, at most. */
export const resyncsAtOnceMax = 50;

export type ColumnWatchOptions = {
  readonly client: ClientBase;
  /** What is on record; null when nothing is, as in an epoch that has just begun. */
  readonly recorded: Columns | null;
  readonly record: (columns: Columns) => Promise<void>;
  readonly resync: (accounts: readonly AccountId[]) => void;
  /** Whether the object of an account that was to be delivered anew has been. */
  readonly isDelivered: (account: AccountId) => boolean;
  readonly log: Log;
};

export class ColumnWatch {
  readonly #options: ColumnWatchOptions;
  readonly #waiting = new Set<AccountId>();
  readonly #underWay = new Set<AccountId>();
  #recorded: Columns | null;
  /** Differs from what is on record while accounts are being delivered. */
  #followed: Columns | null;

  constructor(options: ColumnWatchOptions) {
    this.#options = options;
    this.#recorded = options.recorded;
    this.#followed = options.recorded;
  }

  /** Compares with the columns as they are, and goes on with what is under way. */
  async check(present: Columns): Promise<void> {
    const { client, isDelivered, log, record, resync } = this.#options;
    const altered = this.#followed === null ? [] : alteredTables(this.#followed, present);
    if (altered.length > 0) {
      const accounts = await accountsIn(client, altered);
      for (const account of accounts) this.#waiting.add(account);
      log('warn', 'columns_altered', { tables: altered.join(' '), accounts: accounts.length });
    }
    this.#followed = present;
    for (const account of this.#underWay) if (isDelivered(account)) this.#underWay.delete(account);
    const next = [...this.#waiting].slice(0, resyncsAtOnceMax - this.#underWay.size);
    for (const account of next) {
      this.#waiting.delete(account);
      this.#underWay.add(account);
    }
    resync(next);
    const isDone = this.#waiting.size === 0 && this.#underWay.size === 0;
    if (!isDone || (this.#recorded !== null && alteredTables(this.#recorded, present).length === 0)) return;
    await record(present);
    this.#recorded = present;
  }
}

/**
 * The columns of every table of the publications, whose names are the parameter `names`: an altered column gives another text,
 * also one of the same type, and so does a primary key that was away, when two rows may have had one key. Of the ledger those are
 * read that say which flows are live; an object knows no more of it.
 */
export function publishedColumns(names: string): string {
  return `select coalesce(jsonb_object_agg(name, line), '{}') from (
      select c.relname as name,
             md5(string_agg(format('%s.%s.%s', a.attnum, a.attname, a.xmin), ' ' order by a.attnum) || coalesce(
               (select k.oid::text from pg_constraint k where k.conrelid = r.prrelid and k.contype = 'p'), '')) as line
        from pg_publication_rel r join pg_publication p on p.oid = r.prpubid join pg_class c on c.oid = r.prrelid
        join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
       where p.pubname = any (${names}::text[])
         and (c.relname <> '${ledgerTable}' or a.attname in ('id', 'account_id', 'ended_at')) group by c.relname, r.prrelid) as tables`;
}

function alteredTables(before: Columns, after: Columns): readonly StreamedTable[] {
  return streamedTable.options.filter((table) => before[table] !== after[table]);
}

async function accountsIn(client: ClientBase, tables: readonly StreamedTable[]): Promise<readonly AccountId[]> {
  const selects = tables.map(
    (table) =>
      `select ${accountColumn(table)} as account from public.${table}${table === ledgerTable ? ' where ended_at is null' : ''}`,
  );
  const result = await client.query<{ account: AccountId }>(
    `select account::text from (${selects.join(' union ')}) as concerned where account is not null`,
  );
  return result.rows.map(({ account }) => account);
}
