// docs/consequences.md through the real system: every line that SQL can cause is run once, in an account of its own, and each
// side is told over its socket exactly what the line says. What time and connections cause is in test/core/consequences.test.ts.
import { Pool } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import * as v from 'valibot';
import { accountId, tokenId } from '../../protocol/ids.ts';
import { clientSecret, gatewaySecret, ids, worldRows } from '../support/world.ts';
import { consequences, linesOfPage, thingsIn } from '../support/consequences.ts';
import { insertions, statementsFor } from '../support/rows-by-sql.ts';
import { parseTokenKeys, signToken } from '../../worker/token.ts';
import { settled, untilApplied } from '../support/told.ts';
import { startClient } from '../../devices/client.ts';
import { startGateway } from '../../devices/gateway.ts';
import { startTestSystem } from '../support/system.ts';
import type { Device } from '../../devices/device.ts';
import type { DeviceFrame } from '../../devices/strict.ts';
import type { TestSystem } from '../support/system.ts';

const bySql = linesOfPage.flatMap((line, n) => {
  const made = consequences[line.name];
  return made?.type === 'commit' ? [{ ...line, ...made, n: n + 1 }] : [];
});
type SqlLine = (typeof bySql)[number];
const isAlone = ({ changes }: SqlLine) => changes.some((change) => 'op' in change && change.op === 'truncate');

let running: TestSystem;
/** For tests that run beside each other. */
let pool: Pool;
beforeAll(async () => {
  running = await startTestSystem();
  pool = new Pool({ connectionString: running.system.databaseUrl, max: 4 });
  await transact(bySql.filter((line) => !isAlone(line)).flatMap(situationOf));
});
afterAll(async () => {
  await pool.end();
  await running.stop();
});

test.concurrent.each(bySql.filter((line) => !isAlone(line)))(
  '[P4.23] $name by SQL: each side is told exactly what the page says',
  async (line) => expect(await run(line)).toEqual(expectedOf(line)),
);

// A truncate reaches every account, so it comes when nobody else is listening, and its own account after every other truncate.
test.each(bySql.filter(isAlone))(
  '[P4.23] $name by SQL, alone: each side is told exactly what the page says',
  async (line) => {
    await transact(situationOf(line));
    expect(await run(line)).toEqual(expectedOf(line));
  },
);

/** The rows before anybody connects, as statements. */
function situationOf(line: SqlLine): string[] {
  const rows = worldRows();
  line.rows?.(rows);
  return insertions(ownIn(line)(rows));
}

type Told = {
  readonly gateway: readonly string[];
  readonly client: readonly string[];
  readonly failures: readonly string[];
};

/** What the page says: the frames of each side, none of which a real device would drop. */
function expectedOf({ gateway, client }: SqlLine): Told {
  return { gateway: thingsIn(gateway).flatMap(framesOf), client: thingsIn(client).flatMap(framesOf), failures: [] };
}

/** Makes the line's change while a flow is live; returns what each side was told by it. */
async function run(line: SqlLine): Promise<Told> {
  const own = ownIn(line);
  const { client, gateway } = await connect(line);
  const resource = own(ids.resource);
  const flow = await client.createFlow(resource);
  expect(flow.event).toBe('flow_created');
  const devices = [gateway.device, client.device];
  for (const device of devices) await settled(device);
  const from = devices.map(({ frames }) => frames.length);

  await transact(statementsFor(own(line.changes)));

  await untilApplied(pool);
  const cells = [thingsIn(line.gateway), thingsIn(line.client)];
  for (const [i, device] of devices.entries()) await reached(device, from[i] ?? 0, cells[i] ?? []);
  const told = ({ frames }: Device, first = 0) => frames.slice(first).flatMap((frame) => brief(frame, resource));
  for (const device of devices) device.close();
  return {
    gateway: told(gateway.device, from[0]),
    client: told(client.device, from[1]),
    failures: devices.flatMap(({ failures }) => failures),
  };
}

async function transact(statements: readonly string[]): Promise<void> {
  await pool.query(['begin', ...statements, 'commit'].join(';\n'));
}

async function connect(line: SqlLine) {
  const url = running.system.workerUrl;
  const token = (type: 'client' | 'gateway_group', id: string, secret: string) => {
    const own = ownIn(line);
    const holder = { accountId: v.parse(accountId, own(ids.account)), tokenId: v.parse(tokenId, own(id)) };
    return signToken(
      { type, ...holder, issuedAtSeconds: 0, secret, place: null },
      parseTokenKeys(running.system.tokenKeys)[0],
    );
  };
  const rack = { externalId: 'rack-1', name: 'Rack 1', token: token('gateway_group', ids.gatewayToken, gatewaySecret) };
  const laptop = { externalId: 'laptop', name: 'laptop', token: token('client', ids.clientToken, clientSecret) };
  const gateway = await startGateway({ url, ...rack });
  return { gateway, client: await startClient({ url, ...laptop, tokenIn: 'header' }) };
}

/** Gives the ids and the slug of the world to the line's own account. */
function ownIn({ n }: SqlLine): <T>(value: T) => T {
  const own = n.toString(16).padStart(4, '0');
  return (value) => {
    const text = JSON.stringify(value).replaceAll('-0000-4000-8000-', `-${own}-4000-8000-`);
    return JSON.parse(text.replaceAll('"acme"', `"acme_${n}"`));
  };
}

/** Waits until all that is expected has come: as many frames, and the end of the socket where that is among it. */
async function reached(device: Device, from: number, things: readonly string[]): Promise<void> {
  const count = things.flatMap(framesOf).length;
  const pushes = () => device.frames.slice(from).filter(({ event }) => event !== 'phx_reply').length;
  if (count > 0) await device.waitFor(things.join(', '), () => pushes() >= count, { from });
  if (things.at(-1) === 'closed' || things.at(-1) === 'signed out') await device.closed;
  else await settled(device);
}

/** The frames that a thing on the page stands for. */
function framesOf(thing: string): string[] {
  if (thing === 'closed') return [];
  return [thing === 'signed out' ? 'disconnect' : thing];
}

/** A frame in the page's words. */
function brief({ event, payload }: DeviceFrame, resource: string): string[] {
  if (event === 'phx_reply') return [];
  if (!event.startsWith('resource_')) return [event];
  const named = typeof payload === 'object' && payload !== null && 'id' in payload ? payload.id : payload;
  return [`${event} ${named === resource ? 'R' : 'another'}`];
}
