// `npm run prove:ledger -- --minutes N` (default 10) `--rate R` (flows a second, default 20) `--rows N` (default 100000): with
// Postgres stopped, flows are granted at that rate for so long while devices come and go, and then as fast as one gateway may
// answer until there are so many; once Postgres is back every one of them must be a row, once. Prints what it sees, and how fast
// the rows came.
import { setTimeout as delay } from 'node:timers/promises';
import { isGranted, type Client } from '../devices/client.ts';
import { startGateway } from '../devices/gateway.ts';
import { must } from '../protocol/assert.ts';
import { askStatus } from '../cli/status-http.ts';
import { readProofOptions, refuse } from './support/proof-options.ts';
import { connectClient, createLargeAccount, startOutage } from './support/outage.ts';

const takes = 'it takes --minutes, --rate and --rows, numbers above 0, and rows up to 200000';
const values = readProofOptions('prove:ledger', { minutes: '10', rate: '20', rows: '100000' }, takes);
const minutes = Number(values.minutes);
const rate = Number(values.rate);
const rows = Number(values.rows);
const clients = 200;
/** What one gateway may answer, each flow with two frames. */
const fillRate = 350;
const atOnce = 50;
const resources = Math.ceil(rows / clients);
if (!(minutes >= 0 && rate > 0 && Number.isInteger(rows) && rows > 0 && resources <= 1_000)) {
  refuse('prove:ledger', takes);
}
const say = (text: string) => process.stdout.write(`${text}\n`);
// What was granted, as the client was told it: `client/resource`.
const granted = new Set<string>();
const outage = await startOutage();
try {
  const account = await createLargeAccount(outage, 'ledger', { clients, resources });
  const gateway = await startGateway({ url: outage.system.workerUrl, ...account.gateway, name: 'Rack 1' });
  const connected = await Promise.all(
    account.externalIds.map(async (externalId) => await connectClient(outage, account, externalId)),
  );
  await outage.stopPostgres();
  say('Postgres is stopped');

  const latencies: number[] = [];
  const ask = async (n: number): Promise<void> => {
    const index = n % clients;
    const resource = must(account.resourceIds[Math.floor(n / clients)], 'a resource');
    const begin = performance.now();
    const answer = await must(connected[index], 'a client').createFlow(resource);
    if (!isGranted(answer)) throw new Error(`refused: ${JSON.stringify(answer)}`);
    latencies.push(performance.now() - begin);
    granted.add(`${account.externalIds[index]}/${resource}`);
  };
  const paced = Math.min(rows, Math.round(minutes * 60 * rate));
  const from = performance.now();
  let reconnects = 0;
  for (let n = 0; n < paced; n += 1) {
    await delay(Math.max(0, from + (n * 1000) / rate - performance.now()));
    await ask(n);
    // Every two seconds one device leaves and another connection of it comes.
    if (n % (2 * rate) === 0) {
      const index = (n / (2 * rate) + 100) % clients;
      const old: Client = must(connected[index], 'a client');
      old.device.close();
      await old.device.closed;
      connected[index] = await connectClient(outage, account, must(account.externalIds[index], 'an id'));
      reconnects += 1;
    }
  }
  const worst = Math.max(...latencies);
  say(
    `${paced} flows in ${seconds(from)}, ${reconnects} devices reconnected; a flow took ${worst.toFixed(0)} ms at most`,
  );
  const filling = performance.now();
  for (let n = paced; n < rows; n += atOnce) {
    await Promise.all(Array.from({ length: Math.min(atOnce, rows - n) }, async (_, i) => await ask(n + i)));
    await delay(Math.max(0, filling + ((n + atOnce - paced) * 1000) / fillRate - performance.now()));
  }
  say(`${rows - paced} more in ${seconds(filling)}; ${gateway.access.size} pairs pass at the gateway`);

  await outage.startPostgres();
  const started = performance.now();
  say('Postgres is started');
  let first = 0;
  for (let count = 0; count < rows;) {
    const [counted] = await outage.query('select count(*)::int as n from flows where account_id = $1', [
      account.accountId,
    ]);
    count = Number(counted?.['n']);
    if (first === 0 && count > 0) first = performance.now();
    if (performance.now() - started > 900_000) {
      say(`${outage.system.workerUrl} says ${JSON.stringify(await status(account.accountId))}`);
      say(`without a row: ${(await rowless(account.accountId)).slice(0, 20).join(', ')}`);
      throw new Error(`only ${count} of ${rows} rows came in 15 minutes`);
    }
    await delay(250);
  }
  say(
    `all rows are there ${seconds(started)} after the start, ${Math.round((rows * 1000) / (performance.now() - first))} a second from the first`,
  );
  const pairs = await readPairs(account.accountId);
  // What is granted while the rows are more than a minute old lives for 15 minutes at most.
  say(`${[...pairs.values()].filter((row) => row['ended'] === 1).length} of them have ended, of a short life`);
  const wrong = [
    ...(await rowless(account.accountId)).map((pair) => `${pair} was granted and has no row`),
    ...[...pairs].filter(([pair]) => !granted.has(pair)).map(([pair]) => `${pair} has a row and was not granted`),
    ...[...pairs].flatMap(([pair, row]) => (row['n'] === 1 ? [] : [`${pair} has ${String(row['n'])} rows`])),
  ];
  await outage.untilRow(
    `select from drawbridge.client_sessions where account_id = $1
     having count(*) filter (where ended_at is null) = $2 and count(*) = $3`,
    [account.accountId, clients, clients + reconnects],
  );
  say(wrong.length === 0 ? 'every row is there, once, and every connection' : wrong.slice(0, 20).join('\n'));
  if (wrong.length > 0) process.exitCode = 1;
} finally {
  await outage.stop();
}

async function status(id: string) {
  return await askStatus(outage.system.workerUrl, outage.system.ingestKey, { id, place: null });
}

/** What the rows say, by `client/resource`. */
async function readPairs(accountId: string): Promise<Map<string, Record<string, unknown>>> {
  const found = await outage.query(
    `select c.external_id || '/' || f.resource_id as pair, count(*)::int as n, count(f.ended_at)::int as ended
       from flows f join clients c on c.id = f.client_id where f.account_id = $1 group by 1`,
    [accountId],
  );
  return new Map(found.map((row) => [String(row['pair']), row]));
}

/** What was granted and has none. */
async function rowless(accountId: string): Promise<string[]> {
  const pairs = await readPairs(accountId);
  return [...granted].filter((pair) => !pairs.has(pair));
}

function seconds(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(1)} s`;
}
