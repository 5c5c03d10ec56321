// `drawbridge token keys`: how many tokens each signing key still stands for, so that one knows when a key may go.
import type { Client } from 'pg';
import { atMost, readArguments } from './arguments.ts';
import { program, type Command } from './command.ts';
import { withDatabase } from './database.ts';
import { renderTable, type Column } from './table.ts';

export const tokenKeys: Command = {
  name: 'token keys',
  usage: '',
  summary: 'counts the tokens that each signing key has signed',
  details: `A key may be taken out of DRAWBRIDGE_TOKEN_KEYS once no token is left that it signed: what it had signed is refused
from then on, and those devices sign out. Tokens that have expired are not counted, since they are refused anyway. Those of
an unknown key (-) were minted before keys were noted, or inserted by hand.`,
  options: {},
  examples: ['token keys', 'token keys --json'],
  run: async (args, settings) => {
    const { positionals } = readArguments(`${program} token keys`, args, {});
    atMost(positionals, 0, 'token keys takes options only');
    return await withDatabase(settings.databaseUrl(), async (db) => {
      const keys = await countByKey(db);
      const rows = keys.map(({ key, tokens, newest }) => [key ?? '-', String(tokens), newest.toISOString()]);
      return { json: { keys }, text: renderTable(columns, rows) };
    });
  },
};

const columns: readonly Column[] = [
  { name: 'KEY', align: 'left' },
  { name: 'TOKENS', align: 'right' },
  { name: 'NEWEST', align: 'left' },
];

type KeyCount = {
  /** Null where it is not known. */
  readonly key: string | null;
  readonly tokens: number;
  /** When the last of them was minted. */
  readonly newest: Date;
};

async function countByKey(db: Client): Promise<readonly KeyCount[]> {
  const { rows } = await db.query<KeyCount>(
    `select key_id as key, count(*)::int as tokens, max(token.inserted_at) as newest
       from tokens token left join drawbridge.token_keys on token_id = token.id
      where coalesce(token.expires_at, 'infinity') > now()
      group by key_id order by newest desc, key_id`,
  );
  return rows;
}
