// `drawbridge resync`: has accounts delivered by snapshot again. It emits a signed message into the database's own stream; the
// replicator obeys when it reads it there.
import { setTimeout as delay } from 'node:timers/promises';
import * as v from 'valibot';
import type { Client } from 'pg';
import { UsageError } from '../dev/command.ts';
import { accountId } from '../protocol/ids.ts';
import { everyAccount, messagePrefix } from '../protocol/steering.ts';
import { composeSteering } from '../replicator/steering.ts';
import { atMost, readArguments, required } from './arguments.ts';
import { program, type Command, type Outcome } from './command.ts';
import { withDatabase } from './database.ts';
import { accountLabel, findAccount, type Account } from './find.ts';

const options = {
  all: { type: 'boolean', help: 'every account, and no name' },
  wait: { type: 'boolean', help: 'wait until it is delivered' },
  timeout: { type: 'string', value: 'SECONDS', help: 'wait this long at most; default 30' },
} as const;

const timeoutSecondsMax = 3_600;
const pollMs = 100;

export const resync: Command = {
  name: 'resync',
  usage: 'ACCOUNT | --all [--wait] [--timeout SECONDS]',
  summary: 'has an account delivered to the edge again, whole',
  details: `The replicator holds the account's lane, reads its rows, and the edge puts them in place of those it has: what the
rows still allow is not interrupted, what they do not is ended. It is the way out for an account that
\`drawbridge status\` calls stale, behind or parked. Needs DRAWBRIDGE_INGEST_KEY.`,
  options,
  examples: ['resync acme --wait', 'resync --all', 'resync acme --wait --timeout 120 --json'],
  run: async (args, settings) => {
    const { values, positionals } = readArguments(`${program} resync`, args, options);
    atMost(positionals, 1, 'resync takes one account, or --all');
    const isAll = values.all === true;
    if (isAll && positionals.length > 0) {
      throw new UsageError('An account and --all exclude each other: give one of the two.');
    }
    const name = isAll ? null : required(positionals[0], 'The account is missing: give its slug or id, or --all.');
    const timeoutSeconds = readTimeout(values.timeout ?? '30');
    if (values.timeout !== undefined && values.wait !== true) {
      throw new UsageError('--timeout tells how long --wait waits: give both, or neither.');
    }
    const key = settings.ingestKey();
    return await withDatabase(settings.databaseUrl(), async (db) => {
      const account = name === null ? null : await findAccount(db, name);
      const lsn = await requestResync(db, account, key);
      return values.wait === true
        ? await delivered(db, { account, lsn, timeoutSeconds })
        : { json: { account: account ?? everyAccount, lsn, isDelivered: null }, text: announcement(account, lsn) };
    });
  },
};

/** Returns the message's position, in Postgres's notation. */
async function requestResync(db: Client, account: Account | null, key: string): Promise<string> {
  const named = account === null ? everyAccount : v.parse(accountId, account.id);
  const { rows } = await db.query<{ lsn: string }>('select pg_logical_emit_message(true, $1, $2)::text as lsn', [
    messagePrefix,
    composeSteering({ type: 'resync', account: named, at: Date.now() }, key),
  ]);
  return rows[0]?.lsn ?? '';
}

type Awaited = { readonly account: Account | null; readonly lsn: string; readonly timeoutSeconds: number };

async function delivered(db: Client, { account, lsn, timeoutSeconds }: Awaited): Promise<Outcome> {
  const deadline = performance.now() + timeoutSeconds * 1000;
  let waiting = await countBehind(db, account, lsn);
  while (waiting > 0 && performance.now() < deadline) {
    await delay(pollMs);
    waiting = await countBehind(db, account, lsn);
  }
  const isDelivered = waiting === 0;
  const outcome = { account: account ?? everyAccount, lsn, isDelivered, waiting };
  const subject = subjectOf(account);
  if (isDelivered) return { json: outcome, text: `Delivered again: ${subject}.` };
  const late = account === null ? `${waiting} accounts` : subject;
  return {
    json: outcome,
    text: announcement(account, lsn),
    failure: `Not delivered within ${timeoutSeconds} s: ${late}; \`${program} status\` tells whether the replicator streams, and DRAWBRIDGE_INGEST_KEY must begin with a key that it has.`,
  };
}

/** How many of the accounts have not been delivered beyond the message. */
async function countBehind(db: Client, account: Account | null, lsn: string): Promise<number> {
  const { rows } = await db.query<{ waiting: number }>(
    `select count(*)::int as waiting from accounts account left join drawbridge.lanes lane on lane.account_id = account.id
      where account.id = coalesce($1, account.id) and (lane.to_lsn is null or lane.to_lsn <= $2::pg_lsn)`,
    [account?.id ?? null, lsn],
  );
  return rows[0]?.waiting ?? 0;
}

function announcement(account: Account | null, lsn: string): string {
  return [
    `Asked for at ${lsn}: a snapshot of ${subjectOf(account)}.`,
    'When the replicator reads this, it holds the lane, reads the rows, and the edge puts them in place of those it has.',
    `Until then everything goes on as it is. \`${program} status\` shows the position that was reached.`,
  ].join('\n');
}

function subjectOf(account: Account | null): string {
  return account === null ? 'every account' : `the account ${accountLabel(account)}`;
}

function readTimeout(text: string): number {
  const seconds = Number(text);
  if (/^\d+$/.test(text) && seconds <= timeoutSecondsMax) return seconds;
  throw new UsageError(`--timeout ${text} cannot be used: give whole seconds, 0 to ${timeoutSecondsMax}.`);
}
