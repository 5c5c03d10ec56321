// Which LSN may be confirmed to the slot? What is confirmed is never sent again, so this is where a commit could be lost.
//
// Pure and synchronous; it does no IO and decides nothing else.
// R1  Commits are opened in stream order: their LSNs only grow.
// R2  A commit is durable when every lane it concerns has a durable answer at or past its LSN.
// R3  A commit is recorded when the lanes table holds, for every lane it concerns, a durable position at or past its LSN.
// R4  A commit is visible when a snapshot taken on the primary has seen its transaction: another session may see a commit
//     later than the stream delivers it, and until then it must be read again after a restart.
// R5  A commit is logged when the change log holds all of its rows, and at once when it has none.
// R6  A commit that concerns no account is complete when it is logged; any other when it is durable, recorded, visible and
//     logged.
// R7  Confirmable is the end of the longest run of complete commits from the start; it never goes back.
// R8  A keepalive's position is confirmable only while no transaction is being received and every commit is complete.
// R9  A commit does not wait for an account that the lanes table holds as parked. From the marker of its snapshot on commits
//     wait for it again, and once that fails no longer.
import { assert } from '../protocol/assert.ts';
import type { AccountId } from '../protocol/ids.ts';
import type { Lsn } from '../protocol/lsn.ts';
import { isVisible, type PgSnapshot, type Xid } from '../protocol/visibility.ts';

export type Positions = ReadonlyMap<AccountId, Lsn>;

/** A commit that is not complete. `before` is the end of the commit that preceded it in the stream. */
type Entry = {
  readonly before: Lsn;
  readonly lsn: Lsn;
  readonly xid: Xid;
  waitsFor: number;
  isSeen: boolean;
  isLogged: boolean;
};

export class Ack {
  readonly #durable: Map<AccountId, Lsn>;
  readonly #recorded: Map<AccountId, Lsn>;
  readonly #unrecorded = new Map<AccountId, Lsn>();
  /** Accounts that nothing waits for. */
  readonly #parked: Set<AccountId>;
  readonly #waitingByAccount = new Map<AccountId, Entry[]>();
  // Only what is incomplete is kept, in stream order, so a stuck lane costs its own commits and not those of all others.
  readonly #incomplete = new Set<Entry>();
  #unseen: Entry[] = [];
  readonly #unlogged: Entry[] = [];
  #watermark: Lsn;
  #lastOpened = 0n;

  /** `confirmed` is the slot's own position, the others are the lanes table's, all as they stand at the start. */
  constructor(confirmed: Lsn, positions: Positions, parked: Iterable<AccountId> = []) {
    this.#parked = new Set(parked);
    this.#watermark = confirmed;
    this.#durable = new Map(positions);
    this.#recorded = new Map(positions);
  }

  /** A commit has left the stream; `isLogged`: it has no rows for the log. Throws AssertionError when it is not after the last one. */
  open(commit: {
    readonly lsn: Lsn;
    readonly xid: Xid;
    readonly accounts: Iterable<AccountId>;
    readonly isLogged: boolean;
  }): void {
    const { lsn, xid, isLogged } = commit;
    assert(lsn > this.#lastOpened, 'commits leave the stream in the order of their LSNs');
    const concerned = [...commit.accounts];
    const waitsFor = concerned.filter((account) => !this.#isReached(account, lsn));
    const isSeen = concerned.length === 0;
    const entry = { before: this.#lastOpened, lsn, xid, waitsFor: waitsFor.length, isSeen, isLogged };
    this.#lastOpened = lsn;
    for (const account of waitsFor) {
      const waiting = this.#waitingByAccount.get(account);
      if (waiting === undefined) this.#waitingByAccount.set(account, [entry]);
      else waiting.push(entry);
    }
    if (!isSeen) this.#unseen.push(entry);
    if (!isLogged) this.#unlogged.push(entry);
    if (!isSeen || !isLogged) this.#incomplete.add(entry);
    this.#advance();
  }

  /** The lanes table holds the account as parked, committed. */
  release(account: AccountId): void {
    this.#parked.add(account);
    const waiting = this.#waitingByAccount.get(account) ?? [];
    this.#waitingByAccount.delete(account);
    for (const entry of waiting) {
      entry.waitsFor -= 1;
      this.#settle(entry);
    }
    this.#advance();
  }

  /** The marker of the parked account's snapshot has left the stream. */
  expect(account: AccountId): void {
    this.#parked.delete(account);
  }

  /** The account's object holds everything up to `lsn` durably. */
  durable(account: AccountId, lsn: Lsn): void {
    if ((this.#durable.get(account) ?? -1n) >= lsn) return;
    this.#durable.set(account, lsn);
    this.#unrecorded.set(account, lsn);
  }

  /** Durable positions that the lanes table does not hold yet. */
  unrecorded(): Positions {
    return new Map(this.#unrecorded);
  }

  /** The lanes table holds these positions, committed. Throws AssertionError when one is not durable. */
  recorded(positions: Positions): void {
    for (const [account, lsn] of positions) {
      assert((this.#durable.get(account) ?? -1n) >= lsn, 'only durable positions are recorded');
      if ((this.#recorded.get(account) ?? -1n) < lsn) this.#recorded.set(account, lsn);
      if (this.#unrecorded.get(account) === lsn) this.#unrecorded.delete(account);
      this.#pass(account, lsn);
    }
    this.#advance();
  }

  /** A snapshot taken on the primary. */
  visible(snapshot: PgSnapshot): void {
    for (const entry of this.#unseen) {
      entry.isSeen = isVisible(snapshot, entry.xid);
      this.#settle(entry);
    }
    this.#unseen = this.#unseen.filter((entry) => !entry.isSeen);
    this.#advance();
  }

  /** The change log holds the rows of every commit up to `lsn`, committed. */
  logged(lsn: Lsn): void {
    const count = countWhile(this.#unlogged, (entry) => entry.lsn <= lsn);
    for (const entry of this.#unlogged.splice(0, count)) {
      entry.isLogged = true;
      this.#settle(entry);
    }
    this.#advance();
  }

  /** The server has nothing of ours to send before `walEnd`. */
  keepalive(walEnd: Lsn, isTransactionOpen: boolean): void {
    if (isTransactionOpen || this.#incomplete.size > 0) return;
    if (walEnd > this.#watermark) this.#watermark = walEnd;
  }

  /** The highest LSN that may be confirmed. */
  confirmable(): Lsn {
    return this.#watermark;
  }

  /** Transactions that concern an account and that no snapshot has seen yet. */
  unseen(): readonly Xid[] {
    return this.#unseen.map((entry) => entry.xid);
  }

  /** Accounts that a commit at or before `lsn` concerns and whose durable position is not on record as far as that. */
  waitingAt(lsn: Lsn): readonly AccountId[] {
    return [...this.#waitingByAccount].flatMap(([account, [first]]) =>
      first !== undefined && first.lsn <= lsn ? [account] : [],
    );
  }

  /** Whether a snapshot or a write to the lanes table could complete something. */
  isWorkLeft(): boolean {
    return this.#unrecorded.size > 0 || this.#unseen.length > 0;
  }

  incompleteCount(): number {
    return this.#incomplete.size;
  }

  #isReached(account: AccountId, lsn: Lsn): boolean {
    return this.#parked.has(account) || (this.#recorded.get(account) ?? -1n) >= lsn;
  }

  #pass(account: AccountId, lsn: Lsn): void {
    const waiting = this.#waitingByAccount.get(account) ?? [];
    let passed = 0;
    for (const entry of waiting) {
      if (entry.lsn > lsn) break;
      passed += 1;
      entry.waitsFor -= 1;
      this.#settle(entry);
    }
    waiting.splice(0, passed);
    if (waiting.length === 0) this.#waitingByAccount.delete(account);
  }

  #settle(entry: Entry): void {
    if (entry.waitsFor === 0 && entry.isSeen && entry.isLogged) this.#incomplete.delete(entry);
  }

  #advance(): void {
    const [first] = this.#incomplete;
    const reached = first === undefined ? this.#lastOpened : first.before;
    if (reached > this.#watermark) this.#watermark = reached;
  }
}

function countWhile<T>(list: readonly T[], holds: (item: T) => boolean): number {
  const end = list.findIndex((item) => !holds(item));
  return end === -1 ? list.length : end;
}
