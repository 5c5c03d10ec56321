// A large account through every real part: 100,000 rows that come in one transaction, and again by snapshot.
import { afterAll, beforeAll, expect, test } from 'vitest';
import * as v from 'valibot';
import { Client } from 'pg';
import { askObject } from '../../cli/status-http.ts';
import { differences, digestOfDatabase } from '../../cli/verify-rows.ts';
import { createFirstAccount } from '../../dev/first-account.ts';
import { startClient } from '../../devices/client.ts';
import { digestAnswer, digestPath } from '../../protocol/digest.ts';
import { accountId } from '../../protocol/ids.ts';
import { messagePrefix } from '../../protocol/steering.ts';
import { clientConfig } from '../../replicator/connection.ts';
import { composeSteering } from '../../replicator/steering.ts';
import { isEvent, startTestSystem, type TestSystem } from '../support/system.ts';
import { untilApplied } from '../support/told.ts';

const [actors, groups] = [1_000, 100];

let all: TestSystem;
beforeAll(async () => {
  all = await startTestSystem();
});
afterAll(async () => await all.stop());

test('[P3.21] a transaction of 100,000 rows, and snapshots of as many while writers go on, end in a real object as the tables are', async () => {
  const { db, system } = all;
  const first = await createFirstAccount(db, system.tokenKeys, 'large');
  const account = v.parse(accountId, first.accountId);
  const client = await startClient({ url: system.workerUrl, ...first.client, name: 'laptop' });
  const found = async () => {
    const held = await askObject(system.workerUrl, system.ingestKey, digestPath, { version: 1, account }, digestAnswer);
    const reading = new Client(clientConfig(system.databaseUrl));
    await reading.connect();
    const wanted = await digestOfDatabase(reading, account);
    await reading.end();
    return { rows: held.tables.actor_group_memberships?.rows ?? 0, different: differences(wanted, held.tables) };
  };
  await db.query('begin');
  await db.query(
    `insert into actors (account_id, type, name) select $1, 'account_user', 'actor ' || n from generate_series(1, $2::int) n`,
    [account, actors],
  );
  await db.query(
    `insert into actor_groups (account_id, name) select $1, 'group ' || n from generate_series(1, $2::int) n`,
    [account, groups],
  );
  await db.query(
    `insert into actor_group_memberships (account_id, actor_id, group_id)
     select $1, a.id, g.id from actors a, actor_groups g
      where a.account_id = $1 and g.account_id = $1 and a.name like 'actor %' and g.name like 'group %'`,
    [account],
  );
  await db.query('commit');
  await untilApplied(db);
  expect(await found()).toEqual({ rows: actors * groups + 1, different: [] });

  const from = client.device.frames.length;
  for (let snapshot = 1; snapshot <= 2; snapshot += 1) {
    const request = composeSteering({ type: 'resync', account, at: Date.now() }, system.ingestKey);
    await db.query('select pg_logical_emit_message(true, $1, $2)', [messagePrefix, request]);
    for (let edit = 1; edit <= 50; edit += 1) {
      await db.query(
        `delete from actor_group_memberships where id in (select id from actor_group_memberships where account_id = $1 and actor_id <> $2 limit 20)`,
        [account, first.actorId],
      );
      await db.query('update resources set name = $2 where account_id = $1', [account, `${snapshot}.${edit}`]);
    }
    await untilApplied(db);
    expect(await found()).toEqual({ rows: actors * groups + 1 - snapshot * 1_000, different: [] });
  }
  const told = client.device.frames.slice(from).filter(isEvent('resource_created_or_updated'));
  const names = told.map(({ payload }) => v.parse(v.object({ name: v.string() }), payload).name);
  // What a snapshot includes is told with it, once; nothing is told twice or out of order.
  expect(names.at(-1)).toBe('2.50');
  expect(names).toEqual([...new Set(names)]);
  expect(client.device.failures).toEqual([]);
}, 180_000);
