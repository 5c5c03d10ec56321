// A database that was set back, which opens an epoch: what was written there since is written again, and cut is what somebody deleted.
import { expect, test } from 'vitest';
import { authorizeFlow, createFlow, drive, joinClient, joinGateway, lines, refOf } from '../support/core.ts';
import { id, ids, lsn, row, worldRows } from '../support/world.ts';
import { takeBatch } from '../../core/ledger.ts';
import type { Batch } from '../../protocol/write-back.ts';
import type { Drive } from '../support/core.ts';

const resources = [ids.resource, id('res', 2), id('res', 3)];
const rows = {
  ...worldRows(),
  resources: resources.map((resource) => row('resources', { id: resource })),
  resource_connections: resources.map((resource) => row('resource_connections', { resource_id: resource })),
  policies: resources.map((resource, n) => row('policies', { id: id('pol', n + 1), resource_id: resource })),
};

/** Writes what there is in transaction `xid`, of a database that takes it. */
function flush(driven: Drive, xid: number): Batch {
  const taken = takeBatch(driven.state, ids.account, driven.records());
  if (taken === null) throw new Error('nothing is to be written');
  const ok = taken.batch.devices.map((device) => ({ id: device.id, outcome: 'ok' as const }));
  const devices = { xid: String(xid), results: ok };
  const flows = { xid: String(xid), results: [] };
  driven.step({ type: 'flushed', ...taken, answer: { devices, flows, holds: null, failed: [] } });
  return taken.batch;
}

function grant(driven: Drive, resource = ids.resource): string {
  authorizeFlow(driven, refOf(createFlow(driven, resource)));
  return [...driven.state.grants.keys()].at(-1) ?? '';
}

function snapshot(driven: Drive, epoch: number, seen: string, flows: readonly string[], account: object = rows) {
  const listed = { ...account, flows: flows.map((flow) => ({ id: flow })) };
  const position = { epoch, lsn: lsn(epoch * 1000 + driven.now) };
  return lines(driven.step({ type: 'snapshot', position, rows: listed, seen, commits: [] }));
}

function started(account: object = rows): Drive {
  const driven = drive(account);
  driven.state.ledger.isConfigured = true;
  joinGateway(driven);
  joinClient(driven);
  return driven;
}

const liveFlows = ({ state }: Drive) =>
  [...state.grants.values()].flatMap(({ phase, flowId }) => (phase === 'live' ? [flowId] : []));

test('[P7.59] flows and sessions that a database lacks since it was set back live on and are written again', () => {
  const driven = started();
  const kept = grant(driven);
  flush(driven, 800);
  const lost = grant(driven, id('res', 2));
  flush(driven, 1000);
  // Written after it was set back, under a number that was used before.
  const after = grant(driven, id('res', 3));
  flush(driven, 905);

  expect(snapshot(driven, 2, '910:910:', [kept, after])).toEqual([]);
  driven.sleep();
  const again = flush(driven, 920);
  expect(again.flows.map(({ flowId, isKnown }) => [flowId, isKnown])).toEqual([
    [lost, false],
    [after, false],
  ]);
  expect(again.sessions?.clients.map(({ id: session }) => session)).toEqual(['client']);
  driven.now += 1;
  expect(snapshot(driven, 2, '2000:2000:', [kept, lost, after])).toEqual([]);
  driven.now += 1;
  expect(snapshot(driven, 2, '2000:2000:', [kept, after])).toContain(
    `gateway reject_access ${ids.client} ${id('res', 2)}`,
  );
  expect(liveFlows(driven)).toEqual([kept, after]);
});

test('[P7.65] a flow that another epoch lacks, and that looks deleted, is cut, and its end is a row, since it may have been lost', () => {
  const driven = started();
  const deleted = grant(driven);
  flush(driven, 800);
  const kept = grant(driven, id('res', 2));
  flush(driven, 1000);
  expect(snapshot(driven, 2, '1010:1010:', [kept])).toContain(`gateway reject_access ${ids.client} ${ids.resource}`);
  expect([liveFlows(driven), deleted === kept]).toEqual([[kept], false]);
  expect(flush(driven, 1020).flows).toMatchObject([{ flowId: deleted, isKnown: false, cause: { table: 'flows' } }]);
});

test.each(['900:900:', '1900:1900:'])(
  '[P6.38] a device that a database lacks since it was set back, and that no row had shown, is written again: %s',
  (seen) => {
    const account = { ...rows, clients: [], gateways: [] };
    const driven = started(account);
    flush(driven, 1000);
    expect(snapshot(driven, 2, seen, [], account)).toEqual([]);
    expect(flush(driven, 920).devices.map(({ table }) => table)).toEqual(['gateways', 'clients']);
    driven.now += 1;
    expect(snapshot(driven, 2, '2000:2000:', [], account)).toContain('client close device_gone');
  },
);
