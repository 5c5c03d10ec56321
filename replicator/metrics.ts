// What the process has done and how it stands, as Prometheus text
// (https://prometheus.io/docs/instrumenting/exposition_formats/), with every bound beside what it bounds.
//
// Counters live as long as the process, over all runs. Nothing decides by any of this.
import { strikesMax } from './blame.ts';
import { openBytesMax, partBytesMax } from './assemble.ts';
import { deliveryBytesMax } from '../protocol/commit.ts';
import { heldBytesMax } from './lane.ts';
import { inFlightMax } from './gate.ts';
import { requestTimeoutMs } from './post.ts';
import { rowBytesMax } from './quarantine.ts';
import { steeringMax } from './said.ts';
import { deliveryBytesTarget, deliveryCommitsMax } from './request.ts';
import { snapshotPartBytesMax } from './snapshot.ts';
import { atOnceMax } from './snapshots.ts';
import { windowBytesMax, type RunStatus } from './status.ts';

export class Counters {
  readonly #values = new Map<string, number>();

  add(name: CounterName, count = 1, label?: string): void {
    const key = label === undefined ? name : `${name}{answer="${label}"}`;
    this.#values.set(key, (this.#values.get(key) ?? 0) + count);
  }

  /** By name, with its label where it has one. */
  entries(): Iterable<readonly [string, number]> {
    return this.#values;
  }
}

const counterHelp = {
  transactions: 'Transactions that have left the stream.',
  commit_parts: 'Parts of transactions that were too large to be held.',
  deliveries: 'Requests to objects, by what they answered; `none` where no usable answer came.',
  delivery_bytes: 'Bytes of their bodies.',
  retries: 'Deliveries that are to be sent again.',
  snapshots_required: 'Times that a lane has asked for a snapshot.',
  snapshots: 'Snapshots whose marker has left the stream.',
  snapshot_parts: 'Parts of snapshots that went ahead.',
  parkings: 'Times that an account was parked.',
  messages_ignored: 'Messages under our prefix that nobody who may steer the stream has signed.',
  pauses: 'Times that reading paused at the full window.',
} as const;
type CounterName = keyof typeof counterHelp;

const bounds = {
  window_bytes: windowBytesMax,
  delivery_bytes: deliveryBytesMax,
  delivery_bytes_target: deliveryBytesTarget,
  delivery_commits: deliveryCommitsMax,
  held_bytes: heldBytesMax,
  transaction_bytes: openBytesMax,
  commit_part_bytes: partBytesMax,
  snapshot_part_bytes: snapshotPartBytesMax,
  snapshots_at_once: atOnceMax,
  requests_at_once: inFlightMax,
  request_ms: requestTimeoutMs,
  row_bytes: rowBytesMax,
  steering_messages: steeringMax,
  strikes: strikesMax,
};

/** The whole page. */
export function renderMetrics(status: RunStatus, counters: Counters): string {
  const gauges: (readonly [string, string, number])[] = [
    ['leader', '1 while it holds the lock and streams.', status.type === 'streaming' ? 1 : 0],
  ];
  if (status.type === 'streaming') {
    const report = status.report();
    gauges.push(
      ['fresh', '1 while the database was heard lately.', report.isFresh ? 1 : 0],
      ['epoch', 'The epoch that positions belong to.', report.epoch],
      ['term', 'The term of this run.', report.term],
      ['lanes', 'Accounts with a lane.', report.lanes],
      ['lanes_held', 'Accounts that wait for a snapshot.', report.held],
      ['lanes_parked', 'Accounts that the slot does not wait for.', report.parked],
      ['window_bytes', 'Bytes that wait for answers.', report.windowBytes],
      ['change_log_bytes', 'Bytes that wait for the change log.', report.changeLogBytes],
      ['reading_paused', '1 while reading is paused.', report.isPaused ? 1 : 0],
      ['commits_incomplete', 'Commits that may not be confirmed yet.', report.incompleteCommits],
      ['unconfirmed_bytes', 'WAL received and not confirmed.', report.unconfirmedBytes],
    );
    const { appliedToMs, lagMs } = report;
    const appliedHelp = 'Up to when everything committed has been applied, Unix seconds; behind after a minute.';
    if (appliedToMs !== null) gauges.push(['applied_to_seconds', appliedHelp, Math.floor(appliedToMs / 1000)]);
    const lagHelp = "Milliseconds from a heartbeat's COMMIT to durable at the edge.";
    if (lagMs !== null) gauges.push(['lag_ms', lagHelp, Math.max(0, Math.round(lagMs))]);
  }
  const lines = gauges.flatMap(([name, help, value]) => [...head(name, help, 'gauge'), `${prefix}${name} ${value}`]);
  lines.push(...counterLines(counters));
  lines.push(...head('bound', 'What is bounded, and by how much.', 'gauge'));
  for (const [name, value] of Object.entries(bounds)) lines.push(`${prefix}bound{name="${name}"} ${value}`);
  return `${lines.join('\n')}\n`;
}

const prefix = 'drawbridge_replicator_';

function counterLines(counters: Counters): string[] {
  const entries = [...counters.entries()];
  return Object.entries(counterHelp).flatMap(([name, help]) => {
    const own = entries.filter(([key]) => key === name || key.startsWith(`${name}{`));
    const values = own.map(([key, value]) => `${prefix}${name}_total${key.slice(name.length)} ${value}`);
    return [
      ...head(`${name}_total`, help, 'counter'),
      ...(values.length === 0 ? [`${prefix}${name}_total 0`] : values),
    ];
  });
}

function head(name: string, help: string, type: 'gauge' | 'counter'): string[] {
  return [`# HELP ${prefix}${name} ${help}`, `# TYPE ${prefix}${name} ${type}`];
}
