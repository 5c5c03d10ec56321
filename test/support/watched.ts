// Accounts whose devices live through a load and whatever is killed under it, dialling again as real ones do. After it each client
// must hold what the oracle says of it, each gateway must let nobody pass beyond that, and one flow that no edit touches, the
// anchor of its account, must never have been cut.
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { Client as Database } from 'pg';
import { mintToken } from '../../cli/mint-token.ts';
import { createFirstAccount, type FirstAccount } from '../../dev/first-account.ts';
import { isGranted, startClient, type Client } from '../../devices/client.ts';
import { startGateway, type Gateway } from '../../devices/gateway.ts';
import { must } from '../../protocol/assert.ts';
import type { Generation } from '../../protocol/device/generations.ts';
import { askAccess, loadOracle, type Answer, type Subject } from '../oracle/oracle.ts';
import { clientConfig } from '../../replicator/connection.ts';
import type { Edit } from './load.ts';
import { settled } from './told.ts';

const generations: readonly Generation[] = ['A', 'C', 'B'];
const redialMs = 50;
const pollMs = 20;
const checkMsMax = 60_000;

/** Edits of what the client of an account may reach, giving a little more than they take; what is named anchor stays as it is. */
export const accessEdits: readonly Edit[] = [
  [4, `update policies set disabled_at = null where id = (${anyOf('policies', 'description')})`],
  [2, `update policies set disabled_at = clock_timestamp() where id = (${anyOf('policies', 'description')})`],
  [2, `delete from policies where id = (${anyOf('policies', 'description')})`],
  [
    10,
    `insert into policies (account_id, actor_group_id, resource_id, description) select $1, g.id, r.id, $2 from (${anyOf('actor_groups')}) g, (${anyOf('resources')}) r on conflict do nothing`,
  ],
  [2, `update policies set conditions = '{}' where id = (${anyOf('policies', 'description')})`],
  [
    1,
    `update policies set conditions = array['{"property": "client_verified", "operator": "is", "values": ["true"]}'::jsonb] where id = (${anyOf('policies', 'description')})`,
  ],
  [2, `delete from actor_group_memberships where id = (${anyMembership()})`],
  [
    8,
    `insert into actor_group_memberships (account_id, actor_id, group_id) select $1, a.id, g.id from (${anyOf('actors')}) a, (${anyOf('actor_groups')}) g on conflict do nothing`,
  ],
  [
    3,
    `insert into actor_groups (account_id, name) select $1, $2 where (select count(*) from actor_groups where account_id = $1) < 4`,
  ],
  [0.3, `delete from actor_groups where id = (${anyOf('actor_groups')})`],
  [
    6,
    `insert into resources (account_id, name, type, address) select $1, $2, 'cidr', '10.7.0.0/24' where (select count(*) from resources where account_id = $1) < 9`,
  ],
  [1, `delete from resources where id = (${anyOf('resources')})`],
  [
    3,
    `update resources set name = $2, address = case address when '10.8.0.0/24' then '10.7.0.0/24' else '10.8.0.0/24' end where id = (${anyOf('resources')})`,
  ],
  [
    1,
    `delete from resource_connections c using (${anyOf('resources')}) r where c.resource_id = r.id and c.account_id = $1`,
  ],
  [
    8,
    `insert into resource_connections (resource_id, gateway_group_id, account_id) select r.id, g.id, $1::uuid from (${anyOf('resources')}) r, (select id from gateway_groups where account_id = $1 and managed_by = 'account') g on conflict do nothing`,
  ],
  [3, `update actors set disabled_at = null where id = (${anyOf('actors')})`],
  [0.3, `update actors set disabled_at = clock_timestamp() where id = (${anyOf('actors')})`],
  [
    1,
    `update clients set verified_at = case when verified_at is null then clock_timestamp() end where id = (${anyOf('clients')})`,
  ],
];

function anyOf(table: string, named = 'name'): string {
  return `select id from ${table} where account_id = $1 and ${named} <> 'anchor' order by md5(id::text || $2) limit 1`;
}

function anyMembership(): string {
  return `select m.id from actor_group_memberships m join actor_groups g on g.id = m.group_id
           where m.account_id = $1 and g.name <> 'anchor' order by md5(m.id::text || $2) limit 1`;
}

export type Watched = {
  /** Ids of the accounts. */
  readonly accounts: string[];
  /** To be called while nothing is edited. Every difference is a sentence. */
  readonly check: () => Promise<readonly string[]>;
  readonly stop: () => Promise<void>;
};

export type WatchedOptions = {
  /** The owner's. */
  readonly url: string;
  readonly tokenKeys: string;
  readonly workerUrl: () => string;
};

type Account = {
  readonly first: FirstAccount;
  readonly anchorResource: string;
  readonly gateway: Stubborn<Gateway>;
  readonly client: Stubborn<Client>;
  readonly anchor: Stubborn<Client>;
  readonly subject: Subject;
  /** What was done to the anchor's flow. */
  readonly cuts: string[];
};

/** One account of each generation, its gateway and two clients connected, the anchor's flow open. */
export async function startWatched(options: WatchedOptions): Promise<Watched> {
  const db = new Database({ connectionString: options.url });
  await db.connect();
  await loadOracle(db);
  const accounts: Account[] = [];
  for (const generation of generations) accounts.push(await startAccount(db, options, generation));
  await db.end();
  return {
    accounts: accounts.map(({ first }) => first.accountId),
    async check() {
      const asking = new Database(clientConfig(options.url));
      await asking.connect();
      try {
        const found: string[] = [];
        for (const account of accounts) found.push(...(await check(asking, account)));
        return found;
      } finally {
        await asking.end();
      }
    },
    async stop() {
      await Promise.all(
        accounts.flatMap(({ gateway, client, anchor }) => [gateway.stop(), client.stop(), anchor.stop()]),
      );
    },
  };
}

async function startAccount(db: Database, options: WatchedOptions, generation: Generation): Promise<Account> {
  const first = await createFirstAccount(db, options.tokenKeys, `watched_${generation.toLowerCase()}`);
  const insert = async (statement: string, values: readonly unknown[]): Promise<string> =>
    must((await db.query<{ id: string }>(`insert into ${statement} returning id::text`, [...values])).rows[0], 'a row')
      .id;
  const { accountId, siteId } = first;
  const actor = await insert(`actors (account_id, type, name) values ($1, 'account_user', 'anchor')`, [accountId]);
  const group = await insert(`actor_groups (account_id, name) values ($1, 'anchor')`, [accountId]);
  await insert(`actor_group_memberships (account_id, actor_id, group_id) values ($1, $2, $3)`, [
    accountId,
    actor,
    group,
  ]);
  const anchorResource = await insert(
    `resources (account_id, name, type, address) values ($1, 'anchor', 'cidr', '10.99.0.0/24')`,
    [accountId],
  );
  await db.query('insert into resource_connections (account_id, resource_id, gateway_group_id) values ($1, $2, $3)', [
    accountId,
    anchorResource,
    siteId,
  ]);
  await insert(`policies (account_id, actor_group_id, resource_id, description) values ($1, $2, $3, 'anchor')`, [
    accountId,
    group,
    anchorResource,
  ]);
  await insert(
    `clients (account_id, actor_id, external_id, name, ipv4, ipv6) values ($1, $2, 'anchor', 'anchor', '100.64.0.9', 'fd00:2021:1111::9')`,
    [accountId, actor],
  );
  const token = await mintToken(db, options.tokenKeys, accountId, { type: 'client', actorId: actor });
  const { rows } = await db.query<{ id: string }>('select id::text from tokens where actor_id = $1', [first.actorId]);
  const subject = { client_id: first.clientId, token_id: must(rows[0], 'a token').id, remote_ip: null, region: null };
  return await connectAll({
    first,
    anchorResource,
    subject,
    anchorToken: token,
    generation,
    workerUrl: options.workerUrl,
  });
}

type Connecting = {
  readonly first: FirstAccount;
  readonly anchorResource: string;
  readonly subject: Subject;
  readonly anchorToken: string;
  readonly generation: Generation;
  readonly workerUrl: () => string;
};

async function connectAll(connecting: Connecting): Promise<Account> {
  const { first, anchorResource, subject, anchorToken, generation, workerUrl } = connecting;
  const cuts: string[] = [];
  const publicKeys = Array.from({ length: 3 }, () => randomBytes(32).toString('base64'));
  const base = (index: number) => ({ url: workerUrl(), generation, publicKey: must(publicKeys[index], 'a key') });
  const gateway = stubborn<Gateway>(async (last) => {
    const access = last?.access ?? new Set<string>();
    return await startGateway({
      ...base(0),
      ...first.gateway,
      name: 'Rack 1',
      access,
      onFrame({ event, payload }) {
        const isAnchor = JSON.stringify(payload).includes(anchorResource);
        if (event === 'reject_access' && isAnchor) cuts.push(`the gateway was told ${JSON.stringify(payload)}`);
      },
    });
  });
  const client = stubborn<Client>(
    async (last) =>
      await startClient({ ...base(1), ...first.client, name: 'laptop', connected: last?.connected ?? new Set() }),
  );
  const anchor = stubborn<Client>(
    async (last) =>
      await startClient({
        ...base(2),
        externalId: 'anchor',
        token: anchorToken,
        name: 'anchor',
        connected: last?.connected ?? new Set(),
        onFrame({ event, payload }) {
          if (event === 'resource_deleted') cuts.push(`its client was told ${event} ${JSON.stringify(payload)}`);
        },
      }),
  );
  await gateway.present();
  const flow = await (await anchor.present()).createFlow(anchorResource);
  if (!isGranted(flow)) throw new Error(`expected a grant, got ${JSON.stringify(flow)}`);
  return { first, anchorResource, gateway, client, anchor, subject, cuts };
}

type Stubborn<D> = {
  /** Its connection, or null while there is none. */
  readonly now: () => D | null;
  /** Waits for a connection. */
  readonly present: () => Promise<D>;
  readonly stop: () => Promise<void>;
};

/** Dials again whenever its socket is closed or refused. What went wrong with a frame it read is thrown by `present`. */
function stubborn<D extends { readonly device: Client['device'] }>(dial: (last: D | null) => Promise<D>): Stubborn<D> {
  const state: { now: D | null; last: D | null; isStopped: boolean } = { now: null, last: null, isStopped: false };
  const life = (async () => {
    while (!state.isStopped) {
      try {
        state.now = await dial(state.last);
        state.last = state.now;
        await state.now.device.closed;
      } catch {
        await delay(redialMs);
      }
      state.now = null;
    }
  })();
  return {
    now: () => state.now,
    async present() {
      const deadline = performance.now() + checkMsMax;
      while (state.now === null && performance.now() < deadline) await delay(pollMs);
      return must(state.now, 'a connection');
    },
    async stop() {
      state.isStopped = true;
      state.now?.device.close();
      await life;
    },
  };
}

/** Waits until all is as it must be, and says what is not when that takes too long; then has the client use what it may. */
async function check(db: Database, account: Account): Promise<readonly string[]> {
  const { first, anchorResource, gateway, client, anchor, subject, cuts } = account;
  const deadline = performance.now() + checkMsMax;
  for (;;) {
    const answers = await askAccess(db, first.accountId, Date.now(), [subject]);
    const isEnabled = await isActorEnabled(db, first.actorId);
    const connections = [gateway.now(), anchor.now(), ...(isEnabled ? [client.now()] : [])];
    const problems = connections.includes(null)
      ? ['a device has no connection']
      : await problemsOf(account, answers, isEnabled ? client.now() : null);
    if (problems.length === 0) {
      const flows = isEnabled ? await useFlows(account, answers) : [];
      const lost = anchor.now()?.connected.has(anchorResource) === true ? [] : ['its client has lost it'];
      return [...flows, ...[...cuts, ...lost].map((cut) => `the anchor was cut: ${cut}`)].map(
        (sentence) => `${first.accountId}: ${sentence}`,
      );
    }
    if (performance.now() > deadline) return problems.map((problem) => `${first.accountId}: ${problem}`);
    await delay(pollMs);
  }
}

async function isActorEnabled(db: Database, actor: string): Promise<boolean> {
  return (await db.query('select from actors where id = $1 and disabled_at is null', [actor])).rowCount === 1;
}

async function problemsOf(account: Account, answers: readonly Answer[], client: Client | null): Promise<string[]> {
  const { first, anchorResource, anchor } = account;
  const gateway = must(account.gateway.now(), 'a gateway');
  await Promise.all([gateway.device, ...(client === null ? [] : [client.device])].map(settled));
  const granted = answers.filter(({ verdict }) => verdict === 'granted');
  const view = granted.map(({ resource_id: id }) => id).toSorted();
  const held = [...(client?.resources ?? [])].toSorted();
  const here = granted.filter(({ sites }) => sites.includes(first.siteId)).map(({ resource_id: id }) => id);
  const allowed = new Set([
    ...here.map((id) => `${first.clientId}/${id}`),
    ...[...gateway.access].filter((pair) => pair.endsWith(`/${anchorResource}`)),
  ]);
  const passing = [...gateway.access].filter((pair) => !allowed.has(pair));
  const devices = [gateway.device, anchor.now()?.device, client?.device];
  return [
    ...(client === null || held.join() === view.join() ? [] : [`the client holds ${held.join()}, not ${view.join()}`]),
    ...passing.map((pair) => `the gateway lets ${pair} pass`),
    ...([...gateway.access].some((pair) => pair.endsWith(`/${anchorResource}`)) ? [] : ['the gateway lost the anchor']),
    ...devices.flatMap((device) => device?.failures ?? []),
  ];
}

/** The client asks for every resource: it is let in where the oracle grants and its gateway is in a site of the resource. */
async function useFlows({ first, client }: Account, answers: readonly Answer[]): Promise<string[]> {
  const problems: string[] = [];
  for (const { resource_id: id, verdict, sites } of answers) {
    const isDue = verdict === 'granted' && sites.includes(first.siteId);
    const answer = await (await client.present()).createFlow(id);
    if (isGranted(answer) !== isDue) problems.push(`${id} is ${verdict}, and the client got ${JSON.stringify(answer)}`);
  }
  return problems;
}
