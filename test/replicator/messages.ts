// Hand-built messages of pgoutput, protocol version 1, byte by byte as the Postgres documentation lays them out.

export type TestColumn = readonly [name: string, typeOid: number];
/** A value that the server left out, since it did not change and is stored out of line. */
export const unchanged = Symbol('unchanged');

export type TestValue = string | null | typeof unchanged;

export const begin = (xid: number, committedAtUs = 0n): Buffer =>
  Buffer.concat([Buffer.from('B'), uint64(1n), int64(committedAtUs - postgresEpochUs), uint32(xid)]);

export const commit = (endLsn: bigint, committedAtUs = 0n): Buffer =>
  Buffer.concat([Buffer.from('C\0'), uint64(endLsn - 1n), uint64(endLsn), int64(committedAtUs - postgresEpochUs)]);

export const relation = (id: number, name: string, columns: readonly TestColumn[], schema = 'public'): Buffer =>
  Buffer.concat([
    Buffer.from('R'),
    uint32(id),
    cString(schema),
    cString(name),
    Buffer.from('f'),
    uint16(columns.length),
    ...columns.map(([column, oid]) => Buffer.concat([Buffer.of(1), cString(column), uint32(oid), uint32(0xffff_ffff)])),
  ]);

export const insert = (id: number, row: readonly TestValue[]): Buffer =>
  Buffer.concat([Buffer.from('I'), uint32(id), Buffer.from('N'), tuple(row)]);

export const update = (id: number, old: readonly TestValue[] | null, row: readonly TestValue[], kind = 'O'): Buffer =>
  Buffer.concat([
    Buffer.from('U'),
    uint32(id),
    ...(old === null ? [] : [Buffer.from(kind), tuple(old)]),
    Buffer.from('N'),
    tuple(row),
  ]);

export const remove = (id: number, old: readonly TestValue[], kind = 'O'): Buffer =>
  Buffer.concat([Buffer.from('D'), uint32(id), Buffer.from(kind), tuple(old)]);

export const truncate = (...ids: number[]): Buffer =>
  Buffer.concat([Buffer.from('T'), uint32(ids.length), Buffer.of(0), ...ids.map(uint32)]);

export const message = (prefix: string, content: string, transactional = true): Buffer =>
  Buffer.concat([
    Buffer.from('M'),
    Buffer.of(transactional ? 1 : 0),
    uint64(5n),
    cString(prefix),
    uint32(Buffer.byteLength(content)),
    Buffer.from(content),
  ]);

const postgresEpochUs = 946_684_800_000_000n;

function tuple(values: readonly TestValue[]): Buffer {
  return Buffer.concat([uint16(values.length), ...values.map(value)]);
}

function value(given: TestValue): Buffer {
  if (given === null) return Buffer.from('n');
  if (given === unchanged) return Buffer.from('u');
  const text = Buffer.from(given);
  return Buffer.concat([Buffer.from('t'), uint32(text.length), text]);
}

function cString(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}

function uint16(number: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(number);
  return bytes;
}

function uint32(number: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(number);
  return bytes;
}

function uint64(number: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(number);
  return bytes;
}

function int64(number: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(number);
  return bytes;
}
