// `drawbridge explain` and `drawbridge access` for people: the verdict first, then what is missing, then what it was judged on,
// then the path.
import { program } from './command.ts';
import { printable, renderTable, type Column } from './table.ts';
import type { AccessAnswer, ExplainAnswer, ExplainRequest, MissingFact, Source } from '../protocol/explain.ts';
import type { Account } from './find.ts';

type Names = Readonly<Record<string, string>>;
type Asked = { readonly account: Account; readonly names: Names; readonly given: ExplainRequest['given'] };

const verdicts = {
  allow: 'ALLOWED: a request for a flow is granted.',
  forbidden: 'DENIED (forbidden): policies name the resource for this client, and the conditions of none hold.',
  not_found: 'DENIED (not_found): to this client the resource does not exist.',
  offline: 'DENIED (offline): nothing can carry a flow.',
} as const;

const lostVerification =
  'no: it connected with other hardware than its row has, which Postgres is still to be told. Verify it again after that.';

export function renderExplanation(answer: ExplainAnswer, asked: Asked): string {
  const { verdict, missing, at, position, policies, policiesTotal } = answer;
  const name = nameOf(asked.names);
  const head = [
    verdicts[verdict],
    `As the object of the account ${asked.account.slug ?? asked.account.id} decided at ${time(at)}${answer.until === null ? '' : `; time alone may change it from ${time(answer.until)} on`}.`,
  ];
  if (position === null)
    return [...head, '', 'Missing', ...missing.map((fact) => `  - ${missingText(fact, name)}`)].join('\n');
  const more = policiesTotal - policies.length;
  return [
    ...head,
    ...(missing.length === 0 ? [] : ['', 'Missing', ...missing.map((fact) => `  - ${missingText(fact, name)}`)]),
    '',
    'Judged on',
    ...factLines(answer, name),
    ...unusedLines(answer, asked.given),
    '',
    'Path',
    ...pathLines(answer, name),
    ...(more > 0 ? [`  and ${more} more policies that name the resource`] : []),
  ].join('\n');
}

const accessColumns: readonly Column[] = ['CLIENT', 'ACTOR', 'RESOURCE', 'VERDICT', 'POLICY', 'UNTIL', 'FACTS', ''].map(
  (name) => ({ name, align: 'left' }),
);

export function renderAccess({ at, position, stale, rows, total, allowed }: AccessAnswer, names: Names): string {
  const name = nameOf(names);
  const blocks = [`${allowed} of ${total} that policies bring together are allowed, as decided at ${time(at)}.`];
  if (position === null) blocks.push(`${missingText({ type: 'snapshot' }, name)}.`);
  else if (stale) blocks.push(`${missingText({ type: 'stale' }, name)}.`);
  const short = (id: string | null) => (id === null ? '-' : (names[id] ?? id));
  const cells = rows.map((row) => [
    short(row.clientId),
    short(row.actorId),
    short(row.resourceId),
    row.verdict,
    short(row.policyId),
    row.until === null ? '-' : time(row.until),
    row.facts,
    row.violated.length === 0 ? '' : `not met: ${row.violated.join(', ')}`,
  ]);
  if (rows.length > 0) blocks.push(renderTable(accessColumns, cells));
  if (total > rows.length) blocks.push(`${rows.length} of ${total} are shown: ask for an actor or a client.`);
  return blocks.join('\n\n');
}

function nameOf(names: Names): (id: string) => string {
  return (id) => {
    const name = names[id];
    return name === undefined ? id : `${printable(name)} (${id})`;
  };
}

const sources: Readonly<Record<Source, string>> = {
  session: 'of its live connection',
  flow: 'of its newest flow, since it is not connected',
  given: 'as given',
  longest: "assumed: of its actor's tokens the one that lasts longest, --token names another",
  unknown: 'unknown',
};

function factLines({ facts, connection }: ExplainAnswer, name: (id: string) => string): string[] {
  const { token, remoteIp, region, provider, isVerified, isVerificationLost, version } = facts;
  const tokenText =
    token.id === null
      ? 'none: its actor holds no client token'
      : `${name(token.id)}, ${token.expiresAt === null ? 'never expires' : `expires ${time(token.expiresAt)}`}; ${sources[token.source]}`;
  const { refusal, since } = connection;
  const would =
    refusal === null ? 'it would be admitted' : `it is refused: ${refusal.code}. ${printable(refusal.detail)}`;
  return [
    `  connection  ${since === null ? `none; when it connects under this token, ${would}` : `since ${time(since)}${connection.isJoined ? '' : ', not joined yet'}`}`,
    `  token       ${tokenText}`,
    `  address     ${valueOf(remoteIp, 'remote_ip')}`,
    `  region      ${valueOf(region, 'remote_ip_location_region')}`,
    `  provider    ${provider === null ? 'none: the token has no identity of a provider' : `${name(provider.id)}${provider.isEnabled ? '' : ', disabled'}`}`,
    `  verified    ${isVerified ? 'yes' : isVerificationLost ? lostVerification : 'no'}`,
    `  version     ${version === null ? 'unknown: every gateway counts as compatible' : printable(version)}`,
  ];
}

function valueOf(fact: { readonly value: string | null; readonly source: Source }, property: string): string {
  if (fact.value !== null) return `${printable(fact.value)}; ${sources[fact.source]}`;
  const origin = fact.source === 'unknown' ? '' : ` (${sources[fact.source]})`;
  return `unknown${origin}, so that no condition on ${property} holds`;
}

/** What was given and not used is said, so that nobody takes the verdict for one on other facts. */
function unusedLines({ facts }: ExplainAnswer, given: ExplainRequest['given']): string[] {
  const flags = { token: given.token, ip: given.remoteIp, region: given.region };
  const names = Object.entries(flags).flatMap(([flag, value]) => (value === null ? [] : [`--${flag}`]));
  const isUsed = facts.token.source !== 'session' && facts.token.source !== 'flow';
  if (names.length === 0 || isUsed) return [];
  const why = facts.token.source === 'session' ? 'the client is connected' : 'the client has a flow';
  return [`  not used    ${names.join(', ')}: ${why}, and what is given serves only where nothing is known`];
}

function pathLines(answer: ExplainAnswer, name: (id: string) => string): string[] {
  const { account, actor, client, facts, resource, policies, policyId, sites, gateways, gatewayId, flow } = answer;
  const enabled = (part: { readonly id: string; readonly isEnabled: boolean } | null) =>
    part === null ? 'absent' : `${name(part.id)}, ${part.isEnabled ? 'enabled' : 'DISABLED'}`;
  const where = resource === null || resource.address === null ? '' : ` ${resource.address}`;
  return [
    `  account     ${enabled(account)}`,
    `  actor       ${enabled(actor)}`,
    `  client      ${client === null ? 'absent' : `${name(client.id)}, external id ${printable(client.externalId)}`}`,
    `  token       ${facts.token.id === null ? 'absent' : name(facts.token.id)}`,
    `  resource    ${resource === null ? 'absent' : `${name(resource.id)}, ${resource.type}${printable(where)}`}`,
    ...(policies.length === 0 ? ['  policy      none names the resource'] : []),
    ...policies.flatMap((policy) => [
      `  policy      ${name(policy.id)}${policy.isEnabled ? '' : ', DISABLED'}${policy.id === policyId ? ', decides' : ''}`,
      `    group     ${name(policy.groupId)}, the actor is ${policy.isMember ? '' : 'NOT '}in it`,
      ...policy.conditions.map(conditionLine),
    ]),
    ...(sites.length === 0 ? ['  site        the resource is in none'] : []),
    ...sites.map(({ id, name: own }) => `  site        ${printable(own)} (${id})`),
    ...(gateways.length === 0 ? ['  gateway     none in those sites'] : []),
    ...gateways.map((gateway) => {
      const version = gateway.version === null ? 'no version stated' : printable(gateway.version);
      const fits = gateway.isCompatible ? 'compatible' : 'NOT compatible';
      const state = gateway.isConnected ? `connected, ${version}, ${fits}` : 'NOT connected';
      return `  gateway     ${name(gateway.id)}, ${state}${gateway.id === gatewayId ? ', would carry the flow' : ''}`;
    }),
    `  flow        ${flow === null ? 'none' : `${flow.isOpen ? 'open' : 'asked for, not accepted yet,'} through ${name(flow.gatewayId)}, told to end ${time(flow.expiresAt)}`}`,
  ];
}

type Condition = ExplainAnswer['policies'][number]['conditions'][number];

const valuesShown = 5;

function conditionLine({ property, operator, values, isMet, until }: Condition): string {
  const shown = values.slice(0, valuesShown).map(printable).join(', ');
  const more = values.length > valuesShown ? ` and ${values.length - valuesShown} more` : '';
  const holds = isMet ? 'holds' : 'DOES NOT HOLD';
  return `    condition ${printable(`${property} ${operator}`)} ${shown}${more}: ${holds}${until === null ? '' : ` until ${time(until)}`}`;
}

function missingText(fact: MissingFact, name: (id: string) => string): string {
  switch (fact.type) {
    case 'snapshot':
      return `the account has not been delivered to its object yet: \`${program} status\` tells whether the replicator streams`;
    case 'stale':
      return `the object knows that its rows are behind, and grants nothing until its next snapshot: \`${program} resync\` asks for one`;
    case 'behind':
      return `what was committed more than a minute ago has not been applied, and accounts.when_behind denies new flows then: \`${program} status\` tells what is away`;
    case 'grants':
      return `the account holds as many grants as it may: \`${program} status\` tells more`;
    case 'ledger':
      return `no more records may wait for Postgres: \`${program} status\` tells what keeps them`;
    case 'account':
    case 'client':
    case 'actor':
    case 'provider':
      return `the ${fact.type} is ${fact.detail}`;
    case 'token':
      return fact.detail === 'expired'
        ? 'the token has expired'
        : 'there is no such token of type client of the same actor';
    case 'resource':
      return 'the resource is absent';
    case 'held':
      return `an operator holds the ${fact.kind} ${name(fact.id)} at the edge: \`${program} cut --at-edge --lift\` ends that`;
    case 'site':
      return 'the resource is in no site: a row of resource_connections';
    case 'policy':
      return 'no policy names the resource: a row of policies';
    case 'group':
      return 'the actor is in no group: a row of actor_group_memberships';
    case 'membership':
      return `the actor is not in the group ${name(fact.groupId)}: a row of actor_group_memberships`;
    case 'policy_disabled':
      return `the policy ${name(fact.policyId)} is disabled`;
    case 'condition': {
      const opens = fact.until === null ? '' : `; by time alone not before ${time(fact.until)}`;
      return `a condition on ${printable(fact.property)} of the policy ${name(fact.policyId)} does not hold${opens}`;
    }
    case 'gateway':
      if (fact.detail === 'none') return "there is no gateway in the resource's sites";
      return fact.detail === 'offline'
        ? "no gateway of the resource's sites is connected"
        : "no connected gateway of the resource's sites is compatible with the client's version";
    case 'time':
      return 'the access ends within this second, which is too short for a flow: ask again';
  }
}

/** ISO 8601 in UTC; times beyond what a Date holds are far away. */
function time(at: number): string {
  return Math.abs(at) <= 8.64e15 ? new Date(at).toISOString() : 'in a far time';
}
