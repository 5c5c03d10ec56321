// What an account's object tells the Stream object, and asks it: that devices connect here, and how far the stream has come.
//
// Answers are shared by all objects of one isolate for a moment, so that many accounts cost the Stream object one question. No
// answer in time, or a failure, counts as not knowing. An object hears each answer once: what it does next may be to ask again, and
// the clock of the platform stands still while it does.
import { canaryAccount } from '../../protocol/stream.ts';
import { streamObjectName } from '../env.ts';
import { accountOf, type State } from '../../core/state.ts';
import { isFresh } from '../../core/freshness.ts';
import * as log from '../log.ts';
import type { AccountId } from '../../protocol/ids.ts';
import type { Applied } from '../../core/stream.ts';
import type { Delivery } from '../../protocol/commit.ts';
import type { Env } from '../env.ts';
import type { Input } from '../../core/input.ts';

/** How old a shared answer may be, milliseconds. */
const sharedMsMax = 2_000;
const answerMsMax = 5_000;
/** How often an object says that it has devices, milliseconds. */
const reportMs = 3_600_000;

type Heard = { readonly applied: Applied | null; readonly atMs: number };

let shared: Heard | null = null;

export class StreamLink {
  readonly #ctx: DurableObjectState;
  readonly #env: Env;
  readonly #hear: (input: Input) => void;
  #asking: Promise<void> | null = null;
  #heard: Heard | null = null;
  #reportedAt = -Infinity;

  /** `hear` takes the answers to `ask`, as inputs. */
  constructor(ctx: DurableObjectState, env: Env, hear: (input: Input) => void) {
    this.#ctx = ctx;
    this.#env = env;
    this.#hear = hear;
  }

  /** Resolves once the account is on the register: whatever grants can be found. The canary grants nothing. */
  async register({ account, place }: Pick<Delivery, 'account' | 'place'>): Promise<void> {
    if (account === canaryAccount) return;
    await this.#env.STREAM.getByName(streamObjectName).register(account, place);
  }

  /** Resolves once what is known of the stream is as fresh as it can be. */
  async askUnlessFresh(state: State): Promise<void> {
    if (!isFresh(state) && this.#untilNextMs() <= 0) await this.ask(state);
  }

  /** Asks behind the present turn, one question at a time; resolves once an answer was heard that it had not, or that there is none. */
  async ask(state: State): Promise<void> {
    this.#asking ??= this.#askOnce(accountOf(state)?.id ?? null);
    await this.#asking;
  }

  #askOnce(accountId: AccountId | null): Promise<void> {
    const asking = this.#next().then(({ applied }) => {
      this.#asking = null;
      const late = accountId === null ? undefined : applied?.lateToMs[accountId];
      this.#hear({ type: 'freshness', epoch: applied?.epoch ?? null, appliedTo: late ?? applied?.toMs ?? null });
    });
    const asked = asking.catch((cause: unknown) => log.error('freshness_failed', cause));
    this.#ctx.waitUntil(asked);
    return asked;
  }

  /** A device has connected: in a new epoch its account is resynchronized before those without. */
  connected(accountId: AccountId): void {
    const now = Date.now();
    if (now - this.#reportedAt < reportMs) return;
    this.#reportedAt = now;
    const reporting = this.#env.STREAM.getByName(streamObjectName).connected(accountId, now);
    this.#ctx.waitUntil(reporting.catch((cause: unknown) => log.error('register_failed', cause)));
  }

  /** The shared answer, or the one after it where it has heard that. */
  async #next(): Promise<Heard> {
    const leftMs = this.#untilNextMs();
    if (leftMs > 0) await new Promise((resolve) => setTimeout(resolve, leftMs));
    this.#heard = await present(this.#env);
    return this.#heard;
  }

  /** How long the answer that it has heard is still the one that is shared. */
  #untilNextMs(): number {
    return shared !== null && shared === this.#heard ? shared.atMs + sharedMsMax - Date.now() : 0;
  }
}

async function present(env: Env): Promise<Heard> {
  if (shared !== null && Date.now() - shared.atMs < sharedMsMax) return shared;
  const applied = await appliedTo(env);
  shared = { applied, atMs: Date.now() };
  return shared;
}

async function appliedTo(env: Env): Promise<Applied | null> {
  const late = Promise.withResolvers<null>();
  const timer = setTimeout(() => late.resolve(null), answerMsMax);
  try {
    return await Promise.race([env.STREAM.getByName(streamObjectName).applied(), late.promise]);
  } catch (cause) {
    log.error('freshness_unknown', cause);
    return null;
  } finally {
    clearTimeout(timer);
  }
}
