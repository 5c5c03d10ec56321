// `drawbridge token revoke`: deletes a token's row, which ends the sessions that it admitted and admits no further ones.
import type { Client } from 'pg';
import { UsageError } from '../dev/command.ts';
import { parseTokenKeys, verifyToken } from '../worker/token.ts';
import { atMost, readArguments, required } from './arguments.ts';
import { program, type Command } from './command.ts';
import { withDatabase } from './database.ts';
import { accountLabel, findAccount, idOf, type Account } from './find.ts';
import type { Settings } from './settings.ts';

const options = {
  account: { type: 'string', value: 'ACCOUNT', help: 'refuse when the token is of another account' },
} as const;

export const tokenRevoke: Command = {
  name: 'token revoke',
  usage: 'TOKEN_OR_ID [--account ACCOUNT]',
  summary: 'deletes a token, and says whose it was',
  details: `Its devices are signed out within milliseconds, gateways and clients alike. The token itself serves as well as
its id; ids are in the table tokens.`,
  options,
  examples: [
    'token revoke 0191d3c0-0000-4000-8000-000000000000',
    `sql "select t.id, t.name, a.name as actor from tokens t join actors a on a.id = t.actor_id"`,
  ],
  run: async (args, settings) => {
    const { values, positionals } = readArguments(`${program} token revoke`, args, options);
    const missing =
      'The token is missing: give the token or its id, like `token revoke 0191d3c0-0000-4000-8000-000000000000`.';
    const given = required(positionals[0], missing);
    atMost(positionals, 1, 'token revoke takes one token or id');
    const id = idIn(given, settings);
    return await withDatabase(settings.databaseUrl(), async (db) => {
      const account = values.account === undefined ? null : await findAccount(db, values.account);
      const token = await revoke(db, id, account);
      const { type, name, holder, account_id: accountId, account_slug: slug } = token;
      const owner = accountId === null ? null : { id: accountId, slug };
      const whose = owner === null ? 'no account' : `the account ${accountLabel(owner)}`;
      const label = name === null ? '' : ` (${name})`;
      return {
        json: { id, type, name, holder, account: owner },
        text: `Revoked the ${type} token ${id}${label} of ${holder} in ${whose}.`,
      };
    });
  },
};

type Revoked = {
  readonly type: string;
  readonly name: string | null;
  readonly holder: string;
  /** Null for a token of shared relays. */
  readonly account_id: string | null;
  readonly account_slug: string | null;
};

async function revoke(db: Client, id: string, account: Account | null): Promise<Revoked> {
  const { rows } = await db.query<Revoked>(
    `with gone as (delete from tokens where id = $1 and ($2::uuid is null or account_id = $2) returning *)
     select gone.type, gone.name, coalesce(actor.name, site.name, relays.name) as holder,
            account.id::text as account_id, account.slug as account_slug
       from gone left join accounts account on account.id = gone.account_id
       left join actors actor on actor.id = gone.actor_id
       left join gateway_groups site on site.id = gone.gateway_group_id
       left join relay_groups relays on relays.id = gone.relay_group_id`,
    [id, account?.id ?? null],
  );
  const [token] = rows;
  if (token !== undefined) return token;
  const place = account === null ? '' : ` in the account ${accountLabel(account)}`;
  throw new Error(
    `There is no token ${id}${place}: it may be revoked already, and \`${program} sql "select id, name from tokens"\` lists the others.`,
  );
}

function idIn(given: string, settings: Settings): string {
  const id = idOf(given);
  if (id !== null) return id;
  if (!given.startsWith('drawbridge.')) {
    throw new UsageError('This is neither a token, which begins with "drawbridge.", nor an id: give one of the two.');
  }
  const token = verifyToken(given, parseTokenKeys(settings.tokenKeys()));
  if (token !== null) return token.tokenId;
  throw new UsageError(
    'No key in DRAWBRIDGE_TOKEN_KEYS signed this token: give its id, or the keys that the worker has.',
  );
}
