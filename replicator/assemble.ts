// Messages of the stream to transactions, divided by account.
//
// Pure. A transaction is handed over at its commit message. One too large to be held is handed over in parts as it arrives,
// each followed by the rest at the commit message; what a part holds may take no effect before. `seq` counts every change of
// the transaction from 0 before it is divided, so it is the same on every replay. What cannot be attributed to one account
// throws StreamStopError; nothing is guessed and nothing is skipped.
import * as v from 'valibot';
import type { Change, WireRow, WireValue } from '../protocol/commit.ts';
import { accountId, sharedAccountId, type AccountId } from '../protocol/ids.ts';
import type { Lsn } from '../protocol/lsn.ts';
import { accountColumn, keyColumns, mayBeShared, streamedTable, type StreamedTable } from '../protocol/tables.ts';
import { assert } from '../protocol/assert.ts';
import type { Message, Relation } from './decode.ts';
import { Listener, type Said } from './said.ts';
import { StreamStopError } from './stop.ts';

/** Bytes of the stream held for one account before they are handed over as a part. */
export const partBytesMax = 1024 * 1024;
/** Bytes of the stream held for one transaction before the largest of its accounts are handed over as parts. */
export const openBytesMax = 4 * 1024 * 1024;

type Begun = {
  /** Where the commit record begins: it names the transaction before its end is known. */
  readonly start: Lsn;
  /** Top-level transaction id as the stream has it: 32 bits, unsigned. */
  readonly xid32: number;
  /** Microseconds since 1970-01-01 UTC, by the primary's clock. */
  readonly committedAtUs: number;
};

/** Some changes of a transaction that is not complete: the part of one account with this index, counted from 0. */
export type TransactionPart = Begun & {
  readonly type: 'part';
  readonly account: AccountId;
  readonly index: number;
  readonly changes: readonly Change[];
  /** The account's own row is inserted by this transaction, in this part or one before. */
  readonly isBorn: boolean;
};

export type Transaction = Begun & {
  readonly type: 'transaction';
  /** End of the commit record. */
  readonly lsn: Lsn;
  /** Every account that it concerns, with the changes that follow its parts. */
  readonly byAccount: ReadonlyMap<AccountId, readonly Change[]>;
  /** How many parts were handed over, of accounts that had any. */
  readonly partsByAccount: ReadonlyMap<AccountId, number>;
  /** Accounts whose row of `accounts` is inserted by this transaction. */
  readonly born: ReadonlySet<AccountId>;
  /** Those in `byAccount` too, once each, whether or not an account is known. */
  readonly truncates: readonly { readonly seq: number; readonly table: StreamedTable }[];
  readonly said: Said;
};

export type Assembler = {
  /**
   * The transaction that `message` completes, or the parts that are handed over since `bytes`, the message's size, made them
   * too large to be held.
   */
  readonly push: (message: Message, bytes: number) => readonly (Transaction | TransactionPart)[];
  /** Whether a transaction has begun and not ended. */
  readonly isOpen: () => boolean;
  /** The open transaction's id if parts of it were handed over, else null. */
  readonly xid32InParts: () => number | null;
};

type Account = { changes: Change[]; bytes: number; parts: number };

type Open = Begun & {
  readonly byAccount: Map<AccountId, Account>;
  readonly born: Set<AccountId>;
  readonly truncates: { seq: number; table: StreamedTable }[];
  readonly listener: Listener;
  nextSeq: number;
  /** Bytes held, over all accounts. */
  bytes: number;
  isPartDue: boolean;
  hasParts: boolean;
};

/**
 * `knownAccounts` is asked at each truncate: it reaches every account that has ever had a lane. Messages that steer are signed
 * under one of `ingestKeys`.
 */
export function createAssembler(
  knownAccounts: () => Iterable<AccountId>,
  ingestKeys: readonly string[] = [],
): Assembler {
  const tablesByRelation = new WeakMap<Relation, StreamedTable>();
  let open: Open | null = null;

  const tableOf = (relation: Relation): StreamedTable => {
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

  const take = (message: Exclude<Message, { type: 'begin' | 'commit' }>, bytes: number): void => {
    switch (message.type) {
      case 'insert':
        addInsert(inside(), tableOf(message.relation), message.new, bytes);
        return;
      case 'update':
        addUpdate(inside(), tableOf(message.relation), fullOld(message.relation, message.old), message.new, bytes);
        return;
      case 'delete':
        addDelete(inside(), tableOf(message.relation), fullOld(message.relation, message.old), bytes);
        return;
      case 'truncate':
        addTruncate(inside(), message.relations.map(tableOf), knownAccounts());
        return;
      case 'message':
        // A message outside of a transaction has no commit to stand at; none of ours is sent that way.
        if (message.transactional) inside().listener.take(message);
        return;
      case 'relation':
        tableOf(message.relation);
        return;
      case 'origin':
      case 'type':
        return;
    }
  };

  return {
    isOpen: () => open !== null,
    xid32InParts: () => (open?.hasParts === true ? open.xid32 : null),
    push(message, bytes) {
      if (message.type === 'begin') {
        assert(open === null, 'transactions of the stream do not nest');
        open = begin(message, new Listener(ingestKeys));
        return [];
      }
      if (message.type === 'commit') {
        const transaction = complete(inside(), message);
        open = null;
        return [transaction];
      }
      take(message, bytes);
      return open === null ? [] : takeParts(open);
    },
  };
}

function begin({ start, xid32, committedAtUs }: Begun, listener: Listener): Open {
  const empty = { byAccount: new Map(), born: new Set<AccountId>(), truncates: [] };
  return { start, xid32, committedAtUs, ...empty, listener, nextSeq: 0, bytes: 0, isPartDue: false, hasParts: false };
}

function complete(open: Open, commit: Extract<Message, { type: 'commit' }>): Transaction {
  const { start, xid32, born, truncates } = open;
  const { endLsn: lsn, committedAtUs } = commit;
  const byAccount = new Map<AccountId, readonly Change[]>();
  const partsByAccount = new Map<AccountId, number>();
  for (const [account, { changes, parts }] of open.byAccount) {
    byAccount.set(account, changes);
    if (parts > 0) partsByAccount.set(account, parts);
  }
  const shared = { lsn, start, xid32, committedAtUs, born, truncates, said: open.listener.said() };
  return { type: 'transaction', ...shared, byAccount, partsByAccount };
}

/** Hands over, largest first, until no account and not the whole is above its bound. */
function takeParts(open: Open): readonly TransactionPart[] {
  if (open.bytes <= openBytesMax && !open.isPartDue) return [];
  open.isPartDue = false;
  const parts: TransactionPart[] = [];
  const bySize = [...open.byAccount].toSorted(([, a], [, b]) => b.bytes - a.bytes);
  for (const [account, held] of bySize) {
    if (held.bytes <= partBytesMax && open.bytes <= openBytesMax / 2) break;
    parts.push(takePart(open, account, held));
  }
  return parts;
}

function takePart(open: Open, account: AccountId, held: Account): TransactionPart {
  const { start, xid32, committedAtUs } = open;
  const { changes, parts: index } = held;
  open.bytes -= held.bytes;
  open.hasParts = true;
  held.changes = [];
  held.bytes = 0;
  held.parts += 1;
  return { type: 'part', start, xid32, committedAtUs, account, index, changes, isBorn: open.born.has(account) };
}

function checkRelation(relation: Relation): StreamedTable {
  const table = v.safeParse(streamedTable, relation.name);
  if (!table.success || relation.schema !== 'public') {
    throw new StreamStopError(
      `the publication holds ${relation.schema}.${relation.name}, which is none of ours: take it out with \`alter publication drawbridge drop table ${relation.schema}.${relation.name}\`, after which every account is resynchronized`,
      { isPassable: true },
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
    `a change of ${relation.name} came without its old row, so nobody can say whose it was: run \`alter table ${relation.schema}.${relation.name} replica identity full\`, after which every account is resynchronized`,
    { isPassable: true },
  );
}

function addInsert(open: Open, table: StreamedTable, row: WireRow, bytes: number): void {
  const account = accountOf(table, row);
  if (table === 'accounts') open.born.add(account);
  add(open, account, { op: 'insert', seq: takeSeq(open), table, new: row }, bytes);
}

function addDelete(open: Open, table: StreamedTable, old: WireRow, bytes: number): void {
  add(open, accountOf(table, old), { op: 'delete', seq: takeSeq(open), table, old }, bytes);
}

function addUpdate(open: Open, table: StreamedTable, old: WireRow, row: WireRow, bytes: number): void {
  const account = accountOf(table, row);
  if (account !== accountOf(table, old) || keyColumns[table].some((column) => old[column] !== row[column])) {
    addDelete(open, table, old, bytes / 2);
    addInsert(open, table, row, bytes / 2);
    return;
  }
  add(open, account, { op: 'update', seq: takeSeq(open), table, old, new: row }, bytes);
}

function addTruncate(open: Open, tables: readonly StreamedTable[], knownAccounts: Iterable<AccountId>): void {
  const accounts = new Set([...knownAccounts, ...open.byAccount.keys()]);
  for (const table of tables) {
    const seq = takeSeq(open);
    open.truncates.push({ seq, table });
    for (const account of accounts) add(open, account, { op: 'truncate', seq, table }, truncateBytes);
  }
}

const truncateBytes = 64;

function takeSeq(open: Open): number {
  const seq = open.nextSeq;
  open.nextSeq += 1;
  return seq;
}

function add(open: Open, account: AccountId, change: Change, bytes: number): void {
  const held = open.byAccount.get(account) ?? { changes: [], bytes: 0, parts: 0 };
  if (held.changes.length === 0) open.byAccount.set(account, held);
  held.changes.push(change);
  held.bytes += bytes;
  open.bytes += bytes;
  if (held.bytes > partBytesMax) open.isPartDue = true;
}

function accountOf(table: StreamedTable, row: WireRow): AccountId {
  const value: WireValue | undefined = row[accountColumn(table)];
  if (value === null && mayBeShared(table)) return sharedAccountId;
  const parsed = v.safeParse(accountId, value);
  if (parsed.success) return parsed.output;
  throw new StreamStopError(
    `a row of ${table} names no account: ${accountColumn(table)} must be a UUID, as the column's type and not-null constraint ensure; put them back, after which every account is resynchronized`,
    { isPassable: true },
  );
}
