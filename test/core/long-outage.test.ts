// A long time without Postgres: more waits for it than one flush takes, and flows change before they were ever written.
import { expect, test } from 'vitest';
import { authorizeFlow, createFlow, drive, joinClient, joinGateway, refOf, type Drive } from '../support/core.ts';
import { batchRecordsMax } from '../../core/batch-sizes.ts';
import { takeBatch } from '../../core/ledger.ts';
import { id, ids, lsn, remove, row, worldRows } from '../support/world.ts';

const count = batchRecordsMax + 200;
const resource = (n: number) => id('res', n);
const numbers = Array.from({ length: count }, (_, n) => n);
const rows = {
  ...worldRows(),
  resources: numbers.map((n) => row('resources', { id: resource(n) })),
  resource_connections: numbers.map((n) => row('resource_connections', { resource_id: resource(n) })),
  policies: numbers.map((n) => row('policies', { id: id('pol', n), resource_id: resource(n) })),
};

/** So many flows that Postgres does not know of. */
function granted(): Drive {
  const driven = drive(rows);
  driven.state.ledger.isConfigured = true;
  joinGateway(driven);
  joinClient(driven);
  for (const n of numbers) authorizeFlow(driven, refOf(createFlow(driven, resource(n))));
  return driven;
}

/** Writes one batch as Postgres does: a row that it is said to have had, and has not, is gone. Returns whether there was one. */
function flush(driven: Drive, table: Map<string, boolean>, gone: string[], xid: number): boolean {
  const taken = takeBatch(driven.state, ids.account, driven.records().slice(0, batchRecordsMax));
  if (taken === null) return false;
  const results = taken.batch.flows.map(({ flowId, isKnown, endedAt }) => {
    if (isKnown && !table.has(flowId)) {
      gone.push(flowId);
      return { id: flowId, outcome: 'gone' as const };
    }
    table.set(flowId, endedAt !== null);
    return { id: flowId, outcome: 'ok' as const };
  });
  const flows = taken.batch.flows.length === 0 ? null : { xid: String(xid), results };
  driven.step({ type: 'flushed', ...taken, answer: { devices: null, flows, holds: null, failed: [] } });
  return true;
}

test('[P7.48] a flow that changes or ends before its first state was written is not taken for one that somebody deleted', () => {
  for (const isAsleep of [false, true]) {
    const driven = granted();
    for (let n = 0; n < 100; n += 1) {
      driven.commit(remove('policies', { id: id('pol', n), resource_id: resource(n) }));
    }
    if (isAsleep) driven.sleep();
    const table = new Map<string, boolean>();
    const gone: string[] = [];
    for (let xid = 1; flush(driven, table, gone, xid); xid += 1);
    expect(gone).toEqual([]);
    expect([table.size, [...table.values()].filter((isEnded) => isEnded).length]).toEqual([count, 100]);
    const live = [...driven.state.grants.values()].filter(({ phase }) => phase === 'live');
    expect(live).toHaveLength(count - 100);
  }
});

test('[P7.49] a snapshot between two flushes cuts no flow whose row is still to be written', () => {
  const driven = granted();
  // Another policy takes over some flows before they were ever written.
  for (let n = 0; n < 100; n += 1) {
    const policy = row('policies', { id: id('pol', n), resource_id: resource(n) });
    const next = { ...policy, id: id('next', n) };
    driven.commit({ op: 'insert', table: 'policies', new: next }, { op: 'delete', table: 'policies', old: policy });
  }
  const table = new Map<string, boolean>();
  flush(driven, table, [], 5);
  const flows = [...table.keys()].map((flowId) => ({ id: flowId }));
  const live = driven.state.grants.size;
  driven.step({
    type: 'snapshot',
    position: { epoch: 1, lsn: lsn(900) },
    rows: { ...rows, policies: rows.policies.map((one, n) => (n < 100 ? { ...one, id: id('next', n) } : one)), flows },
    seen: '6:6:',
    commits: [],
  });
  expect([...driven.state.grants.values()].filter(({ phase }) => phase === 'live')).toHaveLength(live);
});

test('[P7.62] where Postgres takes fewer records in its time than one flush has, all are written in smaller ones', () => {
  const driven = granted();
  const table = new Map<string, boolean>();
  const takes = 40;
  let failures = 0;
  for (let xid = 1; table.size < count && failures < count; xid += 1) {
    const taken = takeBatch(driven.state, ids.account, driven.records().slice(0, batchRecordsMax));
    if (taken === null || taken.batch.flows.length <= takes) flush(driven, table, [], xid);
    else {
      failures += 1;
      driven.step({ type: 'flush-failed' });
    }
  }
  expect([table.size, failures < count]).toEqual([count, true]);
});

test('[P7.63] a part that Postgres never takes makes no flush of others smaller, and after an outage flushes have their size again at once', () => {
  const driven = granted();
  for (let times = 0; times < 5; times += 1) driven.step({ type: 'flush-failed' });
  const sizes: number[] = [];
  for (let xid = 1; ; xid += 1) {
    const taken = takeBatch(driven.state, ids.account, driven.records().slice(0, batchRecordsMax));
    if (taken === null || taken.batch.flows.length === 0) break;
    sizes.push(taken.batch.flows.length);
    const flows = { xid: String(xid), results: [] };
    driven.step({ type: 'flushed', ...taken, answer: { devices: null, flows, holds: null, failed: ['sessions'] } });
  }
  // But for the last, which is what was left.
  expect(sizes.slice(0, -1)).toEqual(sizes.slice(0, -1).sort((a, b) => a - b));
  expect(sizes.length).toBeLessThanOrEqual(12);
});
