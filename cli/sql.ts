// `drawbridge sql`: one statement as the database's owner, for machines without psql.
import { DatabaseError, type Client, type CustomTypesConfig, type FieldDef } from 'pg';
import { atMost, readArguments, required } from './arguments.ts';
import { program, type Command, type Outcome } from './command.ts';
import { withDatabase } from './database.ts';
import { renderTable, type Column } from './table.ts';

const options = {} as const;

export const sql: Command = {
  name: 'sql',
  usage: '"STATEMENT"',
  summary: "runs one SQL statement as the database's owner and prints what it answers",
  details: `The statement is one argument, in quotes. It may write: an edit takes effect at the edge within milliseconds. With
--json, integers, booleans and JSON are JSON; whatever else a JSON number cannot hold exactly is Postgres's text.`,
  options,
  examples: [
    `sql "select slug, name, disabled_at from accounts"`,
    `sql "update policies set disabled_at = now() where description = 'Contractors reach the wiki'"`,
    `sql "select * from drawbridge.lanes" --json`,
  ],
  run: async (args, settings) => {
    const { positionals } = readArguments(`${program} sql`, args, options);
    const statement = required(positionals[0], 'The statement is missing: give it in quotes, like `sql "select 1"`.');
    atMost(positionals, 1, 'the statement is one argument, so put it in quotes');
    return await withDatabase(settings.databaseUrl(), async (db) => await execute(db, statement), {
      statementMsMax: Infinity,
    });
  },
};

async function execute(db: Client, text: string): Promise<Outcome> {
  // The extended protocol takes one statement, so one pasted behind another is refused.
  const statement = { text, rowMode: 'array' as const, queryMode: 'extended', types: textOnly };
  try {
    const { command, fields, rows, rowCount } = await db.query<(string | null)[]>(statement);
    return {
      json: { command, rowCount, rows: rows.map((row) => jsonRow(fields, row)) },
      text: fields.length === 0 ? `${command ?? 'Done'} ${rowCount ?? ''}`.trimEnd() : renderResult(fields, rows),
    };
  } catch (cause) {
    throw cause instanceof DatabaseError ? new Error(refusal(cause), { cause }) : cause;
  }
}

/** Violations of not-null and check constraints, whose detail repeats the whole row, secrets included. */
const detailsARow = new Set(['23502', '23514']);

function refusal({ message, position, detail, hint, code = '' }: DatabaseError): string {
  const place = position === undefined ? '' : ` at character ${position}`;
  const more = [detailsARow.has(code) ? undefined : detail, hint === undefined ? undefined : `hint: ${hint}`].filter(
    (text) => text !== undefined,
  );
  const ending = more.map((text) => `; ${text.replace(/\.$/, '')}`).join('');
  return `Postgres refuses the statement${place}: ${message}${ending}.`;
}

function renderResult(fields: readonly FieldDef[], rows: readonly (readonly (string | null)[])[]): string {
  const columns = fields.map(({ name, dataTypeID }): Column => ({
    name,
    align: numbers.includes(dataTypeID) ? 'right' : 'left',
  }));
  const table = renderTable(
    columns,
    rows.map((row) => row.map((value) => value ?? 'null')),
  );
  return `${table}\n(${rows.length} ${rows.length === 1 ? 'row' : 'rows'})`;
}

function jsonRow(fields: readonly FieldDef[], row: readonly (string | null)[]): Record<string, unknown> {
  return Object.fromEntries(
    fields.map(({ name, dataTypeID }, i) => {
      const text = row[i] ?? null;
      return [name, text === null ? null : jsonValue(dataTypeID, text)];
    }),
  );
}

/** Type ids of the catalog pg_type, which never change. */
const oids = {
  bool: 16,
  int8: 20,
  int2: 21,
  int4: 23,
  oid: 26,
  json: 114,
  float4: 700,
  float8: 701,
  numeric: 1700,
  jsonb: 3802,
};
const integers: readonly number[] = [oids.int2, oids.int4, oids.int8, oids.oid];
const numbers: readonly number[] = [...integers, oids.float4, oids.float8, oids.numeric];

function jsonValue(oid: number, text: string): unknown {
  if (oid === oids.bool) return text === 't';
  if (oid === oids.json || oid === oids.jsonb) return JSON.parse(text);
  return integers.includes(oid) && Number.isSafeInteger(Number(text)) ? Number(text) : text;
}

const textOnly: CustomTypesConfig = { getTypeParser: () => (text: string) => text };
