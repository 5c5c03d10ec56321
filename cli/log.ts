// `drawbridge log`: who changed what in an account, and when; newest first, a page at a time.
import { isDeepStrictEqual } from 'node:util';
import { UsageError } from '../dev/command.ts';
import { atMost, readArguments, required } from './arguments.ts';
import { program, type Command } from './command.ts';
import { withDatabase } from './database.ts';
import { parsePast } from './expiry.ts';
import { findAccount, idOf } from './find.ts';
import { parseCursor, readLog, type Cursor, type LogEntry, type LogPage } from './log-query.ts';
import { readHolds, type HoldPage } from './hold-log.ts';
import { printable, renderTable } from './table.ts';

const options = {
  since: { type: 'string', value: 'TIME', help: 'from this time on; a span counts back from now' },
  until: { type: 'string', value: 'TIME', help: 'up to this time' },
  limit: { type: 'string', value: 'N', help: 'so many rows; default 50, at most 1000' },
  after: { type: 'string', value: 'CURSOR', help: 'go on after the page that ended with it' },
  holds: { type: 'boolean', help: 'what was held at the edge and lifted, instead of changes of rows' },
} as const;

const limitDefault = '50';
const limitMax = 1_000;
/** Characters of what changed, in a line of text. */
const changeLengthMax = 120;

export const log: Command = {
  name: 'log',
  usage: 'ACCOUNT [--holds] [--since TIME] [--until TIME] [--limit N] [--after CURSOR]',
  summary: 'shows who changed what in an account, newest first',
  details: `Each row is one change of one row, with the session that made it, or the name that it gave to drawbridge.act_as.
Secrets read [redacted]. Changes of every account, a truncate, and a hole, where the log may lack earlier changes, are
among them. An account that was deleted is named by its id. --json gives whole rows, and the cursor of the next page.

With --holds, what \`cut --at-edge\` placed and lifted; the edge writes it here a second later, or once Postgres is back. What is
held at this moment is for \`${program} status\` to say.`,
  options,
  examples: [
    'log acme',
    'log acme --holds',
    'log acme --since 7d --limit 200',
    'log acme --since 2026-01-01 --until 2026-02-01 --json',
  ],
  run: async (args, settings) => {
    const commandLine = `${program} log`;
    const { values, positionals } = readArguments(commandLine, args, options);
    const named = required(
      positionals[0],
      `The account is missing: give its slug or id, as in \`${commandLine} acme\`.`,
    );
    atMost(positionals, 1, 'one account at a time');
    const now = new Date();
    const past = (option: 'since' | 'until') =>
      values[option] === undefined ? null : parsePast(`--${option}`, values[option], now);
    const range = {
      since: past('since'),
      until: past('until'),
      limit: limitFrom(values.limit ?? limitDefault),
    };
    const isOfHolds = values.holds === true;
    const after = values.after ?? null;
    const [revision, cursor] = isOfHolds ? [revisionFrom(after), null] : [null, cursorFrom(after)];
    return await withDatabase(settings.databaseUrl(), async (db) => {
      // The log outlives its accounts, so an id need not name one.
      const account = idOf(named) ?? (await findAccount(db, named)).id;
      if (isOfHolds) {
        const page = await readHolds(db, { ...range, after: revision, account });
        return { json: { account, ...page }, text: renderHolds(page, `${commandLine} ${named} --holds`) };
      }
      const page = await readLog(db, { ...range, after: cursor, account });
      return { json: { account, ...page }, text: render(page, `${commandLine} ${named}`) };
    });
  },
};

function cursorFrom(text: string | null): Cursor | null {
  const after = text === null ? null : parseCursor(text);
  if (text === null || after !== null) return after;
  throw new UsageError('The value of --after is not a cursor: give the one that the last page ended with.');
}

function revisionFrom(text: string | null): string | null {
  if (text === null || /^\d{1,16}$/.test(text)) return text;
  throw new UsageError('The value of --after is not a cursor of --holds: give the one that the last page ended with.');
}

function limitFrom(text: string): number {
  const limit = Number(text);
  if (/^\d{1,4}$/.test(text) && limit >= 1 && limit <= limitMax) return limit;
  throw new UsageError(`--limit ${text} cannot be used: give a number from 1 to ${limitMax}.`);
}

const columns = (['time', 'by', 'op', 'table', 'change'] as const).map((name) => ({ name, align: 'left' as const }));

function render({ entries, next }: LogPage, commandLine: string): string {
  if (entries.length === 0) return 'No change.';
  const rows = entries.map((entry) => [
    entry.committedAt,
    authorOf(entry),
    entry.op,
    entry.table ?? '',
    shortened(changeOf(entry)),
  ]);
  const more = next === null ? '' : `\nMore: ${commandLine} --after ${next}, with the same options`;
  return `${renderTable(columns, rows)}${more}`;
}

const holdColumns = (['time', 'by', 'hold', 'kind', 'id', 'reason'] as const).map((name) => ({
  name,
  align: 'left' as const,
}));

function renderHolds({ holds, next }: HoldPage, commandLine: string): string {
  if (holds.length === 0) return 'No hold.';
  const rows = holds.map(({ at, by, action, kind, id, reason }) => [
    at,
    printable(by),
    action,
    kind,
    id,
    printable(reason ?? ''),
  ]);
  const more = next === null ? '' : `\nMore: ${commandLine} --after ${next}, with the same options`;
  return `${renderTable(holdColumns, rows)}${more}`;
}

function authorOf({ subject }: LogEntry): string {
  if (subject === null) return '';
  const { name, reason, role, application } = subject;
  if (typeof name === 'string') return typeof reason === 'string' ? `${name} (${reason})` : name;
  return [role, application].filter((part) => typeof part === 'string' && part !== '').join(' with ');
}

function changeOf({ op, reason, oldData, data }: LogEntry): string {
  if (reason !== null) return reason;
  if (op === 'truncate') return 'every row';
  if (oldData === null || data === null) return describe(data ?? oldData ?? {});
  const changed = Object.keys(data).filter((column) => !isDeepStrictEqual(data[column], oldData[column]));
  const differences = changed.map((column) => `${column}: ${text(oldData[column])} → ${text(data[column])}`);
  const what = differences.length === 0 ? 'what is redacted' : differences.join(', ');
  return `${text(data['name'] ?? data['id'])}: ${what}`;
}

function describe(row: Readonly<Record<string, unknown>>): string {
  const { name, id } = row;
  if (id === undefined) return JSON.stringify(row);
  return name === undefined || name === null ? text(id) : `${text(name)} ${text(id)}`;
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? null);
}

function shortened(change: string): string {
  return change.length > changeLengthMax ? `${change.slice(0, changeLengthMax - 1)}…` : change;
}
