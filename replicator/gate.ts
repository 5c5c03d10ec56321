// How many deliveries are in flight at once, over all lanes: more while they are answered, half as many when one is not. A worker
// that cannot keep up, as when a thousand objects wake at a time, then gets less to do at once, instead of requests that time out
// before it has come to them and are sent again. Those that wait go in the order in which they came; waiting costs them no time.

/** So many always, since it may be one account's object alone that does not answer. */
export const inFlightMin = 32;
export const inFlightMax = 256;

export class Gate {
  #limit = inFlightMin * 2;
  #inFlight = 0;
  /** Requests passed so far, and how many had when the limit was last lowered: those before say nothing of the limit after. */
  #passed = 0;
  #passedAtLowering = 0;
  readonly #waiting: (() => void)[] = [];

  /** How many may be in flight now. */
  limit(): number {
    return Math.floor(this.#limit);
  }

  /** How many wait for their turn. */
  waiting(): number {
    return this.#waiting.length;
  }

  /** Runs `request` when it is its turn. `isUnanswered` says whether a rejection of it means that nobody answered in time. */
  async pass<T>(request: () => Promise<T>, isUnanswered: (error: unknown) => boolean): Promise<T> {
    if (this.#inFlight >= this.limit()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#inFlight += 1;
    this.#passed += 1;
    const number = this.#passed;
    try {
      const answer = await request();
      this.#limit = Math.min(inFlightMax, this.#limit + 1 / this.#limit);
      return answer;
    } catch (error) {
      if (isUnanswered(error) && number > this.#passedAtLowering) this.#lower();
      throw error;
    } finally {
      this.#inFlight -= 1;
      while (this.#inFlight < this.limit() && this.#waiting.length > 0) {
        this.#inFlight += 1;
        this.#waiting.shift()?.();
      }
    }
  }

  #lower(): void {
    this.#limit = Math.max(inFlightMin, this.#limit / 2);
    this.#passedAtLowering = this.#passed;
  }
}
