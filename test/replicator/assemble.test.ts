import * as v from 'valibot';
import { expect, test } from 'vitest';
import { accountId, sharedAccountId, type AccountId } from '../../protocol/ids.ts';
import {
  createAssembler,
  openBytesMax,
  partBytesMax,
  type Transaction,
  type TransactionPart,
} from '../../replicator/assemble.ts';
import { createDecoder } from '../../replicator/decode.ts';
import { StreamStopError } from '../../replicator/stop.ts';
import * as bytes from './messages.ts';

const accountA = '00000000-0000-4000-8000-00000000000a';
const accountB = '00000000-0000-4000-8000-00000000000b';
const idColumns = [['id', 2950]] as const;
const columns = [
  ['id', 2950],
  ['account_id', 2950],
  ['name', 25],
] as const;
const ACCOUNTS = 1;
const ACTORS = 2;

test('[P3.6] a transaction is handed over at its commit, divided by account, and never before', () => {
  const push = pushAll();

  expect(push(bytes.begin(7), bytes.insert(ACTORS, ['1', accountA, 'x']))).toEqual([]);
  const [transaction] = push(bytes.insert(ACTORS, ['2', accountB, 'y']), bytes.commit(100n, 5n));

  expect(transaction).toMatchObject({ lsn: 100n, xid32: 7, committedAtUs: 5 });
  expect([...(transaction?.byAccount.keys() ?? [])]).toEqual([accountA, accountB]);
});

test('[P2.14] seq counts every change of the transaction before it is divided, and is the same on every replay', () => {
  const messages = [
    bytes.begin(7),
    bytes.insert(ACTORS, ['1', accountA, 'x']),
    bytes.insert(ACTORS, ['2', accountB, 'y']),
    bytes.update(ACTORS, ['1', accountA, 'x'], ['1', accountA, 'z']),
    bytes.remove(ACTORS, ['2', accountB, 'y']),
    bytes.commit(100n),
  ];
  const [transaction] = pushAll()(...messages);

  expect(opsOf(transaction, accountA)).toEqual([
    ['insert', 0],
    ['update', 2],
  ]);
  expect(opsOf(transaction, accountB)).toEqual([
    ['insert', 1],
    ['delete', 3],
  ]);
  expect(pushAll()(...messages)).toEqual([transaction]);
});

test('[P2.15] a row that moves to another account is a delete there and an insert here, with two seqs', () => {
  const [transaction] = pushAll()(
    bytes.begin(7),
    bytes.update(ACTORS, ['1', accountA, 'x'], ['1', accountB, 'x']),
    bytes.commit(100n),
  );

  expect(opsOf(transaction, accountA)).toEqual([['delete', 0]]);
  expect(opsOf(transaction, accountB)).toEqual([['insert', 1]]);
});

test('[P2.16] truncate has one seq a table and reaches the accounts known and those of its own transaction', () => {
  const [transaction] = pushAll([accountB])(
    bytes.begin(7),
    bytes.insert(ACTORS, ['1', accountA, 'x']),
    bytes.truncate(ACTORS),
    bytes.insert(ACTORS, ['2', accountA, 'y']),
    bytes.commit(100n),
  );

  expect(opsOf(transaction, accountA)).toEqual([
    ['insert', 0],
    ['truncate', 1],
    ['insert', 2],
  ]);
  expect(opsOf(transaction, accountB)).toEqual([['truncate', 1]]);
});

test('[P2.17] an account is born where its own row is inserted', () => {
  const [born, later] = pushAll()(
    bytes.begin(7),
    bytes.insert(ACCOUNTS, [accountA]),
    bytes.insert(ACTORS, ['1', accountB, 'x']),
    bytes.commit(100n),
    bytes.begin(8),
    bytes.update(ACCOUNTS, [accountA], [accountA]),
    bytes.commit(200n),
  );

  expect([...(born?.born ?? [])]).toEqual([accountA]);
  expect(later?.born.size).toBe(0);
});

test('[P5.6] a change without its old row stops the reader with the fix', () => {
  for (const change of [
    bytes.remove(ACTORS, ['1', null, null], 'K'),
    bytes.update(ACTORS, null, ['1', accountA, 'x']),
  ]) {
    expect(() => pushAll()(bytes.begin(7), change)).toThrow('run `alter table public.actors replica identity full`');
  }
});

test('[P5.7] a row that names no account stops the reader', () => {
  for (const account of [null, 'not-a-uuid', accountA.toUpperCase()]) {
    expect(() => pushAll()(bytes.begin(7), bytes.insert(ACTORS, ['1', account, 'x']))).toThrow(StreamStopError);
  }
});

test('[P2.39] a token of no account is a change of the shared one, and a row of another table that names none stops the reader', () => {
  const TOKENS = 3;
  const described = bytes.relation(TOKENS, 'tokens', columns);
  const [transaction] = pushAll()(
    described,
    bytes.begin(7),
    bytes.insert(TOKENS, ['1', null, 'x']),
    bytes.update(TOKENS, ['1', null, 'x'], ['1', accountA, 'x']),
    bytes.commit(100n),
  );

  expect(opsOf(transaction, sharedAccountId)).toEqual([
    ['insert', 0],
    ['delete', 1],
  ]);
  expect(opsOf(transaction, accountA)).toEqual([['insert', 2]]);
  expect(() => pushAll()(bytes.begin(7), bytes.insert(ACTORS, ['1', null, 'x']))).toThrow(StreamStopError);
});

test('[P5.8] a published table of another name, or without the columns that say whose a row is, stops the reader', () => {
  const columnsWithoutAccount = [['id', 2950]] as const;

  expect(() => pushAll()(bytes.relation(9, 'notes', columns))).toThrow(
    'alter publication drawbridge drop table public.notes',
  );
  expect(() => pushAll()(bytes.relation(9, 'actors', columns, 'other'))).toThrow(StreamStopError);
  expect(() => pushAll()(bytes.relation(9, 'actors', columnsWithoutAccount))).toThrow('no column account_id');
});

test('[P5.9] a message outside of a transaction is ignored, one inside comes with its commit', () => {
  const [transaction] = pushAll()(
    bytes.message('drawbridge', said('outside'), false),
    bytes.begin(7),
    bytes.message('drawbridge', said('inside')),
    bytes.commit(100n),
  );

  expect(transaction?.said.subject).toBe('{"role":"inside","application":null,"address":null}');
  expect(transaction?.byAccount.size).toBe(0);
});

test('[P3.12] a transaction too large for one account is handed over in parts as it arrives, with the same seqs', () => {
  const messages = [
    bytes.begin(7),
    ...Array.from({ length: 50 }, (_, n) => bytes.insert(ACTORS, [`${n}`, accountA, 'x'.repeat(100_000)])),
    bytes.insert(ACTORS, ['small', accountB, 'y']),
    bytes.commit(100n),
  ];
  const all = assembled()(...messages);
  const parts = all.filter((one) => one.type === 'part');
  const [transaction] = all.filter((one) => one.type === 'transaction');

  expect(parts.map(({ account, index }) => [account, index])).toEqual([
    [accountA, 0],
    [accountA, 1],
    [accountA, 2],
    [accountA, 3],
  ]);
  expect(parts.every(({ start, xid32 }) => start === 1n && xid32 === 7)).toBe(true);
  expect(transaction?.partsByAccount).toEqual(new Map([[accountA, 4]]));
  const changes = [
    ...parts.flatMap((part) => part.changes),
    ...(transaction?.byAccount.get(asAccountId(accountA)) ?? []),
  ];
  expect(changes.map(({ seq }) => seq)).toEqual(Array.from({ length: 50 }, (_, n) => n));
  expect(opsOf(transaction, accountB)).toEqual([['insert', 50]]);
});

test('[P15.45] what is held of an open transaction is bounded, per account and over all accounts', () => {
  const decoder = createDecoder();
  const assembler = createAssembler(() => []);
  const held = new Map<string, number>();
  const push = (message: Buffer): void => {
    for (const one of assembler.push(decoder.decode(message), message.length)) {
      if (one.type === 'part') held.set(one.account, 0);
    }
  };
  push(bytes.relation(ACTORS, 'actors', columns));
  push(bytes.begin(7));
  expect(assembler.xid32InParts()).toBe(null);
  for (let n = 0; n < 600; n += 1) {
    const account = `00000000-0000-4000-8000-${String(n % 37).padStart(12, '0')}`;
    const message = bytes.insert(ACTORS, [`${n}`, account, 'x'.repeat(40_000)]);
    held.set(account, (held.get(account) ?? 0) + message.length);
    push(message);
    expect(Math.max(...held.values())).toBeLessThanOrEqual(partBytesMax);
    expect([...held.values()].reduce((sum, bytesHeld) => sum + bytesHeld, 0)).toBeLessThanOrEqual(openBytesMax);
  }
  expect(assembler.xid32InParts()).toBe(7);
});

test('[P2.38] an account that is born in a transaction of parts is born in its first part', () => {
  const name = 'x'.repeat(partBytesMax);
  const all = assembled()(
    bytes.begin(7),
    bytes.insert(ACCOUNTS, [accountA]),
    bytes.insert(ACTORS, ['1', accountA, name]),
    bytes.insert(ACTORS, ['2', accountB, name]),
    bytes.commit(100n),
  );

  const parts = all.filter((one) => one.type === 'part');
  expect(parts.map(({ account, isBorn }) => [account, isBorn])).toEqual([
    [accountA, true],
    [accountB, false],
  ]);
});

function said(role: string): string {
  return JSON.stringify({ type: 'subject', subject: { role } });
}

function pushAll(known: readonly string[] = []) {
  const push = assembled(known);
  return (...given: readonly Buffer[]): readonly Transaction[] =>
    push(...given).filter((one) => one.type === 'transaction');
}

function assembled(known: readonly string[] = []) {
  const decoder = createDecoder();
  const assembler = createAssembler(() => known.map(asAccountId));
  const push = (...given: readonly Buffer[]): readonly (Transaction | TransactionPart)[] =>
    given.flatMap((message) => assembler.push(decoder.decode(message), message.length));
  push(bytes.relation(ACCOUNTS, 'accounts', idColumns), bytes.relation(ACTORS, 'actors', columns));
  return push;
}

function opsOf(transaction: Transaction | undefined, account: string) {
  return transaction?.byAccount.get(asAccountId(account))?.map((change) => [change.op, change.seq]);
}

function asAccountId(text: string): AccountId {
  return v.parse(accountId, text);
}
