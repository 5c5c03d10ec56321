// Postgres's text into typed rows.
import { expect, test } from 'vitest';
import fc from 'fast-check';
import * as v from 'valibot';
import { row } from '../support/world.ts';
import { rowSchemas } from '../../protocol/rows.ts';
import { compareLsnText, formatPgLsn, lsnMax, lsnToText, parsePgLsn, textToLsn } from '../../protocol/lsn.ts';
import { keyColumns, tableNames } from '../../protocol/tables.ts';

const expiryOf = (text: string) => v.parse(rowSchemas.tokens, row('tokens', { expires_at: text })).expires_at;

test('a timestamp is read to the millisecond, whatever its year, as Date reads it', () => {
  const anyDate = fc.date({
    min: new Date('0001-01-01T00:00:00Z'),
    max: new Date('9999-12-31T23:59:59Z'),
    noInvalidDate: true,
  });
  fc.assert(
    fc.property(anyDate, (date) => {
      const text = `${date.toISOString().replace('T', ' ').replace('Z', '')}+00`;
      expect(expiryOf(text)).toBe(date.getTime());
    }),
    { seed: 3 },
  );
  expect(expiryOf('2026-11-22 05:20:20+00')).toBe(Date.UTC(2026, 10, 22, 5, 20, 20));
  expect(expiryOf('2026-11-22 05:20:20.123999+00')).toBe(Date.UTC(2026, 10, 22, 5, 20, 20, 123));
  expect([expiryOf('infinity'), expiryOf('-infinity')]).toEqual([Infinity, -Infinity]);
});

test.each(['2026-11-22 05:20:20', '2026-11-22T05:20:20Z', '2026-11-22 05:20:20+01', ''])(
  'a timestamp not printed in UTC is an error of its row: %s',
  (text) => {
    expect(v.safeParse(rowSchemas.tokens, row('tokens', { expires_at: text })).success).toBe(false);
  },
);

test('every table has a schema that reads the key columns', () => {
  expect(Object.keys(rowSchemas).sort()).toEqual([...tableNames].sort());
  for (const table of tableNames) {
    for (const column of keyColumns[table]) expect(Object.keys(rowSchemas[table].entries)).toContain(column);
  }
});

test('[P2.26] LSNs keep their value through every notation, and their order as text', () => {
  const anyLsn = fc.bigInt({ min: 0n, max: lsnMax });
  fc.assert(
    fc.property(anyLsn, anyLsn, (a, b) => {
      expect(textToLsn(lsnToText(a))).toBe(a);
      expect(parsePgLsn(formatPgLsn(a))).toBe(a);
      expect(Math.sign(compareLsnText(lsnToText(a), lsnToText(b)))).toBe(a < b ? -1 : a > b ? 1 : 0);
    }),
    { seed: 5 },
  );
  expect(() => parsePgLsn('16')).toThrow(SyntaxError);
  expect(() => lsnToText(-1n)).toThrow(RangeError);
});
