// `drawbridge token create`: mints a token for a person's devices, a site's gateways, a group of relays, or a program, and
// prints it.
import type { Client } from 'pg';
import { UsageError } from '../dev/command.ts';
import { atMost, readArguments, required } from './arguments.ts';
import { program, type Command } from './command.ts';
import { withDatabase } from './database.ts';
import { parseExpiry } from './expiry.ts';
import { accountLabel, findAccount, findActor, findIdentity, findRelayGroup, findSite, type Account } from './find.ts';
import { freshSecrets, mintToken, type TokenHolder } from './mint-token.ts';

const options = {
  account: {
    type: 'string',
    value: 'ACCOUNT',
    help: 'slug or id of the account; left out for relays that serve every account',
  },
  type: { type: 'string', value: 'TYPE', help: 'client, gateway_group, relay_group or api' },
  actor: { type: 'string', value: 'ACTOR', help: 'exact name or id of the actor: for client and api' },
  identity: { type: 'string', value: 'ID', help: 'an identity of the actor, who then need not be named' },
  group: { type: 'string', value: 'GROUP', help: 'exact name or id of the site or relay group: for *_group' },
  name: { type: 'string', value: 'NAME', help: 'for people, to tell it from others' },
  expires: { type: 'string', value: 'WHEN', help: 'like 12h, 30d, 8w, or 2026-12-31T00:00:00Z; never when left out' },
} as const;

const nameLengthMax = 255;

export const tokenCreate: Command = {
  name: 'token create',
  usage: '--account ACCOUNT --type TYPE [--actor ACTOR | --identity ID | --group GROUP] [--name NAME] [--expires WHEN]',
  summary: 'mints a token and prints it, alone',
  details: `A client token admits the devices of one actor, a gateway_group token the gateways of one site, a relay_group
token the relays of one group; an api token admits no device. The token is shown this once: the database keeps a salted hash of its secret.`,
  options,
  examples: [
    'token create --account acme --type client --actor Alice --expires 30d',
    'token create --account acme --type gateway_group --group Headquarters --name rack-3',
    'token create --type relay_group --group Frankfurt',
    'token create --account acme --type api --actor "Build robot" --json',
  ],
  run: async (args, settings) => {
    const { values, positionals } = readArguments(`${program} token create`, args, options);
    atMost(positionals, 0, 'token create takes options only');
    const wanted = readWanted(values);
    const tokenKeys = settings.tokenKeys();
    return await withDatabase(settings.databaseUrl(), async (db) => {
      const account = wanted.account === null ? null : await findAccount(db, wanted.account);
      const { holder, holderName } = await findHolder(db, account, wanted.holder);
      const secrets = freshSecrets();
      const text = await mintToken(db, tokenKeys, account?.id ?? null, holder, wanted, secrets);
      const { name, expiresAt } = wanted;
      return { json: { token: text, id: secrets.id, account, ...holder, holderName, name, expiresAt }, text };
    });
  },
};

type WantedHolder =
  | {
      readonly type: 'client' | 'api';
      readonly actor: string | undefined;
      readonly identity: string | undefined;
    }
  | { readonly type: 'gateway_group'; readonly site: string }
  | { readonly type: 'relay_group'; readonly group: string };

type Values = Partial<Record<keyof typeof options, string>>;

function readWanted(values: Values) {
  const account =
    values.type === 'relay_group'
      ? (values.account ?? null)
      : required(values.account, 'The account is missing: name it with --account, by its slug or id.');
  const { name = null, expires } = values;
  if (name !== null && (name === '' || name.length > nameLengthMax)) {
    throw new UsageError(`The value of --name has ${name.length} characters: give it 1 to ${nameLengthMax}.`);
  }
  const expiresAt = expires === undefined ? null : parseExpiry(expires, new Date());
  return { account, name, expiresAt, holder: readHolder(values) };
}

function readHolder({ type: given, actor, identity, group }: Values): WantedHolder {
  const type = required(given, 'The type is missing: give --type client, gateway_group, relay_group or api.');
  if (type === 'client' || type === 'api') {
    if (group !== undefined) {
      throw new UsageError(`A token of type ${type} belongs to an actor: give --actor or --identity, and no --group.`);
    }
    if (identity === undefined) required(actor, 'The actor is missing: name it with --actor, or give --identity.');
    return { type, actor, identity };
  }
  if (type === 'gateway_group') {
    if (actor !== undefined || identity !== undefined) {
      throw new UsageError(`A token of type ${type} belongs to a site: give --group, and no --actor or --identity.`);
    }
    return { type, site: required(group, 'The site is missing: name it with --group, by its exact name or id.') };
  }
  if (type === 'relay_group') {
    if (actor !== undefined || identity !== undefined) {
      throw new UsageError(`A token of type ${type} belongs to relays: give --group, and no --actor or --identity.`);
    }
    return {
      type,
      group: required(group, 'The relay group is missing: name it with --group, by its exact name or id.'),
    };
  }
  throw new UsageError(
    `There is no token type ${JSON.stringify(type)}: give --type client, gateway_group, relay_group or api.`,
  );
}

async function findHolder(
  db: Client,
  account: Account | null,
  wanted: WantedHolder,
): Promise<{ readonly holder: TokenHolder; readonly holderName: string }> {
  if (wanted.type === 'relay_group') {
    const { id, name } = await findRelayGroup(db, account, wanted.group);
    return { holder: { type: wanted.type, relayGroupId: id }, holderName: name };
  }
  if (account === null) throw new UsageError('The account is missing: name it with --account, by its slug or id.');
  if (wanted.type === 'gateway_group') {
    const { id, name } = await findSite(db, account, wanted.site);
    return { holder: { type: wanted.type, siteId: id }, holderName: name };
  }
  const identity = wanted.identity === undefined ? null : await findIdentity(db, account, wanted.identity);
  const actor = await findActor(db, account, wanted.actor ?? identity?.actor_id ?? '');
  if (identity !== null && identity.actor_id !== actor.id) {
    throw new Error(
      `The identity ${identity.id} belongs to another actor of ${accountLabel(account)} than ${actor.name}: leave --actor out.`,
    );
  }
  return {
    holder: { type: wanted.type, actorId: actor.id, identityId: identity?.id ?? null },
    holderName: actor.name,
  };
}
