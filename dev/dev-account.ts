// The account that `npm run dev` plays in. It is created once and remembered, tokens included, in the file
// `dev-account.json` of the state directory; what is edited in it stays edited.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { createFirstAccount } from './first-account.ts';
import { writePrivateFile } from './dev-settings.ts';
import type { Client } from 'pg';

const devAccount = v.object({
  accountId: v.string(),
  actorId: v.string(),
  groupId: v.string(),
  resourceId: v.string(),
  policyId: v.string(),
  client: v.object({ externalId: v.string(), token: v.string() }),
  gateway: v.object({ externalId: v.string(), token: v.string() }),
  relay: v.object({ token: v.string() }),
});
export type DevAccount = v.InferOutput<typeof devAccount>;

/** The `external_id` of a second client, which no simulated device uses. */
export const spareExternalId = 'spare';

/** The remembered account when it still exists, else a fresh one, which is then remembered. */
export async function findOrCreateAccount(db: Client, tokenKeys: string, stateDir: string): Promise<DevAccount> {
  const file = join(stateDir, 'dev-account.json');
  const remembered = existsSync(file) ? v.safeParse(accountFile, readFileSync(file, 'utf8')) : null;
  if (remembered?.success === true && (await exists(db, remembered.output.accountId))) return remembered.output;
  const { rowCount } = await db.query(`select from accounts where slug = 'dev'`);
  const slug = rowCount === 0 ? 'dev' : `dev_${Date.now().toString(36)}`;
  const account = await createFirstAccount(db, tokenKeys, slug);
  await db.query(
    `insert into clients (account_id, actor_id, external_id, name, ipv4, ipv6) values ($1, $2, $3, $4, $5, $6)`,
    [account.accountId, account.actorId, spareExternalId, 'Spare', '100.64.0.4', 'fd00:2021:1111::4'],
  );
  writePrivateFile(file, `${JSON.stringify(account, null, 2)}\n`);
  return account;
}

const accountFile = v.pipe(v.string(), v.parseJson(), devAccount);

async function exists(db: Client, accountId: string): Promise<boolean> {
  const { rowCount } = await db.query('select from accounts where id = $1', [accountId]);
  return rowCount === 1;
}
