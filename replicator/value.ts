// Postgres's text of a column to the value that travels, by type OID. The stream and the snapshot both decode here, so a
// row reads the same by either way.
//
// Numbers only where a double holds every value exactly (int2, int4, oid). All other scalars stay Postgres's own text,
// json included. Arrays of the element types listed here become nested lists; an array of any other type stays text.
import type { WireValue } from '../protocol/commit.ts';

type Decode = (text: string) => WireValue;

const asText: Decode = (text) => text;
const asNumber: Decode = (text) => Number(text);
const asBoolean: Decode = (text) => text === 't';

// Built-in OIDs never change: https://github.com/postgres/postgres/blob/REL_18_STABLE/src/include/catalog/pg_type.dat
const scalarByOid: ReadonlyMap<number, Decode> = new Map([
  [16, asBoolean], // bool
  [21, asNumber], // int2
  [23, asNumber], // int4
  [26, asNumber], // oid
]);

const elementOidByArrayOid: ReadonlyMap<number, number> = new Map([
  [1000, 16], // bool[]
  [1001, 17], // bytea[]
  [1002, 18], // "char"[]
  [1003, 19], // name[]
  [1005, 21], // int2[]
  [1007, 23], // int4[]
  [1009, 25], // text[]
  [1014, 1042], // bpchar[]
  [1015, 1043], // varchar[]
  [1016, 20], // int8[]
  [1021, 700], // float4[]
  [1022, 701], // float8[]
  [1028, 26], // oid[]
  [1040, 829], // macaddr[]
  [1041, 869], // inet[]
  [651, 650], // cidr[]
  [1115, 1114], // timestamp[]
  [1182, 1082], // date[]
  [1183, 1083], // time[]
  [1185, 1184], // timestamptz[]
  [1187, 1186], // interval[]
  [1231, 1700], // numeric[]
  [1270, 1266], // timetz[]
  [199, 114], // json[]
  [2951, 2950], // uuid[]
  [3807, 3802], // jsonb[]
]);

/** The decoder for a column of this type. The decoder throws SyntaxError for a malformed array. */
export function decoderOf(typeOid: number): Decode {
  const elementOid = elementOidByArrayOid.get(typeOid);
  if (elementOid === undefined) return scalarByOid.get(typeOid) ?? asText;
  const element = scalarByOid.get(elementOid) ?? asText;
  return (text) => parseArray(text, element);
}

/** Reads array text (https://www.postgresql.org/docs/18/arrays.html#ARRAYS-IO); subscript bounds (`[0:1]=`) are dropped. */
export function parseArray(text: string, element: Decode): readonly WireValue[] {
  const start = text.startsWith('[') ? text.indexOf('=') + 1 : 0;
  const cursor = { text, at: start };
  const list = readList(cursor, element);
  if (cursor.at !== text.length) throw malformed(text);
  return list;
}

type Cursor = { readonly text: string; at: number };

function readList(cursor: Cursor, element: Decode): WireValue[] {
  const { text } = cursor;
  if (text[cursor.at] !== '{') throw malformed(text);
  cursor.at += 1;
  const list: WireValue[] = [];
  if (text[cursor.at] === '}') {
    cursor.at += 1;
    return list;
  }
  for (;;) {
    list.push(readItem(cursor, element));
    const separator = text[cursor.at];
    cursor.at += 1;
    if (separator === '}') return list;
    if (separator !== ',') throw malformed(text);
  }
}

function readItem(cursor: Cursor, element: Decode): WireValue {
  const first = cursor.text[cursor.at];
  if (first === '{') return readList(cursor, element);
  if (first === '"') return element(readQuoted(cursor));
  const start = cursor.at;
  while (cursor.at < cursor.text.length && cursor.text[cursor.at] !== ',' && cursor.text[cursor.at] !== '}')
    cursor.at += 1;
  const word = cursor.text.slice(start, cursor.at);
  if (word === '') throw malformed(cursor.text);
  return word === 'NULL' ? null : element(word);
}

function readQuoted(cursor: Cursor): string {
  const { text } = cursor;
  let value = '';
  cursor.at += 1;
  while (cursor.at < text.length) {
    const char = text[cursor.at];
    cursor.at += 1;
    if (char === '"') return value;
    if (char === '\\') {
      value += text[cursor.at] ?? '';
      cursor.at += 1;
    } else {
      value += char;
    }
  }
  throw malformed(text);
}

function malformed(text: string): SyntaxError {
  return new SyntaxError(`expected the text of a Postgres array, got ${text.length} characters that are none`);
}
