// An account's way to the RelayHub: asking for the shared relays, and, for the object that stands for no account, saying what
// they are. Both are levels, not events: what fails is done again later with what is true then.
import { accountObjectName, relayHubObjectName } from '../env.ts';
import { sharedAccountId } from '../../protocol/ids.ts';
import { sharedRelaysOf } from '../../core/relay-sessions.ts';
import * as log from '../log.ts';
import type { Effects } from '../../core/effect.ts';
import type { Env } from '../env.ts';
import type { SharedRelays } from '../../protocol/relays.ts';
import type { State } from '../../core/state.ts';

/** What the hub did not answer is asked or said again after this long, milliseconds. */
const retryMs = 5000;

export type HubEvents = {
  readonly onSet: (set: SharedRelays, leaseMs: number) => void;
  /** There is something to do again at this time, milliseconds since 1970-01-01 UTC. */
  readonly onLater: (at: number) => void;
};

export class HubLink {
  readonly #ctx: DurableObjectState;
  readonly #env: Env;
  /** Whether this object stands for no account: the relays that connect here are for all. */
  readonly #isShared: boolean;
  readonly #events: HubEvents;
  #isAsking = false;
  #isSaying = false;
  #saidVersion = 0;
  #notBefore = 0;

  constructor(ctx: DurableObjectState, env: Env, events: HubEvents) {
    this.#ctx = ctx;
    this.#isShared = ctx.id.equals(env.ACCOUNT.idFromName(accountObjectName(sharedAccountId)));
    this.#env = env;
    this.#events = events;
  }

  /** Asks and says what is due after a step. `state`: the account's, as it then is. */
  follow(state: () => State, { isLeaseDue }: Effects): void {
    if (isLeaseDue) this.#ctx.waitUntil(this.#ask());
    if (this.#isShared) this.#ctx.waitUntil(this.#say(() => sharedRelaysOf(state())));
  }

  /** Asks, one question at a time. */
  async #ask(): Promise<void> {
    if (this.#isAsking || this.#isPutOff()) return;
    this.#isAsking = true;
    try {
      const { set, leaseMs } = await this.#hub().subscribe(this.#ctx.id.toString());
      this.#events.onSet(set, leaseMs);
    } catch (cause) {
      log.warn('shared_relays_not_heard', { message: messageOf(cause) });
      this.#later();
    } finally {
      this.#isAsking = false;
    }
  }

  /** Says what the shared relays are, until the hub has heard the latest; after a restart once more. */
  async #say(present: () => SharedRelays): Promise<void> {
    if (this.#isSaying || present().version <= this.#saidVersion || this.#isPutOff()) return;
    this.#isSaying = true;
    try {
      for (let set = present(); set.version > this.#saidVersion; set = present()) {
        await this.#hub().publish(set);
        this.#saidVersion = set.version;
      }
    } catch (cause) {
      log.warn('shared_relays_not_said', { message: messageOf(cause) });
      this.#later();
    } finally {
      this.#isSaying = false;
    }
  }

  /** Whether it is too early to try again; then the object wakes for that, whatever it is woken for before. */
  #isPutOff(): boolean {
    if (Date.now() >= this.#notBefore) return false;
    this.#events.onLater(this.#notBefore);
    return true;
  }

  #later(): void {
    this.#notBefore = Date.now() + retryMs;
    this.#events.onLater(this.#notBefore);
  }

  #hub() {
    return this.#env.RELAY_HUB.getByName(relayHubObjectName);
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : 'unknown';
}
