// The one Stream object: issues terms, which fence senders of the change stream, hears the leader's heartbeats, and keeps the
// register of accounts that have an object. What it says is decided in core/stream.ts; here it is made durable.
import { DurableObject } from 'cloudflare:workers';
import { behindMsMax } from '../../core/freshness.ts';
import { aliveMsMax, emptyMemory, hear, lead, type Applied, type StreamMemory } from '../../core/stream.ts';
import { accountsPageMax } from '../../protocol/stream.ts';
import * as log from '../log.ts';
import type { AccountId } from '../../protocol/ids.ts';
import type {
  AccountsAnswer,
  Heartbeat,
  HeartbeatAnswer,
  LeadAnswer,
  LeadRequest,
  Place,
  StreamStatus,
} from '../../protocol/stream.ts';
import type { Env } from '../env.ts';

export class Stream extends DurableObject<Env> {
  #memory: StreamMemory;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    ctx.storage.sql.exec(
      `create table if not exists accounts (
         account text primary key, connected_at integer not null default 0
       ) without rowid, strict;
       create index if not exists accounts_by_connect on accounts (connected_at desc, account);
       create table if not exists places (account text primary key, place text not null) without rowid, strict`,
    );
    const { kv } = ctx.storage;
    this.#memory = kv.get<StreamMemory>('memory') ?? { ...emptyMemory, term: kv.get<number>('term') ?? 0 };
  }

  /** Issues the next term, durably, before it is answered. */
  lead(request: LeadRequest): LeadAnswer {
    const { memory, answer } = lead(this.#memory, request, Date.now());
    this.#keep(memory);
    const { systemIdentifier, timeline } = request;
    if (answer.type === 'leads') {
      const { term, distrust } = answer;
      log.info('term_issued', { term, system_identifier: systemIdentifier, timeline, distrust });
    } else log.warn('lead_refused', { reason: answer.reason, system_identifier: systemIdentifier, timeline });
    return answer;
  }

  hear(heartbeat: Heartbeat): HeartbeatAnswer {
    const { memory, answer } = hear(this.#memory, heartbeat, Date.now());
    this.#keep(memory);
    return answer;
  }

  /** What the canary's delivery took, milliseconds from COMMIT to durable. */
  measured(lagMs: number): void {
    const { applied } = this.#memory;
    if (applied !== null) this.#keep({ ...this.#memory, applied: { ...applied, lagMs } });
  }

  /** How far the stream has come; null while no heartbeat has been heard. */
  applied(): Applied | null {
    return this.#memory.applied;
  }

  /** How the stream stands, for operators. */
  status(): StreamStatus {
    const { term, source, heard, applied } = this.#memory;
    return {
      term,
      systemIdentifier: source?.systemIdentifier ?? null,
      timeline: source?.timeline ?? null,
      isDatabaseReachable: heard !== null && Date.now() - heard.atMs < aliveMsMax,
      heardAtMs: heard?.atMs ?? null,
      epoch: applied?.epoch ?? null,
      appliedToMs: applied?.toMs ?? null,
      lagMs: applied?.lagMs ?? null,
      isBehind: applied === null || Date.now() - applied.toMs > behindMsMax,
      lateAccounts: Object.keys(applied?.lateToMs ?? {}).slice(0, 100),
      accounts: this.ctx.storage.sql.exec<{ n: number }>('select count(*) as n from accounts').one().n,
    };
  }

  /** An account's object is about to exist, at `place`. */
  register(account: AccountId, place: string | null): void {
    const { sql } = this.ctx.storage;
    sql.exec('insert into accounts (account) values (?) on conflict do nothing', account);
    if (place !== null) sql.exec('insert or replace into places (account, place) values (?, ?)', account, place);
  }

  /** An account has a device connected. */
  connected(account: AccountId, connectedAtMs: number): void {
    this.ctx.storage.sql.exec(
      `insert into accounts (account, connected_at) values (?, ?)
         on conflict do update set connected_at = excluded.connected_at where connected_at < excluded.connected_at`,
      account,
      connectedAtMs,
    );
  }

  accounts(after: Place | null): AccountsAnswer {
    const rows = this.ctx.storage.sql
      .exec<{ account: AccountId; connected_at: number; place: string | null }>(
        `select account, connected_at, place from accounts left join places using (account)
          where ?1 is null or connected_at < ?1 or (connected_at = ?1 and account > ?2)
          order by connected_at desc, account limit ${accountsPageMax}`,
        after?.connectedAtMs ?? null,
        after?.account ?? null,
      )
      .toArray();
    const last = rows.length === accountsPageMax ? rows.at(-1) : undefined;
    return {
      accounts: rows.map(({ account }) => account),
      places: Object.fromEntries(rows.flatMap(({ account, place }) => (place === null ? [] : [[account, place]]))),
      next: last === undefined ? null : { connectedAtMs: last.connected_at, account: last.account },
    };
  }

  #keep(memory: StreamMemory): void {
    if (memory === this.#memory) return;
    this.ctx.storage.kv.put('memory', memory);
    this.#memory = memory;
  }
}
