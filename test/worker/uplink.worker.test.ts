// A device's way to its account's object: probes, redials and their bounds, over real socket pairs and under a clock that the
// test turns.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { probe, probeAnswer, probeMsByRole, redialMsFor } from '../../protocol/link.ts';
import { redialMsMax, Uplink, waitingLengthMax, waitingTextsMax } from '../../worker/edge/uplink.ts';
import { Device } from './device.ts';
import { refusalOf } from '../../protocol/reasons.ts';
import type { Dialled, Over } from '../../worker/edge/uplink.ts';
import type { RefusalCode } from '../../protocol/reasons.ts';
import type { Welcome } from '../../protocol/link.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] }));
afterEach(() => void vi.useRealTimers());

const redialMs = 4000;

test('[P15.52] when the inner socket is lost, the edge dials again within the window that the object gave', async () => {
  const { ends, texts, dials, events } = uplink();
  ends[0]?.close();
  await lost();
  expect(dials.count).toBe(0);
  await vi.advanceTimersByTimeAsync(redialMs);
  expect(dials.count).toBe(1);
  ends[1]?.send('=hello');
  await until(() => texts.length === 1);
  expect([texts, events]).toEqual([['=hello'], ['return']]);
  expect([1, 500, 1000, 10_000, 30_000].map(redialMsFor)).toEqual([1000, 1000, 1800, 18_000, 20_000]);
});

test('[P15.53] two probes in a row without an answer make the edge dial again, and whatever arrives counts as an answer', async () => {
  const { up, ends, dials } = uplink();
  const [end] = ends;
  const interval = async () => await vi.advanceTimersByTimeAsync(probeMsByRole.client);
  for (const answer of [probeAnswer, '=frame', probeAnswer]) {
    await interval();
    expect(await end?.next()).toBe(probe);
    end?.send(answer);
    await turn();
  }
  await interval();
  await interval();
  expect(up.isUp).toBe(true);
  await interval();
  expect(up.isUp).toBe(false);
  await vi.advanceTimersByTimeAsync(redialMs);
  expect([up.isUp, dials.count]).toEqual([true, 1]);
});

test('[P15.54] an object that does not know of probes is not probed', async () => {
  const { up, ends, dials } = uplink([], { version: 1, redialMs });
  await vi.advanceTimersByTimeAsync(10 * probeMsByRole.client);
  expect([up.isUp, dials.count]).toEqual([true, 0]);
  up.send('last');
  expect(await ends[0]?.next()).toBe('last');
});

test('[P15.55] what a device sends while its account is away waits in order, and beyond the bound the device is closed', async () => {
  const { up, ends, events, overs } = uplink();
  ends[0]?.close();
  await lost();
  const texts = Array.from({ length: waitingTextsMax }, (_, i) => `text ${i}`);
  for (const text of texts) up.send(text);
  await vi.advanceTimersByTimeAsync(redialMs);
  expect(events).toEqual(['return']);
  for (const text of texts) expect(await ends[1]?.next()).toBe(text);
  ends[1]?.close();
  await lost();
  for (const text of texts) up.send(text);
  expect(overs).toEqual([]);
  up.send('one more');
  expect(overs).toMatchObject([{ code: 1013 }]);

  const other = uplink();
  other.ends[0]?.close();
  await lost();
  other.up.send('x'.repeat(waitingLengthMax));
  expect(other.overs).toEqual([]);
  other.up.send('x');
  expect(other.overs).toMatchObject([{ code: 1013 }]);
});

test('[P15.56] a device whose account stays away is closed after 30 seconds, and a dial that succeeds later is undone', async () => {
  const late = Promise.withResolvers<Dialled>();
  const { ends, overs, dials, admitted } = uplink([async () => await late.promise]);
  ends[0]?.close();
  await lost();
  await vi.advanceTimersByTimeAsync(redialMsMax - 1);
  expect([dials.count, overs]).toEqual([1, []]);
  await vi.advanceTimersByTimeAsync(1);
  expect(overs).toMatchObject([{ code: 1012, signOut: false }]);
  late.resolve(admitted());
  await ends[1]?.closed;
  expect(vi.getTimerCount()).toBe(0);
});

test('[P5.58] a redial that is refused for good ends the device, signed out on 401 alone; any other refusal is tried again', async () => {
  const refused = (code: RefusalCode) => async (): Promise<Dialled> =>
    await Promise.resolve({ type: 'refused', refusal: refusalOf(code) });
  const failing = async () => await Promise.reject(new Error('unreachable'));
  const ends401 = [
    ['invalid_token', true],
    ['account_disabled', false],
    ['superseded', false],
  ] as const;
  for (const [code, signOut] of ends401) {
    const { ends, overs } = uplink([failing, refused('unavailable'), refused('account_not_ready'), refused(code)]);
    ends[0]?.close();
    await lost();
    for (let i = 0; i < 4; i += 1) await vi.advanceTimersByTimeAsync(redialMs);
    expect(overs).toMatchObject([{ code: 1000, signOut }]);
    expect(vi.getTimerCount()).toBe(0);
  }
});

function uplink(answers: (() => Promise<Dialled>)[] = [], said: Welcome = { version: 2, redialMs }) {
  const ends: Device[] = [];
  const texts: string[] = [];
  const events: string[] = [];
  const overs: Over[] = [];
  const dials = { count: 0 };
  const admitted = (): Dialled => {
    const pair = new WebSocketPair();
    ends.push(new Device(pair[1]));
    return { type: 'admitted', socket: pair[0], welcome: said };
  };
  const dial = async () => {
    dials.count += 1;
    return (await answers.shift()?.()) ?? admitted();
  };
  const up = new Uplink('client', dial, {
    onText: (text) => texts.push(text),
    onReturn: () => events.push('return'),
    onOver: (over) => overs.push(over),
  });
  const first = admitted();
  if (first.type === 'admitted') up.take(first.socket, first.welcome);
  return { up, ends, texts, events, overs, dials, admitted };
}

/** The loss of the inner socket has been noticed: the next dial and the end are set. */
async function lost(): Promise<void> {
  await until(() => vi.getTimerCount() === 2);
}

async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await turn();
}
