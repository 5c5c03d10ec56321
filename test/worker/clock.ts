// The clock of the worker under test, set by hand: it goes on from where it was set. Alarms and timers are the platform's and keep
// their own: an alarm that is set for a time by this clock, which is years ahead, comes when a test lets it ring.
const realNow = Date.now;

export class Clock {
  /** Where it was set first, milliseconds since 1970-01-01 UTC. */
  readonly start: number;
  #offset: number;

  constructor(start: number) {
    this.start = start;
    this.#offset = start - realNow();
    Date.now = () => Math.floor(realNow() + this.#offset);
  }

  /** It is `at`, or later. */
  set(at: number): void {
    this.#offset += Math.max(0, at - Date.now());
  }

  /** What `waiting` gives. Where it takes longer than a moment, so much time passes that nobody waits, and `wake` tells them to look. */
  async whileWaiting<T>(waiting: Promise<T>, wake: () => Promise<void>): Promise<T> {
    let isOver = false;
    const over = waiting.finally(() => (isOver = true));
    const look = setTimeout(() => {
      if (isOver) return;
      this.set(Date.now() + 4000);
      void wake();
    }, 100);
    try {
      return await over;
    } finally {
      clearTimeout(look);
    }
  }

  stop(): void {
    Date.now = realNow;
  }
}
