// `drawbridge verify`: whether an account's object at the edge holds the rows that Postgres has, all of them and no other.
import { setTimeout as delay } from 'node:timers/promises';
import * as v from 'valibot';
import pg from 'pg';
import { digestAnswer, digestPath, type DigestAnswer } from '../protocol/digest.ts';
import { accountId } from '../protocol/ids.ts';
import { clientConfig } from '../replicator/connection.ts';
import { atMost, readArguments, required } from './arguments.ts';
import { program, type Command } from './command.ts';
import { withDatabase } from './database.ts';
import { accountLabel, findAccount, readPlace } from './find.ts';
import { askObject } from './status-http.ts';
import { differences, digestOfDatabase } from './verify-rows.ts';

/** The edge is a moment behind: what differs is looked at again, so often, so far apart. */
const attemptsMax = 20;
const betweenMs = 250;

export const verify: Command = {
  name: 'verify',
  usage: 'ACCOUNT',
  summary: 'compares the rows at the edge with those in the database',
  details: `Reads every row of the account, and asks its object for a digest of what it holds. What differs is looked at again for
five seconds, since the edge is a moment behind; in an account that is edited all the time ask again. The exit status is 1
when they differ; \`drawbridge resync\` mends it. Needs DRAWBRIDGE_INGEST_KEY.`,
  options: {},
  examples: ['verify acme', 'verify acme --json'],
  run: async (args, settings) => {
    const commandLine = `${program} verify`;
    const { positionals } = readArguments(commandLine, args, {});
    const named = required(
      positionals[0],
      `The account is missing: give its slug or id, as in \`${commandLine} acme\`.`,
    );
    atMost(positionals, 1, 'one account at a time');
    const [workerUrl, key, databaseUrl] = [settings.workerUrl(), settings.ingestKey(), settings.databaseUrl()];
    const { account, place } = await withDatabase(databaseUrl, async (db) => {
      const found = await findAccount(db, named);
      return { account: found, place: await readPlace(db, found.id) };
    });
    const id = v.parse(accountId, account.id);
    const client = new pg.Client(clientConfig(databaseUrl));
    await client.connect();
    try {
      const ask = async () =>
        await askObject(workerUrl, key, digestPath, { version: 1, account: id, place }, digestAnswer);
      const compare = async () => {
        const [database, object] = [await digestOfDatabase(client, id), await ask()];
        return { object, different: differences(database, object.tables) };
      };
      let found = await compare();
      for (let attempt = 2; attempt <= attemptsMax && found.different.length > 0; attempt += 1) {
        await delay(betweenMs);
        found = await compare();
      }
      return outcomeOf(accountLabel(account), found);
    } finally {
      await client.end();
    }
  },
};

function outcomeOf(label: string, found: { readonly object: DigestAnswer; readonly different: readonly string[] }) {
  const { object, different } = found;
  const rows = Object.values(object.tables).reduce((sum, table) => sum + (table?.rows ?? 0), 0);
  const isSame = different.length === 0;
  return {
    json: { account: label, position: object.position, rows, isSame, different },
    text: isSame ? `The edge holds the ${rows} rows of ${label}.` : different.join('\n'),
    failure: isSame
      ? null
      : `The edge does not hold the rows of ${label}: \`${program} resync ${label} --wait\` mends it.`,
  };
}
