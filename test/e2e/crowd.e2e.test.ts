// A thousand unlike devices of one account at once, on real sockets: each is told exactly what its rows say, is granted exactly
// that, and hears of a change only where it concerns it. Nobody asks Postgres anything meanwhile: it logs every statement.
import { Client as Database } from 'pg';
import * as v from 'valibot';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isGranted, startClient, type Client } from '../../devices/client.ts';
import { startGateway, type Gateway } from '../../devices/gateway.ts';
import { must } from '../../protocol/assert.ts';
import { accessOf, createCrowd, crowdSize, initsOf, type Crowd, type Member } from '../support/crowd.ts';
import { readsRows, startOutage, type Outage } from '../support/outage.ts';
import { settled, untilApplied } from '../support/told.ts';
import { eventsOf } from '../support/system.ts';
import type { Device } from '../../devices/device.ts';
import type { DeviceFrame } from '../../devices/strict.ts';

const atOnce = 100;
/** Each asks for a flow to every resource: three of each actor, one of each generation. */
const askers = 36;

let outage: Outage;
let db: Database;
let crowd: Crowd;
const clients = new Map<string, Client>();
const gateways = new Map<string, Gateway>();
const devices = (): Device[] => [...clients.values(), ...gateways.values()].map(({ device }) => device);
beforeAll(async () => {
  outage = await startOutage();
  db = new Database({ connectionString: outage.system.databaseUrl });
  await db.connect();
  crowd = await createCrowd(db, outage.system.tokenKeys);
  await untilApplied(db);
});
afterAll(async () => {
  await db.end();
  await outage.stop();
});

test('[P4.38] of 1,000 devices that connect to one account at once each is told exactly what its rows say, and Postgres is asked nothing', async () => {
  const inits = await initsOf(db, crowd);
  const mark = outage.mark();
  const waiting = [...crowd.gateways, ...crowd.clients].toSorted((a, b) => (a.id < b.id ? -1 : 1));
  expect(waiting).toHaveLength(1000);
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) await connect(next);
    }),
  );

  const told = [...clients, ...gateways].map(
    ([id, { device }]) => [id, device.frames.filter(({ event }) => event !== 'phx_reply')] as const,
  );
  for (const [id, frames] of told)
    expect(frames).toEqual([expect.objectContaining({ event: 'init', payload: inits.get(id) })]);
  await untilWritten('drawbridge.client_sessions', crowdSize.clients);
  await untilWritten('drawbridge.gateway_sessions', crowdSize.gateways);
  expect(expectOnlyWrites(mark)).toBeGreaterThan(0);
});

test('[P4.39] of the flows that they ask for at once exactly those are granted that their rows allow', async () => {
  const mark = outage.mark();
  const access = await accessOf(db, crowd, crowd.clients.slice(0, askers));
  const expected = [...access.values()].flat();
  const said = await Promise.all(
    [...access].map(async ([id, answers]) => {
      const client = must(clients.get(id), 'a client');
      const asked: string[] = [];
      for (const { resource_id: resource } of answers) asked.push(inWords(id, await client.createFlow(resource)));
      return asked;
    }),
  );
  expect(said.flat()).toEqual(
    expected.map(({ client_id: id, resource_id: resource, verdict, violated }) =>
      [id, resource, verdict, ...violated].join(' '),
    ),
  );
  expect(new Set(expected.map(({ verdict }) => verdict))).toEqual(new Set(['granted', 'forbidden', 'not_found']));
  const granted = expected.flatMap((answer) =>
    answer.verdict === 'granted' ? [`${answer.client_id}/${answer.resource_id}`] : [],
  );
  expect([...gateways.values()].flatMap(({ access: pairs }) => [...pairs]).toSorted()).toEqual(granted.toSorted());
  await untilWritten('flows', granted.length);
  expect(expectOnlyWrites(mark)).toBeGreaterThan(0);
});

test('[P4.40] a change of one policy is told to exactly those of them whom it concerns', async () => {
  const before = await accessOf(db, crowd, crowd.clients);
  const allDevices = devices();
  await Promise.all(allDevices.map(settled));
  const told = new Map(allDevices.map((device) => [device, eventsOf(device).length]));
  const since = (device: Device) => eventsOf(device).slice(told.get(device));
  const mark = outage.mark();

  await db.query('update policies set disabled_at = now() where id = $1', [crowd.contestedPolicyId]);
  await untilApplied(db);
  await Promise.all(allDevices.map(settled));

  expectOnlyWrites(mark);
  const after = await accessOf(db, crowd, crowd.clients);
  const isGrantedIn = (access: typeof before, id: string) =>
    access.get(id)?.some((answer) => answer.resource_id === crowd.contestedId && answer.verdict === 'granted') === true;
  const had = crowd.clients.filter(({ id }) => isGrantedIn(before, id));
  const lost = new Set(had.filter(({ id }) => !isGrantedIn(after, id)).map(({ id }) => id));
  expect([had.length, lost.size]).toEqual([246, 82]);
  for (const [id, { device }] of clients) expect(since(device)).toEqual(lost.has(id) ? ['resource_deleted'] : []);
  const rejected = [...gateways.values()].flatMap(({ device }) =>
    device.frames.flatMap(({ event, payload }) => (event === 'reject_access' ? [payload] : [])),
  );
  const cut = crowd.clients.slice(0, askers).filter(({ id }) => lost.has(id));
  expect(rejected).toHaveLength(cut.length);
  expect(rejected).toEqual(
    expect.arrayContaining(cut.map(({ id }) => ({ client_id: id, resource_id: crowd.contestedId }))),
  );
  for (const { device } of gateways.values())
    expect(since(device).filter((event) => event !== 'reject_access')).toEqual([]);
  expect(allDevices.flatMap(({ failures }) => failures)).toEqual([]);
});

/** The answer to a request for a flow. */
function inWords(clientId: string, frame: DeviceFrame): string {
  const { resource_id: resource, reason, violated_properties: violated = [] } = v.parse(answered, frame.payload);
  return [clientId, resource, isGranted(frame) ? 'granted' : reason, ...violated.toSorted()].join(' ');
}

const answered = v.object({
  resource_id: v.string(),
  reason: v.optional(v.string()),
  violated_properties: v.optional(v.array(v.string())),
});

async function connect({ id, role, externalId, name, generation, token }: Member): Promise<void> {
  const options = { url: outage.system.workerUrl, externalId, name, generation, token };
  if (role === 'client') clients.set(id, await startClient(options));
  else gateways.set(id, await startGateway(options));
}

async function untilWritten(table: string, rows: number): Promise<void> {
  const sql = `select from ${table} where account_id = $1 and ended_at is null having count(*) = $2`;
  while ((await db.query(sql, [crowd.accountId, rows])).rowCount === 0);
}

/** Since `mark` Postgres was asked for no row, and the edge did nothing but write, many rows at a time. Returns how often. */
function expectOnlyWrites(mark: number): number {
  const statements = outage.statementsSince(mark);
  const ofEdge = statements.filter((statement) => statement.startsWith('drawbridge_edge'));
  expect(ofEdge.filter((statement) => !statement.startsWith('drawbridge_edge select drawbridge.write_'))).toEqual([]);
  expect(ofEdge.length).toBeLessThan(50);
  expect(statements.filter(readsRows)).toEqual([]);
  return ofEdge.length;
}
