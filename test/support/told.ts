// Waiting until devices of a real system have been told everything that follows from what was committed.
import type { Pool } from 'pg';
import type { Device } from '../../devices/device.ts';

/** Waits until every object concerned has applied everything committed so far: only then is the slot confirmed past it. */
export async function untilApplied(db: Pick<Pool, 'query'>): Promise<void> {
  const { rows } = await db.query<{ lsn: string }>('select pg_current_wal_insert_lsn() as lsn');
  const deadline = Date.now() + 30_000;
  while (Date.now() < deadline) {
    const sql = 'select from pg_replication_slots where confirmed_flush_lsn < $1';
    if ((await db.query(sql, [rows[0]?.lsn])).rowCount === 0) return;
    await db.query("select pg_logical_emit_message(true, 'test', '')");
  }
  throw new Error('the slot did not pass the last edit');
}

/** A message there and back on an open socket: whatever was sent before has arrived. */
export async function settled(device: Device): Promise<void> {
  if (device.frames.at(-1)?.event === 'disconnect') return;
  const ref = device.send('anything', {});
  await Promise.race([device.waitFor('the echo', (frame) => frame.ref === ref), device.closed]);
}
