// What the database says for `drawbridge status`: of itself, of the slot, and of each account's lane.
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Client } from 'pg';
import { lsnToText, parsePgLsn, type LsnText } from '../protocol/lsn.ts';
import { findAccount, type Account } from './find.ts';
import type { Place } from '../protocol/place.ts';
import type { Reading } from './reading.ts';

export type DatabaseFacts = {
  readonly version: string;
  /** Names of migrations that this program knows and the database lacks. */
  readonly missingMigrations: readonly string[];
};

export type SlotFacts = {
  readonly name: string;
  readonly active: boolean;
  readonly walStatus: string | null;
  /** From what the replicator has confirmed to the end of the WAL. */
  readonly lagBytes: number;
  /** WAL that the server keeps for the slot. */
  readonly retainedBytes: number;
};

export type Lane = {
  readonly state: string;
  readonly reason: string | null;
  readonly epoch: number;
  readonly lsn: LsnText;
};

export type AccountRow = Account & {
  /** Null where there is none yet. */ readonly lane: Lane | 'unknown' | null;
  readonly place: Place;
};

/** Accounts shown when none is named. */
export const accountsMax = 50;

export async function readDatabase(db: Client): Promise<Reading<DatabaseFacts>> {
  const { rows } = await db.query<{ version: string; migrated: boolean }>(
    `select current_setting('server_version') as version, to_regclass('drawbridge.migrations') is not null as migrated`,
  );
  const version = rows[0]?.version.split(' ')[0] ?? '';
  const applied =
    rows[0]?.migrated === true ? (await db.query<{ name: string }>('select name from drawbridge.migrations')).rows : [];
  const names = new Set(applied.map(({ name }) => name));
  const missingMigrations = knownMigrations().filter((name) => !names.has(name));
  const problem =
    missingMigrations.length === 0
      ? null
      : `The migrations are not applied (${missingMigrations.length} missing): run \`npm run migrate\` with the same DATABASE_URL.`;
  return { facts: { version, missingMigrations }, problem };
}

function knownMigrations(): string[] {
  const directory = fileURLToPath(new URL('../migrations', import.meta.url));
  return readdirSync(directory)
    .filter((name) => /^\d{4}_.*\.sql$/.test(name))
    .sort();
}

/** The slot of the present epoch, which the replicator recorded before it made the slot. */
export async function readSlot(db: Client): Promise<Reading<SlotFacts>> {
  const epochs = await db.query<{ name: string }>(
    'select slot_name as name from drawbridge.epochs order by epoch desc limit 1',
  );
  const name = epochs.rows[0]?.name;
  if (name === undefined) {
    return {
      facts: null,
      problem: 'No replicator has ever streamed from this database: start one (`npm run replicator`).',
    };
  }
  const { rows } = await db.query<SlotFacts>(
    `select slot_name as name, active, wal_status as "walStatus",
            (pg_current_wal_lsn() - confirmed_flush_lsn)::float8 as "lagBytes",
            (pg_current_wal_lsn() - restart_lsn)::float8 as "retainedBytes"
       from pg_replication_slots where slot_name = $1`,
    [name],
  );
  const [facts] = rows;
  if (facts === undefined) {
    const advice = 'start the replicator, which makes another and delivers every account by snapshot';
    return { facts: null, problem: `The slot ${name} is gone: ${advice}.` };
  }
  return { facts, problem: slotProblem(facts) };
}

function slotProblem({ active, walStatus }: SlotFacts): string | null {
  if (walStatus === 'lost') {
    return 'The server removed WAL that the slot needed: restart the replicator, which delivers every account by snapshot.';
  }
  return active
    ? null
    : 'Nobody reads the slot, and the server keeps its WAL until somebody does: start the replicator.';
}

/** The named account, or those that need attention first, and how many there are. */
export async function readAccounts(
  db: Client,
  named: string | undefined,
): Promise<{ readonly rows: readonly AccountRow[]; readonly total: number }> {
  const only = named === undefined ? null : await findAccount(db, named);
  const { rows } = await db.query<{
    id: string;
    slug: string | null;
    region: string | null;
    state: string | null;
    reason: string | null;
    epoch: number;
    lsn: string;
    total: number;
  }>(
    `select account.id::text, account.slug, account.region, lane.state, lane.reason, lane.epoch::float8 as epoch,
            lane.to_lsn::text as lsn, count(*) over ()::int as total
       from accounts account left join drawbridge.lanes lane on lane.account_id = account.id
      where account.id = coalesce($1, account.id)
      order by coalesce(lane.state, '') = 'live', account.slug, account.id limit $2`,
    [only?.id ?? null, accountsMax],
  );
  return {
    rows: rows.map(({ id, slug, region, state, reason, epoch, lsn }) => ({
      id,
      slug,
      place: region,
      lane: state === null ? null : { state, reason, epoch, lsn: lsnToText(parsePgLsn(lsn)) },
    })),
    total: rows[0]?.total ?? 0,
  };
}
