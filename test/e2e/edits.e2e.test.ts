// Edits by hand that take away and give back, or bring much at once, with psql's own words, and exactly what each side is told: the
// right frames in the right order, and nothing else. Every single kind is in consequences.e2e.test.ts.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openFlow, startTestSystem } from '../support/system.ts';
import { settled, untilApplied } from '../support/told.ts';
import type { Device } from '../../devices/device.ts';
import type { DeviceFrame } from '../../devices/strict.ts';
import type { FirstAccount } from '../../dev/first-account.ts';
import type { TestSystem } from '../support/system.ts';

let running: TestSystem;
beforeAll(async () => {
  running = await startTestSystem();
});
afterAll(async () => await running.stop());

type Edit = {
  readonly title: string;
  /** Statements; each is a transaction of its own, unless it opens one. */
  readonly sql: (account: FirstAccount) => readonly string[];
  readonly client: readonly string[];
  readonly gateway: readonly string[];
};

const [deleted, created] = ['resource_deleted R', 'resource_created_or_updated R'];
const rejected = 'reject_access';

const edits: readonly Edit[] = [
  {
    title: 'a policy deleted, and an equal one inserted',
    sql: ({ policyId, accountId, groupId, resourceId }) => [
      `delete from policies where id = '${policyId}'`,
      `insert into policies (account_id, actor_group_id, resource_id) values ('${accountId}', '${groupId}', '${resourceId}')`,
    ],
    client: [deleted, created],
    gateway: [rejected],
  },
  {
    title: 'a policy disabled, and enabled again',
    sql: ({ policyId }) => [
      `update policies set disabled_at = now() where id = '${policyId}'`,
      `update policies set disabled_at = null where id = '${policyId}'`,
    ],
    client: [deleted, created],
    gateway: [rejected],
  },
  {
    title: 'a membership deleted, and inserted again',
    sql: ({ accountId, actorId, groupId }) => [
      `delete from actor_group_memberships where actor_id = '${actorId}'`,
      `insert into actor_group_memberships (account_id, actor_id, group_id) values ('${accountId}', '${actorId}', '${groupId}')`,
    ],
    client: [deleted, created],
    gateway: [rejected],
  },
  {
    title: 'a connection deleted, and inserted again',
    sql: ({ accountId, resourceId, siteId }) => [
      `delete from resource_connections where resource_id = '${resourceId}'`,
      `insert into resource_connections (account_id, resource_id, gateway_group_id) values ('${accountId}', '${resourceId}', '${siteId}')`,
    ],
    client: [deleted, created],
    gateway: [rejected],
  },
  {
    title: 'a resource, its connection and its policy inserted in one transaction',
    sql: ({ accountId, groupId, siteId }) => [
      `begin;
      with made as (insert into resources (account_id, name, type, address)
        values ('${accountId}', 'More', 'cidr', '10.10.0.0/16') returning id),
      connected as (insert into resource_connections (account_id, resource_id, gateway_group_id)
        select '${accountId}', id, '${siteId}' from made)
      insert into policies (account_id, actor_group_id, resource_id) select '${accountId}', '${groupId}', id from made;
      commit`,
    ],
    client: ['resource_created_or_updated another'],
    gateway: [],
  },
  {
    title: 'an actor, a group, a site, a token and a client inserted',
    sql: ({ accountId }) => [
      `begin;
      with made as (insert into actors (account_id, type, name) values ('${accountId}', 'account_user', 'Bob') returning id),
      device as (insert into clients (account_id, actor_id, external_id, name, ipv4, ipv6)
        select '${accountId}', id, 'phone', 'Phone', '100.64.9.9', 'fd00:2021:1111::9:9' from made)
      insert into tokens (account_id, type, actor_id, secret_salt, secret_hash)
        select '${accountId}', 'client', id, 'salt', repeat('0', 64) from made;
      insert into actor_groups (account_id, name) values ('${accountId}', 'Sales');
      insert into gateway_groups (account_id, name) values ('${accountId}', 'Branch');
      commit`,
    ],
    client: [],
    gateway: [],
  },
];

test.each(edits)('[P4.9] $title: each side is told exactly what follows', async ({ title, sql, client, gateway }) => {
  const flow = await openFlow(running, `edit_${edits.findIndex((edit) => edit.title === title)}`);
  for (const { device } of [flow.client, flow.gateway]) await settled(device);
  const before = { client: flow.client.device.frames.length, gateway: flow.gateway.device.frames.length };

  for (const statement of sql(flow.account)) await running.db.query(statement);

  const told = (device: Device, from: number) =>
    device.frames.slice(from).flatMap((frame) => brief(frame, flow.account.resourceId));
  await reached(flow.gateway.device, before.gateway, gateway);
  await reached(flow.client.device, before.client, client);
  await untilApplied(running.db);
  for (const { device } of [flow.client, flow.gateway]) await settled(device);
  expect(told(flow.gateway.device, before.gateway)).toEqual(gateway);
  expect(told(flow.client.device, before.client)).toEqual(client);
  expect([flow.client.device.failures, flow.gateway.device.failures]).toEqual([[], []]);
});

function brief({ event, payload }: DeviceFrame, resourceId: string): string[] {
  if (event === 'phx_reply') return [];
  if (event === 'resource_deleted') return [`${event} ${payload === resourceId ? 'R' : 'another'}`];
  if (event !== 'resource_created_or_updated') return [event];
  const isOurs = typeof payload === 'object' && payload !== null && 'id' in payload && payload.id === resourceId;
  return [`${event} ${isOurs ? 'R' : 'another'}`];
}

/** Waits until as many frames as expected have come, replies aside. */
async function reached(device: Device, from: number, expected: readonly string[]): Promise<void> {
  if (expected.length === 0) return;
  const pushes = () => device.frames.slice(from).filter(({ event }) => event !== 'phx_reply').length;
  await device.waitFor(expected.join(', '), () => pushes() >= expected.length, { from });
}
