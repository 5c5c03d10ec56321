// What an account's object tells the Stream object, and asks it: that devices connect here, and how far the stream has come.
//
// Answers are shared by all objects of one isolate for a moment, so that many accounts cost the Stream object one question. No
// answer in time, or a failure, counts as not knowing.
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

let shared: { readonly applied: Applied | null; readonly atMs: number } | null = null;

export class StreamLink {
  readonly #ctx: DurableObjectState;
  readonly #env: Env;
  readonly #hear: (input: Input) => void;
  #asking: Promise<void> | null = null;
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
    if (!isFresh(state)) await this.ask(state);
  }

  /** Asks behind the present turn, one question at a time; resolves once the answer was heard, or that there is none. */
  async ask(state: State): Promise<void> {
    this.#asking ??= this.#askOnce(accountOf(state)?.id ?? null);
    await this.#asking;
  }

  #askOnce(accountId: AccountId | null): Promise<void> {
    const asking = appliedTo(this.#env).then((applied) => {
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
}

async function appliedTo(env: Env): Promise<Applied | null> {
  const now = Date.now();
  if (shared !== null && now - shared.atMs < sharedMsMax) return shared.applied;
  try {
    const answer = env.STREAM.getByName(streamObjectName).applied();
    const applied = await Promise.race([answer, nothingAfter(answerMsMax)]);
    shared = { applied, atMs: now };
    return applied;
  } catch (cause) {
    log.error('freshness_unknown', cause);
    return null;
  }
}

function nothingAfter(ms: number): Promise<null> {
  return new Promise((resolve) => void setTimeout(() => resolve(null), ms));
}
