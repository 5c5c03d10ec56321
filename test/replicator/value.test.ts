import { expect, test } from 'vitest';
import { decoderOf, parseArray } from '../../replicator/value.ts';

test.each([
  ['bool', 16, 't', true],
  ['bool', 16, 'f', false],
  ['int2', 21, '-32768', -32768],
  ['int4', 23, '2147483647', 2147483647],
  ['oid', 26, '4294967295', 4294967295],
  ['int8', 20, '9223372036854775807', '9223372036854775807'],
  ['numeric', 1700, 'NaN', 'NaN'],
  ['timestamptz', 1184, '2026-01-02 03:04:05.678901+00', '2026-01-02 03:04:05.678901+00'],
  ['jsonb', 3802, '{"a": 12345678901234567890}', '{"a": 12345678901234567890}'],
  ['bytea', 17, '\\x00ff', '\\x00ff'],
  ['an unknown type', 123_456, '{not,an,array}', '{not,an,array}'],
])('[P2.8] %s is decoded without losing anything', (_, oid, text, value) => {
  expect(decoderOf(oid)(text)).toEqual(value);
});

test.each([
  ['text[]', 1009, '{}', []],
  ['text[]', 1009, '{a,"b,c","d\\"e\\\\f",NULL,"NULL","","{x}"}', ['a', 'b,c', 'd"e\\f', null, 'NULL', '', '{x}']],
  [
    'int4[]',
    1007,
    '{{1,2},{NULL,4}}',
    [
      [1, 2],
      [null, 4],
    ],
  ],
  ['int4[]', 1007, '[0:1]={7,8}', [7, 8]],
  ['bool[]', 1000, '{t,f,NULL}', [true, false, null]],
  ['jsonb[]', 3807, '{"{\\"a\\": [1, \\"x\\"]}"}', ['{"a": [1, "x"]}']],
])('[P2.9] %s %s %s becomes a nested list', (_, oid, text, value) => {
  expect(decoderOf(oid)(text)).toEqual(value);
});

test.each(['', '{', '{a', '{a,}', '{"a}', '{a}b', 'a', '{{a}'])('[P5.2] %j is no array and is refused', (text) => {
  expect(() => parseArray(text, (item) => item)).toThrow(SyntaxError);
});
