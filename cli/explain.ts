// `drawbridge explain`: asks the account's object why a client may, or may not, reach a resource.
import * as v from 'valibot';
import { UsageError } from '../dev/command.ts';
import { isIP } from 'node:net';
import { explainAnswer, explainPath, explainRequest, type ExplainAnswer } from '../protocol/explain.ts';
import { atMost, readArguments, required } from './arguments.ts';
import { program, type Command } from './command.ts';
import { idOf } from './find.ts';
import { renderExplanation } from './explain-text.ts';
import { askAbout } from './ask.ts';

const options = {
  account: { type: 'string', value: 'ACCOUNT', help: 'slug or id; found by the client when left out' },
  client: { type: 'string', value: 'CLIENT', help: 'exact name, external id or id of the client' },
  resource: { type: 'string', value: 'RESOURCE', help: 'exact name or id of the resource' },
  token: { type: 'string', value: 'ID', help: 'the token it would connect under' },
  ip: { type: 'string', value: 'ADDRESS', help: 'the address it would connect from' },
  region: { type: 'string', value: 'REGION', help: 'the country it would connect from, like DE' },
} as const;

export const explain: Command = {
  name: 'explain',
  usage: '--client CLIENT --resource RESOURCE [--account ACCOUNT] [--token ID] [--ip ADDRESS] [--region REGION]',
  summary: 'tells why a client may or may not reach a resource',
  details: `The account's object answers, as it decides at that moment: the verdict, the path from the account to the gateway
with each condition and until when it holds, and for a denial what is missing. Token, address and region are those of the
client's live connection; where it is not connected those of its newest flow; where it has none those of --token, --ip and
--region; the output says which. With the ids of account, client and resource it works while Postgres is away, and shows
no names then. The exit status is 0 whatever the verdict. Needs DRAWBRIDGE_INGEST_KEY.`,
  options,
  examples: [
    "explain --client bob-laptop --resource 'Build farm'",
    "explain --account acme --client bob-laptop --resource 'Build farm' --ip 203.0.113.7 --json",
  ],
  run: async (args, settings) => {
    const { values, positionals } = readArguments(`${program} explain`, args, options);
    atMost(positionals, 0, 'name the client with --client and the resource with --resource');
    const client = required(values.client, 'The client is missing: name it with --client, by name, external id or id.');
    const resource = required(values.resource, 'The resource is missing: name it with --resource, by name or id.');
    const given = readGiven(values);
    const wanted = { account: values.account ?? null, things: { client, resource } };
    const { answer, account, names } = await askAbout(settings, wanted, explainPath, explainAnswer, (found) =>
      v.parse(explainRequest, { version: 1, account: found.account, place: found.place, ...found.things, given }),
    );
    refuseUnknown(answer, account, { client, resource });
    return {
      json: { accountId: account.id, slug: account.slug, ...answer, names },
      text: renderExplanation(answer, { account, names, given }),
    };
  },
};

type Given = v.InferOutput<typeof explainRequest>['given'];

function readGiven({ token, ip, region }: Partial<Record<'token' | 'ip' | 'region', string>>): Given {
  const tokenId = token === undefined ? null : idOf(token);
  if (token !== undefined && tokenId === null) {
    throw new UsageError('The value of --token is not an id: give one from the table tokens.');
  }
  if (ip !== undefined && isIP(ip) === 0) {
    throw new UsageError(`The address ${JSON.stringify(ip)} cannot be read: give one like 203.0.113.7 or 2001:db8::7.`);
  }
  if (region !== undefined && !/^[A-Za-z]{2}$/.test(region)) {
    throw new UsageError(`The region ${JSON.stringify(region)} cannot be read: give two letters, like DE.`);
  }
  return v.parse(explainRequest.entries.given, {
    token: tokenId,
    remoteIp: ip ?? null,
    region: region?.toUpperCase() ?? null,
  });
}

/** Before its first snapshot an object knows nothing of anybody, which is what has to be told then. */
function refuseUnknown(
  { position, client, resource }: ExplainAnswer,
  account: { readonly id: string },
  named: { readonly client: string; readonly resource: string },
): void {
  if (position === null) return;
  const unknown = client === null ? (['client', named.client] as const) : (['resource', named.resource] as const);
  if (client !== null && resource !== null) return;
  const [noun, text] = unknown;
  throw new Error(
    `The object of the account ${account.id} holds no ${noun} ${JSON.stringify(text)}: if Postgres has it, \`${program} status --account ${account.id}\` tells whether the object lags, or cannot read the row.`,
  );
}
