// `drawbridge status`: asks every part how it is, and every account's object where it stands. A part that cannot be reached
// hides no other.
import { UsageError } from '../dev/command.ts';
import type { StatusAnswer } from '../protocol/ingest.ts';
import { compareLsnText } from '../protocol/lsn.ts';
import { atMost, readArguments } from './arguments.ts';
import { program, type Command, type Outcome } from './command.ts';
import { withDatabase } from './database.ts';
import { accountLabel, idOf, NotFoundError } from './find.ts';
import { grantsMax } from '../core/grants.ts';
import { relaysMax } from '../core/relays.ts';
import { sessionsMax } from '../core/sessions.ts';
import { sharedAccountId } from '../protocol/ids.ts';
import { readingOf, type Reading } from './reading.ts';
import { readAccounts, readDatabase, readSlot } from './status-database.ts';
import { askStatus, readReplicator, readStream, readWorker } from './status-http.ts';
import { renderStatus } from './status-text.ts';
import type { AccountRow, DatabaseFacts, SlotFacts } from './status-database.ts';
import type { Settings } from './settings.ts';
import type { StreamStatus } from '../protocol/stream.ts';
import type { ReplicatorFacts, WorkerFacts } from './status-http.ts';

const options = {
  account: { type: 'string', value: 'ACCOUNT', help: 'slug or id; 50 accounts at most when left out' },
} as const;

/** Objects asked at the same time. */
const askedAtOnceMax = 8;

export type AccountStatus = AccountRow & {
  readonly object: StatusAnswer | null;
  readonly problem: string | null;
};

type RelayFacts = { readonly relays: number };

export type Status = {
  readonly database: Reading<DatabaseFacts>;
  readonly slot: Reading<SlotFacts>;
  readonly replicator: Reading<ReplicatorFacts>;
  readonly worker: Reading<WorkerFacts>;
  /** What the edge has heard of the change stream. */
  readonly stream: Reading<StreamStatus>;
  /** Relays of no account. */
  readonly sharedRelays: Reading<RelayFacts>;
  readonly accounts: readonly AccountStatus[];
  readonly accountsTotal: number;
};

export const status: Command = {
  name: 'status',
  usage: '[--account ACCOUNT]',
  summary: 'shows whether every part is well, and where each account stands',
  details: `An account's lane is what the replicator has delivered; its object, at the edge, tells its own position, who is
connected, the flows that are open, the gateways that have yet to be told that an access ended (owed), the devices whose registration
no row has shown yet (pending), and the rows that cannot be read and so grant nothing. The exit status is 1 when anything is not well.`,
  options,
  examples: ['status', 'status --account acme', 'status --json'],
  run: async (args, settings) => {
    const { values, positionals } = readArguments(`${program} status`, args, options);
    atMost(positionals, 0, 'name an account with --account');
    const [workerUrl, replicatorUrl] = [settings.workerUrl(), settings.replicatorUrl()];
    const [{ database, slot, rows, total }, replicator, worker] = await Promise.all([
      askDatabase(settings, values.account),
      readingOf(async () => await readReplicator(replicatorUrl)),
      readingOf(async () => await readWorker(workerUrl)),
    ]);
    const [stream, sharedRelays, accounts] = await Promise.all([
      askStream(workerUrl, worker, settings),
      askSharedRelays(workerUrl, worker, settings),
      askObjects(rows, worker, settings),
    ]);
    return outcomeOf({ database, slot, replicator, worker, stream, sharedRelays, accounts, accountsTotal: total });
  },
};

type DatabaseAnswers = {
  readonly database: Reading<DatabaseFacts>;
  readonly slot: Reading<SlotFacts>;
  readonly rows: readonly AccountRow[];
  readonly total: number;
};

/** Throws only what is the person's mistake: a URL that is none, an account that does not exist. */
async function askDatabase(settings: Settings, named: string | undefined): Promise<DatabaseAnswers> {
  // An account's object can be asked by its id while Postgres is away.
  const id = named === undefined ? null : idOf(named);
  const nothing = {
    slot: { facts: null, problem: 'not known without the database' },
    rows: id === null ? [] : [{ id, slug: null, place: null, lane: 'unknown' as const }],
    total: 0,
  } as const;
  try {
    return await withDatabase(settings.databaseUrl(), async (db) => {
      const database = await readDatabase(db);
      if (database.problem !== null) return { database, ...nothing };
      return { database, slot: await readSlot(db), ...(await readAccounts(db, named)) };
    });
  } catch (cause) {
    if (cause instanceof NotFoundError || cause instanceof UsageError) throw cause;
    const advice =
      named === undefined || id !== null ? '' : ' To ask the object of an account, name the account by its id.';
    return { database: { facts: null, problem: messageOf(cause) + advice }, ...nothing };
  }
}

async function askStream(
  workerUrl: string,
  worker: Reading<WorkerFacts>,
  settings: Settings,
): Promise<Reading<StreamStatus>> {
  const whyNot = worker.facts === null ? 'not known without the worker' : keyProblem(settings);
  if (whyNot !== null) return { facts: null, problem: whyNot };
  return await readingOf(async () => await readStream(workerUrl, settings.ingestKey()));
}

/** Asks the object that stands for no account. */
async function askSharedRelays(
  workerUrl: string,
  worker: Reading<WorkerFacts>,
  settings: Settings,
): Promise<Reading<RelayFacts>> {
  const whyNot = worker.facts === null ? 'not known without the worker' : keyProblem(settings);
  if (whyNot !== null) return { facts: null, problem: whyNot };
  return await readingOf(async () => {
    const { relays } = await askStatus(workerUrl, settings.ingestKey(), { id: sharedAccountId, place: null });
    return { facts: { relays }, problem: relays < relaysMax ? null : tooManyRelays };
  });
}

async function askObjects(
  rows: readonly AccountRow[],
  worker: Reading<WorkerFacts>,
  settings: Settings,
): Promise<readonly AccountStatus[]> {
  const whyNot = worker.facts === null ? 'the worker cannot be reached' : keyProblem(settings);
  if (whyNot !== null)
    return rows.map((row) => ({ ...row, object: null, problem: `its object was not asked: ${whyNot}` }));
  const [url, key] = [settings.workerUrl(), settings.ingestKey()];
  const answers: AccountStatus[] = [];
  for (let at = 0; at < rows.length; at += askedAtOnceMax) {
    const group = rows.slice(at, at + askedAtOnceMax);
    answers.push(...(await Promise.all(group.map(async (row) => await askOne(row, url, key)))));
  }
  return answers;
}

async function askOne(row: AccountRow, url: string, key: string): Promise<AccountStatus> {
  try {
    const object = await askStatus(url, key, row);
    return { ...row, object, problem: accountProblem(row, object) };
  } catch (cause) {
    return { ...row, object: null, problem: messageOf(cause) };
  }
}

/** What is wrong with an account, and the way out; null when it is well. */
export function accountProblem({ lane, ...account }: AccountRow, object: StatusAnswer): string | null {
  const way = `run \`${program} resync ${accountLabel(account)}\``;
  const { position, stale, unreadableRows, clonedDevices } = object;
  if (lane === null) return 'it has no lane, so the replicator has not delivered it yet: check that it streams';
  if (lane !== 'unknown' && lane.state !== 'live')
    return `its lane is ${lane.state} (${lane.reason ?? 'no reason given'}): mend that, then ${way}`;
  if (position === null) return `its object has heard of nothing: ${way}`;
  if (stale) return `its object is stale and grants nothing until its next snapshot: ${way}`;
  // The lanes table was read first, and an object is durable before its lane is recorded.
  if (lane !== 'unknown' && position.epoch === lane.epoch && compareLsnText(position.lsn, lane.lsn) < 0) {
    return `its object has lost what was delivered to it: ${way}`;
  }
  if (unreadableRows.length > 0) {
    return `rows that cannot be read grant nothing (${unreadableRows.join(', ')}): correct them, or update the worker`;
  }
  if (object.grants >= grantsMax)
    return `it holds ${grantsMax} grants, ${object.flows} of them live, and no new flow is granted until some end: spread its sites and users over several accounts`;
  if (object.clients + object.gateways >= sessionsMax)
    return `it has ${sessionsMax} devices connected, and further ones are refused: spread its sites and users over several accounts`;
  if (object.relays >= relaysMax) return `it has ${tooManyRelays}`;
  if (clonedDevices.length === 0) return writeBackProblem(object);
  return `several programs connect by turns under one external_id (devices ${clonedDevices.join(', ')}): give each its own`;
}

const tooManyRelays = `${relaysMax} relays, and further ones are refused: stop some, or look for programs that start again and again`;

/** What keeps the ledger of flows from Postgres; a flush that has failed once is no problem yet. */
function writeBackProblem({ writeBack }: StatusAnswer): string | null {
  const { isConfigured, failures, isFull, refused, waiting } = writeBack;
  const full = isFull ? ', and no new flow is granted until some are' : '';
  if (!isConfigured)
    return `its worker has no database to write ${waiting} records of the ledger to${full}: bind EDGE_DATABASE`;
  if (failures <= 2 && refused > 0) {
    return `Postgres refuses ${refused} records of the ledger, which are tried again every hour${full}: look at record_refused in the worker`;
  }
  if (failures > 2 || isFull) {
    return `${waiting} records of the ledger wait for Postgres after ${failures} failed attempts${full}: look at write_back_failed in the worker`;
  }
  return null;
}

function keyProblem(settings: Settings): string | null {
  try {
    settings.ingestKey();
    return null;
  } catch (cause) {
    return messageOf(cause);
  }
}

function outcomeOf(found: Status): Outcome {
  const { database, slot, replicator, worker, stream, sharedRelays, accounts, accountsTotal } = found;
  const parts = { database, slot, replicator, worker, stream, sharedRelays };
  const unwell = [
    ...Object.entries(parts).flatMap(([name, { problem }]) => (problem === null ? [] : [`the ${wordsOf(name)}`])),
    ...accounts.flatMap((account) => (account.problem === null ? [] : [`the account ${accountLabel(account)}`])),
  ];
  const described = Object.fromEntries(
    Object.entries(parts).map(([name, { facts, problem }]) => [
      name,
      { isReachable: facts !== null, ...facts, problem },
    ]),
  );
  const named = unwell.length > 5 ? [...unwell.slice(0, 5), `${unwell.length - 5} more`] : unwell;
  return {
    json: { isWell: unwell.length === 0, ...described, accounts, accountsTotal },
    text: renderStatus(found),
    failure: unwell.length === 0 ? null : `Not all is well: look at ${named.join(', ')}.`,
  };
}

/** `shared relays` of `sharedRelays`. */
function wordsOf(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
