// Writers that edit random accounts in many ways at once, through whatever happens to the database: short and long transactions,
// of one account and of two, with savepoints, rolled back, and of a few rows or a few hundred. The kinds of edits follow a seed.
import { EventEmitter, once } from 'node:events';
import { Client } from 'pg';

export type Load = {
  /** Commits that succeeded so far. */
  readonly count: () => number;
  /** Resolves when so many more commits have succeeded. */
  readonly commits: (more: number) => Promise<void>;
  /** Lets every writer finish what it is at; resolves when none is left. Rejects with the first fault that is no lost connection. */
  readonly stop: () => Promise<void>;
};

export type LoadOptions = {
  readonly url: string;
  readonly seed: number;
  readonly writers: number;
  /** Kept up to date where an account is replaced. */
  readonly accounts: string[];
  /** In place of those here, which replace accounts too. */
  readonly edits?: readonly Edit[];
};

/** One edit of account $1; $2 is a random text, by which rows are chosen too. */
export type Edit = readonly [weight: number, sql: string];

const anyEdits: readonly Edit[] = [
  [6, `insert into actors (account_id, type, name) values ($1, 'service_account', $2)`],
  [8, `update actors set name = $2 where id = (${anyOf('actors')})`],
  [3, `delete from actors where id = (${anyOf('actors')})`],
  [3, `insert into actor_groups (account_id, name) values ($1, $2)`],
  [1, `delete from actor_groups where id = (${anyOf('actor_groups')})`],
  [
    6,
    `insert into actor_group_memberships (account_id, actor_id, group_id) select $1, (${anyOf('actors')}), (${anyOf('actor_groups')}) where exists (${anyOf('actors')}) and exists (${anyOf('actor_groups')}) on conflict do nothing`,
  ],
  [3, `delete from actor_group_memberships where id = (${anyOf('actor_group_memberships')})`],
  [
    3,
    `insert into resources (account_id, name, type, address, filters) values ($1, $2, 'cidr', '10.0.0.0/8', '[{"protocol": "tcp", "ports": ["22"]}]')`,
  ],
  [3, `update resources set name = $2, filters = '[]' where id = (${anyOf('resources')})`],
  [1, `delete from resources where id = (${anyOf('resources')})`],
  [2, `insert into gateway_groups (account_id, name) values ($1, $2)`],
  [
    2,
    `insert into resource_connections (resource_id, gateway_group_id, account_id) select r.id, g.id, $1::uuid from (${anyOf('resources')}) r, (${anyOf('gateway_groups')}) g on conflict do nothing`,
  ],
  [
    4,
    `insert into policies (account_id, actor_group_id, resource_id, conditions) select $1, g.id, r.id, array['{"property": "client_verified", "operator": "is", "values": ["true"]}'::jsonb] from (${anyOf('actor_groups')}) g, (${anyOf('resources')}) r on conflict do nothing`,
  ],
  [
    3,
    `update policies set disabled_at = case when disabled_at is null then clock_timestamp() end, description = $2 where id = (${anyOf('policies')})`,
  ],
  [2, `delete from policies where id = (${anyOf('policies')})`],
  [
    3,
    `insert into tokens (account_id, type, actor_id, secret_salt, secret_hash) select $1, 'client', id, $2, encode(sha256($2::bytea), 'hex') from (${anyOf('actors')}) a`,
  ],
  [
    3,
    `update accounts set name = left($2, 60), config = jsonb_build_object('search_domain', 'example.com') where id = $1`,
  ],
  [
    1,
    `update actors a set id = gen_random_uuid() where id = (${anyOf('actors')}) and not exists (select from actor_group_memberships m where m.actor_id = a.id) and not exists (select from tokens t where t.actor_id = a.id)`,
  ],
  [
    1,
    `insert into actors (account_id, type, name) select $1, 'service_account', $2 || n from generate_series(1, 200) n`,
  ],
  [1, `delete from actors where account_id = $1 and name ~ '\\d{2,}$'`],
  // Those of anchors are there again in the same commit, so nothing may happen to them.
  [
    0.2,
    `truncate actor_group_memberships;
     insert into actor_group_memberships (account_id, actor_id, group_id)
       select a.account_id, a.id, g.id from actors a join actor_groups g on g.account_id = a.account_id
        where a.name = 'anchor' and g.name = 'anchor'`,
  ],
];

function anyOf(table: string): string {
  return `select id from ${table} where account_id = $1 order by md5(id::text || $2) limit 1`;
}

export function startLoad({ url, seed, writers, accounts, edits }: LoadOptions): Load {
  const events = new EventEmitter();
  const state = { count: 0, isStopped: false };
  const committed = (): void => {
    state.count += 1;
    events.emit('commit');
  };
  const commits = async (more: number): Promise<void> => {
    const goal = state.count + more;
    while (state.count < goal && !state.isStopped) await once(events, 'commit');
  };
  const running = Array.from({ length: writers }, async (_, index) => {
    const random = randomFrom(seed * 100 + index);
    while (!state.isStopped) {
      // One that lingers waits for the others, so none of them may wait for it without end. What another commits may be lost in
      // a crash of Postgres after others have seen it, and its transaction id is given out again.
      const durability = index === 1 ? ' -c synchronous_commit=off' : '';
      const client = new Client({ connectionString: url, options: `-c lock_timeout=50${durability}` });
      client.on('error', () => {
        // The statement that is under way rejects too.
      });
      try {
        await client.connect();
        // The first writer keeps some transactions open while the others commit.
        const linger = index === 0 && writers > 1 ? async () => await commits(8) : null;
        while (!state.isStopped) await transact(client, { random, accounts, edits, committed, linger });
      } catch (error) {
        if (!isOfConnection(error)) throw error;
      } finally {
        await client.end().catch(() => {});
      }
    }
  });
  const all = Promise.all(running);
  all.catch(() => {
    // Thrown again by stop.
    state.isStopped = true;
    events.emit('commit');
  });
  return {
    count: () => state.count,
    commits,
    async stop() {
      state.isStopped = true;
      events.emit('commit');
      await all;
    },
  };
}

type Writer = {
  readonly random: () => number;
  readonly accounts: string[];
  readonly edits: readonly Edit[] | undefined;
  readonly committed: () => void;
  readonly linger: (() => Promise<void>) | null;
};

async function transact(client: Client, { random, accounts, edits, committed, linger }: Writer): Promise<void> {
  const pick = (): string => accounts[Math.floor(random() * accounts.length)] ?? '';
  const account = pick();
  try {
    await client.query('begin');
    if (edits === undefined && random() < 0.02) await replaceAccount(client, accounts, account);
    const statements = 1 + Math.floor(random() * 4);
    for (let n = 0; n < statements; n += 1) {
      const isUndone = random() < 0.1;
      if (isUndone) await client.query('savepoint before');
      await edit(client, edits ?? anyEdits, random, random() < 0.1 ? pick() : account);
      if (isUndone) await client.query('rollback to before');
    }
    if (linger !== null && random() < 0.2) await linger();
    await client.query(random() < 0.1 ? 'rollback' : 'commit');
    committed();
  } catch (error) {
    if (!isOfContention(error)) throw error;
    await client.query('rollback');
  }
}

async function edit(client: Client, edits: readonly Edit[], random: () => number, account: string): Promise<void> {
  let at = random() * edits.reduce((sum, [weight]) => sum + weight, 0);
  const [, sql] = edits.find(([weight]) => (at -= weight) < 0) ?? [0, 'select $1, $2'];
  const values = sql.includes('$2')
    ? [account, `name ${Math.floor(random() * 1e9)}`]
    : sql.includes('$1')
      ? [account]
      : [];
  await client.query(sql, values);
}

/** The list changes at once: whoever picks the account before the commit edits nothing. */
async function replaceAccount(client: Client, accounts: string[], account: string): Promise<void> {
  const { rows } = await client.query<{ id: string }>(
    `insert into accounts (name) values ('another') returning id::text`,
  );
  await client.query('delete from accounts where id = $1', [account]);
  const index = accounts.indexOf(account);
  if (index !== -1) accounts[index] = rows[0]?.id ?? account;
}

/** Deadlock, lock timeout, foreign key, unique: what concurrent writers do to each other. */
function isOfContention(error: unknown): boolean {
  return error instanceof Error && 'code' in error && /^(?:40|23|55P03)/.test(String(error.code));
}

/** Lost, refused, or told to go: SQLSTATE classes 08 and 57, and the system's codes. */
function isOfConnection(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = 'code' in error ? String(error.code) : '';
  return /^(?:08|57|ECONN|EPIPE)/.test(code) || /Connection terminated|not queryable/.test(error.message);
}

/** Uniform in [0, 1), the same sequence for the same seed (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
