// Devices of every generation with each other and with relays, through real Postgres, the real replicator and workerd. Devices
// drop what the real ones drop, and nothing may be dropped.
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createFirstAccount } from '../../dev/first-account.ts';
import { isEvent, startTestSystem } from '../support/system.ts';
import { must } from '../../protocol/assert.ts';
import { isGranted, startClient } from '../../devices/client.ts';
import { startGateway } from '../../devices/gateway.ts';
import { startRelay } from '../../devices/relay.ts';
import { untilApplied } from '../support/told.ts';
import type { Client } from '../../devices/client.ts';
import type { FirstAccount } from '../../dev/first-account.ts';
import type { Generation } from '../../protocol/device/generations.ts';
import type { TestSystem } from '../support/system.ts';

const generations: readonly Generation[] = ['A', 'C', 'B'];
const pairs = generations.flatMap((client) => generations.map((gateway) => [client, gateway] as const));

let running: TestSystem;
let db: pg.Pool;
const accounts = new Map<string, FirstAccount>();
beforeAll(async () => {
  running = await startTestSystem();
  db = new pg.Pool({ connectionString: running.system.databaseUrl });
  for (const pair of pairs) {
    const slug = `pair_${pair.join('_')}`.toLowerCase();
    accounts.set(pair.join(), await createFirstAccount(running.db, running.system.tokenKeys, slug));
  }
});
afterAll(async () => {
  await db.end();
  await running.stop();
});

/** How long a token lives whose flows are to be renewed soon: in the last quarter of that, once it lives on. */
const tokenSeconds = 12;

/** How a gateway comes to know a later expiry. */
const renewal = {
  A: 'reject_access',
  C: 'access_authorization_expiry_updated',
  B: 'create_authorization',
} as const satisfies Record<Generation, string>;

test.concurrent.each(pairs)(
  '[P10.22] a client of %s and a gateway of %s: flow, another start of the relay, renewal, reconnects, revocation, return',
  async (clientOf, gatewayOf) => {
    const account = must(accounts.get([clientOf, gatewayOf].join()), 'the account of the pair');
    const url = running.system.workerUrl;
    const at = { url, ipv4: '192.0.2.7', ipv6: '2001:db8::7', ...account.relay };
    const relay = await startRelay({ ...at, generation: clientOf });
    const asGateway = { url, ...account.gateway, name: 'Rack 1', generation: gatewayOf };
    const gateway = await startGateway(asGateway);
    const asClient = { url, ...account.client, name: 'laptop', generation: clientOf };
    const client = await startClient(asClient);
    expect([client.relays.size]).toEqual([1]);

    await setTokenExpiry(account, `now() + interval '${tokenSeconds} seconds'`);
    const asked = gateway.device.frames.length;
    expect(isGranted(await client.createFlow(account.resourceId))).toBe(true);
    await gateway.device.waitFor("the client's candidates", isEvent('ice_candidates'));
    await client.device.waitFor("the gateway's candidates", ({ event }) => event.endsWith('ice_candidates'));
    await setTokenExpiry(account, 'null');

    const again = await startRelay({ ...at, generation: gatewayOf });
    await relay.device.closed;
    await client.device.waitFor('the other relay', isEvent('relays_presence'));
    await gateway.device.waitFor('the other relay', isEvent('relays_presence'));
    expect([client.relays.size, client.connected.size, gateway.access.size]).toEqual([1, 1, 1]);

    const isRenewal = isEvent(renewal[gatewayOf]);
    const first = gateway.device.frames.slice(asked).findIndex(isEvent('create_authorization'));
    await gateway.device.waitFor('a later expiry', isRenewal, { from: asked + first + 1, timeoutMs: 30_000 });
    if (gatewayOf === 'A') await askAnew(client, account);
    expect([...gateway.expiries.values()].every((expiry) => expiry > Date.now() / 1000 + 3600)).toBe(true);

    const { publicKey } = gateway.device;
    const rejoined = await startGateway({ ...asGateway, publicKey, access: gateway.access });
    const { connected } = client;
    const redialed = await startClient({ ...asClient, publicKey: client.device.publicKey, connected });
    await Promise.all([gateway.device.closed, client.device.closed]);
    expect([redialed.connected.size, rejoined.access.size]).toEqual([1, 1]);

    await db.query('delete from policies where id = $1', [account.policyId]);
    await rejoined.device.waitFor('reject_access', isEvent('reject_access'));
    await redialed.device.waitFor('resource_deleted', isEvent('resource_deleted'));
    expect([redialed.connected.size, rejoined.access.size]).toEqual([0, 0]);

    const returned = await startGateway(asGateway);
    await rejoined.device.closed;
    expect(returned.access.size).toBe(0);
    const devices = [relay, again, gateway, client, rejoined, redialed, returned].map(({ device }) => device);
    expect(devices.flatMap(({ failures }) => failures)).toEqual([]);
    for (const device of devices) device.close();
  },
);

/** Sets it for the account's client, and returns once the edge knows. */
async function setTokenExpiry({ accountId }: FirstAccount, expiry: string): Promise<void> {
  await db.query(`update tokens set expires_at = ${expiry} where account_id = $1 and type = 'client'`, [accountId]);
  await untilApplied(db);
}

/** What a client does whose resource is removed and added again. */
async function askAnew({ device, createFlow }: Client, { resourceId }: FirstAccount): Promise<void> {
  await device.waitFor('the resource again', isEvent('resource_created_or_updated'));
  const answer = await createFlow(resourceId);
  if (!isGranted(answer)) throw new Error(`expected a flow, got ${JSON.stringify(answer)}`);
}
