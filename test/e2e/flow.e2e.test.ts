// One life of a flow through real Postgres, the real replicator and workerd, with devices as strict as the originals.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventsOf, isEvent, openFlow, startTestSystem } from '../support/system.ts';
import { startGateway } from '../../devices/gateway.ts';
import type { TestSystem } from '../support/system.ts';

let running: TestSystem;
beforeAll(async () => {
  running = await startTestSystem();
});
afterAll(async () => await running.stop());

test('[P4.10] a policy deleted with SQL cuts the live flow at the gateway, then takes the resource from the client', async () => {
  const { account, client, gateway } = await openFlow(running, 'one_life');
  await client.device.waitFor("the gateway's candidates", isEvent('ice_candidates'));
  await gateway.device.waitFor("the client's candidates", isEvent('ice_candidates'));
  expect(gateway.access.size).toBe(1);

  await running.db.query('delete from policies where id = $1', [account.policyId]);

  const rejected = await gateway.device.waitFor('reject_access', isEvent('reject_access'));
  expect(rejected.payload).toEqual({ client_id: account.clientId, resource_id: account.resourceId });
  const deleted = await client.device.waitFor('resource_deleted', isEvent('resource_deleted'));
  expect(deleted.payload).toBe(account.resourceId);
  expect(eventsOf(client.device)).toEqual(['init', 'flow_created', 'ice_candidates', 'resource_deleted']);
  expect(eventsOf(gateway.device)).toEqual(['init', 'authorize_flow', 'ice_candidates', 'reject_access']);
  expect([client.device.failures, gateway.device.failures]).toEqual([[], []]);
  expect([client.resources.size, gateway.access.size]).toEqual([0, 0]);
});

test('[P1.31] an edit made while the replicator is dead reaches the devices once it is back, once', async () => {
  const { account, client, gateway } = await openFlow(running, 'restart');
  await running.system.killReplicator();

  await running.db.query('delete from policies where id = $1', [account.policyId]);
  await running.system.startReplicator();

  await gateway.device.waitFor('reject_access', isEvent('reject_access'));
  await client.device.waitFor('resource_deleted', isEvent('resource_deleted'));
  const { accountId, groupId, resourceId } = account;
  const insert = 'insert into policies (account_id, actor_group_id, resource_id) values ($1, $2, $3)';
  await running.db.query(insert, [accountId, groupId, resourceId]);
  await client.device.waitFor('the resource again', isEvent('resource_created_or_updated'));
  expect(eventsOf(client.device).filter((event) => event === 'resource_deleted')).toHaveLength(1);
  expect(eventsOf(gateway.device).filter((event) => event === 'reject_access')).toHaveLength(1);
  expect(eventsOf(client.device).at(-1)).toBe('resource_created_or_updated');
  expect([client.device.failures, gateway.device.failures]).toEqual([[], []]);
});

test('[P1.32] an edit made while the worker is dead reaches a gateway that returns', async () => {
  const { account, client, gateway } = await openFlow(running, 'worker_restart');
  await running.system.killWorker();
  await Promise.all([client.device.closed, gateway.device.closed]);

  await running.db.query('delete from policies where id = $1', [account.policyId]);
  await running.system.startWorker();

  const { workerUrl } = running.system;
  const back = await startGateway({ url: workerUrl, ...account.gateway, name: 'Rack 1' });
  await back.device.waitFor('reject_access', isEvent('reject_access'));
  expect(back.device.failures).toEqual([]);
});
