// The object itself under random histories: what it stores, what its devices believe and when it wakes are as promised after every
// step, whatever falls asleep, is reset, lost or repeated. What core/ decides is held to the same in test/core/random.test.ts.
import { reset } from 'cloudflare:test';
import { afterEach, beforeEach, expect, inject, test, vi } from 'vitest';
import fc from 'fast-check';
import { Clock } from './clock.ts';
import { historyOf } from '../support/history.ts';
import { objectOpKinds, RandomObject } from './random-object.ts';

declare module 'vitest' {
  interface ProvidedContext {
    readonly histories: { readonly seed: number; readonly runs: number };
  }
}

const { seed, runs } = inject('histories');
const weekMs = 7 * 86_400_000;
/** A Thursday, 1000 seconds old. */
let start = Date.UTC(2032, 0, 1, 0, 16, 40);

const lines: string[] = [];
beforeEach(() => {
  vi.spyOn(console, 'log').mockImplementation((line: unknown) => void lines.push(String(line)));
  // A connection that was lost is dialled again at once.
  vi.spyOn(Math, 'random').mockReturnValue(0);
});
afterEach(() => void vi.restoreAllMocks());

test(
  '[P9.40] after every step of a random history the object and its devices are as promised',
  async () => {
    await fc.assert(
      fc.asyncProperty(historyOf(objectOpKinds), async (steps) => {
        lines.length = 0;
        const clock = new Clock(start);
        try {
          const object = await RandomObject.start(clock);
          try {
            for (const ops of steps) expect([...(await object.happen(ops)), ...errors()]).toEqual([]);
          } finally {
            await object.stop();
          }
        } finally {
          await reset();
          // Answers that the objects of one isolate share are older than this.
          start += weekMs * Math.ceil((Date.now() - start) / weekMs);
          clock.stop();
        }
      }),
      { seed, numRuns: runs, endOnFailure: true },
    );
  },
  30_000 + runs * 10_000,
);

function errors(): string[] {
  return lines.filter((line) => line.includes('"level":"error"') || line.includes('unreadable'));
}
