// Who is told of a new set of shared relays next: those that hold an older one, a few at a time, so that thousands of accounts
// are never told at once. Level-triggered: whoever is told is told the set as it then is.
//
//   changed ──settleMs, spread──▶ batch ──batchMs──▶ batch … ──▶ everyone holds the present version

/** After a change nothing is told for this long, and up to twice as long, so that relays that come and go are one change. */
export const settleMs = 500;

/** Accounts told at once, and the time until the next batch, milliseconds: at most 200 a second. */
export const batchMax = 50;
export const batchMs = 250;

/** An account that has not answered by then counts as one that could not be told, milliseconds. */
export const answerMsMax = 5000;

/** An account that could not be told is tried again after this long, milliseconds, twice as long each time up to the most. */
const retryMs = 2000;
const retryMsMax = 300_000;

/** How long an account is told of changes without asking again, milliseconds. */
export const leaseMs = 6 * 3_600_000;

/** An account that is told of changes. */
export type Lease = {
  readonly account: string;
  /** When it ends unless it is renewed, milliseconds since 1970-01-01 UTC. */
  readonly until: number;
  /** The version of the set that it is known to hold. */
  readonly version: number;
  /** Failures in a row, and before when it is not tried again. */
  readonly failures: number;
  readonly notBefore: number;
};

/** When the accounts are told of a change made `now`; `chance` from 0 to 1 spreads it. */
export function firstBatchAt(now: number, chance: number): number {
  return now + settleMs * (1 + chance);
}

/** Whether the account is to be told of `version` at `now`, as soon as there is room for it. */
export function isDue({ until, version: held, notBefore }: Lease, version: number, now: number): boolean {
  return until > now && held < version && notBefore <= now;
}

/** The lease after an answer: told, to be tried again, or over (null), since nobody is connected there. */
export function afterAnswer(
  lease: Lease,
  answer: 'told' | 'unwanted' | 'failed',
  version: number,
  now: number,
): Lease | null {
  switch (answer) {
    case 'told':
      return { ...lease, version: Math.max(lease.version, version), failures: 0, notBefore: 0 };
    case 'unwanted':
      return null;
    case 'failed': {
      const waitMs = Math.min(retryMs * 2 ** lease.failures, retryMsMax);
      return { ...lease, failures: lease.failures + 1, notBefore: now + waitMs };
    }
  }
  return null;
}
