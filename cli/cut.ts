// `drawbridge cut`: takes everything away from a device, an actor, a gateway or a resource, by an edit of the database or, where
// that cannot be had, by a hold in the account's object.
import * as v from 'valibot';
import { UsageError } from '../dev/command.ts';
import { userInfo } from 'node:os';
import { holdAnswer, holdPath, holdRequest } from '../protocol/holds.ts';
import { atMost, readArguments } from './arguments.ts';
import { program, type Command, type Outcome } from './command.ts';
import { withDatabase } from './database.ts';
import { accountLabel, findAccount, findOfKind, type Account, type Kind } from './find.ts';
import { askAbout } from './ask.ts';
import { cutByEdit } from './cut-edit.ts';
import type { Place } from '../protocol/place.ts';
import type { Settings } from './settings.ts';

const options = {
  account: { type: 'string', value: 'ACCOUNT', help: 'slug or id; found by what is cut when left out' },
  client: { type: 'string', value: 'CLIENT', help: 'exact name, external id or id of the client' },
  actor: { type: 'string', value: 'ACTOR', help: 'exact name or id of the actor' },
  gateway: { type: 'string', value: 'GATEWAY', help: 'exact name, external id or id of the gateway' },
  resource: { type: 'string', value: 'RESOURCE', help: 'exact name or id of the resource' },
  'at-edge': { type: 'boolean', help: 'hold it in the object of the account, without touching the database' },
  lift: { type: 'boolean', help: 'with --at-edge: end a hold' },
  region: {
    type: 'string',
    value: 'REGION',
    help: 'with --at-edge while Postgres is away: accounts.region, if it is a jurisdiction',
  },
  reason: { type: 'string', value: 'TEXT', help: 'with --at-edge: kept with the hold, for people' },
} as const;

const reasonLengthMax = 255;

export const cut: Command = {
  name: 'cut',
  usage:
    '--client CLIENT | --actor ACTOR | --gateway GATEWAY | --resource RESOURCE [--account ACCOUNT] [--at-edge [--lift] [--reason TEXT] [--region REGION]]',
  summary: 'takes everything away from a device, an actor, a gateway or a resource, at once',
  details: `By an edit, which takes effect within milliseconds of COMMIT, and says how to undo it:
  --client    deletes its row, and the tokens that it alone has connected under: it is signed out
  --actor     disables the actor: their devices are disconnected and keep their tokens
  --gateway   as --client; its flows move to other gateways of its site
  --resource  disables every policy that names it
A connection is on record once it has lived for a second with Postgres up; a token of which none is stays.

With --at-edge the account's object denies it at once, and goes on doing so whatever the database says, through snapshots and
restarts, until --lift ends it. That works while Postgres is away, when everything is named by its id, --account too;
\`${program} status\` lists what is held. Needs DRAWBRIDGE_INGEST_KEY.`,
  options,
  examples: [
    'cut --client bob-laptop',
    "cut --account acme --resource 'Build farm'",
    'cut --account 0191d3c0-0000-4000-8000-000000000000 --client 0191d3c0-0000-4000-8000-000000000001 --at-edge --reason INC-42',
    'cut --client bob-laptop --at-edge --lift',
  ],
  run: async (args, settings) => {
    const { values, positionals } = readArguments(`${program} cut`, args, options);
    atMost(positionals, 0, 'name what to cut with --client, --actor, --gateway or --resource');
    const target = readTarget(values);
    const { account, lift, reason = null, region = null } = values;
    const isAtEdge = values['at-edge'] === true;
    if (!isAtEdge && (lift === true || reason !== null || region !== null)) {
      throw new UsageError('--lift, --reason and --region are for holds: give --at-edge with them.');
    }
    if (reason !== null && reason.length > reasonLengthMax) {
      throw new UsageError(`The reason has ${reason.length} characters: give ${reasonLengthMax} at most.`);
    }
    return isAtEdge
      ? await cutAtEdge(
          settings,
          { account: account ?? null, place: region },
          target,
          lift === true ? 'lift' : { reason },
        )
      : await cutInDatabase(settings, account, target);
  },
};

type Target = { readonly kind: Kind; readonly text: string };

function readTarget(values: Partial<Record<Kind, string>>): Target {
  const named = (['client', 'actor', 'gateway', 'resource'] as const).flatMap((kind) => {
    const text = values[kind];
    return text === undefined || text.trim() === '' ? [] : [{ kind, text }];
  });
  const [target, second] = named;
  if (target !== undefined && second === undefined) return target;
  const what = target === undefined ? 'Nothing is named' : 'More than one thing is named';
  throw new UsageError(`${what}: give one of --client, --actor, --gateway and --resource.`);
}

async function cutInDatabase(settings: Settings, named: string | undefined, { kind, text }: Target): Promise<Outcome> {
  return await withDatabase(settings.databaseUrl(), async (db) => {
    const within = named === undefined ? null : await findAccount(db, named);
    const { id, account } = await findOfKind(db, kind, within, text);
    const { changed, told } = await cutByEdit(db, kind, account, id);
    return { json: { account, kind, id, changed }, text: `${told}\n${accountLine(account)}` };
  });
}

async function cutAtEdge(
  settings: Settings,
  within: { readonly account: string | null; readonly place: Place },
  { kind, text }: Target,
  how: 'lift' | { readonly reason: string | null },
): Promise<Outcome> {
  const by = userName();
  const wanted = { ...within, things: { [kind]: text } };
  let id = '';
  const { answer, account } = await askAbout(settings, wanted, holdPath, holdAnswer, (found) => {
    id = found.things[kind] ?? '';
    const action = how === 'lift' ? { type: 'lift', kind, id, by } : { type: 'place', kind, id, by, ...how };
    return v.parse(holdRequest, { version: 1, account: found.account, place: found.place, action });
  });
  const { done, isKnown, holds } = answer;
  const json = { account, kind, id, done, isKnown, holds };
  if (how === 'lift') {
    return {
      json,
      text: done ? `Lifted: the ${kind} ${id} has again what its rows grant.` : `The ${kind} ${id} was not held.`,
      failure: done ? null : `There was no hold to lift; ${holds.length} others are in force.`,
    };
  }
  return {
    json,
    text: done ? `Held: the ${kind} ${id} is denied at the edge until \`cut --at-edge --lift\`.` : 'Not held.',
    failure: !done
      ? `The account has as many holds as it may, ${holds.length}: lift some first.`
      : isKnown
        ? null
        : `The object of the account ${accountLabel(account)} holds no such ${kind}: check both ids, and lift the hold if they are wrong.`,
  };
}

function accountLine(account: Account): string {
  return `In the account ${accountLabel(account)}; \`${program} status --account ${accountLabel(account)}\` shows when it is delivered.`;
}

/** Whom the hold is ascribed to. */
function userName(): string {
  try {
    return userInfo().username.slice(0, 255);
  } catch {
    return 'unknown';
  }
}
