// Waiting for the stream in a bench: what is confirmed to Postgres is durable in every object concerned.
import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from 'pg';

const slot = 'drawbridge_local';

/** Where the next record of the WAL begins. */
export async function walEnd(db: Client): Promise<string> {
  const { rows } = await db.query<{ lsn: string }>('select pg_current_wal_insert_lsn() as lsn');
  return rows[0]?.lsn ?? '';
}

export async function untilConfirmed(db: Client, lsn: string): Promise<void> {
  for (;;) {
    const { rows } = await db.query<{ is_done: boolean }>(
      `select confirmed_flush_lsn >= $1::pg_lsn as is_done from pg_replication_slots where slot_name = $2`,
      [lsn, slot],
    );
    if (rows[0]?.is_done === true) return;
    await delay(10);
  }
}
