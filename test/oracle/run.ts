// A run of the core against the oracle: many small accounts in one database, and in each step one transaction over all of them,
// a new connection of some clients, and time. The edits reach the core by the change stream, the oracle asks the rows; then
// both are asked who may reach what. Edits are aimed at the lines of docs/consequences.md that were met least, and mixed with
// random ones; a run says how often each line was met.
import type { ClientBase } from 'pg';
import * as v from 'valibot';
import { accessOf, type Subject } from '../../core/access.ts';
import { explain } from '../../core/explain.ts';
import { partners } from '../../core/tables.ts';
import { accountId, actorId, clientId, resourceId, tokenId, type AccountId } from '../../protocol/ids.ts';
import { drive, type Drive } from '../support/core.ts';
import { editKinds, weightOf } from './edit-kinds.ts';
import { enrichments } from './enrichments.ts';
import { aims, lineEdits, restoring } from './line-edits.ts';
import { detectors, linesHit, otherLines } from './line-hits.ts';
import { askAll, askUntil, readEdges, type Answer, type Asked, type Subject as AskedSubject } from './oracle.ts';
import { pathsOf, type Path } from './transition.ts';
import { createRandomAccount } from './random-account.ts';
import { randomStart, randomTime } from './random-clock.ts';
import { randomConnectionFacts } from './random-conditions.ts';
import { chance, integer, pick, pickOrNull, sample, seededRandom, type Random } from './random.ts';
import { readRows } from './rows.ts';
import { literal, parentsFirst, readAllSqlRows, type SqlRows } from './sql-rows.ts';
import { thereAndBack } from './there-and-back.ts';
import { openCommitStream, type CommitStream } from './stream.ts';
import { rowsOf, type World } from './world.ts';

/** What a run met. */
export interface Tally {
  /** By line of the page. */
  readonly hits: Map<string, number>;
  /** Transactions of one account each. */
  steps: number;
  /** Steps after which some client could reach other resources than before. */
  changed: number;
  asked: number;
  granted: number;
  /** Questions until when. */
  ends: number;
}

export const allLines: readonly string[] = [...Object.keys(detectors), ...otherLines];

/** How often each line must be met for a run to count. */
export const hitsMin = 100;

export function emptyTally(): Tally {
  return { hits: new Map(allLines.map((line) => [line, 0])), steps: 0, changed: 0, asked: 0, granted: 0, ends: 0 };
}

/** Why a run does not count, a sentence each; empty when it does. */
export function shortfalls({ hits, steps, changed, asked, granted }: Tally): string[] {
  const rare = [...hits].flatMap(([line, times]) =>
    times < hitsMin ? [`${line} was met ${times} times, of ${hitsMin}`] : [],
  );
  const share = granted / Math.max(1, asked);
  const moving = changed / Math.max(1, steps);
  return [
    ...rare,
    ...(share < 0.2 || share > 0.8 ? [`${Math.round(share * 100)} % of the verdicts allow, not 20 to 80 %`] : []),
    ...(moving < 0.3 ? [`${Math.round(moving * 100)} % of the steps change a verdict, not 30 %`] : []),
  ];
}

const horizonMs = 8 * 86_400_000;
/** Edits of one account's part of a transaction, at most. */
const editsMax = 14;

/** Of the lines met least, so many are in every edit. */
const rarestMax = 3;

/** Clients of one account that are asked about, at most. */
const subjectsMax = 3;

/** Of the transactions, so many begin with taking something away and giving it back. */
const thereAndBackShare = 0.15;

/** An account of which less is granted is given more. */
const poorShare = 0.5;

/** How far ahead an edit is aimed that time is to meet. */
const aimedMsMax = 5 * 3_600_000;

interface Account {
  readonly id: AccountId;
  readonly driven: Drive;
  atMs: number;
  rows: SqlRows;
  subjects: AskedSubject[];
  paths: readonly Path[];
  /** What was lost with the account or by a truncate, to be inserted again. */
  lost: SqlRows | null;
  /** What the last edits wait for: nothing, a connection from elsewhere, or a few hours. */
  aims: readonly ('address' | 'hours')[];
}

export class Run {
  readonly #db: ClientBase;
  readonly #random: Random;
  readonly #tally: Tally;
  readonly #accounts: readonly Account[];
  readonly #stream: CommitStream;
  readonly #label: string;
  #step = 0;

  private constructor(
    db: ClientBase,
    random: Random,
    tally: Tally,
    accounts: readonly Account[],
    stream: CommitStream,
    label: string,
  ) {
    this.#db = db;
    this.#random = random;
    this.#tally = tally;
    this.#accounts = accounts;
    this.#stream = stream;
    this.#label = label;
  }

  /** Makes `count` accounts in a database that has the oracle, and no others. */
  static async start(db: ClientBase, seed: number, count: number, tally: Tally): Promise<Run> {
    const random = seededRandom(seed);
    const accounts: Account[] = [];
    for (let i = 0; i < count; i += 1) {
      const atMs = randomStart(random);
      const id = v.parse(accountId, await createRandomAccount(db, random, atMs));
      const driven = drive(await readRows(db, id));
      driven.now = atMs;
      accounts.push({ id, driven, atMs, rows: new Map(), subjects: [], paths: [], lost: null, aims: [] });
    }
    const stream = await openCommitStream(db, new Set(accounts.map(({ id }) => id)));
    const run = new Run(db, random, tally, accounts, stream, `seed ${seed}`);
    await run.#readRows();
    for (const account of accounts) run.#connectAll(account);
    return run;
  }

  /** One transaction over all accounts, and everything that is compared after it. Throws at a difference. */
  async step(): Promise<void> {
    this.#step += 1;
    const before = new Map(this.#accounts.map((account) => [account.id, { rows: account.rows, paths: account.paths }]));
    await this.#commit(this.#statements());
    await this.#readRows();
    for (const { byAccount } of await this.#stream.read()) {
      for (const account of this.#accounts) {
        const changes = byAccount.get(account.id);
        if (changes === undefined) continue;
        account.driven.commit(...changes);
        const { rows = account.rows, paths = [] } = before.get(account.id) ?? {};
        const pathsAfter = pathsOf(account.driven.state, known(account));
        const { atMs } = account;
        const lines = linesHit({ before: rows, after: account.rows, changes, atMs, paths, pathsAfter });
        for (const line of lines) this.#hit(line);
      }
    }
    for (const account of this.#accounts) this.#reconnect(account);
    await this.#passTime();
    await this.#compare();
    for (const account of this.#accounts) {
      const { paths = [] } = before.get(account.id) ?? {};
      const told = (list: readonly Path[]) =>
        list
          .map(({ client, resource }) => `${client} ${resource}`)
          .toSorted((a, b) => (a < b ? -1 : 1))
          .join();
      this.#tally.steps += 1;
      this.#tally.changed += told(paths) === told(account.paths) ? 0 : 1;
    }
  }

  /** A truncate of everything once in a while, and what it took given back in the step after it; else edits of each account. */
  #statements(): string[] {
    const round = this.#step % 12;
    if (round === 3) return this.#truncate('policies');
    if (round === 9)
      return this.#truncate(parentsFirst[Math.floor(this.#step / 12) % parentsFirst.length] ?? 'policies');
    return this.#accounts.flatMap((account) => {
      const { lost } = account;
      if (lost === null) return this.#editsOf(account);
      account.lost = null;
      return restoring(lost).map(block);
    });
  }

  /** In every other round the same transaction inserts all of it again: nothing may have happened then. */
  #truncate(table: string): string[] {
    const isGivenBack = chance(this.#random, 0.3);
    const rows = this.#accounts.map(({ rows: own }) => own);
    if (!isGivenBack) for (const account of this.#accounts) account.lost ??= account.rows;
    return [`truncate ${table} cascade`, ...(isGivenBack ? rows.flatMap((own) => restoring(own)) : [])];
  }

  #editsOf(account: Account): string[] {
    const world: World = { random: this.#random, account: account.id, atMs: account.atMs, rows: account.rows };
    const own = rowsOf(world, 'accounts')[0];
    if (own === undefined) return [];
    if (own['disabled_at'] !== null && chance(this.#random, 0.9)) {
      return [block([`update accounts set disabled_at = null where id = ${literal(account.id)}`])];
    }
    const edits: (readonly string[])[] = chance(this.#random, thereAndBackShare) ? [thereAndBack(world)] : [];
    const { paths } = account;
    const isPoor = paths.length < account.subjects.length * rowsOf(world, 'resources').length * poorShare;
    if (isPoor) edits.push(...enrichments(world));
    const wanted = isPoor ? 3 : integer(this.#random, 4, editsMax);
    const lines = paths.length === 0 ? [] : this.#rarest(wanted);
    account.aims = lines.flatMap((line) => aims[line] ?? []);
    for (const line of lines) {
      const made = lineEdits[line]?.({ ...world, paths }) ?? null;
      if (made !== null) edits.push(made);
      if (line === 'account-deleted') account.lost = account.rows;
    }
    const made = this.#randomEdit(world);
    if (made !== null) edits.push(made);
    return edits.filter(({ length }) => length > 0).map(block);
  }

  /** Lines of which most are among those met least; one that ends everything comes alone. */
  #rarest(count: number): string[] {
    const lines = Object.keys(lineEdits);
    const byHits = sample(this.#random, lines, lines.length).toSorted(
      (a, b) => (this.#tally.hits.get(a) ?? 0) - (this.#tally.hits.get(b) ?? 0),
    );
    const rest = sample(this.#random, [...byHits.slice(rarestMax, 16), ...sample(this.#random, lines, 6)], count);
    const chosen = [...byHits.slice(0, rarestMax), ...rest].slice(0, count);
    const alone = chosen.find((line) => line === 'account-deleted' || line === 'account-disabled');
    return alone === undefined ? chosen : [alone];
  }

  #randomEdit(world: World): readonly string[] | null {
    const weighted = editKinds.map((kind) => ({ kind, weight: weightOf(world, kind) }));
    let rest = this.#random() * weighted.reduce((sum, { weight }) => sum + weight, 0);
    const kind = weighted.find(({ weight }) => (rest -= weight) < 0)?.kind;
    const made = kind?.make(world) ?? null;
    return made !== null && !('rebirth' in made) ? made : null;
  }

  async #commit(statements: readonly string[]): Promise<void> {
    await this.#db.query(['begin', ...statements, 'commit'].join(';\n'));
  }

  async #readRows(): Promise<void> {
    const rows = await readAllSqlRows(this.#db);
    for (const account of this.#accounts) account.rows = rows.get(account.id) ?? new Map();
  }

  /** Every client gets a token of its actor's and facts, as from a connection. */
  #connectAll(account: Account): void {
    const old = new Map(account.subjects.map((subject) => [subject.client_id, subject]));
    const world: World = { random: this.#random, account: account.id, atMs: account.atMs, rows: account.rows };
    const usable = (token: string | undefined) => rowsOf(world, 'tokens').some(({ id }) => id === token);
    const keeping = account.aims.includes('address') ? 0.2 : 0.85;
    const clients = rowsOf(world, 'clients').slice(0, subjectsMax);
    account.subjects = clients.flatMap(({ id, actor_id: actor }) => {
      const held = old.get(id ?? '');
      if (held !== undefined && usable(held.token_id) && chance(this.#random, keeping)) return [held];
      const tokens = rowsOf(world, 'tokens').filter(
        ({ type, actor_id: owner }) => type === 'client' && owner === actor,
      );
      const token = pickOrNull(this.#random, tokens)?.['id'] ?? held?.token_id ?? null;
      return token === null ? [] : [{ client_id: id ?? '', token_id: token, ...randomConnectionFacts(this.#random) }];
    });
    account.paths = pathsOf(account.driven.state, known(account));
  }

  #reconnect(account: Account): void {
    const { state } = account.driven;
    const before = pathsOf(state, known(account));
    this.#connectAll(account);
    for (const subject of known(account)) {
      for (const { client, resource } of before) {
        if (client !== subject.clientId) continue;
        const access = accessOf(state, subject, v.parse(resourceId, resource));
        if (access.type === 'forbidden' && access.properties.includes('remote_ip')) this.#hit('address-leaves');
      }
    }
  }

  async #passTime(): Promise<void> {
    const asked = this.#accounts.map(({ id, atMs }) => ({ account: id, atMs }));
    const edges = await readEdges(this.#db, asked);
    for (const account of this.#accounts) {
      if (account.aims.length === 0 && chance(this.#random, 0.15)) continue;
      const { state } = account.driven;
      const subjects = known(account);
      const judged = () =>
        subjects.flatMap((subject) =>
          [...state.tables.rows.resources.keys()].map((resource) => ({
            subject,
            access: accessOf(state, subject, v.parse(resourceId, resource)),
          })),
        );
      const before = judged();
      account.atMs = this.#nextTime(account, edges.get(account.id) ?? []);
      account.aims = [];
      account.driven.now = account.atMs;
      account.driven.step({ type: 'tick' });
      for (const [i, { subject, access }] of judged().entries()) {
        const old = before[i]?.access;
        const isWindow = (denied: typeof old) =>
          denied?.type === 'forbidden' && denied.properties.includes('current_utc_datetime');
        const expiry = state.tables.rows.tokens.get(subject.tokenId)?.expires_at ?? Infinity;
        if (old?.type === 'granted' && isWindow(access) && expiry > account.atMs) this.#hit('window-closes');
        if (isWindow(old) && access.type === 'granted') this.#hit('window-opens');
        if (old?.type === 'granted' && access.type !== 'granted' && expiry <= account.atMs) this.#hit('token-expires');
      }
    }
  }

  #nextTime({ atMs, aims: wanted }: Account, edges: readonly number[]): number {
    const near = edges.filter((edge) => edge - atMs < aimedMsMax);
    const edge = wanted.includes('hours') ? pickOrNull(this.#random, near) : null;
    return edge ?? randomTime(this.#random, atMs, edges);
  }

  async #compare(): Promise<void> {
    const asked: Asked[] = this.#accounts.map(({ id, atMs, subjects }) => ({ account: id, atMs, subjects }));
    const answers = await askAll(this.#db, asked);
    for (const account of this.#accounts) {
      account.driven.now = account.atMs;
      account.driven.step({ type: 'tick' });
      const own = answers.get(account.id) ?? [];
      const where = `${this.#label}, step ${this.#step}, account ${account.id}`;
      for (const answer of own) compare(account, answer, where);
      this.#tally.asked += own.length;
      this.#tally.granted += own.filter(({ verdict }) => verdict === 'granted').length;
      account.paths = pathsOf(account.driven.state, known(account));
      if (own.length > 0 && chance(this.#random, 0.25)) await this.#compareEnd(account, pick(this.#random, own), where);
    }
  }

  /** Until when an answer holds: an access ends exactly then; a refusal is looked at again no later than it must be. */
  async #compareEnd(account: Account, answer: Answer, where: string): Promise<void> {
    const { state } = account.driven;
    const subject = account.subjects.find(({ client_id: client }) => client === answer.client_id);
    const ours = known(account).find((own) => own.clientId === answer.client_id);
    if (subject === undefined || ours === undefined) return;
    const resource = answer.resource_id;
    const question = { account: account.id, atMs: state.now, subject, resource, horizonMs };
    const theirs = await askUntil(this.#db, question);
    const access = accessOf(state, ours, v.parse(resourceId, resource));
    const seen = access.until > state.now + horizonMs ? Infinity : access.until;
    const isRight = access.type === 'granted' ? seen === theirs : seen <= theirs;
    if (!isRight) {
      throw new Error(
        `${where}: client ${answer.client_id}, resource ${resource}: ${access.type} until ${seen}, the oracle says ${theirs}`,
      );
    }
    this.#tally.ends += 1;
  }

  #hit(line: string): void {
    this.#tally.hits.set(line, (this.#tally.hits.get(line) ?? 0) + 1);
  }
}

/** All or nothing, so that what a constraint refuses leaves the rest of the transaction. */
function block(statements: readonly string[] | string): string {
  const body = (typeof statements === 'string' ? [statements] : statements).join('; ');
  return `do $edit$ begin ${body}; exception when integrity_constraint_violation then null; end $edit$`;
}

/** The account's subjects as the core takes them; a client that is gone has nobody for its actor. */
function known({ driven, subjects }: Account): Subject[] {
  const { clients } = driven.state.tables.rows;
  return subjects.map((subject) => ({
    clientId: v.parse(clientId, subject.client_id),
    actorId: clients.get(subject.client_id)?.actor_id ?? v.parse(actorId, '00000000-0000-4000-8000-000000000000'),
    tokenId: v.parse(tokenId, subject.token_id),
    remoteIp: subject.remote_ip,
    region: subject.region,
  }));
}

/** Both must grant the same, and refuse with the same words wherever the subject and the resource are in order. */
function compare(account: Account, answer: Answer, where: string): void {
  const { state } = account.driven;
  const what = `${where}: client ${answer.client_id}, resource ${answer.resource_id}`;
  const subject = known(account).find((own) => own.clientId === answer.client_id && own.tokenId === answer.token_id);
  if (subject === undefined) throw new Error(`${what}: the oracle answered for a subject that was not asked about`);
  const resource = v.parse(resourceId, answer.resource_id);
  const ours = accessOf(state, subject, resource);
  const differs = (told: unknown, theirs: unknown) => {
    if (JSON.stringify(told) !== JSON.stringify(theirs)) {
      throw new Error(`${what}: the core says ${JSON.stringify(told)}, the oracle ${JSON.stringify(theirs)}`);
    }
  };
  differs(ours.type === 'granted', answer.verdict === 'granted');
  if (ours.type === 'granted') {
    differs([...partners(state.tables.sitesOfResource, resource)].toSorted(), answer.sites.toSorted());
    return;
  }
  const missing = explain(state, subject, resource).missing.map(({ type }) => type);
  if (missing.some((type) => ['account', 'client', 'actor', 'token', 'provider'].includes(type))) return;
  differs(ours.type, answer.verdict);
  if (ours.type === 'forbidden') differs(ours.properties.toSorted(), answer.violated);
}
