// The durable slot and the epoch that names its history.
//
// It guarantees that positions of two histories never meet under one name: an epoch is on record before its slot is made, it
// has begun only once its start is on record, and anything between that and a slot which goes on where it was left opens
// another. A slot that another session reads is taken over, since whoever holds the leader's lock is alone entitled to it.
import { setTimeout as delay } from 'node:timers/promises';
import type { ClientBase } from 'pg';
import { must } from '../protocol/assert.ts';
import { formatPgLsn, parsePgLsn, type Lsn } from '../protocol/lsn.ts';
import type { Columns } from './columns.ts';
import type { Log } from './log.ts';
import type { Server } from './preflight.ts';
import { resetRecord, type Recorded } from './record.ts';

export type Slot = {
  readonly confirmed: Lsn;
  readonly epoch: number;
  /** What was published when the epoch began. */
  readonly published: string;
  /** Its columns, as every account has been delivered; null when that is not known. */
  readonly columns: Columns | null;
  /** Set when this run has opened the epoch. */
  readonly opened: OpenedEpoch | null;
};

/** Positions begin anew, and every account is resynchronized. What was committed between the two may be missing from logs. */
export type OpenedEpoch = {
  readonly reason: string;
  /** What had been confirmed of the epoch before; null when that is not known. */
  readonly recorded: Lsn | null;
  readonly startsAt: Lsn;
};

export type SlotOptions = {
  readonly slot: string;
  readonly term: number;
  readonly server: Server;
  readonly recorded: Recorded | null;
  /** What is published at present. */
  readonly published: string;
  /** Why the edge does not take this database for the one it has followed; null when it does. */
  readonly distrust: string | null;
  readonly random: () => number;
  readonly log: Log;
};

const takeOverAttemptsMax = 20;

/** Finds or creates the slot, idle and with an epoch. The caller holds the leader's lock and has begun its record. */
export async function openSlot(client: ClientBase, options: SlotOptions): Promise<Slot> {
  const found = await takeOver(client, options);
  const reason = found === null ? 'the slot was missing' : whyNewEpoch(found, options);
  if (reason !== null) return await openEpoch(client, options, found, reason);
  const { confirmed, epoch } = must(found, 'a slot whose epoch stands');
  const { published, recorded } = options;
  const columns = recorded?.columns ?? null;
  return { confirmed, epoch: must(epoch, 'the epoch of the slot').epoch, published, columns, opened: null };
}

async function openEpoch(
  client: ClientBase,
  options: SlotOptions,
  found: FoundSlot | null,
  reason: string,
): Promise<Slot> {
  const { log, published, recorded, server, slot, term } = options;
  await client.query(
    `insert into drawbridge.epochs (epoch, reason, slot_name, system_identifier, timeline, publication, recorded_lsn)
       values ($1, $2, $3, $4, $5, $6, $7)`,
    [
      term,
      reason,
      slot,
      server.systemIdentifier,
      server.timeline,
      published,
      recorded === null ? null : formatPgLsn(recorded.confirmed),
    ],
  );
  const isReadable = found !== null && !found.isLost && (recorded?.broken ?? null) === null;
  if (found !== null && !isReadable) await client.query('select pg_drop_replication_slot($1)', [slot]);
  const startsAt = isReadable ? found.confirmed : await createSlot(client, slot);
  await client.query('update drawbridge.epochs set starts_at = $2 where epoch = $1', [term, formatPgLsn(startsAt)]);
  await resetRecord(client, slot, { term, confirmed: startsAt });
  log('warn', 'epoch_opened', { epoch: term, reason, slot });
  return {
    confirmed: startsAt,
    epoch: term,
    published,
    columns: null,
    opened: { reason, recorded: recorded?.confirmed ?? null, startsAt },
  };
}

type FoundSlot = {
  readonly confirmed: Lsn;
  readonly isLost: boolean;
  readonly activePid: number | null;
  readonly epoch: FoundEpoch | null;
};

/** The latest epoch of the database. */
type FoundEpoch = {
  readonly epoch: number;
  readonly slot: string;
  readonly systemIdentifier: string;
  readonly timeline: number;
  readonly published: string | null;
  readonly hasBegun: boolean;
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
  const epoch = await findEpoch(client);
  const result = await client.query<{
    confirmed: string | null;
    is_lost: boolean;
    active_pid: number | null;
    plugin: string;
    is_our_database: boolean;
  }>(
    `select confirmed_flush_lsn::text as confirmed, coalesce(wal_status = 'lost', false) as is_lost, active_pid, plugin,
            database = current_database() as is_our_database
       from pg_replication_slots where slot_name = $1`,
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
    epoch,
  };
}

async function findEpoch(client: ClientBase): Promise<FoundEpoch | null> {
  const result = await client.query<{
    epoch: number;
    slot: string;
    system_identifier: string;
    timeline: number;
    published: string | null;
    has_begun: boolean;
  }>(
    `select epoch::float8, slot_name as slot, system_identifier, timeline::int, publication as published,
            starts_at is not null as has_begun
       from drawbridge.epochs order by drawbridge.epochs.epoch desc limit 1`,
  );
  const [row] = result.rows;
  if (row === undefined) return null;
  const { epoch, slot, system_identifier: systemIdentifier, timeline, published, has_begun: hasBegun } = row;
  return { epoch, slot, systemIdentifier, timeline, published, hasBegun };
}

function whyNewEpoch(found: FoundSlot, options: SlotOptions): string | null {
  const { distrust, published, recorded, server, slot } = options;
  const { epoch } = found;
  if (found.isLost) return 'the server removed WAL that the slot still needed';
  if (epoch === null || recorded === null) return 'the slot had no epoch';
  if (epoch.slot !== slot) return `the slot ${epoch.slot} was read since`;
  if (!epoch.hasBegun) return 'the epoch before was not begun';
  if (epoch.systemIdentifier !== server.systemIdentifier) return 'the database is another system';
  if (epoch.timeline !== server.timeline) return 'the database is on another timeline';
  if (recorded.broken !== null) return `the stream could not be read on: ${recorded.broken}`;
  if (found.confirmed > recorded.confirmed) return 'the slot was moved or read by somebody else';
  if (epoch.published !== published) return 'the publication was edited';
  return distrust;
}

async function createSlot(client: ClientBase, slot: string): Promise<Lsn> {
  const result = await client.query<{ lsn: string }>(
    `select lsn::text from pg_create_logical_replication_slot($1, 'pgoutput')`,
    [slot],
  );
  return parsePgLsn(must(result.rows[0], 'the slot just created').lsn);
}
