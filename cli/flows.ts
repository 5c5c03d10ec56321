// `drawbridge flows`: what was granted in an account, and how it ended; newest first. It reads the ledger in Postgres, which the
// edge writes about a second behind what it does.
import type { Client } from 'pg';
import { UsageError } from '../dev/command.ts';
import { atMost, readArguments, required } from './arguments.ts';
import { program, type Command } from './command.ts';
import { withDatabase } from './database.ts';
import { findAccount, idOf } from './find.ts';
import { renderTable } from './table.ts';

const options = {
  live: { type: 'boolean', help: 'those alone that have not ended and not expired' },
  limit: { type: 'string', value: 'N', help: 'so many rows; default 50, at most 1000' },
} as const;

const limitDefault = '50';
const limitMax = 1_000;

export const flows: Command = {
  name: 'flows',
  usage: 'ACCOUNT [--live] [--limit N]',
  summary: 'shows what was granted in an account and how it ended, newest first',
  details: `Each row is one grant: of which client to which resource, through which gateway, until when. One that has ended says
what ended it, and whether its gateway was told: sent; gateway_away, so that it is told after its next init; expired, when it
was away until the expiry that it knew. What is deleted is named by its id, and so is an account that was. To cut a flow,
delete its row.`,
  options,
  examples: ['flows acme', 'flows acme --live', 'flows acme --limit 1000 --json'],
  run: async (args, settings) => {
    const { values, positionals } = readArguments(`${program} flows`, args, options);
    const named = required(
      positionals[0],
      `The account is missing: give its slug or id, as in \`${program} flows acme\`.`,
    );
    atMost(positionals, 1, 'one account at a time');
    const limit = limitFrom(values.limit ?? limitDefault);
    return await withDatabase(settings.databaseUrl(), async (db) => {
      // The ledger outlives its accounts, so an id need not name one.
      const account = idOf(named) ?? (await findAccount(db, named)).id;
      const found = await readFlows(db, account, values.live === true, limit);
      return { json: { account, flows: found }, text: render(found) };
    });
  },
};

function limitFrom(text: string): number {
  const limit = Number(text);
  if (/^\d{1,4}$/.test(text) && limit >= 1 && limit <= limitMax) return limit;
  throw new UsageError(`--limit ${text} cannot be used: give a number from 1 to ${limitMax}.`);
}

type Flow = {
  readonly id: string;
  readonly grantedAt: Date;
  readonly expiresAt: Date | number;
  readonly endedAt: Date | null;
  readonly client: string;
  readonly resource: string;
  readonly gateway: string;
  readonly policyId: string;
  readonly clientRemoteIp: string | null;
  readonly cause: { readonly table: string; readonly id: string; readonly commit: string | null } | null;
  readonly told: string | null;
  readonly toldAt: Date | null;
};

async function readFlows(db: Client, account: string, isLive: boolean, limit: number): Promise<readonly Flow[]> {
  const { rows } = await db.query<Flow>(
    `select f.id::text, f.inserted_at as "grantedAt", f.expires_at as "expiresAt", f.ended_at as "endedAt",
            coalesce(c.name, f.client_id::text) as client, coalesce(r.name, f.resource_id::text) as resource,
            coalesce(g.name, f.gateway_id::text) as gateway, f.policy_id::text as "policyId",
            f.client_remote_ip as "clientRemoteIp", f.end_cause as cause, f.told, f.told_at as "toldAt"
       from flows f
       left join clients c on c.account_id = f.account_id and c.id = f.client_id
       left join resources r on r.account_id = f.account_id and r.id = f.resource_id
       left join gateways g on g.account_id = f.account_id and g.id = f.gateway_id
      where f.account_id = $1 and (not $2 or (f.ended_at is null and f.expires_at > now()))
      order by f.inserted_at desc, f.id limit $3`,
    [account, isLive, limit],
  );
  return rows;
}

const columns = ['granted', 'client', 'resource', 'gateway', 'until', 'ended', 'by', 'told', 'id'].map((name) => ({
  name,
  align: 'left' as const,
}));

function render(found: readonly Flow[]): string {
  if (found.length === 0) return 'No flow.';
  return renderTable(
    columns,
    found.map(({ grantedAt, client, resource, gateway, expiresAt, endedAt, cause, told, id }) => [
      grantedAt.toISOString(),
      client,
      resource,
      gateway,
      timeOf(expiresAt),
      endedAt?.toISOString() ?? '',
      cause === null ? '' : `${cause.table} ${cause.id}`,
      told ?? '',
      id,
    ]),
  );
}

/** `infinity` of the database arrives as a number. */
function timeOf(time: Date | number): string {
  return time instanceof Date ? time.toISOString() : 'never';
}
