// `npm run seed`: puts an account to play with into the database, in one transaction, and prints tokens for its devices.
//
// With --static every id and every token follows from the slug and the token key alone, so a second run finds everything in
// place; rows that were deleted since come back, rows that were edited stay as they are.
import { createHash, createHmac, randomUUID } from 'node:crypto';
import type { Client } from 'pg';
import { atMost, commonOptions, readArguments } from '../cli/arguments.ts';
import { withDatabase } from '../cli/database.ts';
import { optionLines } from '../cli/help.ts';
import { composeToken, freshSecrets, type TokenHolder, type TokenSecrets } from '../cli/mint-token.ts';
import { readSettings } from '../cli/settings.ts';
import { renderTable, type Column } from '../cli/table.ts';
import { keyColumns } from '../protocol/tables.ts';
import { parseTokenKeys } from '../worker/token.ts';
import { report, UsageError } from './command.ts';
import { identityNameOf, seedClients, seedRows, seedSites, type IdOf, type SeedRow } from './seed-rows.ts';

export type SeedOptions = {
  /** The worker's DRAWBRIDGE_TOKEN_KEYS; the first key signs. */
  readonly tokenKeys: string;
  /** 3 to 100 lower-case letters, digits and underscores; `acme` when left out. */
  readonly slug?: string;
  /** Whether ids and tokens are the same in every run. */
  readonly isStatic?: boolean;
};

export type Seeded = {
  readonly account: { readonly id: string; readonly slug: string };
  /** Rows that were inserted, and tokens that another key had signed. */
  readonly changed: number;
  readonly clients: readonly { readonly externalId: string; readonly name: string; readonly token: string }[];
  readonly sites: readonly {
    readonly id: string;
    readonly name: string;
    readonly gateways: readonly string[];
    readonly token: string;
  }[];
};

/** Static tokens say that they were issued at this time, seconds since 1970-01-01 UTC. */
const staticIssuedAtSeconds = Date.UTC(2026, 0, 5) / 1000;

const slugShape = /^[a-z0-9_]{3,100}$/;

/** Throws one sentence when another account has the slug, and then leaves the database as it was. */
export async function seed(db: Client, { tokenKeys, slug = 'acme', isStatic = false }: SeedOptions): Promise<Seeded> {
  const idOf = isStatic ? staticIds(slug) : freshIds();
  const secretsOf = isStatic ? staticSecrets(tokenKeys, idOf) : freshSecrets;
  const account = { id: idOf('accounts', slug), slug };
  const { clients, sites, rows } = composeTokens({ tokenKeys, account: account.id, idOf, secretsOf });
  await db.query('begin');
  try {
    await requireFree(db, account);
    let changed = 0;
    for (const row of [...seedRows(idOf, slug), ...rows]) changed += await put(db, row);
    await noteKey(db, parseTokenKeys(tokenKeys)[0].id, rows);
    await db.query('commit');
    return { account, changed, clients, sites };
  } catch (cause) {
    await db.query('rollback');
    throw cause;
  }
}

async function requireFree(db: Client, { id, slug }: Seeded['account']): Promise<void> {
  const { rows } = await db.query('select from accounts where slug = $1 and id <> $2', [slug, id]);
  if (rows.length === 0) return;
  throw new Error(
    `There is an account ${slug} already: choose another with --slug, or start over with \`npm run db -- --reset\`.`,
  );
}

/** Inserts the row unless it is there; gives a token the secret that belongs to the present key. Returns the rows written. */
async function put(db: Client, { table, values }: SeedRow): Promise<number> {
  const columns = Object.keys(values);
  const ifThere =
    table === 'tokens'
      ? `update set secret_salt = excluded.secret_salt, secret_hash = excluded.secret_hash
         where tokens.secret_hash <> excluded.secret_hash`
      : 'nothing';
  const { rowCount } = await db.query(
    `insert into ${table} (${columns.join(', ')}) values (${columns.map((_, i) => `$${i + 1}`).join(', ')})
     on conflict (${keyColumns[table].join(', ')}) do ${ifThere}`,
    Object.values(values),
  );
  return rowCount ?? 0;
}

async function noteKey(db: Client, keyId: string, tokens: readonly SeedRow[]): Promise<void> {
  await db.query(
    `insert into drawbridge.token_keys (token_id, key_id) select unnest($1::uuid[]), $2
     on conflict (token_id) do update set key_id = excluded.key_id`,
    [tokens.map(({ values }) => values['id']), keyId],
  );
}

type TokenPlan = {
  readonly tokenKeys: string;
  readonly account: string;
  readonly idOf: IdOf;
  readonly secretsOf: (name: string) => TokenSecrets;
};

/** A token for the actor of each client, and for each site. */
function composeTokens({ tokenKeys, account, idOf, secretsOf }: TokenPlan) {
  const rows: SeedRow[] = [];
  const compose = (name: string, holder: TokenHolder) => {
    const { text, row } = composeToken(tokenKeys, { account, place: null }, holder, { name }, secretsOf(name));
    rows.push({ table: 'tokens', values: row });
    return text;
  };
  const clients = Object.entries(seedClients).map(([externalId, { actor, name }]) => {
    const identity = identityNameOf(actor);
    const identityId = identity === null ? null : idOf('auth_identities', identity);
    return { externalId, name, token: compose(name, { type: 'client', actorId: idOf('actors', actor), identityId }) };
  });
  const sites = Object.entries(seedSites).map(([site, { name, gateways }]) => {
    const id = idOf('gateway_groups', site);
    return { id, name, gateways, token: compose(name, { type: 'gateway_group', siteId: id }) };
  });
  return { clients, sites, rows };
}

function freshIds(): IdOf {
  const ids = new Map<string, string>();
  return (table, name) => {
    const key = `${table} ${name}`;
    const id = ids.get(key) ?? randomUUID();
    ids.set(key, id);
    return id;
  };
}

/** Ids of version 4 by shape, out of a hash: RFC 9562, section 5.4. */
function staticIds(slug: string): IdOf {
  return (table, name) => {
    const hex = createHash('sha256').update(['drawbridge seed', slug, table, name].join('\n')).digest('hex');
    const variant = ((Number.parseInt(hex.charAt(16), 16) & 0b0011) | 0b1000).toString(16);
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
  };
}

function staticSecrets(tokenKeys: string, idOf: IdOf): (name: string) => TokenSecrets {
  const [key] = parseTokenKeys(tokenKeys);
  return (name) => {
    const id = idOf('tokens', name);
    const derive = (part: string) => createHmac('sha256', key.secret).update(`drawbridge seed ${part} ${id}`);
    return {
      id,
      secret: derive('secret').digest('base64url'),
      salt: derive('salt').digest('base64url'),
      issuedAtSeconds: staticIssuedAtSeconds,
    };
  };
}

const options = {
  static: { type: 'boolean', help: 'the same ids and tokens in every run' },
  slug: { type: 'string', value: 'SLUG', help: "the account's slug; default acme" },
} as const;

const help = `npm run seed: an account with every kind of row, and tokens for its devices

Usage: npm run -s seed -- [--static] [--slug SLUG]

Options
${optionLines({ ...options, ...commonOptions })}

DATABASE_URL is the owner's (default: the development database); DRAWBRIDGE_TOKEN_KEYS is the worker's (default: from
.drawbridge/env, written by npm run dev).`;

function describe({ account, changed, clients, sites }: Seeded): string {
  const columns = ['DEVICE', 'EXTERNAL ID', 'TOKEN'].map((name): Column => ({ name, align: 'left' }));
  const devices = [
    ...clients.map(({ name, externalId, token }) => [name, externalId, token]),
    ...sites.map(({ name, gateways, token }) => [`gateways of ${name}`, gateways.join(', '), token]),
  ];
  const done = changed === 0 ? 'nothing changed, all is in place' : `${changed} rows written`;
  return `The account ${account.slug} (${account.id}): ${done}.\n\n${renderTable(columns, devices)}`;
}

async function main(args: readonly string[]): Promise<void> {
  const { values, positionals } = readArguments('npm run -s seed --', args, options);
  if (values.help === true) {
    console.log(help);
    return;
  }
  atMost(positionals, 0, 'npm run seed takes options only');
  const { slug = 'acme', static: isStatic = false, json: isJson = false } = values;
  if (!slugShape.test(slug)) {
    throw new UsageError(
      `The slug ${JSON.stringify(slug)} cannot be used: it has 3 to 100 lower-case letters, digits and underscores.`,
    );
  }
  const settings = readSettings(process.env);
  const tokenKeys = settings.tokenKeys();
  const seeded = await withDatabase(
    settings.databaseUrl(),
    async (db) => await seed(db, { tokenKeys, slug, isStatic }),
  );
  console.log(isJson ? JSON.stringify(seeded) : describe(seeded));
}

if (import.meta.main) await main(process.argv.slice(2)).catch(report);
