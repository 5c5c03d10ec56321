// What a command of npm says to an argument that it does not take.
import { expect, test } from 'vitest';
import { complaintOf, runFile } from '../cli/drawbridge.ts';

test('npm run migrate refuses the URL of a database as an argument, and migrates no other one instead', async () => {
  const ran = await runFile('../../dev/migrate.ts', ['postgres://somewhere.example/db'], {});
  expect(ran.code).toBe(2);
  expect(complaintOf(ran)).toMatch(/postgres:.*DATABASE_URL/);
});
