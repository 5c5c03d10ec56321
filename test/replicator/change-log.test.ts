import { nothingSaid } from '../../replicator/said.ts';
import * as v from 'valibot';
import { expect, test } from 'vitest';
import { accountId } from '../../protocol/ids.ts';
import type { Change, WireRow } from '../../protocol/commit.ts';
import type { Transaction } from '../../replicator/assemble.ts';
import { ChangeLog, logColumns, type LogBatch, type LogRow } from '../../replicator/change-log.ts';

const A = v.parse(accountId, '00000000-0000-4000-8000-00000000000a');
const B = v.parse(accountId, '00000000-0000-4000-8000-00000000000b');

test('[P1.41] each change of a transaction is one row of the log, with the rows before and after it', () => {
  const log = new ChangeLog();
  const hasRows = log.add(
    transaction({
      changes: [
        [A, { op: 'insert', seq: 0, table: 'actors', new: { id: '1', name: 'x' } }],
        [B, { op: 'update', seq: 1, table: 'actors', old: { id: '2', name: 'y' }, new: { id: '2', name: 'z' } }],
        [A, { op: 'delete', seq: 2, table: 'actors', old: { id: '1', name: 'x' } }],
      ],
    }),
  );

  expect(hasRows).toBe(true);
  expect(takeRows(log).map(({ account, op, seq, oldData, data }) => [account, op, seq, oldData, data])).toEqual([
    [A, 'insert', 0, null, '{"id":"1","name":"x"}'],
    [A, 'delete', 2, '{"id":"1","name":"x"}', null],
    [B, 'update', 1, '{"id":"2","name":"y"}', '{"id":"2","name":"z"}'],
  ]);
});

test('[P5.40][D16] a column that is not known to be harmless is redacted before it is kept, an unknown one too', () => {
  const log = new ChangeLog();
  const secrets = { secret_salt: 's1', secret_hash: 's2', later_column: 's3', unset: null };
  log.add(
    transaction({
      changes: [
        [
          A,
          { op: 'insert', seq: 0, table: 'tokens', new: { id: '1', name: 'laptop', relay_group_id: '2', ...secrets } },
        ],
        [A, { op: 'update', seq: 1, table: 'clients', old: { psk_base: '\\x5334' }, new: { psk_base: '\\x5335' } }],
        [A, { op: 'delete', seq: 2, table: 'gateways', old: { constructor: 's6', psk_base: 's7' } }],
      ],
    }),
  );

  const rows = takeRows(log);
  expect(rows.map(({ oldData, data }) => [parsed(oldData), parsed(data)])).toEqual([
    [
      null,
      {
        id: '1',
        name: 'laptop',
        relay_group_id: '2',
        secret_salt: '[redacted]',
        secret_hash: '[redacted]',
        later_column: '[redacted]',
        unset: null,
      },
    ],
    [{ psk_base: '[redacted]' }, { psk_base: '[redacted]' }],
    [{ constructor: '[redacted]', psk_base: '[redacted]' }, null],
  ]);
  expect(logColumns(rows).join()).not.toMatch(/s[1-7]|x533/);
});

test('[P1.52] columns of JSON stand in the log as JSON, with every digit', () => {
  const log = new ChangeLog();
  const policy = { id: '1', conditions: ['{"values": [12345678901234567890.10]}', null] };
  const account = { id: A, config: '{"a": 1e400}' };
  log.add(
    transaction({
      changes: [
        [A, { op: 'insert', seq: 0, table: 'policies', new: policy }],
        [A, { op: 'insert', seq: 1, table: 'accounts', new: account }],
      ],
    }),
  );

  expect(takeRows(log).map(({ data }) => data)).toEqual([
    '{"id":"1","conditions":[{"values": [12345678901234567890.10]},null]}',
    `{"id":"${A}","config":{"a": 1e400}}`,
  ]);
});

test('[P15.31] a batch of the log holds at most 500 rows and 4 MB, and says which commits it completes', () => {
  const log = new ChangeLog();
  const many = Array.from({ length: 1_200 }, (_, seq) => [A, deletion(seq)] as const);
  log.add(transaction({ lsn: 10n, changes: [[A, deletion(0)]] }));
  log.add(transaction({ lsn: 20n, changes: many }));
  log.add(transaction({ lsn: 30n, changes: [[A, { ...deletion(0), old: { name: 'x'.repeat(5_000_000) } }]] }));
  const batches: [number, bigint | null][] = [];
  for (let batch = log.next(); batch !== null; batch = log.next()) {
    if (batch.type === 'rows') batches.push([batch.rows.length, batch.upTo]);
    log.written(batch);
  }

  expect(batches).toEqual([
    [500, 10n],
    [500, null],
    [201, 20n],
    [1, 30n],
  ]);
  expect([log.isWaiting(), log.bytes()]).toEqual([false, 0]);
});

test('[P15.32] a change larger than 16 MB is logged without its data, and says why', () => {
  const log = new ChangeLog();
  log.add(transaction({ changes: [[A, { ...deletion(0), old: { name: 'x'.repeat(17_000_000) } }]] }));

  expect(log.bytes()).toBeLessThan(1_000);
  expect(takeRows(log)).toMatchObject([{ op: 'delete', oldData: null, reason: expect.stringContaining('16777216') }]);
});

test('[P1.43] a truncate is one row for every account, also when none is known', () => {
  const log = new ChangeLog();
  const truncate: Change = { op: 'truncate', seq: 0, table: 'actors' };
  const truncates = [{ seq: 0, table: 'actors' as const }];
  expect(
    log.add(
      transaction({
        changes: [
          [A, truncate],
          [B, truncate],
        ],
        truncates,
      }),
    ),
  ).toBe(true);
  expect(log.add(transaction({ lsn: 20n, changes: [], truncates }))).toBe(true);
  expect(log.add(transaction({ lsn: 30n, changes: [] }))).toBe(false);

  expect(takeRows(log)).toMatchObject([
    { account: null, op: 'truncate', table: 'actors', seq: 0 },
    { account: null, op: 'truncate', table: 'actors', seq: 0 },
  ]);
});

test('[P1.55] rows of parts are put aside until the end of their transaction is known, and precede its rest', () => {
  const log = new ChangeLog();
  const begun = { type: 'part' as const, start: 19n, xid32: 7, committedAtUs: 5, account: A, isBorn: false };
  const part = (index: number, ...changes: readonly Change[]) => ({ ...begun, index, changes });
  log.add(transaction({ lsn: 10n, changes: [[A, deletion(0)]] }));
  log.addPart(part(0, deletion(0), deletion(1), { op: 'truncate', seq: 2, table: 'actors' }));
  expect(write(log)).toMatchObject([
    { type: 'rows', rows: [{ seq: 0 }], upTo: 10n },
    { type: 'aside', rows: [{ seq: 0 }, { seq: 1 }] },
  ]);
  log.addPart(part(1, deletion(3)));
  log.add(transaction({ lsn: 20n, parts: 2, changes: [[A, deletion(4)]] }));
  log.add(transaction({ lsn: 30n, parts: 2, changes: [] }));

  expect(write(log)).toMatchObject([
    { type: 'aside', rows: [{ seq: 3 }] },
    { type: 'take-back', commit: { lsn: 20n }, upTo: null },
    { type: 'rows', rows: [{ seq: 4, lsn: 20n }], upTo: 20n },
    { type: 'take-back', commit: { lsn: 30n }, upTo: 30n },
  ]);
  expect([log.isWaiting(), log.bytes()]).toEqual([false, 0]);
});

function write(log: ChangeLog): readonly LogBatch[] {
  const batches: LogBatch[] = [];
  for (let batch = log.next(); batch !== null; batch = log.next()) {
    batches.push(batch);
    log.written(batch);
  }
  return batches;
}

function transaction(given: {
  readonly lsn?: bigint;
  readonly changes: readonly (readonly [typeof A, Change])[];
  readonly truncates?: Transaction['truncates'];
  readonly parts?: number;
}): Transaction {
  const byAccount = new Map<typeof A, Change[]>();
  for (const [account, change] of given.changes) {
    byAccount.set(account, [...(byAccount.get(account) ?? []), change]);
  }
  const { lsn = 10n, truncates = [], parts = 0 } = given;
  const partsByAccount = new Map(parts === 0 ? [] : [[A, parts]]);
  const begun = { start: lsn - 1n, xid32: 7, committedAtUs: 5 };
  return {
    type: 'transaction',
    ...begun,
    lsn,
    byAccount,
    partsByAccount,
    born: new Set(),
    truncates,
    said: nothingSaid,
  };
}

function deletion(seq: number): Extract<Change, { op: 'delete' }> {
  const old: WireRow = { id: '1' };
  return { op: 'delete', seq, table: 'actors', old };
}

function takeRows(log: ChangeLog): readonly LogRow[] {
  const batch = log.next();
  if (batch !== null) log.written(batch);
  return batch?.type === 'rows' ? batch.rows : [];
}

function parsed(json: string | null): unknown {
  return json === null ? null : JSON.parse(json);
}
