// What the account's object has stored, read as it would read it if it woke at this moment.
import { runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import * as v from 'valibot';
import { accountObjectName } from '../../worker/env.ts';
import { attach, factsOf, openSessions } from '../../worker/account/sockets.ts';
import { check } from '../../core/check.ts';
import { digestText } from '../../protocol/digest.ts';
import { emptyState } from '../../core/state.ts';
import { ids } from '../support/world.ts';
import { load } from '../../worker/account/storage.ts';
import { nameOf } from '../support/random-rows.ts';
import { resume } from '../../core/step.ts';
import { StoredMemberships } from '../support/stored-memberships.ts';
import { tableNames, tableName } from '../../protocol/tables.ts';
import { wireRow } from '../../protocol/commit.ts';
import type { State } from '../../core/state.ts';
import type { TableName } from '../../protocol/tables.ts';
import type { WireRow } from '../../protocol/commit.ts';

export type Read = {
  readonly state: State;
  /** By `table/key`, as one line of text; without devices that the stream has not shown. */
  readonly rows: ReadonlyMap<string, string>;
  /** When its alarm comes, milliseconds since 1970-01-01 UTC; null: never. */
  readonly alarm: number | null;
  /** What is wrong with it, in words. */
  readonly problems: readonly string[];
};

const account = () => env.ACCOUNT.getByName(accountObjectName(ids.account));

export async function readObject(): Promise<Read> {
  return await runInDurableObject(account(), async (_, ctx) => {
    const alarm = await ctx.storage.getAlarm();
    const memberships = new StoredMemberships();
    const rows = new Map<string, string>();
    const stored = ctx.storage.sql.exec<{ tbl: string; key: string; row: string }>('select tbl, key, row from rows');
    for (const { tbl, key, row: text } of stored) {
      const table = v.parse(tableName, tbl);
      const row = v.parse(wireRow, JSON.parse(text));
      memberships.save({ type: 'put-row', table, key, row });
      rows.set(`${table}/${key}`, digestText(row));
    }
    const state = emptyState(memberships);
    state.ledger.isConfigured = true;
    load(ctx.storage, state);
    resume(state, openSessions(ctx), Date.now());
    for (const { id, isKnown, table } of state.tables.registrations.values())
      if (!isKnown) rows.delete(`${table}/${id}`);
    return { state, rows, alarm, problems: [...check(state), ...unexpected(state, alarm)] };
  });
}

/** Whether the object sleeps through what is due. What was due before is taken up by whatever wakes it, and changes nothing here. */
function unexpected({ deadline, now }: State, alarm: number | null): string[] {
  if (deadline === null || deadline <= now) return [];
  const isWoken = alarm !== null && alarm <= Math.max(Math.ceil(deadline), now + 1000);
  return isWoken ? [] : [`something is due at ${deadline}, the alarm is set for ${alarm}`];
}

/** How the rows stored differ from `should`. */
export function differences({ rows }: Read, should: Partial<Record<TableName, readonly WireRow[]>>): string[] {
  const due = new Map<string, string>();
  for (const table of tableNames) for (const row of should[table] ?? []) due.set(nameOf(table, row), digestText(row));
  return [...new Set([...due.keys(), ...rows.keys()])].flatMap((name) =>
    due.get(name) === rows.get(name) ? [] : [`${name} is stored as ${rows.get(name)}, it is ${due.get(name)}`],
  );
}

/** Stands in for the probes of all edges until `at`: their answers have the platform's time, not the worker's. */
export async function keepAlive(at: number): Promise<void> {
  await runInDurableObject(account(), (_, ctx) => {
    for (const socket of ctx.getWebSockets()) {
      const facts = factsOf(socket);
      if (facts === null) continue;
      Object.assign(facts.link, { acceptedAt: at });
      attach(socket, facts.session);
    }
  });
}
