// When the object is woken next: at the earliest moment that was asked for, by its one alarm.
//
// While an alarm is under way no other comes, and it stays so until the flush that it waits for has an answer. What is due by
// time meanwhile has a timer, and once it has ended the alarm is set for what is due then. A crash before that leaves the alarm
// unfinished, and the platform repeats it.
//
// An alarm is set for a later millisecond than the present one. One that is set, while it rings, for the very millisecond for which it
// rings may be lost: the runtime takes it for the one that has just come.

/** A timer looks again after this long at the latest, milliseconds. */
const timerMsMax = 60_000;

export type WakeupOptions = {
  readonly now: () => number;
  /** Sets the object's alarm, milliseconds since 1970-01-01 UTC, in place of the one that is set. */
  readonly setAlarm: (at: number) => void;
  /** Lets everything that is due take effect, and asks to be woken for what is due next. Never throws. */
  readonly onDue: () => void;
};

export class Wakeups {
  readonly #options: WakeupOptions;
  #at: number | null = null;
  #isRinging = false;
  #timer: ReturnType<typeof setTimeout> | null = null;

  constructor(options: WakeupOptions) {
    this.#options = options;
  }

  /** Whether an alarm is under way, so that what is to be written back is being written or comes after it. */
  isRinging(): boolean {
    return this.#isRinging;
  }

  /** Wakes the object at `at` at the latest, milliseconds since 1970-01-01 UTC, of which it may be a fraction; null asks for nothing. */
  wakeAt(at: number | null): void {
    if (at === null) return;
    const { now, setAlarm } = this.#options;
    const next = Math.max(Math.ceil(at), now() + 1);
    if (this.#at !== null && this.#at <= next) return;
    this.#at = next;
    if (this.#isRinging) this.#setTimer(next - now());
    else setAlarm(next);
  }

  /** The alarm has come. Resolves after `work`, with the alarm set for what is due next; at once where one is under way already. */
  async ring(work: () => Promise<void>): Promise<void> {
    if (this.#isRinging) return;
    this.#isRinging = true;
    this.#look();
    try {
      await work();
    } finally {
      clearTimeout(this.#timer);
      this.#isRinging = false;
      this.#look();
    }
  }

  #look(): void {
    this.#at = null;
    this.#options.onDue();
  }

  #setTimer(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), Math.min(ms, timerMsMax));
  }
}
