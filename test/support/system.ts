// A whole system for one end-to-end test file: real Postgres, the real replicator and workerd, each a process of its own.
import { Client } from 'pg';
import { createFirstAccount } from '../../dev/first-account.ts';
import { startClient } from '../../devices/client.ts';
import { startGateway } from '../../devices/gateway.ts';
import { must } from '../../protocol/assert.ts';
import { startSystem } from '../../dev/system.ts';
import type { Client as SimulatedClient } from '../../devices/client.ts';
import type { DeviceFrame } from '../../devices/strict.ts';
import type { FirstAccount } from '../../dev/first-account.ts';
import type { Gateway } from '../../devices/gateway.ts';
import type { System } from '../../dev/system.ts';

export type TestSystem = { readonly system: System; readonly db: Client; readonly stop: () => Promise<void> };

export async function startTestSystem(): Promise<TestSystem> {
  const lines: string[] = [];
  const system = await startSystem({ onLine: (part, line) => lines.push(`${part}: ${line}`) });
  const db = new Client({ connectionString: system.databaseUrl });
  await db.connect();
  const stop = async () => {
    await db.end();
    await system.stop();
    process.stderr.write(`${lines.join('\n')}\n`);
  };
  return { system, db, stop };
}

export type LiveFlow = { readonly account: FirstAccount; readonly client: SimulatedClient; readonly gateway: Gateway };

/** An account of its own, both devices joined, and one flow created between them. */
export async function openFlow({ system, db }: TestSystem, slug: string): Promise<LiveFlow> {
  const account = await createFirstAccount(db, system.tokenKeys, slug);
  const url = system.workerUrl;
  const gateway = await startGateway({ url, ...account.gateway, name: 'Rack 1' });
  const client = await startClient({ url, ...account.client, name: 'laptop', tokenIn: 'header' });
  const answer = await client.createFlow(account.resourceId);
  if (answer.event !== 'flow_created') throw new Error(`expected flow_created, got ${JSON.stringify(answer)}`);
  return { account, client, gateway };
}

export function isEvent(name: string): (frame: DeviceFrame) => boolean {
  return ({ event }) => event === name;
}

/** The events that a device was sent, in order, without replies. */
export function eventsOf({ frames }: { readonly frames: readonly DeviceFrame[] }): string[] {
  return frames.map(({ event }) => event).filter((event) => event !== 'phx_reply');
}

/** A resource in a site, which no policy names. */
export async function createResource(db: Client, account: string, site: string, name: string): Promise<string> {
  const { rows } = await db.query<{ id: string }>(
    `with made as (insert into resources (account_id, name, type, address) values ($1, $3, 'cidr', '10.10.0.0/24') returning id)
     insert into resource_connections (account_id, resource_id, gateway_group_id) select $1, id, $2 from made
     returning resource_id::text as id`,
    [account, site, name],
  );
  return must(rows[0], 'a resource').id;
}

/** Polls until the query gives a row: Postgres announces no writes of others. */
export async function untilRow(db: Client, text: string, values: readonly unknown[]): Promise<Record<string, unknown>> {
  for (;;) {
    const { rows } = await db.query<Record<string, unknown>>(text, [...values]);
    if (rows[0] !== undefined) return rows[0];
    await new Promise((resolve) => setImmediate(resolve));
  }
}
