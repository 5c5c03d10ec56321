import { expect, test } from 'vitest';
import { createDecoder } from '../../replicator/decode.ts';
import { StreamStopError } from '../../replicator/stop.ts';
import * as bytes from './messages.ts';

const columns = [
  ['id', 2950],
  ['age', 23],
  ['note', 25],
] as const;

test('[P2.10] ids of transactions and relations are unsigned, and times are microseconds since 1970', () => {
  const { decode } = createDecoder();

  expect(decode(bytes.begin(0xffff_fffe, 1_767_225_600_123_456n))).toEqual({
    type: 'begin',
    start: 1n,
    xid32: 0xffff_fffe,
    committedAtUs: 1_767_225_600_123_456,
  });
  expect(decode(bytes.commit(0xffff_ffff_0000_0001n))).toMatchObject({
    type: 'commit',
    endLsn: 0xffff_ffff_0000_0001n,
  });
  decode(bytes.relation(0xffff_fff0, 'actors', columns));
  expect(decode(bytes.insert(0xffff_fff0, ['a', '1', null]))).toMatchObject({ new: { id: 'a', age: 1, note: null } });
});

test('[P3.5] a value that the server left out as unchanged is filled from the old row', () => {
  const { decode } = createDecoder();
  decode(bytes.relation(1, 'actors', columns));

  expect(decode(bytes.update(1, ['a', '1', 'long'], ['a', '2', bytes.unchanged]))).toMatchObject({
    old: { note: 'long' },
    new: { id: 'a', age: 2, note: 'long' },
  });
});

test('[P5.3] a left-out value without an old row to take it from stops the reader with the fix', () => {
  const { decode } = createDecoder();
  decode(bytes.relation(1, 'actors', columns));

  expect(() => decode(bytes.update(1, null, ['a', '2', bytes.unchanged]))).toThrow(
    'alter table public.actors replica identity full',
  );
});

test('[P5.4] a row that holds its key only has no old row', () => {
  const { decode } = createDecoder();
  decode(bytes.relation(1, 'actors', columns));

  expect(decode(bytes.remove(1, ['a', null, null], 'K'))).toMatchObject({ type: 'delete', old: null });
  expect(decode(bytes.update(1, ['a', null, null], ['b', '1', 'x'], 'K'))).toMatchObject({ type: 'update', old: null });
});

test('[P5.5] a message of unknown kind, a relation never described and a row of another width stop the reader', () => {
  const { decode } = createDecoder();
  decode(bytes.relation(1, 'actors', columns));

  expect(() => decode(Buffer.from('S123'))).toThrow(StreamStopError);
  expect(() => decode(bytes.insert(2, ['a', '1', 'x']))).toThrow(StreamStopError);
  expect(() => decode(bytes.insert(1, ['a', '1']))).toThrow(StreamStopError);
});

test('[P2.11] a relation that is described again is read by its latest description', () => {
  const { decode } = createDecoder();
  decode(bytes.relation(1, 'actors', columns));
  decode(bytes.relation(1, 'actors', [...columns, ['extra', 16]]));

  expect(decode(bytes.insert(1, ['a', '1', 'x', 't']))).toMatchObject({ new: { extra: true } });
});

test('[P2.12][LAB-D] nothing decoded is a view of the buffer that it came from', () => {
  const { decode } = createDecoder();
  const given = bytes.message('drawbridge', '{"type":"marker"}');

  const decoded = decode(given);
  given.fill(0);

  expect(decoded).toEqual({ type: 'message', transactional: true, prefix: 'drawbridge', content: '{"type":"marker"}' });
});

test('[P2.13] truncate names its relations in the order given', () => {
  const { decode } = createDecoder();
  decode(bytes.relation(1, 'actors', columns));
  decode(bytes.relation(2, 'clients', columns));

  expect(decode(bytes.truncate(2, 1))).toMatchObject({ relations: [{ name: 'clients' }, { name: 'actors' }] });
});
