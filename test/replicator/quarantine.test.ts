// What cannot travel is marked, and nothing else.
import * as v from 'valibot';
import { expect, test } from 'vitest';
import { delivery, isUnreadableValue, unreadableValue } from '../../protocol/commit.ts';
import { bounded, readable, rowBytesMax, textBytesMax } from '../../replicator/quarantine.ts';
import { createDecoder } from '../../replicator/decode.ts';
import { decoderOf } from '../../replicator/value.ts';
import * as bytes from './messages.ts';

const policies = bytes.relation(1, 'policies', [
  ['id', 2950],
  ['conditions', 3807],
  ['description', 25],
]);
const mark = [false, 'unreadable', expect.any(String)];

test('[P5.51] a value that is not of its type is marked, and the stream goes on', () => {
  const { decode } = createDecoder();
  decode(policies);

  expect(decode(bytes.insert(1, ['x', '{broken', 'kept']))).toMatchObject({
    new: { id: 'x', conditions: mark, description: 'kept' },
  });
  expect(readable(decoderOf(1007), '{1,2}')).toEqual([1, 2]);
});

test('[P15.48] of a row larger than an object stores the largest values are marked, until it fits', () => {
  const small = { id: 'x', a: 'y'.repeat(1_000) };
  expect(bounded(small, 1_002)).toBe(small);
  const row = { id: 'x', large: 'y'.repeat(900_000), larger: '"'.repeat(600_000), rest: 'z'.repeat(10_000) };
  const marked = bounded(row, 1_510_000);
  expect(marked).toEqual({ ...row, larger: mark });
  expect(Buffer.byteLength(JSON.stringify(marked))).toBeLessThanOrEqual(rowBytesMax + 1_000);
  expect(bounded({ id: 'x', a: '\u0001'.repeat(rowBytesMax / 6) }, rowBytesMax / 6 + 1)).toMatchObject({
    a: mark,
  });
});

test('[P5.52] an unchanged value is filled from the old row as it was, and each row is bounded by itself', () => {
  const { decode } = createDecoder();
  decode(
    bytes.relation(1, 'accounts', [
      ['id', 2950],
      ['config', 3802],
      ['features', 3802],
    ]),
  );
  const config = 'c'.repeat(700_000);
  const message = decode(bytes.update(1, ['x', config, 'f'.repeat(600_000)], ['x', bytes.unchanged, '{}']));

  expect(message).toMatchObject({
    old: { config: mark },
    new: { config, features: '{}' },
  });
});

test('[P5.97] a text too long to be one of the runtime is marked unread, and what comes in no row is empty', () => {
  const { decode } = createDecoder();
  decode(policies);
  const long = 'x'.repeat(textBytesMax + 1);

  expect(decode(bytes.insert(1, ['x', long, 'kept']))).toMatchObject({
    new: { id: 'x', conditions: [false, 'unreadable', expect.stringContaining('larger')], description: 'kept' },
  });
  expect(decode(bytes.message('drawbridge', long))).toMatchObject({ prefix: 'drawbridge', content: '' });
  expect(decode(bytes.message('drawbridge', long.slice(1)))).toMatchObject({ content: long.slice(1) });
});

test('[P5.53] a mark travels by the contract', () => {
  const change = { op: 'insert', seq: 0, table: 'accounts', new: { id: 'x', config: unreadableValue('why') } };
  const given = {
    type: 'commits',
    version: 2,
    account: '00000000-0000-4000-8000-00000000000a',
    term: 1,
    epoch: 1,
    from: null,
    to: '0000000000000001',
    commits: [{ lsn: '0000000000000001', xid: '1', committedAtUs: 0, changes: [change] }],
  };
  expect(v.parse(delivery, given)).toMatchObject({ commits: [{ changes: [change] }] });
  expect(isUnreadableValue(unreadableValue('why'))).toBe(true);
  for (const value of [null, false, 'unreadable', [], [false, null], ['unreadable'], [null, 'unreadable']]) {
    expect(isUnreadableValue(value)).toBe(false);
  }
});
