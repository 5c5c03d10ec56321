// The Account object in workerd: deliveries, admission, the order of the first frames, and what survives eviction.
import { env } from 'cloudflare:workers';
import { evictDurableObject, reset, runInDurableObject } from 'cloudflare:test';
import { afterEach, expect, test } from 'vitest';
import * as v from 'valibot';
import { accountObjectName } from '../../worker/env.ts';
import { delivery } from '../../protocol/commit.ts';
import {
  commit,
  commitsDelivery,
  id,
  ids,
  insert,
  lsn,
  remove,
  row,
  snapshotDelivery,
  update,
  worldRows,
} from '../support/world.ts';
import { actorId } from '../../protocol/ids.ts';
import { membershipsOfActorSql, storedMemberships } from '../../worker/account/storage.ts';
import { connect, dial, join, token } from './device.ts';

const account = () => env.ACCOUNT.getByName(accountObjectName(ids.account));

afterEach(async () => await reset());

async function liveFlow() {
  await account().deliver(snapshotDelivery(100));
  const { device: gateway } = await join('gateway');
  const { device: client } = await join('client');
  client.send({
    topic: 'client',
    event: 'create_flow',
    payload: { resource_id: ids.resource, connected_gateway_ids: [] },
    ref: 1,
  });
  const asked = await gateway.frame();
  gateway.send({ topic: 'gateway', event: 'flow_authorized', payload: { ref: Object(asked.payload).ref }, ref: 1 });
  expect((await gateway.frame()).event).toBe('phx_reply');
  expect((await client.frame()).event).toBe('flow_created');
  return { client, gateway };
}

test('[P9.5] the first frames of a device are the reply to its join and then its init, never another push', async () => {
  await account().deliver(snapshotDelivery(100));
  const client = await connect('client');
  await account().deliver(commitsDelivery(100, [commit(101, update('resources', { name: 'Renamed' }))]));
  client.send({ topic: 'client', event: 'phx_join', payload: null, ref: 0 });
  expect(await client.next()).toBe(
    '{"topic":"client","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":0}',
  );
  const init = await client.frame();
  expect(init).toMatchObject({
    topic: 'client',
    event: 'init',
    ref: null,
    payload: { resources: [{ name: 'Renamed' }] },
  });
});

test('[P3.16] staged parts survive eviction and take effect together, with the delivery that names them', async () => {
  await account().deliver(snapshotDelivery(100));
  const { device: client } = await join('client');
  // Longer than one stored value may be, and cut inside characters of several bytes.
  const names = Array.from({ length: 3 }, (_, n) => `${n}${'ü€😀'.repeat(80_000)}`);
  const { changes, ...rest } = commit(
    160,
    ...names.map((name, n) => insert('actors', { id: id('actor', 700 + n), name })),
    update('resources', { name: 'Renamed' }),
  );
  const part = (index: number, from: number, to: number) => ({
    type: 'commit-part',
    version: 2,
    account: ids.account,
    term: 1,
    epoch: 1,
    stage: 'a1',
    index,
    from: lsn(100),
    start: lsn(150),
    changes: changes.slice(from, to),
  });
  expect(await account().deliver(v.parse(delivery, part(0, 0, 2)))).toEqual({ type: 'staged', parts: 1 });
  await evictDurableObject(account());
  expect(await account().deliver(v.parse(delivery, part(1, 2, 3)))).toEqual({ type: 'staged', parts: 2 });
  expect(await account().deliver(v.parse(delivery, part(1, 2, 3)))).toEqual({ type: 'staged', parts: 2 });
  expect((await account().status()).position?.lsn).toBe(lsn(100));
  await evictDurableObject(account());

  const staged = { stage: 'a1', parts: 2 };
  const whole = commitsDelivery(100, [{ ...rest, changes: changes.slice(3), staged }]);
  expect(await account().deliver(whole)).toEqual({ type: 'applied', position: { epoch: 1, lsn: lsn(160) } });

  expect(await client.frame()).toMatchObject({ event: 'resource_created_or_updated', payload: { name: 'Renamed' } });
  const kept = await runInDurableObject(account(), (_, { storage: { sql } }) => ({
    names: sql.exec<{ name: string }>("select row ->> 'name' as name from rows where tbl = 'actors'").toArray(),
    staged: sql.exec('select part from staged').toArray(),
  }));
  expect(kept.names.map(({ name }) => name)).toEqual(expect.arrayContaining(names));
  expect(kept.staged).toEqual([]);
  expect(await account().deliver(whole)).toMatchObject({ type: 'duplicate' });
});

test('[P1.84] an object that wakes with rows of an older shape asks for a snapshot, and is of the present one after it', async () => {
  await account().deliver(snapshotDelivery(100));
  await runInDurableObject(account(), (_, { storage: { sql } }) => {
    sql.exec("update meta set value = '0' where name = 'shape'");
  });
  await evictDurableObject(account());

  expect(await account().deliver(commitsDelivery(100, [commit(101)]))).toMatchObject({ type: 'need-snapshot' });
  expect(await account().status()).toMatchObject({ stale: true });
  expect(await account().deliver(snapshotDelivery(102))).toMatchObject({ type: 'applied' });
  expect(await account().deliver(commitsDelivery(102, [commit(103)]))).toMatchObject({ type: 'applied' });
});

test('[P5.55] a commit that was given up leaves the object stale until a snapshot', async () => {
  await account().deliver(snapshotDelivery(100));
  await runInDurableObject(account(), (_, { storage: { sql } }) => {
    sql.exec("create trigger fail before insert on rows begin select raise(abort, 'no'); end");
  });
  const given = commitsDelivery(100, [commit(101, insert('actors', { id: id('actor', 800) }))]);
  expect((await account().deliver(given)).type).toBe('failed');
  expect((await account().deliver(given)).type).toBe('failed');
  expect((await account().deliver(given)).type).toBe('poison');
  expect((await account().deliver(given)).type).toBe('need-snapshot');
  await runInDurableObject(account(), (_, { storage: { sql } }) => {
    sql.exec('drop trigger fail');
  });
  expect(await account().deliver(snapshotDelivery(102))).toMatchObject({ type: 'applied' });
  expect(await account().status()).toMatchObject({ stale: false });
});

test('[P3.17] a snapshot, and a higher term, discard what was staged', async () => {
  const partOf = (stage: string, term: number) =>
    v.parse(delivery, {
      type: 'snapshot-part',
      version: 2,
      account: ids.account,
      term,
      epoch: 1,
      stage,
      index: 0,
      rows: { actors: [] },
    });
  const stagedRows = () =>
    runInDurableObject(account(), (_, { storage: { sql } }) => sql.exec('select part from staged').toArray().length);
  await account().deliver(partOf('a1', 1));
  expect(await stagedRows()).toBe(1);
  await account().deliver(snapshotDelivery(100));
  expect(await stagedRows()).toBe(0);
  await account().deliver(partOf('a2', 1));
  await account().deliver(commitsDelivery(100, [commit(101)], { term: 2 }));
  expect(await stagedRows()).toBe(0);
});

test('[P15.24] a heartbeat is answered with its own ref, as number or as text, without waking the object', async () => {
  await account().deliver(snapshotDelivery(100));
  const { device } = await join('client');
  await evictDurableObject(account());
  for (const ref of [1, 'two', 3]) {
    device.send({ topic: 'phoenix', event: 'heartbeat', payload: {}, ref });
    expect(await device.frame()).toEqual({
      topic: 'phoenix',
      event: 'phx_reply',
      payload: { status: 'ok', response: {} },
      ref,
    });
  }
  await expect(evictDurableObject(account())).rejects.toThrow(/not currently running/);
});

test('[P4.11] a commit that deletes a policy reaches an object asleep: gateway first, then client', async () => {
  const { client, gateway } = await liveFlow();
  await evictDurableObject(account());
  await account().deliver(commitsDelivery(100, [commit(101, remove('policies'))]));
  expect(await gateway.frame()).toMatchObject({
    event: 'reject_access',
    payload: { client_id: ids.client, resource_id: ids.resource },
  });
  expect(await client.frame()).toMatchObject({ event: 'resource_deleted', payload: ids.resource });
});

test('[P7.2] a live grant survives eviction of the object', async () => {
  const { client, gateway } = await liveFlow();
  await evictDurableObject(account());
  const { init } = await join('gateway');
  expect(init.payload).toMatchObject({ authorizations: [{ client_id: ids.client, resource_id: ids.resource }] });
  client.close();
  gateway.close();
});

test('[P2.27] a commit delivered twice takes effect once', async () => {
  await account().deliver(snapshotDelivery(100));
  const { device } = await join('client');
  const delivery = commitsDelivery(100, [commit(101, remove('policies'))]);
  expect(await account().deliver(delivery)).toEqual({ type: 'applied', position: { epoch: 1, lsn: lsn(101) } });
  expect(await account().deliver(delivery)).toEqual({ type: 'duplicate', position: { epoch: 1, lsn: lsn(101) } });
  await account().deliver(commitsDelivery(101, [commit(102, insert('policies'))]));
  expect([(await device.frame()).event, (await device.frame()).event]).toEqual([
    'resource_deleted',
    'resource_created_or_updated',
  ]);
});

test('[P2.28] what overlaps the position is skipped, and what lies beyond it is a gap that only a snapshot closes', async () => {
  await account().deliver(snapshotDelivery(100));
  const first = commit(101, update('resources', { name: 'One' }));
  const second = commit(102, update('resources', { name: 'Two' }, { name: 'One' }));
  await account().deliver(commitsDelivery(100, [first]));
  expect(await account().deliver(commitsDelivery(100, [first, second]))).toMatchObject({ type: 'applied' });
  expect(await account().deliver(commitsDelivery(105, [commit(106)]))).toMatchObject({ type: 'gap' });
  expect(await account().deliver(commitsDelivery(102, [commit(106)]))).toMatchObject({ type: 'need-snapshot' });
  expect(await account().deliver(snapshotDelivery(110))).toMatchObject({ type: 'applied' });
});

test('[P1.33] an object without history asks for a snapshot, and one born in the stream does not', async () => {
  expect(await account().deliver(commitsDelivery(100, [commit(101)]))).toMatchObject({ type: 'need-snapshot' });
  await reset();
  const born = commitsDelivery(null, [commit(101, insert('accounts'))]);
  expect(await account().deliver(born)).toMatchObject({ type: 'applied' });
});

test('[P1.34] a changed row that is not the one held makes the object ask for a snapshot, and nothing is granted till then', async () => {
  await account().deliver(snapshotDelivery(100));
  const { device: gateway } = await join('gateway');
  const { device: client } = await join('client');
  const odd = commit(101, update('resources', { name: 'B' }, { name: 'A' }));
  expect(await account().deliver(commitsDelivery(100, [odd]))).toMatchObject({ type: 'need-snapshot' });
  client.send({
    topic: 'client',
    event: 'create_flow',
    payload: { resource_id: ids.resource, connected_gateway_ids: [] },
    ref: 1,
  });
  expect(await client.frame()).toMatchObject({ event: 'flow_creation_failed', payload: { reason: 'offline' } });
  expect(await account().deliver(snapshotDelivery(102))).toMatchObject({ type: 'applied' });
  client.send({
    topic: 'client',
    event: 'create_flow',
    payload: { resource_id: ids.resource, connected_gateway_ids: [] },
    ref: 2,
  });
  expect(await gateway.frame()).toMatchObject({ event: 'authorize_flow' });
});

test('[P2.29] a delivery of a lower term is fenced', async () => {
  await account().deliver(snapshotDelivery(100, undefined, { term: 3 }));
  const late = commitsDelivery(100, [commit(101, remove('policies'))], { term: 2 });
  expect(await account().deliver(late)).toEqual({ type: 'fenced', term: 3 });
});

test('[P9.6] a snapshot is applied as a difference: who lost something is told, who did not is not', async () => {
  const { client, gateway } = await liveFlow();
  await account().deliver(snapshotDelivery(200));
  await account().deliver(snapshotDelivery(300, { ...worldRows(), policies: [] }));
  expect((await gateway.frame()).event).toBe('reject_access');
  expect((await client.frame()).event).toBe('resource_deleted');
});

test('[P6.1] a validly signed token whose row arrives within three seconds is admitted', async () => {
  const rows = snapshotDelivery(100);
  await account().deliver(rows);
  const later = id('tokc', 2);
  const waiting = dial('client', { signed: token('client', { id: later }) });
  await account().deliver(commitsDelivery(100, [commit(101, insert('tokens', { id: later }))]));
  expect((await waiting).status).toBe(101);
});

test('[P5.16] a forged token, a token of another type and a wrong secret are refused with 401', async () => {
  await account().deliver(snapshotDelivery(100));
  const cases = [
    token('client').replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')),
    token('gateway'),
    token('client', { secret: 'x'.repeat(32) }),
    'nonsense',
  ];
  for (const signed of cases) {
    const response = await dial('client', { signed });
    expect([response.status, (await response.json<{ code: string }>()).code]).toEqual([401, 'invalid_token']);
  }
});

test('[P15.25] wrong parameters are refused with 400, naming the parameter, and every refusal but 401 says when to return', async () => {
  await account().deliver(snapshotDelivery(100));
  for (const [query, word] of [
    [{ public_key: 'short' }, 'public_key'],
    [{ external_id: '' }, 'external_id'],
    [{ name: 'n'.repeat(300) }, 'name'],
  ] as const) {
    const response = await dial('client', { query });
    expect(response.status).toBe(400);
    expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await response.json<{ detail: string }>()).detail).toContain(word);
  }
  expect((await dial('client', { signed: null })).status).toBe(401);
});

test('[P6.2] a token is taken from the header and from the query', async () => {
  await account().deliver(snapshotDelivery(100));
  expect((await dial('client', { signed: null, query: { token: token('client') } })).status).toBe(101);
  expect((await dial('client')).status).toBe(101);
});

test('[P12.5] malformed frames and unknown messages end nothing but themselves', async () => {
  const { client, gateway } = await liveFlow();
  for (const garbage of ['', '{', '[]', '{"topic":"client"}', '{"topic":1,"event":2,"payload":3,"ref":4}'])
    client.send(garbage);
  client.send({ topic: 'client', event: 'no_such', payload: {}, ref: 5 });
  expect(await client.frame()).toMatchObject({
    payload: { status: 'error', response: { reason: 'unknown_message' } },
    ref: 5,
  });
  client.send({ topic: 'client', event: 'create_flow', payload: { resource_id: 'not-a-uuid' }, ref: 6 });
  expect(await client.frame()).toMatchObject({ payload: { response: { reason: 'unknown_message' } }, ref: 6 });
  client.send({ topic: 'gateway', event: 'flow_authorized', payload: {}, ref: 7 });
  expect(await client.frame()).toMatchObject({ payload: { response: { reason: 'unmatched topic' } }, ref: 7 });
  gateway.send({ topic: 'gateway', event: 'flow_authorized', payload: { ref: 'x' }, ref: 8 });
  expect(await gateway.frame()).toMatchObject({ payload: { response: { reason: 'invalid_ref' } }, ref: 8 });
});

test('[P15.26] a frame beyond the bound closes the socket that sent it, and no other', async () => {
  const { client, gateway } = await liveFlow();
  client.send('x'.repeat(65 * 1024));
  expect((await client.closed).code).toBe(1009);
  gateway.send({ topic: 'phoenix', event: 'heartbeat', payload: {}, ref: 9 });
  expect(await gateway.frame()).toMatchObject({ ref: 9 });
});

test('[P4.12] a deleted token signs its device out in the turn that deletes it', async () => {
  await account().deliver(snapshotDelivery(100));
  const { device } = await join('client');
  await account().deliver(commitsDelivery(100, [commit(101, remove('tokens'))]));
  expect(await device.frame()).toMatchObject({ event: 'disconnect', payload: { reason: 'token_expired' } });
  await device.closed;
});

test('[P4.13] the newest connection of a device replaces the older one, without signing it out', async () => {
  await account().deliver(snapshotDelivery(100));
  const { device: older } = await join('client');
  await join('client');
  const { reason } = await older.closed;
  expect(reason).toContain('newer connection');
});

test('[P6.3] a validly signed token whose row does not come is told to return, once three seconds have passed', async () => {
  await account().deliver(snapshotDelivery(100));
  const response = await dial('client', { signed: token('client', { id: id('tokc', 9) }) });
  expect([response.status, (await response.json<{ code: string }>()).code]).toEqual([503, 'token_not_known_yet']);
  expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
});

test('[P7.3] a stored grant that this code cannot read is taken back at its gateway, not forgotten', async () => {
  const { gateway } = await liveFlow();
  await runInDurableObject(account(), (_, { storage }) => {
    storage.sql.exec("update grants set data = json_remove(data, '$.toldAt')");
  });
  await evictDurableObject(account());
  gateway.close();
  const { device: back } = await join('gateway');
  expect(await back.frame()).toMatchObject({ event: 'reject_access', payload: { client_id: ids.client } });
});

test('[P9.16] an object that wakes reads the memberships of those who are connected, through an index, and no others', async () => {
  const rows = worldRows();
  const others = Array.from({ length: 50 }, (_, n) =>
    row('actor_group_memberships', { id: id('mem', n + 2), actor_id: id('act', n + 2) }),
  );
  rows.actor_group_memberships = [...(rows.actor_group_memberships ?? []), ...others];
  await account().deliver(snapshotDelivery(100, rows));
  const { device } = await join('client');
  await evictDurableObject(account());
  await account().deliver(commitsDelivery(100, [commit(101, remove('actor_group_memberships'))]));
  expect((await device.frame()).event).toBe('resource_deleted');
  await account().deliver(
    commitsDelivery(101, [commit(102, insert('actor_group_memberships', { id: id('mem', 99) }))]),
  );
  expect((await device.frame()).event).toBe('resource_created_or_updated');

  await runInDurableObject(account(), (_, { storage }) => {
    const stored = storedMemberships(storage.sql);
    expect([...stored.keys()]).toHaveLength(51);
    expect([...stored.ofActor(v.parse(actorId, id('act', 2)))].map(({ key }) => key)).toEqual([id('mem', 2)]);
    const plan = storage.sql
      .exec<{ detail: string }>(`explain query plan ${membershipsOfActorSql}`, ids.actor)
      .toArray()
      .map(({ detail }) => detail);
    expect(plan.join()).toContain('memberships_by_actor');
  });
});
