// The ledger of flows in Postgres, through every part: what the edge grants is written there behind it, and what is done to
// a row by hand has its effect.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventsOf, isEvent, openFlow, startTestSystem, untilRow } from '../support/system.ts';
import type { TestSystem } from '../support/system.ts';

let all: TestSystem;
beforeAll(async () => {
  all = await startTestSystem();
});
afterAll(async () => await all.stop());

test('[P7.4] a grant becomes a row of the ledger, and its end is written there with cause and whether the gateway was told', async () => {
  const { account, client, gateway } = await openFlow(all, 'ledger');
  const live = await untilRow(all.db, 'select * from flows where account_id = $1', [account.accountId]);
  expect(live).toMatchObject({
    client_id: account.clientId,
    resource_id: account.resourceId,
    gateway_id: account.gatewayId,
    policy_id: account.policyId,
    actor_id: account.actorId,
    ended_at: null,
    end_cause: null,
    told: null,
  });
  await all.db.query('delete from policies where id = $1', [account.policyId]);
  await gateway.device.waitFor('the reject', isEvent('reject_access'));
  await client.device.waitFor('the removal', isEvent('resource_deleted'));

  const ended = await untilRow(all.db, 'select * from flows where account_id = $1 and ended_at is not null', [
    account.accountId,
  ]);

  expect(ended).toMatchObject({
    id: live['id'],
    told: 'sent',
    end_cause: { table: 'policies', id: account.policyId, commit: expect.stringMatching(/^[0-9a-f]{16}$/) },
  });
});

test.each([
  ['deleted', 'delete from flows where account_id = $1'],
  ['ended', 'update flows set ended_at = now() where account_id = $1'],
])('[P7.5] a row that is %s by hand cuts its flow at once, and a new request is judged afresh', async (how, sql) => {
  const { account, client, gateway } = await openFlow(all, `hand_${how}`);
  const before = await untilRow(all.db, 'select id from flows where account_id = $1', [account.accountId]);

  await all.db.query(sql, [account.accountId]);

  await gateway.device.waitFor('the reject', isEvent('reject_access'));
  await client.device.waitFor('the removal', isEvent('resource_deleted'));
  await client.device.waitFor('the return', isEvent('resource_created_or_updated'));
  expect((await client.createFlow(account.resourceId)).event).toBe('flow_created');
  const again = await untilRow(all.db, 'select id from flows where account_id = $1 and ended_at is null', [
    account.accountId,
  ]);
  expect(again['id']).not.toBe(before['id']);
  expect(eventsOf(gateway.device).filter((event) => event === 'reject_access')).toHaveLength(1);
});

test('[P7.6] a row that is inserted by hand grants nothing', async () => {
  const { account, gateway, client } = await openFlow(all, 'by_hand');
  await untilRow(all.db, 'select id from flows where account_id = $1', [account.accountId]);
  const said = [eventsOf(client.device).length, eventsOf(gateway.device).length];
  await all.db.query(
    `insert into flows select (jsonb_populate_record(f, jsonb_build_object('id', gen_random_uuid(), 'revision', 1))).*
       from flows f where account_id = $1`,
    [account.accountId],
  );
  await all.db.query(`update resources set name = 'Renamed' where id = $1`, [account.resourceId]);
  await client.device.waitFor('the commit after it', isEvent('resource_created_or_updated'));
  expect([eventsOf(client.device).length, eventsOf(gateway.device).length]).toEqual([(said[0] ?? 0) + 1, said[1]]);
});

test('[P7.7] a session is written when it begins and when it ends', async () => {
  const { account, client } = await openFlow(all, 'sessions');
  const begun = await untilRow(all.db, 'select * from drawbridge.client_sessions where account_id = $1', [
    account.accountId,
  ]);
  expect(begun).toMatchObject({ client_id: account.clientId, ended_at: null });
  await untilRow(all.db, 'select 1 as there from drawbridge.gateway_sessions where account_id = $1', [
    account.accountId,
  ]);
  client.device.close();
  await untilRow(
    all.db,
    'select 1 as there from drawbridge.client_sessions where account_id = $1 and ended_at is not null',
    [account.accountId],
  );
});

test('[P7.36] what was granted just before the worker is killed is written once it is back, once, before any device returns', async () => {
  const { account, client } = await openFlow(all, 'killed');
  await all.system.killWorker();
  const [before] = (await all.db.query('select from flows where account_id = $1', [account.accountId])).rows;
  await all.system.startWorker();
  await untilRow(all.db, 'select id from flows where account_id = $1', [account.accountId]);
  await client.device.closed;
  const { rows } = await all.db.query('select client_id from flows where account_id = $1', [account.accountId]);
  expect([before, rows]).toEqual([undefined, [{ client_id: account.clientId }]]);
});
