// A whole system over a Postgres that logs every statement, and that can be stopped and started where it was; and an account
// with many clients and resources, each pair of which may have a flow.
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { createFirstAccount } from '../../dev/first-account.ts';
import { removeDataDir, startPostgres } from '../../dev/postgres.ts';
import { startClient } from '../../devices/client.ts';
import { startSystem } from '../../dev/system.ts';
import type { Client as SimulatedClient } from '../../devices/client.ts';
import type { FirstAccount } from '../../dev/first-account.ts';
import type { System, SystemOptions } from '../../dev/system.ts';

export type Outage = {
  readonly system: System;
  /** Runs SQL as the owner, in a session of its own. */
  readonly query: (text: string, values?: readonly unknown[]) => Promise<Record<string, unknown>[]>;
  /** Polls until the query has a row: Postgres announces no writes of others. */
  readonly untilRow: (text: string, values?: readonly unknown[]) => Promise<void>;
  readonly stopPostgres: () => Promise<void>;
  readonly startPostgres: () => Promise<void>;
  /** What the server was asked by others than the owner since `mark`, each as `role statement`. */
  readonly statementsSince: (mark: number) => string[];
  /** Where its log ends. */
  readonly mark: () => number;
  readonly stop: () => Promise<void>;
};

const settings = {
  logging_collector: 'on',
  log_filename: 'statements.log',
  log_statement: 'all',
  log_line_prefix: '%u|',
  log_error_verbosity: 'terse',
  log_replication_commands: 'off',
};

export async function startOutage(options: Pick<SystemOptions, 'edgeWay'> = {}): Promise<Outage> {
  const folder = await mkdtemp(join(tmpdir(), 'drawbridge-outage-'));
  const dataDir = join(folder, 'data');
  let postgres = await startPostgres({ dataDir, settings });
  const { port, url } = postgres;
  const system = await startSystem({ ...options, databaseUrl: url });
  const query: Outage['query'] = async (text, values = []) => {
    const client = new Client({ connectionString: url });
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(text, [...values])).rows;
    } finally {
      await client.end();
    }
  };
  const log = () => {
    const logs = join(postgres.dataDir, 'log');
    return readdirSync(logs)
      .map((name) => readFileSync(join(logs, name), 'utf8'))
      .join('');
  };
  return {
    system,
    query,
    async untilRow(text, values = []) {
      while ((await query(text, values)).length === 0);
    },
    stopPostgres: async () => await postgres.stopImmediately(),
    async startPostgres() {
      postgres = await startPostgres({ dataDir, port, settings });
    },
    mark: () => log().length,
    statementsSince: (mark) =>
      [
        ...log()
          .slice(mark)
          .matchAll(/^(drawbridge_[a-z]+)\|.*?(?:statement|execute [^:]*): (.*)$/gm),
      ].map(([, role = '', statement = '']) => `${role} ${statement}`),
    async stop() {
      await system.stop();
      await postgres.stop();
      await removeDataDir(dataDir);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export type LargeAccount = FirstAccount & {
  readonly externalIds: readonly string[];
  readonly resourceIds: readonly string[];
};

/** The first account with more clients and resources, all of which its policy's group may reach. */
export async function createLargeAccount(
  { query, system }: Outage,
  slug: string,
  { clients, resources }: { readonly clients: number; readonly resources: number },
): Promise<LargeAccount> {
  const db = new Client({ connectionString: system.databaseUrl });
  await db.connect();
  const first = await createFirstAccount(db, system.tokenKeys, slug);
  await db.end();
  const { accountId, actorId, groupId, siteId } = first;
  await query(
    `insert into clients (account_id, actor_id, external_id, name, ipv4, ipv6)
     select $1, $2, 'laptop-' || n, 'Laptop ' || n, ('100.65.0.' || n)::inet, ('fd00:2021:1111::1:' || to_hex(n))::inet
       from generate_series(1, $3::int) n`,
    [accountId, actorId, clients],
  );
  const made = await query(
    `with r as (insert into resources (account_id, name, type, address)
                select $1, 'Network ' || n, 'cidr', '10.' || 20 + n / 256 || '.' || n % 256 || '.0/24' from generate_series(1, $4::int) n returning id),
          c as (insert into resource_connections (resource_id, gateway_group_id, account_id) select id, $3, $1 from r),
          p as (insert into policies (account_id, actor_group_id, resource_id) select $1, $2, id from r)
     select id::text from r`,
    [accountId, groupId, siteId, resources],
  );
  return {
    ...first,
    externalIds: Array.from({ length: clients }, (_, n) => `laptop-${n + 1}`),
    resourceIds: made.map(({ id }) => String(id)),
  };
}

/** Connects the account's client of this external id, under the token of its actor. */
export async function connectClient(
  { system }: Outage,
  account: FirstAccount,
  externalId: string,
): Promise<SimulatedClient> {
  return await startClient({ url: system.workerUrl, token: account.client.token, externalId, name: externalId });
}

/** Whether a statement reads rows of an account, as a snapshot does. */
export function readsRows(statement: string): boolean {
  return /from (?:only )?public\.|from (?:clients|policies|resources|actors|tokens)/i.test(statement);
}
