// The RelayHub object: what shared relays there are, and which accounts are told when that changes. It keeps the present set with
// its version and the leases of accounts, both in storage; accounts are told in batches by its alarm (core/fan-out.ts).
//
// Nothing here is a difference: a set that arrives twice, late or out of order is compared by its version, and an account
// that could not be told is told what there is then.
import { DurableObject } from 'cloudflare:workers';
import * as v from 'valibot';
import { afterAnswer, answerMsMax, batchMax, batchMs, firstBatchAt, leaseMs } from '../../core/fan-out.ts';
import { sharedRelays } from '../../protocol/relays.ts';
import * as log from '../log.ts';
import type { Env } from '../env.ts';
import type { Lease } from '../../core/fan-out.ts';
import type { SharedRelays } from '../../protocol/relays.ts';

type LeaseRow = { account: string; until: number; version: number; failures: number; not_before: number };

export class RelayHub extends DurableObject<Env> {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    ctx.storage.sql.exec(
      `create table if not exists leases (account text primary key, until integer not null, version integer not null,
       failures integer not null, not_before integer not null) without rowid, strict;
       create index if not exists leases_by_version on leases (version);`,
    );
  }

  /** The shared relays as they are where they connect. An older version changes nothing. */
  async publish(set: SharedRelays): Promise<void> {
    if (set.version <= this.#set().version) return;
    this.ctx.storage.kv.put('set', set);
    log.info('shared_relays_changed', { version: set.version, relays: set.relays.length });
    await this.#wakeAt(firstBatchAt(Date.now(), Math.random()));
  }

  /** From here on the account, named by its object's id, is told of changes until its lease ends. Answers with the set as it is. */
  subscribe(account: string): { readonly set: SharedRelays; readonly leaseMs: number } {
    const set = this.#set();
    this.#put({ account, until: Date.now() + leaseMs, version: set.version, failures: 0, notBefore: 0 });
    return { set, leaseMs };
  }

  /** Accounts that are told of changes, and the version of the set. */
  status(): { readonly version: number; readonly relays: number; readonly leases: number } {
    const { version, relays } = this.#set();
    const { n } = this.ctx.storage.sql.exec<{ n: number }>('select count(*) as n from leases').one();
    return { version, relays: relays.length, leases: n };
  }

  override async alarm(): Promise<void> {
    const now = Date.now();
    const set = this.#set();
    const { sql } = this.ctx.storage;
    sql.exec('delete from leases where until <= ?', now);
    const due = sql
      .exec<LeaseRow>(
        'select * from leases where version < ? and not_before <= ? order by version limit ?',
        set.version,
        now,
        batchMax,
      )
      .toArray()
      .map(({ not_before: notBefore, ...rest }) => ({ ...rest, notBefore }));
    await Promise.all(due.map(async (lease) => await this.#tell(lease, set)));
    const next = sql
      .exec<{ at: number | null }>('select min(not_before) as at from leases where version < ?', this.#set().version)
      .one().at;
    if (next !== null) await this.#wakeAt(Math.max(next, Date.now() + batchMs));
  }

  async #tell(lease: Lease, set: SharedRelays): Promise<void> {
    const answer = await this.#ask(lease.account, set);
    const now = Date.now();
    // It may have asked again meanwhile, which is as good as having been told.
    const held = this.#lease(lease.account);
    if (held === null || held.version >= set.version) return;
    const after = afterAnswer(held, answer, set.version, now);
    if (after === null) this.ctx.storage.sql.exec('delete from leases where account = ?', lease.account);
    else this.#put(after);
  }

  async #ask(account: string, set: SharedRelays): Promise<'told' | 'unwanted' | 'failed'> {
    try {
      const { ACCOUNT } = this.env;
      const asked = ACCOUNT.get(ACCOUNT.idFromString(account)).takeSharedRelays(set);
      const isWanted = await within(asked, answerMsMax);
      return isWanted ? 'told' : 'unwanted';
    } catch (cause) {
      log.warn('relays_not_told', { object: account, message: cause instanceof Error ? cause.message : 'unknown' });
      return 'failed';
    }
  }

  #lease(account: string): Lease | null {
    const [row] = this.ctx.storage.sql.exec<LeaseRow>('select * from leases where account = ?', account).toArray();
    if (row === undefined) return null;
    const { not_before: notBefore, ...rest } = row;
    return { ...rest, notBefore };
  }

  #put({ account, until, version, failures, notBefore }: Lease): void {
    this.ctx.storage.sql.exec(
      'insert or replace into leases (account, until, version, failures, not_before) values (?, ?, ?, ?, ?)',
      account,
      until,
      version,
      failures,
      notBefore,
    );
  }

  #set(): SharedRelays {
    const parsed = v.safeParse(sharedRelays, this.ctx.storage.kv.get('set'));
    return parsed.success ? parsed.output : { version: 0, relays: [] };
  }

  async #wakeAt(at: number): Promise<void> {
    const present = await this.ctx.storage.getAlarm();
    if (present === null || present > at) await this.ctx.storage.setAlarm(at);
  }
}

/** What `asked` answers, or an error once it has taken `ms`. */
async function within<T>(asked: Promise<T>, ms: number): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`no answer within ${ms} ms`)), ms);
  try {
    return await Promise.race([asked, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
