import fc from 'fast-check';
import * as v from 'valibot';
import { expect, test } from 'vitest';
import { accountId, type AccountId } from '../../protocol/ids.ts';
import { Ack } from '../../replicator/ack.ts';

const A = asAccountId('a');
const B = asAccountId('b');

test('[P1.14] R2 R3 R4 a commit is confirmable only when it is durable, recorded and seen, in whatever order that happens', () => {
  const steps: readonly ((ack: Ack) => void)[] = [(ack) => record(ack, [A, 10n]), (ack) => see(ack, 5n)];
  for (const order of [steps, steps.toReversed()]) {
    const ack = new Ack(1n, new Map());
    open(ack, 10n, 5n, [A]);
    order[0]?.(ack);
    expect(ack.confirmable()).toBe(1n);
    order[1]?.(ack);
    expect(ack.confirmable()).toBe(10n);
  }
});

test('[P1.15] R3 a durable position is not confirmable before the lanes table holds it', () => {
  const ack = new Ack(1n, new Map());
  open(ack, 10n, 5n, [A]);
  ack.durable(A, 10n);
  see(ack, 5n);

  expect([ack.confirmable(), ack.unrecorded()]).toEqual([1n, new Map([[A, 10n]])]);
  ack.recorded(ack.unrecorded());
  expect([ack.confirmable(), ack.unrecorded()]).toEqual([10n, new Map()]);
});

test('[P1.16] R4 a commit that is still in progress for others is not confirmable, nor is any after it', () => {
  const ack = new Ack(1n, new Map());
  open(ack, 10n, 5n, [A]);
  open(ack, 20n, 6n, [A]);
  record(ack, [A, 20n]);
  ack.visible({ xmin: 5n, xmax: 9n, inProgress: new Set([5n]) });

  expect([ack.confirmable(), ack.unseen()]).toEqual([1n, [5n]]);
  see(ack, 5n);
  expect([ack.confirmable(), ack.unseen()]).toEqual([20n, []]);
});

test('[P1.17] R6 R7 a commit that concerns nobody is complete at once, and waits for those before it', () => {
  const ack = new Ack(1n, new Map());
  open(ack, 10n, 5n, []);
  expect(ack.confirmable()).toBe(10n);
  open(ack, 20n, 6n, [A]);
  open(ack, 30n, 7n, []);
  expect(ack.confirmable()).toBe(10n);
  record(ack, [A, 20n]);
  see(ack, 6n);
  expect(ack.confirmable()).toBe(30n);
});

test('[P1.18] R2 a commit of two accounts waits for both', () => {
  const ack = new Ack(1n, new Map());
  open(ack, 10n, 5n, [A, B]);
  see(ack, 5n);
  record(ack, [A, 10n]);
  expect(ack.confirmable()).toBe(1n);
  record(ack, [B, 15n]);
  expect(ack.confirmable()).toBe(10n);
});

test('[P1.19] R8 the position of a keepalive counts only while nothing is received or incomplete', () => {
  const ack = new Ack(1n, new Map());
  ack.keepalive(5n, true);
  expect(ack.confirmable()).toBe(1n);
  ack.keepalive(5n, false);
  expect(ack.confirmable()).toBe(5n);
  open(ack, 10n, 5n, [A]);
  ack.keepalive(20n, false);
  expect(ack.confirmable()).toBe(5n);
  record(ack, [A, 10n]);
  see(ack, 5n);
  ack.keepalive(20n, false);
  expect(ack.confirmable()).toBe(20n);
});

test('[P1.20] a commit that is read again after a restart and was recorded before it needs only to be seen', () => {
  const ack = new Ack(1n, new Map([[A, 10n]]));
  open(ack, 10n, 5n, [A]);

  expect(ack.unseen()).toEqual([5n]);
  see(ack, 5n);
  expect(ack.confirmable()).toBe(10n);
});

test('[P1.21] R1 commits out of order, and records of what is not durable, are mistakes of ours', () => {
  const ack = new Ack(1n, new Map());
  open(ack, 10n, 5n, [A]);

  expect(() => open(ack, 10n, 6n, [A])).toThrow('in the order of their LSNs');
  expect(() => ack.recorded(new Map([[A, 10n]]))).toThrow('only durable positions');
});

test('[P1.38] R5 R6 a commit is confirmable only when the change log holds its rows, nor is any after it', () => {
  const ack = new Ack(1n, new Map());
  ack.open({ lsn: 10n, xid: 5n, accounts: [A], isLogged: false });
  ack.open({ lsn: 20n, xid: 6n, accounts: [A], isLogged: false });
  open(ack, 30n, 7n, []);
  record(ack, [A, 20n]);
  see(ack, 6n);

  expect(ack.confirmable()).toBe(1n);
  ack.keepalive(40n, false);
  expect(ack.confirmable()).toBe(1n);
  ack.logged(10n);
  expect(ack.confirmable()).toBe(10n);
  ack.logged(20n);
  expect(ack.confirmable()).toBe(30n);
});

test('[P1.39] R6 a commit that concerns no account but has rows for the log waits for it alone', () => {
  const ack = new Ack(1n, new Map());
  ack.open({ lsn: 10n, xid: 5n, accounts: [], isLogged: false });

  expect([ack.confirmable(), ack.unseen()]).toEqual([1n, []]);
  ack.logged(10n);
  expect(ack.confirmable()).toBe(10n);
});

const accounts = [A, B, asAccountId('c')];
test('[P1.78] a commit does not wait for a parked account, nor does one after it, until its snapshot is on its way', () => {
  const ack = new Ack(0n, new Map());
  open(ack, 10n, 1n, [A, B]);
  open(ack, 20n, 2n, [A]);
  record(ack, [B, 20n]);
  see(ack, 2n);
  expect(ack.confirmable()).toBe(0n);

  ack.release(A);
  expect(ack.confirmable()).toBe(20n);
  open(ack, 30n, 3n, [A]);
  expect(ack.unseen()).toEqual([3n]);
  see(ack, 3n);
  expect(ack.confirmable()).toBe(30n);

  ack.expect(A);
  open(ack, 40n, 4n, [A]);
  see(ack, 4n);
  expect(ack.confirmable()).toBe(30n);
  record(ack, [A, 40n]);
  expect(ack.confirmable()).toBe(40n);
});

test('[P1.79] an account that the table holds as parked at the start is waited for by nothing', () => {
  const ack = new Ack(0n, new Map(), [A]);
  open(ack, 10n, 1n, [A]);
  expect(ack.confirmable()).toBe(0n);
  see(ack, 1n);
  expect(ack.confirmable()).toBe(10n);
});

const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constant('open' as const),
      accounts: fc.subarray(accounts),
      isLogged: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('log' as const), back: fc.nat(3) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant('durable' as const),
      account: fc.constantFrom(...accounts),
      back: fc.nat(3),
    }),
  },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('record' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({ type: fc.constant('see' as const), hidden: fc.array(fc.nat(5), { maxLength: 2 }) }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('keepalive' as const), isOpen: fc.boolean() }) },
  {
    weight: 1,
    arbitrary: fc.record({ type: fc.constantFrom('release', 'expect'), account: fc.constantFrom(...accounts) }),
  },
);

test('[P1.22] over any history the confirmable position equals the slow definition, never goes back, and ends at the last commit', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const ack = new Ack(0n, new Map());
      const model = createModel();
      let last = 0n;
      for (const given of steps) {
        applyStep(ack, model, given);
        expect(ack.confirmable()).toBe(model.confirmable());
        expect(ack.confirmable()).toBeGreaterThanOrEqual(last);
        last = ack.confirmable();
      }
      for (const account of accounts) applyStep(ack, model, { type: 'durable', account, back: 0 });
      applyStep(ack, model, { type: 'record' });
      applyStep(ack, model, { type: 'see', hidden: [] });
      applyStep(ack, model, { type: 'log', back: 0 });
      expect(ack.confirmable()).toBeGreaterThanOrEqual(model.commits.at(-1)?.lsn ?? 0n);
      expect(ack.incompleteCount()).toBe(0);
    }),
    { seed: 42, numRuns: 1_000 },
  );
});

type Step = typeof step extends fc.Arbitrary<infer Value> ? Value : never;
type ModelCommit = {
  readonly lsn: bigint;
  readonly xid: bigint;
  readonly accounts: readonly AccountId[];
  isSeen: boolean;
  isLogged: boolean;
  /** Accounts that it does not wait for, since they were parked. */
  readonly waived: Set<AccountId>;
};

/** The definition as it reads in R1 to R8, recomputed from the whole history each time. */
function createModel() {
  const commits: ModelCommit[] = [];
  const durable = new Map<AccountId, bigint>();
  const recorded = new Map<AccountId, bigint>();
  const parked = new Set<AccountId>();
  let watermark = 0n;
  const isComplete = (commit: ModelCommit): boolean =>
    commit.isLogged &&
    (commit.accounts.length === 0 ||
      (commit.isSeen &&
        commit.accounts.every(
          (account) => commit.waived.has(account) || (recorded.get(account) ?? -1n) >= commit.lsn,
        )));
  return {
    commits,
    parked,
    durable,
    recorded,
    keepalive(walEnd: bigint) {
      if (commits.every(isComplete) && walEnd > watermark) watermark = walEnd;
    },
    confirmable() {
      const firstOpen = commits.findIndex((commit) => !isComplete(commit));
      const complete = firstOpen === -1 ? commits : commits.slice(0, firstOpen);
      const reached = complete.at(-1)?.lsn ?? 0n;
      if (reached > watermark) watermark = reached;
      return watermark;
    },
  };
}

function applyStep(ack: Ack, model: ReturnType<typeof createModel>, given: Step): void {
  const lastLsn = model.commits.at(-1)?.lsn ?? 0n;
  switch (given.type) {
    case 'open': {
      const lsn = (lastLsn > ack.confirmable() ? lastLsn : ack.confirmable()) + 10n;
      const xid = BigInt(model.commits.length);
      const { accounts: concerned, isLogged } = given;
      ack.open({ lsn, xid, accounts: concerned, isLogged });
      model.commits.push({ lsn, xid, accounts: concerned, isSeen: false, isLogged, waived: new Set(model.parked) });
      return;
    }
    case 'durable': {
      const lsn = model.commits.at(-1 - given.back)?.lsn ?? 0n;
      ack.durable(given.account, lsn);
      if ((model.durable.get(given.account) ?? -1n) < lsn) model.durable.set(given.account, lsn);
      return;
    }
    case 'record':
      ack.recorded(ack.unrecorded());
      for (const [account, lsn] of model.durable) model.recorded.set(account, lsn);
      return;
    case 'see': {
      const xmax = BigInt(model.commits.length);
      const inProgress = new Set(given.hidden.map((back) => xmax - 1n - BigInt(back)));
      ack.visible({ xmin: 0n, xmax, inProgress });
      for (const commit of model.commits) commit.isSeen ||= !inProgress.has(commit.xid);
      return;
    }
    case 'log': {
      const lsn = model.commits.at(-1 - given.back)?.lsn ?? 0n;
      ack.logged(lsn);
      for (const commit of model.commits) commit.isLogged ||= commit.lsn <= lsn;
      return;
    }
    case 'release':
      ack.release(given.account);
      model.parked.add(given.account);
      for (const commit of model.commits) commit.waived.add(given.account);
      return;
    case 'expect':
      ack.expect(given.account);
      model.parked.delete(given.account);
      return;
    case 'keepalive':
      ack.keepalive(lastLsn + 5n, given.isOpen);
      if (!given.isOpen) model.keepalive(lastLsn + 5n);
      return;
  }
}

/** A commit without rows for the log. */
function open(ack: Ack, lsn: bigint, xid: bigint, accounts: readonly AccountId[]): void {
  ack.open({ lsn, xid, accounts, isLogged: true });
}

function record(ack: Ack, ...positions: readonly [AccountId, bigint][]): void {
  for (const [account, lsn] of positions) ack.durable(account, lsn);
  ack.recorded(new Map(positions));
}

/** A snapshot to which everything up to `xid` is over. */
function see(ack: Ack, xid: bigint): void {
  ack.visible({ xmin: xid + 1n, xmax: xid + 1n, inProgress: new Set() });
}

function asAccountId(digit: string): AccountId {
  return v.parse(accountId, `00000000-0000-4000-8000-00000000000${digit}`);
}
