// Shared relays through the whole system: rows of no account, the object that stands for none, the RelayHub, and devices.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createFirstAccount } from '../../dev/first-account.ts';
import { isEvent, startTestSystem } from '../support/system.ts';
import { linesOfRelays, thingsIn } from '../support/consequences.ts';
import { mintToken } from '../../cli/mint-token.ts';
import { must } from '../../protocol/assert.ts';
import { Refused } from '../../devices/device.ts';
import { settled, untilApplied } from '../support/told.ts';
import { startClient } from '../../devices/client.ts';
import { startGateway } from '../../devices/gateway.ts';
import { startRelay } from '../../devices/relay.ts';
import type { Relay, RelayOptions } from '../../devices/relay.ts';
import type { TestSystem } from '../support/system.ts';

let running: TestSystem;
beforeAll(async () => {
  running = await startTestSystem();
});
afterAll(async () => await running.stop());

test('[P9.39] a relay of no account serves devices of an account, is replaced by its next start, and goes with its group', async () => {
  const { db, system } = running;
  const made = await db.query<{ id: string }>(`insert into relay_groups (name) values ('Everywhere') returning id`);
  const relayGroupId = made.rows[0]?.id ?? '';
  const token = await mintToken(db, system.tokenKeys, null, { type: 'relay_group', relayGroupId });
  const options = { url: system.workerUrl, token, ipv4: '192.0.2.9' };
  const relay = await admitted(options);

  const account = await createFirstAccount(db, system.tokenKeys, 'shared_relays');
  const gateway = await startGateway({ url: system.workerUrl, ...account.gateway, name: 'Rack 1', generation: 'C' });
  const client = await startClient({ url: system.workerUrl, ...account.client, name: 'laptop', generation: 'B' });
  for (const { device } of [gateway, client]) await device.waitFor('a relay', ({ payload }) => namesRelays(payload));
  const [first] = client.relays;

  const again = await admitted(options);
  await relay.device.closed;
  for (const { device } of [gateway, client]) {
    await device.waitFor(
      'the next start',
      ({ payload }) => namesRelays(payload) && gone(payload).includes(first ?? ''),
    );
  }
  expect([client.relays.size, client.relays.has(first ?? '')]).toEqual([1, false]);
  const [second] = client.relays;

  await db.query('delete from relay_groups where id = $1', [relayGroupId]);
  await again.device.waitFor('disconnect', isEvent('disconnect'));
  await again.device.closed;
  await client.device.waitFor('the end of the relay', ({ payload }) => gone(payload).includes(second ?? ''));
  expect(client.relays.size).toBe(0);
  await expect(startRelay(options)).rejects.toThrow(Refused);
  const devices = [relay.device, again.device, gateway.device, client.device];
  expect(devices.flatMap(({ failures }) => failures)).toEqual([]);
  for (const device of devices) device.close();
});

/** By line of docs/consequences.md, the statement; `$1` is the account. */
const bySql: Readonly<Record<string, string>> = {
  'relay-token-deleted': `delete from tokens where account_id = $1 and type = 'relay_group'`,
  'relay-token-expired': `update tokens set expires_at = '2020-01-01' where account_id = $1 and type = 'relay_group'`,
  'relay-token-extended': `update tokens set expires_at = '2200-01-01' where account_id = $1 and type = 'relay_group'`,
  'relay-group-deleted': 'delete from relay_groups where account_id = $1',
  'relay-group-renamed': `update relay_groups set name = 'Elsewhere' where account_id = $1`,
  'relay-account': 'update accounts set disabled_at = now() where id = $1',
  'client-token-moved': `update tokens set expires_at = '2200-01-01' where account_id = $1 and type = 'client'`,
};

test.each(linesOfRelays.filter(({ name }) => bySql[name] !== undefined))(
  '[P4.37] $name by SQL: relay and devices are told what the page says',
  async ({ name, relay: toRelay, gateway: toGateway, client: toClient }) => {
    const { db, system } = running;
    const account = await createFirstAccount(db, system.tokenKeys, name.replaceAll('-', '_'));
    const url = system.workerUrl;
    const relay = await startRelay({ url, ...account.relay, ipv4: '192.0.2.9' });
    const gateway = await startGateway({ url, ...account.gateway, name: 'Rack 1' });
    const client = await startClient({ url, ...account.client, name: 'laptop' });
    expect((await client.createFlow(account.resourceId)).event).toBe('flow_created');
    const devices = [relay.device, gateway.device, client.device];
    for (const device of devices) await settled(device);
    const from = devices.map(({ frames }) => frames.length);

    await db.query(bySql[name] ?? '', [account.accountId]);
    await untilApplied(db);

    for (const [i, cell] of [toRelay, toGateway, toClient].entries()) {
      const device = must(devices[i], 'a device for each cell');
      const things = thingsIn(cell);
      if (/closed|signed out/.test(cell)) await device.closed;
      else await settled(device);
      const told = device.frames.slice(from[i]).map(({ event }) => event);
      const frames = things.flatMap((thing) =>
        thing === 'closed' ? [] : [thing === 'signed out' ? 'disconnect' : thing],
      );
      expect([name, cell, told.filter((event) => event !== 'phx_reply')]).toEqual([name, cell, frames]);
      expect(device.failures).toEqual([]);
      device.close();
    }
  },
);

/** A relay that is told to come back, since nobody has seen its token's row, does. */
async function admitted(options: RelayOptions): Promise<Relay> {
  for (let tries = 0; ; tries += 1) {
    try {
      return await startRelay(options);
    } catch (cause) {
      if (!(cause instanceof Refused) || cause.status !== 503 || tries === 10) throw cause;
    }
  }
}

function namesRelays(payload: unknown): boolean {
  const { relays, connected } = Object(payload);
  return [relays, connected].some((list) => Array.isArray(list) && list.length > 0);
}

function gone(payload: unknown): unknown[] {
  const { disconnected_ids: ids } = Object(payload);
  return Array.isArray(ids) ? ids : [];
}
