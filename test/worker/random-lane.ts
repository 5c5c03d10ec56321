// The lane of one account under a random history: commits that are delivered at once, late, twice, in parts, or never, snapshots,
// terms and epochs, and what the object answers.
import * as v from 'valibot';
import { env } from 'cloudflare:workers';
import { accountObjectName, streamObjectName } from '../../worker/env.ts';
import { commit, commitsDelivery, ids, lsn, snapshotDelivery } from '../support/world.ts';
import { delivery as deliverySchema } from '../../protocol/commit.ts';
import { heartbeat } from '../../protocol/stream.ts';
import type { Answer, Commit, Delivery, WireRow } from '../../protocol/commit.ts';
import type { TableName } from '../../protocol/tables.ts';

type Rows = Partial<Record<TableName, WireRow[]>>;

const account = () => env.ACCOUNT.getByName(accountObjectName(ids.account));

export class RandomLane {
  #at = 100;
  #term = 1;
  #epoch = 1;
  #stages = 0;
  #beats = 0;
  readonly #run = crypto.randomUUID();
  /** Where the object is believed to stand. */
  #reached = 100;
  #unsent: Commit[] = [];
  /** The last delivery that was applied. */
  #last: Delivery | null = null;
  #isLost = false;
  /** Whether the object waits for a snapshot. */
  isBehind = false;
  readonly problems: string[] = [];

  /** Whether the object has all that was committed. */
  get isLevel(): boolean {
    return !this.isBehind && !this.#isLost && this.#unsent.length === 0;
  }

  commit(changes: readonly object[]): void {
    this.#at += 10;
    this.#unsent.push({ ...commit(this.#at, ...changes), committedAtUs: Date.now() * 1000 });
  }

  /** Delivers what waits. */
  async send(): Promise<void> {
    const commits = this.#unsent;
    if (commits.length === 0) return;
    this.#unsent = [];
    await this.#deliver(commitsDelivery(this.#reached, commits, this.#sender()));
  }

  /** Delivers what waits, the first of it in parts; `interrupt` comes between any two. */
  async sendInParts(interrupt: () => Promise<void>): Promise<void> {
    const [first] = this.#unsent;
    if (first === undefined || this.#unsent.length > 1) return;
    this.#stages += 1;
    const stage = `c${this.#stages}`;
    const half = Math.ceil(first.changes.length / 2);
    const part = {
      ...this.#sender(),
      version: 2,
      type: 'commit-part',
      account: ids.account,
      stage,
      index: 0,
      from: lsn(this.#reached),
      start: lsn(this.#at - 1),
      changes: first.changes.slice(0, half),
    };
    await this.#deliver(v.parse(deliverySchema, part));
    await interrupt();
    const rest: Commit = { ...first, changes: first.changes.slice(half), staged: { stage, parts: 1 } };
    this.#unsent = [rest];
    await this.send();
  }

  /** What waits never comes. */
  lose(): void {
    this.#isLost ||= this.#unsent.length > 0;
    this.#unsent = [];
    this.#reached = this.#at;
  }

  /** The last delivery comes again, or one of a sender that was replaced. */
  async repeat(isFenced: boolean): Promise<void> {
    if (this.#last === null || (isFenced && this.#term === 1)) return;
    const before = this.#last;
    const answer = await account().deliver(isFenced ? { ...before, term: this.#term - 1 } : before);
    const due = isFenced ? ['fenced'] : [this.isBehind ? 'need-snapshot' : 'duplicate'];
    if (!due.includes(answer.type) && !this.#isLost)
      this.problems.push(`a delivery again was answered ${JSON.stringify(answer)}`);
  }

  newTerm(): void {
    this.#term += 1;
    this.#last = null;
  }

  /** Another history begins: only a snapshot leads there. */
  newEpoch(): void {
    this.#term += 1;
    this.#epoch = this.#term;
    this.#at = 1000;
    this.#last = null;
  }

  /** Delivers all rows, where `interrupt` is given in parts with that between any two. */
  async snapshot(rows: Rows, interrupt: (() => Promise<void>) | null): Promise<void> {
    this.#at += 10;
    this.#unsent = [];
    this.isBehind = false;
    this.#isLost = false;
    if (interrupt === null) {
      await this.#deliver(snapshotDelivery(this.#at, rows, this.#sender()));
      return;
    }
    this.#stages += 1;
    const stage = `d${this.#stages}`;
    const tables = Object.entries(rows);
    const third = Math.ceil(tables.length / 3);
    for (const index of [0, 1]) {
      const some = Object.fromEntries(tables.slice(index * third, (index + 1) * third));
      const sender = { ...this.#sender(), version: 2, account: ids.account };
      await this.#deliver(v.parse(deliverySchema, { type: 'snapshot-part', ...sender, stage, index, rows: some }));
      await interrupt();
    }
    const rest = Object.fromEntries(tables.slice(2 * third));
    await this.#deliver(snapshotDelivery(this.#at, rest, { ...this.#sender(), staged: { stage, parts: 2 } }));
  }

  /** The stream has come as far as `agoMs` ago. */
  async beat(agoMs: number): Promise<void> {
    this.#beats += 1;
    const applied = { lsn: lsn(this.#beats), committedAtUs: (Date.now() - agoMs) * 1000, late: [] };
    const said = {
      version: 1,
      term: this.#term,
      epoch: this.#epoch,
      beat: { run: this.#run, count: this.#beats },
      applied,
    };
    await env.STREAM.getByName(streamObjectName).hear(v.parse(heartbeat, said));
  }

  #sender(): { readonly term: number; readonly epoch: number } {
    return { term: this.#term, epoch: this.#epoch };
  }

  async #deliver(delivery: Delivery): Promise<void> {
    const answer: Answer = await account().deliver(delivery);
    if (answer.type === 'applied') {
      this.#reached = this.#at;
      this.#last = delivery;
    } else if (answer.type === 'gap' || answer.type === 'need-snapshot') this.isBehind = true;
    else if (answer.type !== 'staged') this.problems.push(`${delivery.type} was answered ${JSON.stringify(answer)}`);
  }
}
