// A worker that plays the Account objects' side of protocol/commit.ts, strictly: it checks every signature and every old
// row, keeps positions, decides as the Stream object does, and answers gap, duplicate, need-snapshot and fenced as the contract
// says. What a sender must not do is written to `violations`.
import { createHash, createHmac } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import * as v from 'valibot';
import {
  delivery,
  type Answer,
  type Change,
  type Commit,
  type Delivery,
  type Position,
  type WireRow,
} from '../../protocol/commit.ts';
import { emptyMemory, hear, lead, type StreamMemory } from '../../core/stream.ts';
import { deliverPath, ingestHeaders, signedText } from '../../protocol/ingest.ts';
import { accountsPath, heartbeat, heartbeatPath, leadPath, leadRequest } from '../../protocol/stream.ts';
import type { LsnText } from '../../protocol/lsn.ts';
import { keyColumns, ledgerTable, type StreamedTable } from '../../protocol/tables.ts';

export type FakeAccount = {
  position: Position | null;
  /** By table and key, as JSON. */
  rows: Map<string, WireRow>;
  /** Commits applied, in order, those of snapshots included. */
  commits: Commit[];
  snapshots: number;
  /** What is kept aside until the delivery that names its stage. */
  stage: {
    readonly name: string;
    readonly changes: Change[];
    readonly rows: (readonly [string, WireRow])[];
    parts: number;
  } | null;
};

export type FakeWorker = {
  readonly url: string;
  readonly port: number;
  readonly accounts: ReadonlyMap<string, FakeAccount>;
  /** Every delivery as it came, answered or not. */
  readonly deliveries: readonly Delivery[];
  readonly violations: readonly string[];
  /** What the Stream object keeps. */
  stream: StreamMemory;
  /** Answers instead of the object; `hang` never answers; null lets the object answer. */
  intercept: (delivery: Delivery) => Answer | 'hang' | number | null;
  /** Resolves as soon as `condition` holds after a delivery. Rejects after `withinMs`. */
  readonly until: (what: string, condition: () => boolean, withinMs?: number) => Promise<void>;
  /** Drops what is kept of deliveries. */
  readonly forget: () => void;
  readonly close: () => Promise<void>;
};

/** `keep` is another worker whose objects live on in this one, as after a restart. */
export async function startFakeWorker(
  key: string,
  options: { port?: number; keep?: FakeWorker } = {},
): Promise<FakeWorker> {
  const accounts = new Map<string, FakeAccount>(options.keep?.accounts);
  const deliveries: Delivery[] = [];
  const violations: string[] = [];
  /** Where objects were made, as the register keeps it. */
  const places: Record<string, string> = {};
  const waiters = new Set<() => void>();
  const server = http.createServer((request, response) => {
    void handle(request, response).catch((error: unknown) => {
      violations.push(String(error));
      response.writeHead(500).end();
    });
  });
  const handle = async (request: http.IncomingMessage, response: http.ServerResponse): Promise<void> => {
    const body = await readBody(request);
    if (!isSigned(request, body, key)) {
      violations.push(`a request to ${request.url} is not signed`);
      response.writeHead(401).end();
      return;
    }
    const json: unknown = JSON.parse(body.toString());
    if (request.url === leadPath) {
      const { memory, answer } = lead(worker.stream, v.parse(leadRequest, json), Date.now());
      worker.stream = memory;
      response.end(JSON.stringify(answer));
      return;
    }
    if (request.url === heartbeatPath) {
      const { memory, answer } = hear(worker.stream, v.parse(heartbeat, json), Date.now());
      worker.stream = memory;
      response.end(JSON.stringify(answer));
      for (const waiter of waiters) waiter();
      return;
    }
    if (request.url === accountsPath) {
      response.end(JSON.stringify({ accounts: [...accounts.keys()], places, next: null }));
      return;
    }
    if (request.url !== deliverPath) throw new Error(`no such path: ${request.url}`);
    const given = v.parse(delivery, json);
    deliveries.push(given);
    if (given.place !== null) places[given.account] ??= given.place;
    const intercepted = worker.intercept(given);
    if (typeof intercepted === 'number') response.writeHead(intercepted).end();
    else if (intercepted !== 'hang') response.end(JSON.stringify(intercepted ?? answerOf(given)));
    for (const waiter of waiters) waiter();
  };
  const answerOf = (given: Delivery): Answer => {
    const { term } = worker.stream;
    if (given.term < term) return { type: 'fenced', term };
    const account = accounts.get(given.account) ?? {
      position: null,
      rows: new Map(),
      commits: [],
      snapshots: 0,
      stage: null,
    };
    accounts.set(given.account, account);
    return applyDelivery(account, given, violations);
  };

  server.listen(options.port ?? 0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const worker: FakeWorker = {
    url: `http://127.0.0.1:${port}`,
    port,
    accounts,
    deliveries,
    violations,
    stream: options.keep?.stream ?? emptyMemory,
    intercept: () => null,
    until(what, condition, withinMs = 20_000) {
      return new Promise((resolve, reject) => {
        const check = (): void => {
          if (!condition()) return;
          clearTimeout(limit);
          waiters.delete(check);
          resolve();
        };
        const limit = setTimeout(() => {
          waiters.delete(check);
          reject(new Error(`not within ${withinMs} ms: ${what}; violations: ${violations.join('; ')}`));
        }, withinMs);
        waiters.add(check);
        check();
      });
    },
    forget() {
      deliveries.length = 0;
    },
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
  return worker;
}

function applyDelivery(account: FakeAccount, given: Delivery, violations: string[]): Answer {
  const held = account.position;
  const isSameEpoch = held !== null && held.epoch === given.epoch;
  if (given.type === 'commit-part' || given.type === 'snapshot-part') {
    if (given.type === 'commit-part' && isSameEpoch && given.start < held.lsn)
      return { type: 'duplicate', position: held };
    return stagePart(account, given, violations);
  }
  const staged = given.type === 'snapshot' ? given.staged : given.commits.find((commit) => commit.staged)?.staged;
  const { stage } = account;
  if (given.type === 'snapshot') {
    if (isSameEpoch && given.to <= held.lsn) return { type: 'duplicate', position: held };
    account.rows = new Map(staged === undefined ? [] : stage?.rows);
    addRows(account.rows, given.rows);
    account.snapshots += 1;
  } else {
    if (held !== null && !isSameEpoch) return { type: 'need-snapshot', reason: 'another epoch', position: held };
    if (given.from !== null && (held === null || given.from > held.lsn)) return { type: 'gap', position: held };
    if (given.from === null && held === null && !isBorn(given, stage?.changes ?? [])) {
      violations.push(`${given.account} was not born here`);
    }
    if (held !== null && given.to <= held.lsn) return { type: 'duplicate', position: held };
  }
  const isStaged = stage !== null && stage.name === `${given.term} ${staged?.stage}` && stage.parts === staged?.parts;
  if (staged !== undefined && !isStaged) violations.push('a delivery names parts that were not sent');
  let last: LsnText | null = isSameEpoch ? held.lsn : null;
  for (const commit of given.commits) {
    if (given.type === 'commits' && last !== null && commit.lsn <= last) continue;
    if (commit.lsn > given.to) violations.push(`a commit lies beyond the end of its delivery`);
    const whole =
      commit.staged === undefined ? commit : { ...commit, changes: [...(stage?.changes ?? []), ...commit.changes] };
    for (const change of whole.changes) violations.push(...applyChange(account, change));
    account.commits.push(whole);
    last = commit.lsn;
  }
  if (staged !== undefined) account.stage = null;
  account.position = { epoch: given.epoch, lsn: given.to };
  return { type: 'applied', position: account.position };
}

type Part = Extract<Delivery, { type: 'commit-part' | 'snapshot-part' }>;

function stagePart(account: FakeAccount, part: Part, violations: string[]): Answer {
  const name = `${part.term} ${part.stage}`;
  if (part.index === 0) account.stage = { name, changes: [], rows: [], parts: 0 };
  const { stage } = account;
  if (stage === null || stage.name !== name || part.index > stage.parts) {
    violations.push('a part came without those before it');
    return { type: 'need-snapshot', reason: 'parts are missing', position: account.position };
  }
  if (part.index === stage.parts) {
    if (part.type === 'commit-part') for (const change of part.changes) stage.changes.push(change);
    else {
      const rows = new Map<string, WireRow>();
      addRows(rows, part.rows);
      for (const row of rows) stage.rows.push(row);
    }
    stage.parts += 1;
  }
  return { type: 'staged', parts: stage.parts };
}

function addRows(into: Map<string, WireRow>, rowsByTable: Extract<Delivery, { type: 'snapshot' }>['rows']): void {
  for (const [table, rows] of Object.entries(rowsByTable)) {
    for (const row of rows ?? []) into.set(keyOf(v.parse(tableNameOf, table), row), row);
  }
}

function applyChange(account: FakeAccount, change: Commit['changes'][number]): readonly string[] {
  // Of the ledger only ends are streamed, so no row of it is held.
  if (change.table === ledgerTable) return [];
  const { rows } = account;
  switch (change.op) {
    case 'insert': {
      const key = keyOf(change.table, change.new);
      const isThere = rows.has(key);
      rows.set(key, change.new);
      return isThere ? [`insert of a row that is there: ${key}`] : [];
    }
    case 'update': {
      const key = keyOf(change.table, change.old);
      const isLike = isDeepStrictEqual(rows.get(key), change.old);
      rows.set(keyOf(change.table, change.new), change.new);
      return isLike ? [] : [`update of a row that differs: ${key}`];
    }
    case 'delete': {
      const key = keyOf(change.table, change.old);
      const isLike = isDeepStrictEqual(rows.get(key), change.old);
      rows.delete(key);
      return isLike ? [] : [`delete of a row that differs: ${key}`];
    }
    case 'truncate':
      for (const key of rows.keys()) if (key.startsWith(`${change.table} `)) rows.delete(key);
      return [];
  }
}

const tableNameOf = v.custom<StreamedTable>((value) => typeof value === 'string' && value in keyColumns);

export function keyOf(table: StreamedTable, row: WireRow): string {
  return `${table} ${JSON.stringify(keyColumns[table].map((column) => row[column]))}`;
}

function isBorn(given: Extract<Delivery, { type: 'commits' }>, staged: readonly Change[]): boolean {
  const changes = [...staged, ...(given.commits[0]?.changes ?? [])];
  return changes.some((change) => change.op === 'insert' && change.table === 'accounts');
}

function isSigned(request: http.IncomingMessage, body: Buffer, key: string): boolean {
  const digest = createHash('sha256').update(body).digest('hex');
  const timeMs = Number(request.headers[ingestHeaders.time]);
  const text = signedText({
    method: request.method ?? '',
    path: request.url ?? '',
    timeMs,
    length: body.length,
    digest,
  });
  const signature = createHmac('sha256', key).update(text).digest('hex');
  return (
    Math.abs(Date.now() - timeMs) < 60_000 &&
    request.headers['content-length'] === String(body.length) &&
    request.headers[ingestHeaders.digest] === digest &&
    request.headers[ingestHeaders.signature] === signature
  );
}

async function readBody(request: http.IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) if (Buffer.isBuffer(chunk)) chunks.push(chunk);
  return Buffer.concat(chunks);
}
