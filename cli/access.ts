// `drawbridge access`: asks the account's object who can reach a resource, or what an actor or a client can reach.
import * as v from 'valibot';
import { UsageError } from '../dev/command.ts';
import { accessAnswer, accessPath, accessRequest } from '../protocol/explain.ts';
import { atMost, readArguments } from './arguments.ts';
import { program, type Command } from './command.ts';
import { renderAccess } from './explain-text.ts';
import { askAbout } from './ask.ts';

const options = {
  account: { type: 'string', value: 'ACCOUNT', help: 'slug or id; found by what is asked for when left out' },
  resource: { type: 'string', value: 'RESOURCE', help: 'who can reach it: exact name or id of the resource' },
  actor: { type: 'string', value: 'ACTOR', help: 'what they can reach: exact name or id of the actor' },
  client: { type: 'string', value: 'CLIENT', help: 'what it can reach: exact name, external id or id' },
} as const;

export const access: Command = {
  name: 'access',
  usage: '--resource RESOURCE | --actor ACTOR | --client CLIENT [--account ACCOUNT]',
  summary: 'lists who can reach a resource, or what somebody can reach',
  details: `The account's object answers, as it decides at that moment, for each client and resource that some policy brings
together, 1000 of them at most: the verdict, the policy, until when, and what does not hold. FACTS tells what a client was
judged on: session is its live connection, flow its newest flow; longest means that it is not connected, and that it was
judged under the token of its actor that lasts longest, address and region unknown. \`explain\` tells the rest.
Needs DRAWBRIDGE_INGEST_KEY.`,
  options,
  examples: [
    "access --account acme --resource 'Build farm'",
    "access --actor 'Bob Builder'",
    'access --client bob-laptop --json',
  ],
  run: async (args, settings) => {
    const { values, positionals } = readArguments(`${program} access`, args, options);
    atMost(positionals, 0, 'name what to ask for with --resource, --actor or --client');
    const [kind, text] = readSubject(values);
    const wanted = { account: values.account ?? null, things: { [kind]: text } };
    const { answer, account, names } = await askAbout(settings, wanted, accessPath, accessAnswer, (found) =>
      v.parse(accessRequest, {
        version: 1,
        account: found.account,
        place: found.place,
        of: { type: kind, id: found.things[kind] },
      }),
    );
    if (answer.position !== null && !answer.isKnown) {
      throw new Error(
        `The object of the account ${account.id} holds no ${kind} ${JSON.stringify(text)}: if Postgres has it, \`${program} status --account ${account.id}\` tells whether the object lags, or cannot read the row.`,
      );
    }
    return { json: { accountId: account.id, slug: account.slug, ...answer, names }, text: renderAccess(answer, names) };
  },
};

type Values = Partial<Record<keyof typeof options, string>>;

function readSubject({ resource, actor, client }: Values) {
  const named = (
    [
      ['resource', resource],
      ['actor', actor],
      ['client', client],
    ] as const
  ).flatMap(([kind, text]) => (text === undefined || text.trim() === '' ? [] : [[kind, text] as const]));
  const [first, second] = named;
  if (first === undefined) {
    throw new UsageError('What to ask for is missing: give --resource, --actor or --client.');
  }
  if (second !== undefined)
    throw new UsageError(`--${first[0]} and --${second[0]} exclude each other: give one of the two.`);
  return first;
}
