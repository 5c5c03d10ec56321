// What waits to be written to drawbridge.change_logs: a row for each change of each transaction, in stream order.
//
// Pure; bookkeeping.ts writes. A transaction's rows name its commit, its subject and their own seq, so the same stream gives
// the same rows on every replay. Data is redacted before it is kept. What is kept counts against the reader's window. Rows of a
// transaction that comes in parts cannot name its end yet: they are put aside, outside of this process, and taken back when
// it is known.
import { unreachable } from '../protocol/assert.ts';
import type { AccountId } from '../protocol/ids.ts';
import { formatPgLsn, type Lsn } from '../protocol/lsn.ts';
import { ledgerTable, type TableName } from '../protocol/tables.ts';
import type { Change } from '../protocol/commit.ts';
import type { Transaction, TransactionPart } from './assemble.ts';
import { redact } from './redact.ts';

/** A batch is closed at either; a single larger row is a batch of its own. */
export const batchRowsMax = 500;
const batchBytesMax = 4 * 1024 * 1024;
/** A row beyond it is logged without its data. */
const rowBytesMax = 16 * 1024 * 1024;

/** A row that does not name its commit yet. */
export type PartRow = {
  /** Microseconds since 1970-01-01 UTC. */
  readonly committedAtUs: number;
  readonly seq: number;
  /** Null where the change concerns every account. */
  readonly account: AccountId | null;
  readonly table: TableName;
  readonly op: 'insert' | 'update' | 'delete' | 'truncate';
  /** JSON texts. */
  readonly oldData: string | null;
  readonly data: string | null;
  /** Why there is no data where the op would have some. */
  readonly reason: string | null;
};

/** What all rows of one commit say; `subject` is JSON text. */
export type LogCommit = { readonly lsn: Lsn; readonly subject: string | null };

export type LogRow = PartRow & LogCommit;

/** Every commit up to `upTo` is logged once the batch is; null when it completes none. */
export type LogBatch =
  | { readonly type: 'rows'; readonly rows: readonly LogRow[]; readonly upTo: Lsn | null }
  | { readonly type: 'aside'; readonly rows: readonly PartRow[] }
  /** Everything that was put aside is of this commit. */
  | { readonly type: 'take-back'; readonly commit: LogCommit; readonly upTo: Lsn | null };

type Queued = { readonly bytes: number } & (
  | { readonly type: 'row'; readonly row: LogRow; readonly isLast: boolean }
  | { readonly type: 'part-row'; readonly row: PartRow }
  | { readonly type: 'take-back'; readonly commit: LogCommit; readonly isLast: boolean }
);

export class ChangeLog {
  readonly #queue: Queued[] = [];
  #bytes = 0;

  /** Keeps the rows of some changes of a transaction that is not complete. */
  addPart({ account, changes, committedAtUs }: TransactionPart): void {
    for (const change of changes.flatMap((each) => partRows(account, committedAtUs, each))) {
      const row = bounded(change);
      this.#push({ type: 'part-row', row, bytes: bytesOf(row) });
    }
  }

  /** Keeps the rows of a transaction, or those that its parts have left; says whether it has any. */
  add(transaction: Transaction): boolean {
    const commit = { lsn: transaction.lsn, subject: transaction.said.subject };
    const rows = rowsOf(transaction);
    const hasParts = transaction.partsByAccount.size > 0;
    if (hasParts) this.#push({ type: 'take-back', commit, isLast: rows.length === 0, bytes: 0 });
    for (const [index, row] of rows.entries()) {
      const kept = { ...bounded(row), ...commit };
      const bytes = bytesOf(kept) + (commit.subject?.length ?? 0);
      this.#push({ type: 'row', row: kept, isLast: index === rows.length - 1, bytes });
    }
    return hasParts || rows.length > 0;
  }

  /** What is to be written first; null when nothing waits. It counts as waiting until `written`. */
  next(): LogBatch | null {
    const [first] = this.#queue;
    if (first === undefined) return null;
    switch (first.type) {
      case 'row': {
        const items = this.#run((queued) => queued.type === 'row');
        const upTo = items.findLast(({ isLast }) => isLast)?.row.lsn ?? null;
        return { type: 'rows', rows: items.map(({ row }) => row), upTo };
      }
      case 'part-row':
        return { type: 'aside', rows: this.#run((queued) => queued.type === 'part-row').map(({ row }) => row) };
      case 'take-back':
        return { type: 'take-back', commit: first.commit, upTo: first.isLast ? first.commit.lsn : null };
    }
    return unreachable(first);
  }

  /** The batch is where it belongs, committed. */
  written(batch: LogBatch): void {
    const count = batch.type === 'take-back' ? 1 : batch.rows.length;
    for (const { bytes } of this.#queue.splice(0, count)) this.#bytes -= bytes;
  }

  isWaiting(): boolean {
    return this.#queue.length > 0;
  }

  /** Whether what is first need not wait for more. */
  isFull(): boolean {
    return this.#queue.length >= batchRowsMax || this.#queue[0]?.type === 'take-back';
  }

  bytes(): number {
    return this.#bytes;
  }

  #push(queued: Queued): void {
    this.#queue.push(queued);
    this.#bytes += queued.bytes;
  }

  /** The first items of one kind, as many as a batch holds. */
  #run<Kind extends Queued>(isOfKind: (queued: Queued) => queued is Kind): readonly Kind[] {
    const items: Kind[] = [];
    let bytes = 0;
    for (const queued of this.#queue) {
      bytes += queued.bytes;
      if (!isOfKind(queued) || items.length === batchRowsMax || (items.length > 0 && bytes > batchBytesMax)) break;
      items.push(queued);
    }
    return items;
  }
}

/** The row as the table takes it when it refuses the data. */
export function withoutData<Row extends PartRow>(row: Row, reason: string): Row {
  return { ...row, oldData: null, data: null, reason };
}

/** Between the texts of {@link logColumns}; JSON has this character escaped only (RFC 8259, section 7; the use is RFC 7464's). */
const separator = '\u001e';

/**
 * Columns of the rows as Postgres takes them: commit time, LSN, seq, account, table, op, old data, data, reason and subject. Data
 * comes as one text of each column, empty where a row has none: in an array each quote of it would be escaped and read again.
 */
export function logColumns(rows: readonly LogRow[]): readonly (string | readonly (string | number | null)[])[] {
  return [
    rows.map(({ committedAtUs }) => committedAtUs),
    rows.map(({ lsn }) => formatPgLsn(lsn)),
    rows.map(({ seq }) => seq),
    rows.map(({ account }) => account),
    rows.map(({ table }) => table),
    rows.map(({ op }) => op),
    rows.map(({ oldData }) => oldData ?? '').join(separator),
    rows.map(({ data }) => data ?? '').join(separator),
    rows.map(({ reason }) => reason),
    rows.map(({ subject }) => subject),
  ];
}

function rowsOf({ committedAtUs, byAccount, truncates }: Transaction): readonly PartRow[] {
  const nothing = { oldData: null, data: null, reason: null };
  const rows: PartRow[] = truncates.flatMap(({ seq, table }) =>
    table === ledgerTable ? [] : [{ ...nothing, committedAtUs, seq, account: null, table, op: 'truncate' }],
  );
  for (const [account, changes] of byAccount) {
    for (const change of changes) rows.push(...partRows(account, committedAtUs, change));
  }
  return rows;
}

/** The ledger of flows is a log itself, which the edge writes. */
function partRows(account: AccountId, committedAtUs: number, change: Change): readonly PartRow[] {
  const { op, seq, table } = change;
  if (op === 'truncate' || table === ledgerTable) return [];
  const oldData = 'old' in change ? redact(table, change.old) : null;
  const data = 'new' in change ? redact(table, change.new) : null;
  return [{ committedAtUs, seq, account, table, op, oldData, data, reason: null }];
}

function bounded(row: PartRow): PartRow {
  return bytesOf(row) > rowBytesMax ? withoutData(row, `its data is larger than ${rowBytesMax} bytes`) : row;
}

const rowOverheadBytes = 200;

function bytesOf({ oldData, data }: PartRow): number {
  return rowOverheadBytes + byteLength(oldData) + byteLength(data);
}

function byteLength(json: string | null): number {
  return json === null ? 0 : Buffer.byteLength(json);
}
