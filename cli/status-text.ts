// `drawbridge status` for people: a line a part, a line an account, and below them what is wrong.
import { formatPgLsn, textToLsn, type LsnText } from '../protocol/lsn.ts';
import { relaysMax } from '../core/relays.ts';
import { accountLabel } from './find.ts';
import { printable, renderTable, type Column } from './table.ts';
import type { Hold } from '../protocol/holds.ts';
import type { StatusAnswer } from '../protocol/ingest.ts';
import type { AccountStatus, Status } from './status.ts';

const partColumns: readonly Column[] = ['PART', 'STATE', ''].map((name) => ({ name, align: 'left' }));

const left = ['ACCOUNT', 'ID', 'LANE', 'EPOCH', 'DELIVERED', 'OBJECT', 'STATE'];
const right = ['CLIENTS', 'GATEWAYS', 'FLOWS', 'RELAYS', 'OWED', 'PENDING', 'UNREADABLE'];
const accountColumns: readonly Column[] = [
  ...left.map((name): Column => ({ name, align: 'left' })),
  ...right.map((name): Column => ({ name, align: 'right' })),
];

export function renderStatus(status: Status): string {
  const { accounts, accountsTotal } = status;
  const blocks = [renderTable(partColumns, partRows(status))];
  if (accounts.length > 0) blocks.push(renderTable(accountColumns, accounts.map(accountRow)));
  if (accountsTotal > accounts.length) {
    blocks.push(
      `${accounts.length} of ${accountsTotal} accounts, those without a live lane first; --account shows one.`,
    );
  }
  const unwell = accounts.filter(({ problem }) => problem !== null);
  if (unwell.length > 0) {
    blocks.push(unwell.map((account) => `${accountLabel(account)}: ${account.problem}`).join('\n'));
  }
  const held = accounts.flatMap((account) => (account.object?.holds ?? []).map((hold) => heldLine(account, hold)));
  if (held.length > 0) blocks.push(held.join('\n'));
  return blocks.join('\n\n');
}

function heldLine(account: AccountStatus, { kind, id, at, by, reason }: Hold): string {
  const since = at === 0 ? 'an unknown time' : new Date(at).toISOString();
  return `${accountLabel(account)}: the ${kind} ${id} is held at the edge since ${since} by ${printable(by)}${reason === null ? '' : ` (${printable(reason)})`}`;
}

function partRows({ database, slot, replicator, worker, stream, sharedRelays }: Status): string[][] {
  return [
    row('database', database, ({ version }) => `Postgres ${version}`),
    row(
      'slot',
      slot,
      ({ name, active, lagBytes, retainedBytes }) =>
        `${name}, ${active ? 'active' : 'inactive'}, ${bytes(lagBytes)} behind, ${bytes(retainedBytes)} of WAL kept`,
    ),
    row('replicator', replicator, ({ leader, streaming, epoch, term, lanes, held, parked }) =>
      [
        leader ? 'leads' : 'does not lead',
        streaming ? 'streams' : 'does not stream',
        ...counted({ epoch, term, lanes, held, parked }),
      ].join(', '),
    ),
    row('worker', worker, ({ url }) => url),
    row('stream', stream, ({ epoch, appliedToMs, lagMs, accounts }) =>
      [
        ...counted({ epoch: epoch ?? undefined, accounts }),
        ...(appliedToMs === null ? [] : [`applied to ${new Date(appliedToMs).toISOString()}`]),
        ...(lagMs === null ? [] : [`lag ${Math.round(lagMs)} ms`]),
      ].join(', '),
    ),
    row('shared relays', sharedRelays, ({ relays }) => `${relays} of ${relaysMax}`),
  ];
}

type Read<Facts> = { readonly facts: Facts | null; readonly problem: string | null };

function row<Facts>(name: string, { facts, problem }: Read<Facts>, describe: (facts: Facts) => string): string[] {
  const state = problem === null ? 'ok' : facts === null ? 'away' : 'unwell';
  const said = facts === null ? [] : [describe(facts)];
  return [name, state, [...said, ...(problem === null ? [] : [problem])].join('; ')];
}

function counted(counts: Readonly<Record<string, number | undefined>>): string[] {
  return Object.entries(counts).flatMap(([name, count]) => (count === undefined ? [] : [`${name} ${count}`]));
}

function accountRow({ slug, id, lane, object }: AccountStatus): string[] {
  const delivered =
    lane === null || lane === 'unknown' ? [lane ?? 'none', '-', '-'] : [lane.state, String(lane.epoch), lsn(lane.lsn)];
  const stands =
    object === null
      ? ['-', 'unknown', ...right.map(() => '-')]
      : [
          object.position === null ? '-' : lsn(object.position.lsn),
          object.stale ? 'stale' : 'fresh',
          ...countsOf(object).map(String),
        ];
  return [slug ?? '-', id, ...delivered, ...stands];
}

function countsOf(object: StatusAnswer): number[] {
  const { clients, gateways, flows, relays, rejectsOwed, registrations, unreadableRows } = object;
  return [clients, gateways, flows, relays, rejectsOwed, registrations, unreadableRows.length];
}

function lsn(text: LsnText): string {
  return formatPgLsn(textToLsn(text));
}

/** In the largest unit of which there is at least one. */
function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = count < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(count) / 10));
  const scaled = count / 1024 ** power;
  return `${power === 0 || scaled >= 100 ? Math.round(scaled) : scaled.toFixed(1)} ${units[power]}`;
}
