// When an account's object is woken, at a clock of the test's own.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Wakeups } from '../../worker/account/wakeups.ts';

const start = 1_700_000_000_000;

beforeEach(() => void vi.useFakeTimers({ now: start }));
afterEach(() => void vi.useRealTimers());

test('[P14.36] an alarm is set for the whole millisecond at which everything that it is for is due, and for none that has begun', () => {
  const { alarms, wakeups } = wakeupsOf();
  wakeups.wakeAt(start + 0.25);
  wakeups.wakeAt(start + 0.25);
  wakeups.wakeAt(start - 5000);
  expect(alarms).toEqual([start + 1]);
});

test('[P14.36] it is set again only for what is due before, and null asks for nothing', () => {
  const { alarms, wakeups } = wakeupsOf();
  for (const at of [start + 500.5, start + 500.2, start + 700, null, start + 400]) wakeups.wakeAt(at);
  expect(alarms).toEqual([start + 501, start + 400]);
});

test('[P14.37] what is due while an alarm is under way comes by a timer, at its time', async () => {
  const { alarms, end, looks, ringing, wakeups } = ringingOf([start + 300.5, null, start + 500, null]);
  expect([alarms, looks]).toEqual([[], [start]]);
  wakeups.wakeAt(start + 200);
  await vi.advanceTimersByTimeAsync(300);
  expect(looks).toEqual([start, start + 200]);

  wakeups.wakeAt(start + 310);
  await vi.advanceTimersByTimeAsync(150);
  expect([alarms, looks]).toEqual([[], [start, start + 200, start + 310]]);
  end();
  await ringing;
});

test('[P14.38] once an alarm has ended the next one is set, for what is due then, and no timer is left', async () => {
  const { alarms, end, looks, ringing } = ringingOf([start + 300, start + 900]);
  end();
  await ringing;
  expect([alarms, looks, vi.getTimerCount()]).toEqual([[start + 900], [start, start], 0]);
});

test('[P14.38] so it is when what the alarm was for has failed, and an alarm that comes meanwhile changes nothing', async () => {
  const { alarms, fail, looks, ringing, wakeups } = ringingOf([null, start]);
  await wakeups.ring(async () => await Promise.reject(new Error('a second flush')));
  fail(new Error('lost'));
  await expect(ringing).rejects.toThrow('lost');
  expect([alarms, looks, wakeups.isRinging()]).toEqual([[start + 1], [start, start], false]);
});

/** `due`: what is due next, each time that somebody looks. */
function wakeupsOf(due: (number | null)[] = []) {
  const alarms: number[] = [];
  const looks: number[] = [];
  const wakeups: Wakeups = new Wakeups({
    now: () => Date.now(),
    setAlarm: (at) => void alarms.push(at),
    onDue: () => {
      looks.push(Date.now());
      wakeups.wakeAt(due.shift() ?? null);
    },
  });
  return { alarms, looks, wakeups };
}

/** The same with an alarm under way until `end` or `fail`. */
function ringingOf(due: (number | null)[]) {
  const made = wakeupsOf(due);
  const work = Promise.withResolvers<void>();
  const ringing = made.wakeups.ring(async () => await work.promise);
  return { ...made, ringing, end: work.resolve, fail: work.reject };
}
