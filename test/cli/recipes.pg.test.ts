// docs/recipes.md can be tried as it stands: each of its commands does what it is for, in the account of `npm run seed`.
import type { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startDatabase, type Database } from '../support/database.ts';
import { seed } from '../../dev/seed.ts';
import { recipeLines, wordsOf } from './recipes.ts';
import { drawbridgeHere, environment, tokenKeys } from './drawbridge.ts';

/** What a recipe needs beyond the database has its own tests. */
const needsMore = /^(?:status|verify|resync|explain|access) /;

let database: Database;
let db: Client;

beforeAll(async () => {
  database = await startDatabase();
  ({ db } = database);
  await seed(db, { tokenKeys });
});
afterAll(async () => {
  await database.stop();
});

test('every command of the recipes does something', async () => {
  const { rows } = await db.query<{ id: string }>('select id::text from tokens limit 1');
  const outputs: string[] = [];
  for (const command of recipeLines.filter((line) => !needsMore.test(line))) {
    const args = wordsOf(command.replace('0191d3c0-0000-4000-8000-000000000000', rows[0]?.id ?? ''));
    const ran = await drawbridgeHere(args, environment(database.url));
    expect([command, ran.code, ran.err]).toEqual([command, 0, '']);
    outputs.push(ran.out);
  }

  expect(outputs).toEqual([
    expect.stringMatching(/^drawbridge\./),
    'INSERT 1\n',
    expect.stringMatching(/^drawbridge\./),
    'INSERT 1\n',
    expect.stringMatching(/^drawbridge\./),
    'DELETE 1\n',
    expect.stringContaining('(9 rows)'),
    expect.stringMatching(/^Revoked the /),
    'UPDATE 1\n',
    'INSERT 1\n',
    expect.stringContaining('(4 rows)'),
    'DELETE 1\n',
    expect.stringMatching(/^drawbridge\./),
    'No change.\n',
    'UPDATE 1\n',
    'No hold.\n',
    'No flow.\n',
  ]);
  const farm = await db.query(
    `select from resources r join resource_connections c on c.resource_id = r.id join policies p on p.resource_id = r.id
      where r.name = 'Build farm'`,
  );
  expect(farm.rowCount).toBe(1);
});
