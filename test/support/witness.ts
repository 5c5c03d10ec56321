// An independent record of every change of a published row, kept by triggers in the test's own database, and its comparison
// with the change log: the same transactions, each with the same changes.
import type { Client } from 'pg';
import * as v from 'valibot';
import { keyColumns, tableNames } from '../../protocol/tables.ts';

/** Columns that the log must not show. */
const secrets = ['secret_salt', 'secret_hash', 'psk_base', 'firebase_installation_id'];

export async function installWitness(db: Client): Promise<void> {
  await db.query(`
    create schema witness;
    create table witness.changes (
      n bigint generated always as identity primary key, xid xid8 not null default pg_current_xact_id(),
      tbl text not null, op text not null, account uuid, old jsonb, new jsonb
    );
    create function witness.keep() returns trigger language plpgsql as $$
    declare
      was jsonb := case when tg_op in ('UPDATE', 'DELETE') then to_jsonb(old) end;
      becomes jsonb := case when tg_op in ('INSERT', 'UPDATE') then to_jsonb(new) end;
      owner text := case tg_table_name when 'accounts' then 'id' else 'account_id' end;
      is_moved boolean := tg_op = 'UPDATE' and exists (
        select from unnest(tg_argv || owner) as name where was -> name is distinct from becomes -> name);
    begin
      if is_moved or tg_op = 'DELETE' then
        insert into witness.changes (tbl, op, account, old) values (tg_table_name, 'delete', (was ->> owner)::uuid, was);
      end if;
      if is_moved or tg_op = 'INSERT' then
        insert into witness.changes (tbl, op, account, new) values (tg_table_name, 'insert', (becomes ->> owner)::uuid, becomes);
      end if;
      if tg_op = 'UPDATE' and not is_moved then
        insert into witness.changes (tbl, op, account, old, new)
          values (tg_table_name, 'update', (was ->> owner)::uuid, was, becomes);
      end if;
      return null;
    end $$;
    create function witness.keep_truncate() returns trigger language plpgsql as $$
    begin
      insert into witness.changes (tbl, op) values (tg_table_name, 'truncate');
      return null;
    end $$;
    ${tableNames
      .map(
        (table) => `
    create trigger witness after insert or update or delete on ${table} for each row
      execute function witness.keep(${keyColumns[table].join(', ')});
    create trigger witness_truncate after truncate on ${table} for each statement execute function witness.keep_truncate();`,
      )
      .join('')}`);
}

export type Mark = { readonly n: string; readonly lsn: string };
export const start: Mark = { n: '0', lsn: '0/0' };

/** Where both records end; to be taken while they are equal and nothing is written. */
export async function markEnd(db: Client): Promise<Mark> {
  const { rows } = await db.query<Mark>(
    `select coalesce(max(n), 0)::text as n, (select coalesce(max(commit_end_lsn), '0/0')::text from drawbridge.change_logs) as lsn
       from witness.changes`,
  );
  return rows[0] ?? start;
}

/** Accounts whose rows changed since `mark`; a truncate changes every account that ever was. */
export async function changedAccounts(db: Client, mark: Mark): Promise<string[]> {
  const { rows } = await db.query<{ account: string }>(
    `select distinct account::text as account from witness.changes
      where account is not null and n > case when exists (select from witness.changes where op = 'truncate' and n > $1) then 0 else $1 end`,
    [mark.n],
  );
  return rows.map(({ account }) => account);
}

/** How many changes the log lacks since `mark`; negative when it has more. */
export async function missing(db: Client, mark: Mark): Promise<number> {
  const { rows } = await db.query<{ count: number }>(
    `select ((select count(*) from witness.changes where n > $1) -
             (select count(*) from drawbridge.change_logs where commit_end_lsn > $2 and op <> 'hole'))::int as count`,
    [mark.n, mark.lsn],
  );
  return rows[0]?.count ?? 0;
}

/** A sentence for each transaction that one record has and the other has not, since `mark`. */
export async function differences(db: Client, mark: Mark): Promise<string[]> {
  const witnessed = await transactions(
    db,
    tableNames
      .map(
        (table) => `select n as place, xid::text as txn, tbl, op, account::text,
          ${bare('old', table)} as old, ${bare('new', table)} as new
          from witness.changes where tbl = '${table}' and n > $1`,
      )
      .join(' union all '),
    mark.n,
  );
  const logged = await transactions(
    db,
    tableNames
      .map(
        (table) => `select seq as place, commit_end_lsn::text as txn, "table" as tbl, op, account_id::text as account,
          ${bare('old_data', table)} as old, ${bare('data', table)} as new
          from drawbridge.change_logs where "table" = '${table}' and commit_end_lsn > $1::pg_lsn`,
      )
      .join(' union all '),
    mark.lsn,
  );
  return [
    ...without(witnessed, logged).map((changes) => `the log lacks ${changes}`),
    ...without(logged, witnessed).map((changes) => `the log alone has ${changes}`),
  ];
}

/** The row as the table's own type reads it, so that two notations of one value are equal. */
function bare(column: string, table: string): string {
  const row = `to_jsonb(jsonb_populate_record(null::public.${table}, ${column}))`;
  return `case when ${column} is not null then ${row} - array[${secrets.map((name) => `'${name}'`).join()}] end`;
}

const change = v.object({
  txn: v.string(),
  tbl: v.string(),
  op: v.string(),
  account: v.nullable(v.string()),
  old: v.nullable(v.unknown()),
  new: v.nullable(v.unknown()),
});

/** The changes of each transaction as one text, in an order of their own: triggers fire in another than the WAL has. */
async function transactions(db: Client, sql: string, since: string): Promise<string[]> {
  const { rows } = await db.query(sql, [since]);
  const byTransaction = Map.groupBy(v.parse(v.array(change), rows), ({ txn }) => txn);
  return [...byTransaction.values()].map((changes) =>
    changes
      .map((one) => JSON.stringify({ ...one, txn: null }))
      .toSorted()
      .join('\n'),
  );
}

function without(some: readonly string[], others: readonly string[]): string[] {
  const left = new Map<string, number>();
  for (const text of others) left.set(text, (left.get(text) ?? 0) + 1);
  return some.filter((text) => {
    const count = left.get(text) ?? 0;
    left.set(text, count - 1);
    return count <= 0;
  });
}
