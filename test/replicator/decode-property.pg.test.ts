// Values of every type that a column may have, random ones among them, through a real stream: what is decoded says what
// Postgres itself says as JSON, to the last digit.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { WireRow, WireValue } from '../../protocol/commit.ts';
import { clientConfig } from '../../replicator/connection.ts';
import { createDecoder } from '../../replicator/decode.ts';
import { openWal } from '../../replicator/wal.ts';
import { startTestServer, type TestServer } from '../support/replicator.ts';

const text = fc.string({ unit: 'grapheme', maxLength: 30 }).filter((value) => !value.includes('\0'));
const hard = fc.constantFrom(
  '',
  'NULL',
  'null',
  '{}',
  '"',
  '\\',
  ',',
  "o'brien",
  '{a,"b"}',
  ' x ',
  '\n\t\r\b\f\u0001',
  '😀€',
);
const anyText = fc.oneof(text, hard);
const int8 = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.constantFrom(0n, 2n ** 53n + 1n, -(2n ** 63n)),
);
const numeric = fc.oneof(
  fc.tuple(int8, fc.stringMatching(/^\d{1,25}$/)).map(([whole, digits]) => `${whole}.${digits}`),
  fc.constantFrom('0', '1.50', '0.000000000000000000001', '123456789012345678901234567890', 'NaN'),
);
const json = fc.oneof(
  fc.json({ stringUnit: 'grapheme', maxDepth: 3 }).filter((value) => !value.includes('\\u0000')),
  fc.constantFrom(
    '{"n": 12345678901234567890.0123456789}',
    '[1.50, 1e400, null]',
    'null',
    '"\\"\\\\\\u00e9"',
    '{"a": {"b": [{}]}}',
  ),
);
const timestamptz = fc.oneof(
  fc
    .tuple(fc.integer({ min: -50_000_000_000, max: 200_000_000_000 }), fc.integer({ min: 0, max: 999_999 }))
    .map(([seconds, micros]) => `epoch ${seconds} ${micros}`),
  fc.constantFrom('infinity', '-infinity'),
);
const list = <T>(item: fc.Arbitrary<T>) => fc.array(fc.option(item, { freq: 4 }), { maxLength: 5 });

type Kind = 'text' | 'number' | 'time' | 'json' | 'boolean';
type Type = {
  readonly column: string;
  readonly sql: string;
  readonly kind: Kind;
  readonly isList?: boolean;
  readonly values: fc.Arbitrary<unknown>;
};
const types: readonly Type[] = [
  { column: 'a_bool', sql: 'bool', kind: 'boolean', values: fc.boolean() },
  { column: 'an_int2', sql: 'int2', kind: 'number', values: fc.integer({ min: -32_768, max: 32_767 }) },
  { column: 'an_int4', sql: 'int4', kind: 'number', values: fc.integer() },
  { column: 'an_int8', sql: 'int8', kind: 'number', values: int8 },
  { column: 'a_numeric', sql: 'numeric', kind: 'number', values: numeric },
  { column: 'a_text', sql: 'text', kind: 'text', values: anyText },
  { column: 'a_citext', sql: 'citext', kind: 'text', values: anyText },
  { column: 'an_enum', sql: 'mood', kind: 'text', values: fc.constantFrom('a b', 'c,d', '"e"') },
  { column: 'a_uuid', sql: 'uuid', kind: 'text', values: fc.uuid() },
  { column: 'an_inet', sql: 'inet', kind: 'text', values: fc.oneof(fc.ipV4(), fc.ipV6(), fc.constant('10.1.2.3/8')) },
  {
    column: 'a_bytea',
    sql: 'bytea',
    kind: 'text',
    values: fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
  },
  { column: 'a_time', sql: 'timestamptz', kind: 'time', values: timestamptz },
  { column: 'a_jsonb', sql: 'jsonb', kind: 'json', values: json },
  { column: 'texts', sql: 'text[]', kind: 'text', isList: true, values: list(anyText) },
  { column: 'int8s', sql: 'int8[]', kind: 'number', isList: true, values: list(int8) },
  { column: 'bools', sql: 'bool[]', kind: 'boolean', isList: true, values: list(fc.boolean()) },
  { column: 'inets', sql: 'inet[]', kind: 'text', isList: true, values: list(fc.ipV4()) },
  { column: 'times', sql: 'timestamptz[]', kind: 'time', isList: true, values: list(timestamptz) },
  { column: 'jsonbs', sql: 'jsonb[]', kind: 'json', isList: true, values: list(json) },
];

describe.each([18, 15] as const)('values on Postgres %i', (version) => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startTestServer({ version });
  });
  afterAll(() => server.stop());

  test('[P2.41] [LAB-H] every value reads as Postgres itself prints it as JSON, in inserts, updates and deletes', async () => {
    const database = await server.createDatabase();
    const columns = types.map(({ column, sql }) => `${column} ${sql}`).join(', ');
    await database.query(`create extension citext`);
    await database.query(`create type mood as enum ('a b', 'c,d', '"e"')`);
    await database.query(`create table probes (id int primary key, ${columns})`);
    await database.query('alter table probes replica identity full');
    await database.query('create publication probes for table probes');
    await database.query(`select pg_create_logical_replication_slot($1, 'pgoutput')`, [database.name]);
    const rows = fc.sample(fc.tuple(...types.map(({ values }) => fc.option(values, { freq: 8 }))), {
      numRuns: 120,
      seed: 42,
    });
    for (const [id, row] of rows.entries()) {
      const cast = types
        .map(({ sql }, n) => `$${n + 2}${sql === 'bytea' ? '' : sql.endsWith('[]') ? '::text[]' : '::text'}::${sql}`)
        .join(', ');
      await database.query(`insert into probes values ($1, ${cast})`, [id, ...row.map(parameterOf)]);
    }
    const expected = await database.query(
      `select id, ${types.map(({ column }) => `to_jsonb(${column})::text as ${column}`).join(', ')} from probes order by id`,
    );
    await database.query('update probes set an_int4 = an_int4');
    await database.query('delete from probes');

    const seen = await readAll(database, 3 * rows.length);

    for (const [n, row] of expected.rows.entries()) {
      for (const at of [seen.inserted[n], seen.before[n], seen.after[n], seen.deleted[n]]) {
        const given = Object.fromEntries(types.map((type) => [type.column, jsonOf(type, at?.[type.column])]));
        expect({ id: at?.['id'], ...given }).toEqual(row);
      }
    }
  }, 90_000);

  async function readAll(database: Awaited<ReturnType<TestServer['createDatabase']>>, count: number) {
    const decoder = createDecoder();
    const seen: Record<'inserted' | 'before' | 'after' | 'deleted', WireRow[]> = {
      inserted: [],
      before: [],
      after: [],
      deleted: [],
    };
    const done = Promise.withResolvers<void>();
    let left = count;
    const wal = await openWal({
      connection: clientConfig(database.replicatorUrl),
      slot: database.name,
      publications: ['probes'],
      confirmed: 0n,
      walSenderTimeoutMs: 60_000,
      onMessage(bytes) {
        const message = decoder.decode(bytes);
        if (message.type === 'insert') seen.inserted.push(message.new);
        else if (message.type === 'delete') seen.deleted.push(message.old ?? {});
        else if (message.type === 'update') {
          seen.before.push(message.old ?? {});
          seen.after.push(message.new);
        } else return;
        left -= 1;
        if (left === 0) done.resolve();
      },
      onKeepalive() {},
      onError: done.reject,
    });
    await done.promise;
    await wal.close();
    for (const rows of Object.values(seen)) rows.sort((a, b) => Number(a['id']) - Number(b['id']));
    return seen;
  }
});

/** Everything but bytes goes as text, or as an array of texts. */
function parameterOf(value: unknown): unknown {
  if (typeof value === 'bigint' || typeof value === 'number' || typeof value === 'boolean') return value.toString();
  if (value === null || Buffer.isBuffer(value)) return value;
  if (Array.isArray(value)) return value.map(parameterOf);
  if (typeof value !== 'string' || !/^epoch -?\d+ \d+$/.test(value)) return value;
  const words = value.split(' ');
  const at = new Date(Number(words[1]) * 1000).toISOString().slice(0, 19);
  return `${at}.${String(words[2]).padStart(6, '0')}+00`;
}

/** The value as Postgres prints it as JSON; null where it has none. */
function jsonOf({ kind, isList }: Type, value: WireValue | undefined): string | null {
  if (value === null) return null;
  if (isList === true && Array.isArray(value))
    return `[${value.map((item) => (item === null ? 'null' : one(kind, item))).join(', ')}]`;
  return one(kind, value ?? 'missing');
}

function one(kind: Kind, value: WireValue): string {
  if (kind === 'json' && typeof value === 'string') return value;
  if (kind === 'number' && /^-?\d+(?:\.\d+)?$/.test(String(value))) return String(value);
  if (kind === 'time' && typeof value === 'string' && !value.endsWith('infinity')) {
    return JSON.stringify(value.replace(' ', 'T').replace('+00', '+00:00'));
  }
  return JSON.stringify(value);
}
