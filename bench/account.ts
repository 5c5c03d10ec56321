// `node bench/account.ts`: the account that the design names, in the core: its heap with everybody connected, and what one
// change costs by whom it concerns, beside the same change among 100 clients.
import { performance } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { clientView } from '../core/view.ts';
import { pushFrame } from '../protocol/framing.ts';
import { Driven, id, policy, resourceRow, rowsOf } from './support/account.ts';
import { percentile, percentiles, report } from './support/report.ts';
import type { Input } from '../core/input.ts';
import type { Rows, Size } from './support/account.ts';

setFlagsFromString('--expose-gc');
const collect: unknown = runInNewContext('gc');

const large: Size = {
  clients: 10_000,
  groups: 1000,
  groupsOfClient: 20,
  policies: 10_000,
  resources: 500,
  conditions: [],
};
const small: Size = { ...large, clients: 100 };

const empty = heapBytes();
const among10000 = load(large);
const bytes = heapBytes() - empty;
report(
  'heap of an account with 10,000 connected clients, 200,000 memberships, 10,000 policies, 500 resources',
  `${(bytes / 1e6).toFixed(1)} MB, ${Math.round(bytes / large.clients)} B a client`,
  { budget: '< 40 MB, < 4 kB a client', beside: 'upstream 818,740 B a client' },
);
const among100 = load(small);
const member = { id: id('membership', 1_000_000), account_id: id('account'), actor_id: id('actor', 5) };
const granting = { ...member, group_id: id('group', 7) };
compare('a membership of one client comes and goes', 200, (driven) => {
  driven.commit({ op: 'insert', table: 'actor_group_memberships', new: granting });
  driven.commit({ op: 'delete', table: 'actor_group_memberships', old: granting });
});
const lonely = { id: id('group', 5000), account_id: id('account') };
for (const driven of [among100, among10000]) {
  driven.commit(
    { op: 'insert', table: 'actor_groups', new: lonely },
    { op: 'insert', table: 'actor_group_memberships', new: { ...member, group_id: lonely.id } },
  );
}
const ofOne = { ...policy(50_000, 0, 3), actor_group_id: lonely.id };
compare('a policy for a group of one client comes and goes', 200, (driven) => {
  driven.commit({ op: 'insert', table: 'policies', new: ofOne });
  driven.commit({ op: 'delete', table: 'policies', old: ofOne });
});

for (let i = 0; i < 3; i += 1) renameForMany(i);
reportFlow();
reportViews();

/** When an object wakes, what each connected client was told is made anew. */
function reportViews(): void {
  const sessions = [...among10000.state.sessions.values()].filter(({ role }) => role === 'client');
  const began = performance.now();
  const cpuBefore = process.threadCpuUsage();
  for (const session of sessions) if (session.role === 'client') clientView(among10000.state, session);
  const { user, system } = process.threadCpuUsage(cpuBefore);
  report(
    'the views of 10,000 clients made anew, as on waking with all of them connected',
    `${(performance.now() - began).toFixed(0)} ms, ${((user + system) / 1000).toFixed(0)} ms of processor time`,
  );
}

/** A resource that many have in view is renamed: the step, and its frames as text. */
function renameForMany(round: number): void {
  const was = { ...resourceRow(9), name: round === 0 ? 'Resource 9' : `Renamed ${round - 1}` };
  const began = performance.now();
  const { sends } = among10000.commit({
    op: 'update',
    table: 'resources',
    old: was,
    new: { ...was, name: `Renamed ${round}` },
  });
  const stepped = performance.now();
  let bytes = 0;
  for (const send of sends)
    if (send.type === 'to-client') bytes += pushFrame('client', send.message.event, send.message.payload).length;
  const ms = performance.now() - began;
  if (round < 2) return;
  report(
    `a change told to ${sends.length.toLocaleString('en')} of 10,000 connected clients, in the core, frames included`,
    `${ms.toFixed(0)} ms (${((ms * 1000) / sends.length).toFixed(1)} µs a client, ${(stepped - began).toFixed(0)} ms of it the step), ${(bytes / 1e6).toFixed(1)} MB`,
    { budget: 'COMMIT to last socket of 10,000 < 2 s' },
  );
}

/** What one flow writes from its request to its end, as the steps ask for it: rows of grants, positions, alarms. */
function reportFlow(): void {
  let saves = 0;
  const take = (input: Input) => {
    const effects = among10000.take(input);
    saves += effects.saves.filter(({ type }) => type !== 'put-session').length;
    return effects;
  };
  const flows = 100;
  for (let n = 0; n < flows; n += 1) {
    const sessionId = `client-${n}`;
    const [resource] = among10000.state.announced.get(sessionId)?.resources ?? [];
    if (resource === undefined) throw new Error('a client that sees nothing');
    const payload = { resource_id: resource.id, connected_gateway_ids: [] };
    const { sends } = take({ type: 'message', sessionId, event: 'create_flow', payload, ref: 1 });
    for (const send of sends) {
      if (send.type !== 'to-gateway' || send.message.event !== 'authorize_flow') continue;
      const { ref } = send.message.payload;
      take({ type: 'message', sessionId: send.sessionId, event: 'flow_authorized', payload: { ref }, ref: 1 });
    }
  }
  report(
    'saves of one flow until its client is told',
    `${(saves / flows).toFixed(1)}, and one alarm where it comes earlier`,
    {
      budget: '5 row writes, grant to end',
    },
  );
}

function load(size: Size): Driven {
  const driven = new Driven();
  driven.snapshot(copy(rowsOf(size)));
  driven.connectAll(size.clients);
  return driven;
}

/** As parsed from a delivery: no text is shared between rows. */
function copy(rows: Rows): Rows {
  const copied: Rows = JSON.parse(JSON.stringify(rows));
  return copied;
}

function compare(what: string, times: number, change: (driven: Driven) => void): void {
  const [few, many] = [among100, among10000].map((driven) => {
    for (let i = 0; i < 20; i += 1) change(driven);
    return Array.from({ length: times }, () => {
      const began = performance.now();
      change(driven);
      return ((performance.now() - began) * 1000) / 2;
    });
  });
  if (few === undefined || many === undefined) throw new Error('nothing was measured');
  const ratio = percentile(many, 0.5) / percentile(few, 0.5);
  report(`${what}, among 10,000 clients`, `${percentiles(many, 'µs')}: ${ratio.toFixed(1)} ×`, {
    beside: `among 100: ${percentiles(few, 'µs')}`,
    budget: '≤ 10 × that among 100',
  });
}

function heapBytes(): number {
  if (typeof collect === 'function') for (let i = 0; i < 3; i += 1) collect();
  return process.memoryUsage().heapUsed;
}
