// The paced fan-out of shared relays, simulated: thousands of accounts, changes while it runs, and accounts that fail.
import { expect, test } from 'vitest';
import { afterAnswer, batchMax, batchMs, firstBatchAt, isDue, leaseMs, settleMs } from '../../core/fan-out.ts';
import type { Lease } from '../../core/fan-out.ts';

/** Runs batches as the hub's alarm does, until everyone holds the present version. Returns when each account was told. */
function run(
  accounts: number,
  { changes, fails = () => false }: { changes: readonly number[]; fails?: (account: string, now: number) => boolean },
) {
  const leases = new Map<string, Lease>();
  for (let n = 0; n < accounts; n += 1) {
    const account = `account-${n}`;
    leases.set(account, { account, until: leaseMs, version: 0, failures: 0, notBefore: 0 });
  }
  const calls: { readonly at: number; readonly account: string; readonly version: number }[] = [];
  let version = 1;
  let now = firstBatchAt(0, 0.5);
  const waiting = [...changes];
  for (let batches = 0; batches < 10_000; batches += 1) {
    while ((waiting[0] ?? Infinity) <= now) {
      waiting.shift();
      version += 1;
    }
    const behind = [...leases.values()].filter((lease) => lease.version < version);
    if (behind.length === 0 && waiting.length === 0) return { calls, version, leases, now };
    const due = behind.filter((lease) => isDue(lease, version, now)).toSorted((a, b) => a.version - b.version);
    for (const lease of due.slice(0, batchMax)) {
      calls.push({ at: now, account: lease.account, version });
      const after = afterAnswer(lease, fails(lease.account, now) ? 'failed' : 'told', version, now);
      if (after === null) leases.delete(lease.account);
      else leases.set(lease.account, after);
    }
    now += batchMs;
  }
  throw new Error('the fan-out does not end');
}

test('[P15.82] thousands of accounts are told of a change at 200 a second at most, each once', () => {
  const { calls, now } = run(5000, { changes: [] });
  expect(calls).toHaveLength(5000);
  expect(new Set(calls.map(({ account }) => account)).size).toBe(5000);
  for (let from = 0; from < now; from += 1000) {
    const inSecond = calls.filter(({ at }) => at >= from && at < from + 1000).length;
    expect(inSecond).toBeLessThanOrEqual((batchMax * 1000) / batchMs);
  }
  expect(now).toBeLessThan(26_500);
});

test('[P15.83] changes while accounts are being told reach each of them as the last set, in fewer messages than changes', () => {
  const changes = Array.from({ length: 100 }, (_, n) => 1000 + n * 100);
  const { calls, version, leases } = run(1000, { changes });
  expect(version).toBe(101);
  expect([...leases.values()].every((lease) => lease.version === version)).toBe(true);
  expect(calls.length).toBeLessThan(1000 * 4);
});

test('[P15.84] an account that cannot be told delays no other, is tried less and less, and is told in the end', () => {
  const { calls, leases } = run(200, { changes: [], fails: (account, now) => account === 'account-7' && now < 60_000 });
  const tries = calls.filter(({ account }) => account === 'account-7').map(({ at }) => at);
  const waits = tries.slice(1).map((at, n) => at - (tries[n] ?? 0));
  expect(waits.length).toBeGreaterThan(3);
  expect(waits.slice(1).every((wait, n) => wait >= (waits[n] ?? 0))).toBe(true);
  expect(leases.get('account-7')?.version).toBe(1);
  const others = calls.filter(({ account }) => account !== 'account-7');
  expect(Math.max(...others.map(({ at }) => at))).toBeLessThan(firstBatchAt(0, 1) + 5 * batchMs);
  const lease = { account: 'a', until: leaseMs, version: 1, failures: 40, notBefore: 0 };
  expect(afterAnswer(lease, 'failed', 2, 0)?.notBefore).toBe(300_000);
  expect(afterAnswer(lease, 'unwanted', 2, 0)).toBeNull();
  expect([firstBatchAt(0, 0), firstBatchAt(0, 1)]).toEqual([settleMs, 2 * settleMs]);
});
