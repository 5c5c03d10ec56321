// docs/consequences.md, line by line: the page is read, each line is run, and what each side is told is compared with it.
import { expect, test } from 'vitest';
import { authorizeFlow, createFlow, drive, joinClient, joinGateway, lines, refOf } from '../support/core.ts';
import { clientHello, id, ids, worldRows } from '../support/world.ts';
import { consequences, linesOfPage, thingsIn } from '../support/consequences.ts';
import type { Drive } from '../support/core.ts';
import type { Line } from '../support/consequences.ts';

test('[P4.14] every line of the page of consequences has a test, and every test a line', () => {
  expect(linesOfPage.map(({ name }) => name).toSorted()).toEqual(Object.keys(consequences).toSorted());
});

test.each(linesOfPage)('[P4.15] $name: $change', ({ name, gateway, client }) => {
  const rows = worldRows();
  const line = consequences[name];
  line?.rows?.(rows);
  const driven = drive(rows);
  joinGateway(driven);
  joinClient(driven);
  expect(lines(authorizeFlow(driven, refOf(createFlow(driven)))).at(-1)).toBe('client flow_created');
  const sent = line === undefined ? [] : happen(driven, line);
  expect(told(sent, 'gateway')).toEqual(thingsIn(gateway));
  expect(told(sent, 'client')).toEqual(thingsIn(client));
  const firstToClient = sent.findIndex((line) => line.startsWith('client resource'));
  const lastReject = sent.findLastIndex((line) => line.includes('reject_access'));
  expect(firstToClient === -1 || lastReject < firstToClient).toBe(true);
});

/** Makes the line's change; returns what was sent. */
function happen(driven: Drive, line: Line): string[] {
  if (line.type === 'commit') return driven.commit(...line.changes);
  if (line.type === 'ledger') return driven.commit(flowChange(driven, line.op));
  if (line.type === 'time') {
    driven.now = line.at;
    return lines(driven.step({ type: 'tick' }));
  }
  const hello = clientHello({ remoteIp: line.remoteIp, connectedAt: 2000 });
  const connected = lines(driven.step({ type: 'connect', sessionId: 'client-again', hello }));
  const joined = lines(driven.step({ type: 'joined', sessionId: 'client-again' }));
  return [...connected, ...joined].map((sent) => sent.replace('client-again', 'client'));
}

/** A change of the live flow's row in the ledger. */
function flowChange(driven: Drive, op: 'insert' | 'update' | 'delete'): object {
  const flow = { id: [...driven.state.grants.keys()][0], account_id: ids.account, policy_id: ids.policy };
  if (op === 'insert') return { op, table: 'flows', new: { ...flow, id: id('flow', 9) } };
  const changed = { ...flow, policy_id: id('pol', 9) };
  return op === 'update' ? { op, table: 'flows', old: flow, new: changed } : { op, table: 'flows', old: flow };
}

/** What one side was told, in the page's words. */
function told(sent: readonly string[], side: 'client' | 'gateway'): string[] {
  return sent.flatMap((line) => {
    const [who, what = '', detail = ''] = line.split(' ');
    if (who !== side) return [];
    if (what === 'close') return [['token_gone', 'device_gone'].includes(detail) ? 'signed out' : 'closed'];
    if (what === 'reject_access') return [what];
    const isNamed = what.startsWith('resource_');
    return [isNamed ? `${what} ${detail === ids.resource ? 'R' : 'another'}` : what];
  });
}
