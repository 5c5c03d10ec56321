// Connections that end before Postgres was told of them.
import { expect, test } from 'vitest';
import { drive, joinClient } from '../support/core.ts';
import { endedSessionsMax } from '../../core/records.ts';
import { flushDueAt, takeBatch, writeBackStatus } from '../../core/ledger.ts';
import { clientHello, ids } from '../support/world.ts';
import type { Drive } from '../support/core.ts';

function started(): Drive {
  const driven = drive();
  driven.state.ledger.isConfigured = true;
  return driven;
}

function flush(driven: Drive, failed: 'sessions'[] = []) {
  const taken = takeBatch(driven.state, ids.account, driven.records());
  if (taken === null) throw new Error('nothing is to be written');
  driven.step({ type: 'flushed', ...taken, answer: { devices: null, flows: null, holds: null, failed } });
  return taken.batch.sessions;
}

test('[P7.45] a connection that ends before Postgres was told of it is told with its end, over failures and a restart, once', () => {
  const driven = started();
  joinClient(driven);
  driven.now += 300;
  driven.step({ type: 'closed', sessionId: 'client' });
  flush(driven, ['sessions']);
  expect(writeBackStatus(driven.state).waiting).toBe(1);
  driven.sleep();
  expect(flushDueAt(driven.state)).not.toBe(null);
  expect(flush(driven)).toMatchObject({
    clients: [{ id: 'client', deviceId: ids.client, endedAt: driven.now }],
    alive: [],
  });
  driven.sleep();
  expect([flushDueAt(driven.state), takeBatch(driven.state, ids.account, [])]).toEqual([null, null]);
});

test('[P7.46] one that Postgres was told of is over by not being among those that live', () => {
  const driven = started();
  joinClient(driven);
  expect(flush(driven)).toMatchObject({ clients: [{ id: 'client', endedAt: null }], alive: ['client'] });
  driven.step({ type: 'closed', sessionId: 'client' });
  expect(flush(driven)).toMatchObject({ clients: [], alive: [] });
});

test('[P15.94] so many connections are kept for Postgres at most, and go there in batches', () => {
  const driven = started();
  for (let n = 1; n <= endedSessionsMax + 5; n += 1) {
    driven.step({ type: 'connect', sessionId: `s${n}`, hello: clientHello({ connectedAt: n }) });
    driven.step({ type: 'closed', sessionId: `s${n}` });
  }
  expect(driven.state.ledger.ended.size).toBe(endedSessionsMax);
  let written = 0;
  for (; driven.state.ledger.ended.size > 0;) written += flush(driven)?.clients.length ?? 0;
  expect(written).toBe(endedSessionsMax);
});
