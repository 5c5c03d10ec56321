// When an account's object asks for a snapshot by itself, and when it does not.
import { expect, test } from 'vitest';
import { clientHello, ids, insert, lsn, worldRows } from '../support/world.ts';
import { drive } from '../support/core.ts';
import { emptyState } from '../../core/state.ts';
import { aloneMax, resyncDueAt } from '../../core/resync.ts';
import { StoredMemberships } from '../support/stored-memberships.ts';
import { step } from '../../core/step.ts';
import { nodeHashes } from '../support/core.ts';
import { takeBatch } from '../../core/ledger.ts';
import type { Drive } from '../support/core.ts';

function configured(rows = worldRows()): Drive {
  const driven = drive(rows);
  driven.state.ledger.isConfigured = true;
  return driven;
}

function stale(): Drive {
  const driven = configured();
  driven.step({ type: 'stale' });
  return driven;
}

let connections = 0;
function connect(driven: Drive) {
  connections += 1;
  const hello = clientHello({ connectedAt: 5000 + connections });
  return driven.step({ type: 'connect', sessionId: `c${connections}`, hello });
}

function snapshot(driven: Drive): void {
  driven.step({ type: 'snapshot', position: { epoch: 1, lsn: lsn(900) }, rows: worldRows(), commits: [] });
}

/** The device is registered, and Postgres refuses it. */
function refuse(driven: Drive, reason = 'clients_account_id_actor_id_external_id_key'): void {
  connect(driven);
  const taken = takeBatch(driven.state, ids.account, driven.records());
  if (taken === null || taken.batch.devices.length === 0) throw new Error('no device is to be written');
  const results = taken.batch.devices.map(({ id }) => ({ id, outcome: 'refused' as const, reason }));
  driven.step({
    type: 'flushed',
    ...taken,
    answer: { devices: { xid: '50', results }, flows: null, holds: null, failed: [] },
  });
}

test('[P6.24] an object without rows, or with old ones, asks for a snapshot two seconds after somebody connects', () => {
  const state = emptyState(new StoredMemberships());
  state.ledger.isConfigured = true;
  const env = { now: 1_000_000, seed: 'seed', hashes: nodeHashes };
  const effects = step(state, { type: 'connect', sessionId: 'c', hello: clientHello() }, env);
  expect([effects.admission, effects.wakeAt]).toMatchObject([{ refusal: { code: 'account_not_ready' } }, 1_002_000]);
  const driven = stale();
  connect(driven);
  expect(resyncDueAt(driven.state)).toBe(driven.now + 2000);
});

test('[P6.25] it does not ask when rows come first, without rows when nobody connects, or when it has no database to ask through', () => {
  const driven = stale();
  connect(driven);
  snapshot(driven);
  expect(resyncDueAt(driven.state)).toBe(null);
  connect(driven);
  expect(resyncDueAt(driven.state)).toBe(null);
  const empty = emptyState(new StoredMemberships());
  empty.ledger.isConfigured = true;
  expect(step(empty, { type: 'tick' }, { now: 1_000_000, seed: 'seed', hashes: nodeHashes }).wakeAt).toBe(null);
  const alone = stale();
  alone.state.ledger.isConfigured = false;
  connect(alone);
  expect(resyncDueAt(alone.state)).toBe(null);
});

test('[P6.26] it asks again only after a wait that doubles from 30 seconds to 10 minutes, also after waking, and begins anew after a snapshot', () => {
  const driven = stale();
  const waits: number[] = [];
  for (let i = 0; i < 7; i += 1) {
    connect(driven);
    driven.now = resyncDueAt(driven.state) ?? 0;
    driven.step({ type: 'resync-asked' });
    driven.sleep();
    connect(driven);
    waits.push((resyncDueAt(driven.state) ?? 0) - driven.now);
  }
  expect(waits).toEqual([30_000, 60_000, 120_000, 240_000, 480_000, 600_000, 600_000]);
  snapshot(driven);
  driven.step({ type: 'stale' });
  connect(driven);
  expect(resyncDueAt(driven.state)).toBe(driven.now + 2000);
});

test('[P6.33] an object whose rows turn out to be behind asks 15 to 30 seconds later though nobody connects, each at its own time, also after waking', () => {
  const driven = configured();
  const seeds = ['0000', '8000', 'ffff'].map((seed) => {
    const one = configured();
    const env = { now: one.now, seed, hashes: nodeHashes };
    return [step(one.state, { type: 'stale' }, env).wakeAt, resyncDueAt(one.state)].map((at) => (at ?? 0) - one.now);
  });
  expect(seeds.map((at) => at.map(Math.floor))).toEqual([
    [15_000, 15_000],
    [22_500, 22_500],
    [29_999, 29_999],
  ]);
  driven.step({ type: 'stale' });
  const dueAt = resyncDueAt(driven.state);
  driven.now += 10_000;
  driven.sleep();
  expect([driven.state.stale, resyncDueAt(driven.state)]).toEqual([true, dueAt]);
  driven.step({ type: 'stale' });
  expect(resyncDueAt(driven.state)).toBe(dueAt);
  snapshot(driven);
  driven.sleep();
  expect([driven.state.stale, resyncDueAt(driven.state)]).toEqual([false, null]);
});

test('[P6.34] by itself it asks eight times until a snapshot comes, and from then on when somebody connects', () => {
  const driven = stale();
  let times = 0;
  for (; resyncDueAt(driven.state) !== null; times += 1) {
    driven.now = resyncDueAt(driven.state) ?? 0;
    driven.step({ type: 'resync-asked' });
    driven.sleep();
  }
  expect(times).toBe(aloneMax);
  driven.step({ type: 'stale' });
  expect(resyncDueAt(driven.state)).toBe(null);
  driven.now += 600_000;
  connect(driven);
  expect(resyncDueAt(driven.state)).toBe(driven.now + 2000);
  snapshot(driven);
  driven.step({ type: 'stale' });
  expect(resyncDueAt(driven.state)).toBeGreaterThan(driven.now);
});

test('[P6.27] a device that Postgres refuses, since another row has its key or an address, has the object ask when it may come back, asleep or not', () => {
  const driven = configured({ ...worldRows(), clients: [] });
  refuse(driven);
  const dueAt = driven.now + 30_000;
  expect(resyncDueAt(driven.state)).toBe(dueAt);
  driven.sleep();
  driven.state.ledger.isConfigured = true;
  expect(resyncDueAt(driven.state)).toBe(dueAt);
  driven.now = dueAt;
  driven.step({ type: 'resync-asked' });
  expect(resyncDueAt(driven.state)).toBe(null);
  // Not more often than any request.
  refuse(driven);
  expect(resyncDueAt(driven.state)).toBe(driven.now + 30_000);
  snapshot(driven);
  expect(resyncDueAt(driven.state)).toBe(null);
});

test('[P6.39] a device that Postgres refuses for something else than its key or an address, or for a row that cannot be read, has no snapshot taken, however often', () => {
  const driven = configured({ ...worldRows(), clients: [] });
  for (const reason of ['three_devices_each', 'P0001', 'P0001']) {
    refuse(driven, reason);
    expect(resyncDueAt(driven.state)).toBe(null);
    driven.now += 30_000;
  }
  driven.commit(insert('clients', { verified_at: 'no time' }));
  refuse(driven, 'network_addresses_pkey');
  expect(resyncDueAt(driven.state)).toBe(null);
});
