// What the version before wrote and sends, as kept in test/fixtures/previous, is read: an object meets it after every deploy.
// The fixtures are what that version really stored and sent; only the grant's expiry was moved to the year 2100.
import { evictDurableObject, reset, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { afterEach, expect, test } from 'vitest';
import * as v from 'valibot';
import previous from '../fixtures/previous/object.json';
import { accountObjectName } from '../../worker/env.ts';
import { delivery } from '../../protocol/commit.ts';
import { Device } from './device.ts';
import { helloHeader } from '../../protocol/link.ts';
import { ids, lsn } from '../support/world.ts';

const account = () => env.ACCOUNT.getByName(accountObjectName(ids.account));

afterEach(async () => await reset());

test('[P5.71] an object takes up what the version before has stored, and the sockets that it had accepted', async () => {
  await storePrevious();
  const [clientHello, gatewayHello] = previous.hellos;
  const client = await dialAsEdge(clientHello);
  const gateway = await dialAsEdge(gatewayHello);
  await attachPrevious();
  await evictDurableObject(account());

  expect(await account().status()).toMatchObject({
    position: { epoch: 1, lsn: lsn(100) },
    stale: false,
    clients: 1,
    gateways: 1,
    flows: 1,
    unreadableRows: [],
  });
  const [joined, createFlow] = previous.links;
  client.send(createFlow ?? {});
  expect(await gateway.next()).toMatch(/^=.*"authorize_flow"/);
  gateway.send(joined ?? {});
  expect(await gateway.next()).toMatch(new RegExp(`^=.*"init".*"authorizations":\\[\\{"client_id":"${ids.client}"`));
});

test('[P2.42] deliveries of the version before are applied', async () => {
  const [snapshot, commits] = previous.deliveries;
  expect(await account().deliver(v.parse(delivery, snapshot))).toMatchObject({ type: 'applied' });
  expect(await account().deliver(v.parse(delivery, commits))).toMatchObject({
    type: 'applied',
    position: { epoch: 1, lsn: lsn(101) },
  });
});

/** Puts in place of the object's storage what the version before had left there, and wakes it. */
async function storePrevious(): Promise<void> {
  await account().status();
  await runInDurableObject(account(), (_, { storage: { sql } }) => {
    const tables = sql.exec<{ name: string }>(
      "select name from sqlite_master where type = 'table' and name not like '\\_cf%' escape '\\' and name <> 'sqlite_sequence'",
    );
    for (const { name } of tables.toArray()) sql.exec(`drop table ${name}`);
    for (const statement of previous.schema) sql.exec(statement);
    for (let version = 1; version <= previous.migrations; version += 1) {
      sql.exec('insert into schema_migrations (version) values (?)', version);
    }
    for (const { name, value } of previous.meta) sql.exec('insert into meta (name, value) values (?, ?)', name, value);
    for (const { tbl, key, row } of previous.rows) sql.exec('insert into rows values (?, ?, ?)', tbl, key, row);
    for (const { flow_id: id, data } of previous.grants) sql.exec('insert into grants values (?, ?)', id, data);
  });
  await evictDurableObject(account());
}

/** Gives each socket the attachment that the version before would have given it, under its own session. */
async function attachPrevious(): Promise<void> {
  await runInDurableObject(account(), (_, ctx) => {
    for (const kept of previous.attachments) {
      for (const socket of ctx.getWebSockets(kept.session.role)) {
        const { id } = socket.deserializeAttachment().session;
        socket.serializeAttachment({ ...kept, session: { ...kept.session, id } });
      }
    }
  });
}

async function dialAsEdge(hello: object | undefined): Promise<Device> {
  const headers = { upgrade: 'websocket', [helloHeader]: encodeURIComponent(JSON.stringify(hello)) };
  const { webSocket } = await account().fetch('https://account/link', { headers });
  if (webSocket === null) throw new Error('refused');
  return new Device(webSocket);
}
