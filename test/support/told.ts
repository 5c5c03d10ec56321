// Waiting until devices of a real system have been told everything that follows from what was committed.
import { setTimeout as delay } from 'node:timers/promises';
import * as v from 'valibot';
import type { Pool } from 'pg';
import type { Device } from '../../devices/device.ts';

const pollMs = 10;

/** Waits until every object concerned has applied everything committed so far: only then is the slot confirmed past it. */
export async function untilApplied(db: Pick<Pool, 'query'>, msMax = 30_000): Promise<void> {
  const { rows } = await db.query<{ lsn: string }>('select pg_current_wal_insert_lsn() as lsn');
  const deadline = Date.now() + msMax;
  while (Date.now() < deadline) {
    const sql = 'select from pg_replication_slots where confirmed_flush_lsn < $1';
    if ((await db.query(sql, [rows[0]?.lsn])).rowCount === 0) return;
    await db.query("select pg_logical_emit_message(true, 'test', '')");
    // More often it would be these messages that the system is busy with.
    await delay(pollMs);
  }
  throw new Error('the slot did not pass the last edit');
}

/** A message there and back on an open socket: whatever was sent before has arrived. */
export async function settled(device: Device): Promise<void> {
  if (device.frames.at(-1)?.event === 'disconnect') return;
  const ref = device.send('anything', {});
  await Promise.race([device.waitFor('the echo', (frame) => frame.ref === ref), device.closed]);
}

const concerned = v.object({
  id: v.optional(v.string()),
  client_id: v.optional(v.string()),
  resource_id: v.optional(v.string()),
});

/** What the device was told of resources and refusals from this frame on, each with the ids that it concerns. */
export async function toldOf(device: Device, from: number): Promise<string[]> {
  await settled(device);
  return device.frames
    .slice(from)
    .filter(({ event }) => /^(?:resource_|reject_)/.test(event))
    .map(({ event, payload }) => [event, ...idsIn(payload)].join(' '));
}

function idsIn(payload: unknown): string[] {
  if (typeof payload === 'string') return [payload];
  const { id, client_id: client, resource_id: resource } = v.parse(concerned, payload);
  return [id, client, resource].filter((one) => one !== undefined);
}
