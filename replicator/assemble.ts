// Messages of the stream to whole transactions, divided by account.
//
// Pure. A transaction is handed over at its commit message and never before. `seq` counts every change of the transaction
// from 0 before it is divided, so it is the same on every replay. What cannot be attributed to one account throws
// StreamStopError; nothing is guessed and nothing is skipped.
import * as v from 'valibot';
import type { Change, WireRow, WireValue } from '../protocol/commit.ts';
import { accountId, type AccountId } from '../protocol/ids.ts';
import type { Lsn } from '../protocol/lsn.ts';
import { accountColumn, keyColumns, tableName, type TableName } from '../protocol/tables.ts';
import { assert } from '../protocol/assert.ts';
import type { Message, Relation } from './decode.ts';
import { StreamStopError } from './stop.ts';

export type Transaction = {
  /** End of the commit record. */
  readonly lsn: Lsn;
  /** Top-level transaction id as the stream has it: 32 bits, unsigned. */
  readonly xid32: number;
  /** Microseconds since 1970-01-01 UTC, by the primary's clock. */
  readonly committedAtUs: number;
  readonly byAccount: ReadonlyMap<AccountId, readonly Change[]>;
  /** Accounts whose row of `accounts` is inserted by this transaction. */
  readonly born: ReadonlySet<AccountId>;
  readonly messages: readonly { readonly prefix: string; readonly content: string }[];
};

export type Assembler = {
  /** The transaction that `message` completes, or null. */
  readonly push: (message: Message) => Transaction | null;
  /** Whether a transaction has begun and not ended. */
  readonly isOpen: () => boolean;
};

type Open = {
  readonly xid32: number;
  readonly byAccount: Map<AccountId, Change[]>;
  readonly born: Set<AccountId>;
  readonly messages: { prefix: string; content: string }[];
  nextSeq: number;
};

/** `knownAccounts` is asked at each truncate: it reaches every account that has ever had a lane. */
export function createAssembler(knownAccounts: () => Iterable<AccountId>): Assembler {
  const tablesByRelation = new WeakMap<Relation, TableName>();
  let open: Open | null = null;

  const tableOf = (relation: Relation): TableName => {
    const known = tablesByRelation.get(relation);
    if (known !== undefined) return known;
    const table = checkRelation(relation);
    tablesByRelation.set(relation, table);
    return table;
  };
  const inside = (): Open => {
    if (open === null) throw new StreamStopError('the stream holds a change outside of a transaction');
    return open;
  };

  return {
    isOpen: () => open !== null,
    push(message) {
      switch (message.type) {
        case 'begin':
          assert(open === null, 'transactions of the stream do not nest');
          open = { xid32: message.xid32, byAccount: new Map(), born: new Set(), messages: [], nextSeq: 0 };
          return null;
        case 'commit': {
          const { xid32, byAccount, born, messages } = inside();
          open = null;
          return { lsn: message.endLsn, xid32, committedAtUs: message.committedAtUs, byAccount, born, messages };
        }
        case 'insert':
          addInsert(inside(), tableOf(message.relation), message.new);
          return null;
        case 'update':
          addUpdate(inside(), tableOf(message.relation), fullOld(message.relation, message.old), message.new);
          return null;
        case 'delete':
          addDelete(inside(), tableOf(message.relation), fullOld(message.relation, message.old));
          return null;
        case 'truncate':
          addTruncate(inside(), message.relations.map(tableOf), knownAccounts());
          return null;
        case 'message':
          // A message outside of a transaction has no commit to stand at; none of ours is sent that way.
          if (message.transactional) inside().messages.push({ prefix: message.prefix, content: message.content });
          return null;
        case 'relation':
          tableOf(message.relation);
          return null;
        case 'origin':
        case 'type':
          return null;
      }
    },
  };
}

function checkRelation(relation: Relation): TableName {
  const table = v.safeParse(tableName, relation.name);
  if (!table.success || relation.schema !== 'public') {
    throw new StreamStopError(
      `the publication holds ${relation.schema}.${relation.name}, which is none of ours: take it out with \`alter publication drawbridge drop table ${relation.schema}.${relation.name}\``,
    );
  }
  const names = new Set(relation.columns.map((column) => column.name));
  const missing = [...keyColumns[table.output], accountColumn(table.output)].find((column) => !names.has(column));
  if (missing !== undefined) {
    throw new StreamStopError(
      `the stream of ${relation.name} has no column ${missing}: it must exist and be published, since it says which row or whose row a change is`,
    );
  }
  return table.output;
}

function fullOld(relation: Relation, old: WireRow | null): WireRow {
  if (old !== null) return old;
  throw new StreamStopError(
    `a change of ${relation.name} came without its old row, so nobody can say whose it was: run \`alter table ${relation.schema}.${relation.name} replica identity full\`, then stop the replicator and drop its slot, which resynchronizes every account`,
  );
}

function addInsert(open: Open, table: TableName, row: WireRow): void {
  const account = accountOf(table, row);
  if (table === 'accounts') open.born.add(account);
  add(open, account, { op: 'insert', seq: takeSeq(open), table, new: row });
}

function addDelete(open: Open, table: TableName, old: WireRow): void {
  add(open, accountOf(table, old), { op: 'delete', seq: takeSeq(open), table, old });
}

function addUpdate(open: Open, table: TableName, old: WireRow, row: WireRow): void {
  const account = accountOf(table, row);
  if (account !== accountOf(table, old) || keyColumns[table].some((column) => old[column] !== row[column])) {
    addDelete(open, table, old);
    addInsert(open, table, row);
    return;
  }
  add(open, account, { op: 'update', seq: takeSeq(open), table, old, new: row });
}

function addTruncate(open: Open, tables: readonly TableName[], knownAccounts: Iterable<AccountId>): void {
  const accounts = new Set([...knownAccounts, ...open.byAccount.keys()]);
  for (const table of tables) {
    const seq = takeSeq(open);
    for (const account of accounts) add(open, account, { op: 'truncate', seq, table });
  }
}

function takeSeq(open: Open): number {
  const seq = open.nextSeq;
  open.nextSeq += 1;
  return seq;
}

function add(open: Open, account: AccountId, change: Change): void {
  const changes = open.byAccount.get(account);
  if (changes === undefined) open.byAccount.set(account, [change]);
  else changes.push(change);
}

function accountOf(table: TableName, row: WireRow): AccountId {
  const value: WireValue | undefined = row[accountColumn(table)];
  const parsed = v.safeParse(accountId, value);
  if (parsed.success) return parsed.output;
  throw new StreamStopError(
    `a row of ${table} names no account: ${accountColumn(table)} must be a UUID, as the column's type and not-null constraint ensure`,
  );
}
