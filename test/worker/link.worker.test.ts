// The holder of a device's socket at the edge: its bounds, over real socket pairs and under a clock that the test turns.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import * as v from 'valibot';
import { accountId } from '../../protocol/ids.ts';
import { closes } from '../../protocol/reasons.ts';
import { frameRates, joinRate, Link, unreadLengthMax } from '../../worker/edge/link.ts';
import { grantsMax } from '../../core/grants.ts';
import { ids } from '../support/world.ts';
import { pushFrame } from '../../protocol/framing.ts';
import { idleMs } from '../../protocol/device/generations.ts';
import { noWelcome } from '../../protocol/link.ts';
import { Device } from './device.ts';
import type { Role } from '../../protocol/roles.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] }));
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

test('[P15.60] an edge asks a device to connect anew after 12 hours, give or take a tenth', async () => {
  for (const [chance, hours] of [
    [0, 10.8],
    [0.5, 12],
  ] as const) {
    vi.spyOn(Math, 'random').mockReturnValueOnce(chance);
    const { device } = linked('client');
    const stepMs = idleMs('client', { program: 'connlib' }) - 1000;
    let leftMs = hours * 3_600_000;
    for (; leftMs > stepMs; leftMs -= stepMs) await heartbeat(device, stepMs);
    await heartbeat(device, leftMs - 1);
    await heartbeat(device, 1);
    expect(await device.closed).toMatchObject({ code: 1012, reason: expect.stringContaining('connect again') });
  }
});

test('[P15.61] a device that is silent for longer than its role and program may be is closed, and its account is told', async () => {
  for (const [role, program, ms] of [
    ['client', 'connlib', 307_000],
    ['client', 'headless-client', 37_000],
    ['gateway', 'connlib', 37_000],
    ['gateway', 'gateway', 37_000],
  ] as const) {
    const { device, object } = linked(role, program);
    await heartbeat(device, ms - 1);
    await vi.advanceTimersByTimeAsync(1);
    expect((await device.closed).reason).toContain('silent');
    expect((await object.closed).reason).toContain('silent');
    expect(vi.getTimerCount()).toBe(0);
  }
});

test('[P15.67] a device that does not read is closed once more was sent since its last frame than its role may leave unread', async () => {
  for (const role of ['client', 'gateway'] as const) {
    const { device, object } = linked(role);
    const frame = 'x'.repeat(1024 * 1024);
    for (let sent = 0; sent < unreadLengthMax[role]; sent += frame.length) object.send(`=${frame}`);
    for (let read = 0; read < unreadLengthMax[role]; read += frame.length) expect(await device.next()).toBe(frame);
    device.send(heartbeatFrame);
    expect((await device.frame()).event).toBe('phx_reply');
    for (let sent = 0; sent < unreadLengthMax[role]; sent += frame.length) object.send(`=${frame}`);
    expect(await device.closed).toMatchObject({ code: 1008, reason: expect.stringContaining('is read') });
    expect(await object.closed).toMatchObject({ code: 1008 });
  }
});

test('[P15.114] a gateway that has every grant that an account may have is told of them, and that all have ended, in one go', async () => {
  const { device, object } = linked('gateway');
  const pair = { client_id: ids.client, resource_id: ids.resource };
  const authorization = { ...pair, expires_at: 2_145_916_800 };
  const init = pushFrame('gateway', 'init', { authorizations: Array.from({ length: grantsMax }, () => authorization) });
  const reject = pushFrame('gateway', 'reject_access', pair);
  object.send(`=${init}`);
  for (let i = 0; i < grantsMax; i += 1) object.send(`=${reject}`);
  expect(await Promise.race([device.next().then(({ length }) => length), device.closed])).toBe(init.length);
  let told = 0;
  while (told < grantsMax && (await Promise.race([device.next(), device.closed])) === reject) told += 1;
  expect(told).toBe(grantsMax);
});

test('[P15.115] a device that joins again and again, and need not read what each join is answered with, is closed', async () => {
  const { device, object } = linked('client');
  for (let i = 0; i < joinRate.burst; i += 1) device.send(joinFrame);
  for (let i = 0; i < joinRate.burst; i += 1) {
    expect(await object.next()).toBe('{"type":"joined"}');
    expect((await device.frame()).event).toBe('phx_reply');
  }
  device.send(joinFrame);
  const ending = { code: 1008, reason: expect.stringContaining('too many') };
  expect(await Promise.race([device.closed, device.frame()])).toMatchObject(ending);
});

test('[P15.68] a device that sends faster than it may is closed, and what it sent before is answered', async () => {
  const { device, object } = linked('client');
  const { burst } = frameRates.client;
  for (let i = 0; i < burst; i += 1) device.send(heartbeatFrame);
  for (let i = 0; i < burst; i += 1) expect((await device.frame()).event).toBe('phx_reply');
  // While the burst is answered, some more has become free.
  for (let i = 0; i < burst; i += 1) device.send(heartbeatFrame);
  expect(await device.closed).toMatchObject({ code: 1008, reason: expect.stringContaining('too many frames') });
  expect(await object.closed).toMatchObject({ code: 1008 });
});

test('[P15.119] a device that is closed at a bound is told of in the log, one that leaves is not', async () => {
  const logged = vi.spyOn(console, 'log').mockReturnValue();
  const left = linked('client');
  left.device.close();
  await left.object.closed;
  const { device } = linked('gateway');
  device.sendBinary(new Uint8Array(1));
  await device.closed;
  const lines: unknown[] = logged.mock.calls.map(([line]) => JSON.parse(String(line)));
  const { code, reason } = closes.too_large;
  expect(lines).toEqual([
    { level: 'warn', event: 'device_closed', account: ids.account, role: 'gateway', code, reason },
  ]);
});

const joinFrame = { topic: 'client', event: 'phx_join', payload: null, ref: 0 };
const heartbeatFrame = { topic: 'phoenix', event: 'heartbeat', payload: {}, ref: 1 };

async function heartbeat(device: Device, thenMs: number): Promise<void> {
  device.send(heartbeatFrame);
  await device.frame();
  await vi.advanceTimersByTimeAsync(thenMs);
}

/** A device and its account's end, with the edge between them. */
function linked(role: Role, program = 'connlib') {
  const [outer, inner] = [new WebSocketPair(), new WebSocketPair()];
  const object = new Device(inner[1]);
  const refused = { status: 503, code: 'unavailable', detail: 'gone', retryAfterSeconds: 1 };
  const account = v.parse(accountId, ids.account);
  new Link(
    outer[1],
    { account, role, program },
    async () => await Promise.resolve({ type: 'refused', refusal: refused }),
  ).start(inner[0], noWelcome);
  return { device: new Device(outer[0]), object };
}
