// The durable slot and the epoch that names its history.
//
// It guarantees that a slot without its own row in drawbridge.epochs is never read: the row is written before the slot is
// created, so a crash between the two leads to another epoch, never to two histories under one name. A slot that another
// session reads is taken over, since whoever holds the leader's lock is alone entitled to it.
import { setTimeout as delay } from 'node:timers/promises';
import type { ClientBase } from 'pg';
import { must } from '../protocol/assert.ts';
import { parsePgLsn, type Lsn } from '../protocol/lsn.ts';
import type { Log } from './log.ts';
import type { Server } from './preflight.ts';

export type Slot = { readonly confirmed: Lsn; readonly epoch: number; readonly isNewEpoch: boolean };

export type SlotOptions = {
  readonly slot: string;
  readonly term: number;
  readonly server: Server;
  readonly random: () => number;
  readonly log: Log;
};

const takeOverAttemptsMax = 20;

/** Finds or creates the slot, idle and with an epoch. The caller holds the leader's lock. */
export async function openSlot(client: ClientBase, options: SlotOptions): Promise<Slot> {
  const found = await takeOver(client, options);
  const reason = found === null ? 'the slot was missing' : whyNewEpoch(found, options.server);
  if (reason === null) {
    const { confirmed, epoch } = must(found, 'a slot whose epoch stands');
    return { confirmed, epoch: must(epoch, 'the epoch of the slot'), isNewEpoch: false };
  }
  await client.query(
    `insert into drawbridge.epochs (epoch, reason, slot_name, system_identifier, timeline) values ($1, $2, $3, $4, $5)`,
    [options.term, reason, options.slot, options.server.systemIdentifier, options.server.timeline],
  );
  if (found?.isLost === true) await client.query('select pg_drop_replication_slot($1)', [options.slot]);
  const confirmed = found === null || found.isLost ? await createSlot(client, options.slot) : found.confirmed;
  options.log('warn', 'epoch_opened', { epoch: options.term, reason, slot: options.slot });
  return { confirmed, epoch: options.term, isNewEpoch: true };
}

type FoundSlot = {
  readonly confirmed: Lsn;
  readonly isLost: boolean;
  readonly activePid: number | null;
  readonly epoch: number | null;
  readonly systemIdentifier: string | null;
  readonly timeline: number | null;
};

async function takeOver(client: ClientBase, { slot, random, log }: SlotOptions): Promise<FoundSlot | null> {
  for (let attempt = 1; ; attempt += 1) {
    const found = await findSlot(client, slot);
    if (found === null || found.activePid === null) return found;
    if (attempt > takeOverAttemptsMax) {
      throw new Error(
        `the slot ${slot} stays in use by the session with pid ${found.activePid}: find it in pg_stat_activity and end it`,
      );
    }
    log('warn', 'slot_taken_over', { slot, pid: found.activePid, attempt });
    await client.query('select pg_terminate_backend($1)', [found.activePid]);
    await delay(10 + random() * Math.min(500, 10 * 2 ** attempt));
  }
}

async function findSlot(client: ClientBase, slot: string): Promise<FoundSlot | null> {
  const result = await client.query<{
    confirmed: string | null;
    is_lost: boolean;
    active_pid: number | null;
    plugin: string;
    is_our_database: boolean;
    epoch: number | null;
    system_identifier: string | null;
    timeline: number | null;
  }>(
    `select s.confirmed_flush_lsn::text as confirmed, coalesce(s.wal_status = 'lost', false) as is_lost, s.active_pid,
            s.plugin, s.database = current_database() as is_our_database,
            e.epoch::float8 as epoch, e.system_identifier::text as system_identifier, e.timeline::int as timeline
       from pg_replication_slots s
       left join lateral (select * from drawbridge.epochs e where e.slot_name = s.slot_name order by e.epoch desc limit 1) e
         on true
      where s.slot_name = $1`,
    [slot],
  );
  const [row] = result.rows;
  if (row === undefined) return null;
  if (row.plugin !== 'pgoutput' || !row.is_our_database) {
    throw new Error(
      `the slot ${slot} belongs to another database or plugin: drop it with \`select pg_drop_replication_slot('${slot}')\`, or set DRAWBRIDGE_SLOT to a free name`,
    );
  }
  return {
    confirmed: row.confirmed === null ? 0n : parsePgLsn(row.confirmed),
    isLost: row.is_lost,
    activePid: row.active_pid,
    epoch: row.epoch,
    systemIdentifier: row.system_identifier,
    timeline: row.timeline,
  };
}

function whyNewEpoch(found: FoundSlot, server: Server): string | null {
  if (found.isLost) return 'the server removed WAL that the slot still needed';
  if (found.epoch === null) return 'the slot had no epoch';
  if (found.systemIdentifier !== server.systemIdentifier) return 'the database is another system';
  if (found.timeline !== server.timeline) return 'the database is on another timeline';
  return null;
}

async function createSlot(client: ClientBase, slot: string): Promise<Lsn> {
  const result = await client.query<{ lsn: string }>(
    `select lsn::text from pg_create_logical_replication_slot($1, 'pgoutput')`,
    [slot],
  );
  return parsePgLsn(must(result.rows[0], 'the slot just created').lsn);
}
