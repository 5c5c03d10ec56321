// The bodies of a lane's requests, and how much goes into one.
//
// What leaves the stream is serialized once: a retry costs nothing and the size is exact. Pure.
import { deliveryBytesMax, deliveryVersion, type Change, type Commit, type Staged } from '../protocol/commit.ts';
import { assert } from '../protocol/assert.ts';
import type { AccountId } from '../protocol/ids.ts';
import { lsnToText, textToLsn, type Lsn } from '../protocol/lsn.ts';
import { formatPgSnapshot, type PgSnapshot, type Xid } from '../protocol/visibility.ts';
import type { Place } from '../protocol/place.ts';

export const deliveryCommitsMax = 500;
/** A delivery is closed once it reaches this size; a single larger commit travels alone. */
export const deliveryBytesTarget = 4 * 1024 * 1024;

export type LaneCommit = {
  readonly type: 'commit';
  readonly lsn: Lsn;
  readonly xid: Xid;
  readonly json: string;
  readonly bytes: number;
};

/** Some changes of a transaction whose end has not been read. `start` is where its commit record begins. */
export type LanePart = {
  readonly type: 'part';
  readonly start: Lsn;
  readonly xid: Xid;
  readonly index: number;
  readonly json: string;
  readonly bytes: number;
};

export type LaneItem = LaneCommit | LanePart;

export type Request =
  | {
      readonly type: 'commits' | 'snapshot';
      readonly body: string;
      readonly bytes: number;
      readonly to: Lsn;
      readonly commits: readonly LaneCommit[];
    }
  | { readonly type: 'part'; readonly body: string; readonly bytes: number; readonly part: LanePart };

/** Who sends to whom. */
export type Sender = {
  readonly account: AccountId;
  readonly place: Place;
  readonly term: number;
  readonly epoch: number;
};

export function laneCommit(commit: Commit): LaneCommit {
  const json = JSON.stringify(commit);
  return { type: 'commit', lsn: textToLsn(commit.lsn), xid: BigInt(commit.xid), json, bytes: Buffer.byteLength(json) };
}

export function lanePart(part: {
  readonly start: Lsn;
  readonly xid: Xid;
  readonly index: number;
  readonly changes: readonly Change[];
}): LanePart {
  const { start, xid, index } = part;
  const json = JSON.stringify(part.changes);
  return { type: 'part', start, xid, index, json, bytes: Buffer.byteLength(json) };
}

/** The name of a transaction's stage. */
export function stageOf(start: Lsn): string {
  return lsnToText(start);
}

/** Whether the object at `position` has had it before. */
export function isHeldAt(item: LaneItem, position: Lsn): boolean {
  return item.type === 'commit' ? item.lsn <= position : item.start < position;
}

/** Takes the next request out of `queue`; null when that is empty, `too-large` when its first item cannot be delivered. */
export function takeRequest(sender: Sender, from: Lsn | null, queue: LaneItem[]): Request | 'too-large' | null {
  const [first] = queue;
  if (first === undefined) return null;
  if (first.bytes > deliveryBytesMax - envelopeBytesMax) return 'too-large';
  if (first.type === 'commit') return commitsRequest(sender, from, takeCommits(queue));
  queue.shift();
  return partRequest(sender, from, first);
}

/** `rowsJson`: the account's rows by table, but those staged. Null when it is too large to be delivered. */
export function snapshotRequest(
  sender: Sender,
  taken: { readonly rowsJson: string; readonly seen: PgSnapshot; readonly staged: Staged | null; readonly to: Lsn },
  commits: readonly LaneCommit[],
): Request | null {
  const { rowsJson, seen, staged, to } = taken;
  const stagedJson = staged === null ? '' : `,"staged":${JSON.stringify(staged)}`;
  const body = `{"type":"snapshot",${envelope(sender, to)},"rows":${rowsJson},"seen":"${formatPgSnapshot(seen)}","commits":[${joined(commits)}]${stagedJson}}`;
  const bytes = Buffer.byteLength(body);
  return bytes > deliveryBytesMax ? null : { type: 'snapshot', body, bytes, to, commits };
}

/** The body of one part of a snapshot. `rowsJson`: rows by table. */
export function snapshotPartBody(sender: Sender, stage: string, index: number, rowsJson: string): string {
  return `{"type":"snapshot-part",${senderJson(sender)},"stage":"${stage}","index":${index},"rows":${rowsJson}}`;
}

const envelopeBytesMax = 1024;

function takeCommits(queue: LaneItem[]): readonly LaneCommit[] {
  const commits: LaneCommit[] = [];
  let bytes = 0;
  for (const item of queue) {
    if (item.type !== 'commit' || commits.length === deliveryCommitsMax) break;
    if (commits.length > 0 && bytes + item.bytes > deliveryBytesTarget) break;
    commits.push(item);
    bytes += item.bytes;
  }
  queue.splice(0, commits.length);
  return commits;
}

function commitsRequest(sender: Sender, from: Lsn | null, commits: readonly LaneCommit[]): Request {
  const last = commits.at(-1);
  assert(last !== undefined, 'a delivery of commits holds at least one');
  const body = `{"type":"commits",${envelope(sender, last.lsn)},"from":${fromJson(from)},"commits":[${joined(commits)}]}`;
  return { type: 'commits', body, bytes: sumBytes(commits), to: last.lsn, commits };
}

function partRequest(sender: Sender, from: Lsn | null, part: LanePart): Request {
  const names = `"stage":"${stageOf(part.start)}","index":${part.index},"start":"${lsnToText(part.start)}"`;
  const body = `{"type":"commit-part",${senderJson(sender)},"from":${fromJson(from)},${names},"changes":${part.json}}`;
  return { type: 'part', body, bytes: part.bytes, part };
}

function envelope(sender: Sender, to: Lsn): string {
  return `${senderJson(sender)},"to":"${lsnToText(to)}"`;
}

function senderJson({ account, place, term, epoch }: Sender): string {
  return `"version":${deliveryVersion},"account":"${account}","place":${JSON.stringify(place)},"term":${term},"epoch":${epoch}`;
}

function fromJson(from: Lsn | null): string {
  return from === null ? 'null' : `"${lsnToText(from)}"`;
}

function joined(commits: readonly LaneCommit[]): string {
  return commits.map((commit) => commit.json).join(',');
}

export function sumBytes(items: readonly LaneItem[]): number {
  return items.reduce((sum, item) => sum + item.bytes, 0);
}
