// How many flushes are at Postgres at once.
import { expect, test } from 'vitest';
import { lookAgainMs, turnMsMax, Turns, turnsMax } from '../../worker/write-back/turns.ts';

test('[P15.110] so many flushes are at Postgres at once, and as many more as have ended', () => {
  const turns = new Turns();
  const taken = Array.from({ length: turnsMax }, () => turns.take(0));
  expect(taken).not.toContain(null);
  expect(turns.take(0)).toBeNull();
  taken[0]?.();
  taken[0]?.();
  expect([turns.take(0) === null, turns.take(0) === null]).toEqual([false, true]);
});

test('[P15.111] a flush that was cut off keeps its turn no longer than one may take', () => {
  const turns = new Turns();
  const ends = Array.from({ length: turnsMax }, () => turns.take(0));
  expect(turns.take(turnMsMax - 1)).toBeNull();
  expect(turns.take(turnMsMax)).not.toBeNull();
  // What it gives back after all is nobody else's.
  for (const end of ends) end?.();
  expect(Array.from({ length: turnsMax }, () => turns.take(turnMsMax)).filter((turn) => turn === null)).toHaveLength(1);
});

test('[P15.111] who was cut off while waiting is counted no longer than a turn may take', () => {
  const turns = new Turns();
  const [stop] = [turns.wait(0), turns.wait(0)];
  expect(turns.waiting(turnMsMax - 1)).toBe(2);
  stop?.();
  expect(turns.waiting(turnMsMax - 1)).toBe(1);
  expect(turns.waiting(turnMsMax)).toBe(0);
});

test('[P15.112] however many wait, together they look for a turn some hundred times a second, and each every three seconds at least', () => {
  for (const waiting of [1, 16, 100, 600]) expect((waiting * 1000) / lookAgainMs(waiting, 0.5)).toBeLessThan(400);
  expect(lookAgainMs(1, 0.5)).toBeLessThan(60);
  expect(lookAgainMs(1_000_000, 1)).toBeLessThanOrEqual(3000);
});
