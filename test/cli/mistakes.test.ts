// Every mistake at the keyboard and in the environment that is found before anything is asked: one sentence that says what is
// wrong and the way out, and exit status 2.
import { expect, test } from 'vitest';
import { complaintOf, drawbridge, drawbridgeHere, environment } from './drawbridge.ts';

/** Where no Postgres is: whatever gets that far fails with another status. */
const nowhere = 'postgres://u:hunter2@127.0.0.1:9/d';

const create = ['token', 'create', '--account', 'acme'];
const client = [...create, '--type', 'client'];
const site = [...create, '--type', 'gateway_group'];
const mint = [...client, '--actor', 'Alice'];
const why = ['explain', '--client', 'x', '--resource', 'y'];
const revoke = ['token', 'revoke', '00000000-0000-4000-8000-00000000abcd'];

const usage: readonly (readonly [readonly string[], RegExp])[] = [
  [
    ['frob'],
    /There is no command "frob" among token create, token revoke, token keys, status, explain, access, flows, log, verify, resync, cut, sql/,
  ],
  [['token'], /After token, token create, token revoke, or token keys was expected, got nothing/],
  [['--json', 'status'], /The command comes before --json/],
  [['status', '--frob'], /There is no option --frob: `.* status --help`/],
  [['status', '--account'], /The option --account lacks its value/],
  [['status', '--json=yes'], /The option --json takes no value/],
  [['status', 'acme'], /"acme" is one too many: name an account with --account/],
  [['token', 'create'], /The account is missing: name it with --account/],
  [create, /The type is missing: give --type client, gateway_group, relay_group or api/],
  [[...create, '--type', 'relay_group'], /The relay group is missing/],
  [[...create, '--type', 'relay_group', '--group', 'G', '--actor', 'Alice'], /belongs to relays/],
  [[...create, '--type', 'frob'], /There is no token type "frob": give/],
  [client, /The actor is missing: name it with --actor, or give --identity/],
  [[...client, '--actor', 'Alice', '--group', 'x'], /of type client belongs to an actor: .* no --group/],
  [site, /The site is missing: name it with --group/],
  [[...site, '--group', 'x', '--actor', 'Alice'], /of type gateway_group belongs to a site: .* no --actor/],
  [[...client, '--actor', 'Alice', '--expires', 'soon'], /The expiry "soon" cannot be read/],
  [[...client, '--actor', 'Alice', '--name', 'x'.repeat(256)], /--name has 256 characters: give it 1 to 255/],
  [['token', 'revoke'], /The token is missing/],
  [['token', 'revoke', 'x'], /neither a token, which begins with "drawbridge.", nor an id/],
  [['token', 'revoke', 'drawbridge.test.e30.x'], /No key in DRAWBRIDGE_TOKEN_KEYS signed this token: give its id/],
  [['explain'], /The client is missing: name it with --client/],
  [['explain', '--client', 'x'], /The resource is missing: name it with --resource/],
  [['explain', 'x'], /"x" is one too many: name the client with --client/],
  [[...why, '--token', 'x'], /The value of --token is not an id: give one from the table tokens/],
  [[...why, '--ip', '300.1.1.1'], /The address "300.1.1.1" cannot be read: give one like 203.0.113.7/],
  [[...why, '--region', 'Germany'], /The region "Germany" cannot be read: give two letters, like DE/],
  [['access'], /What to ask for is missing: give --resource, --actor or --client/],
  [['access', '--actor', 'x', '--client', 'y'], /--actor and --client exclude each other/],
  [['access', 'x'], /"x" is one too many: name what to ask for with/],
  [['log'], /The account is missing: give its slug or id/],
  [['log', 'acme', 'other'], /"other" is one too many: one account at a time/],
  [['log', 'acme', '--since', 'soon'], /The value "soon" of --since cannot be read: write a span back from now/],
  [['log', 'acme', '--limit', '0'], /--limit 0 cannot be used: give a number from 1 to 1000/],
  [['log', 'acme', '--after', 'x'], /The value of --after is not a cursor: give the one that the last page ended with/],
  [['verify'], /The account is missing: give its slug or id/],
  [['resync'], /The account is missing: give its slug or id, or --all/],
  [['resync', 'acme', '--all'], /An account and --all exclude each other/],
  [['resync', 'acme', '--timeout', '5'], /--timeout tells how long --wait waits/],
  [['resync', 'acme', '--wait', '--timeout', 'x'], /--timeout x cannot be used: give whole seconds/],
  [['sql'], /The statement is missing: give it in quotes/],
  [['sql', 'select', '1'], /"1" is one too many: .*put it in quotes/],
];

test.each(usage)('%j is answered with one sentence and status 2', async (args, sentence) => {
  const ran = await drawbridgeHere(args, environment(nowhere));

  expect(complaintOf(ran)).toMatch(sentence);
  expect(ran.code).toBe(2);
});

test.each([
  [mint, { DRAWBRIDGE_TOKEN_KEYS: '' }, /DRAWBRIDGE_TOKEN_KEYS is missing from the environment and from/],
  [mint, { DRAWBRIDGE_TOKEN_KEYS: 'a:hunter2' }, /DRAWBRIDGE_TOKEN_KEYS must be `id:secret` entries/],
  [['resync', 'acme'], { DRAWBRIDGE_INGEST_KEY: '' }, /DRAWBRIDGE_INGEST_KEY is missing/],
  [why, { DRAWBRIDGE_INGEST_KEY: '' }, /DRAWBRIDGE_INGEST_KEY is missing/],
  [['access', '--actor', 'x'], { WORKER_URL: 'worker' }, /WORKER_URL cannot be read: set it to the http address/],
  [['resync', 'acme'], { DRAWBRIDGE_INGEST_KEY: 'hunter2' }, /The first key in DRAWBRIDGE_INGEST_KEY is too short/],
  [['status'], { WORKER_URL: 'worker' }, /WORKER_URL cannot be read: set it to the http address/],
  [['status'], { DRAWBRIDGE_HTTP_URL: 'ftp://x' }, /DRAWBRIDGE_HTTP_URL cannot be read/],
  [revoke, { DATABASE_URL: 'hunter2' }, /DATABASE_URL cannot be read: write it as postgres:/],
  [revoke, { DATABASE_URL: '', DRAWBRIDGE_PG_PORT: 'x' }, /DRAWBRIDGE_PG_PORT is x, which is not a port/],
] as const)('%j with %j is answered with one sentence and status 2', async (args, changes, sentence) => {
  const ran = await drawbridgeHere(args, environment(nowhere, changes));

  expect(complaintOf(ran)).toMatch(sentence);
  expect(ran.code).toBe(2);
});

test('the process of the command says the same sentence with the same status', async () => {
  const ran = await drawbridge(['frob'], environment(nowhere));

  expect(ran).toEqual(await drawbridgeHere(['frob'], environment(nowhere)));
  expect(ran.code).toBe(2);
});

test('help tells of every command, and each command of itself whatever else is on its line', async () => {
  const overview = await drawbridgeHere([], environment(nowhere));
  const command = await drawbridgeHere([...create, '--type', 'nonsense', '--help'], environment(nowhere));

  expect(await drawbridgeHere(['--help'], environment(nowhere))).toEqual(overview);
  expect([overview.code, overview.err, command.code, command.err]).toEqual([0, '', 0, '']);
  for (const name of ['token create', 'token revoke', 'token keys', 'status', 'explain', 'access', 'resync', 'sql'])
    expect(overview.out).toContain(name);
  expect(command.out).toMatch(/^drawbridge token create: .*Usage: .*Options\n.*--expires WHEN.*Examples\n/s);
});
