// Rows that an account's object cannot take.
import { env } from 'cloudflare:workers';
import { expect, test } from 'vitest';
import { accountObjectName } from '../../worker/env.ts';
import { unreadableValue } from '../../protocol/commit.ts';
import { commit, commitsDelivery, ids, insert, row, snapshotDelivery, worldRows } from '../support/world.ts';

const account = () => env.ACCOUNT.getByName(accountObjectName(ids.account));

test('[P5.88] a row whose key cannot be read is known to nobody: its account needs a snapshot, and grants nothing while that has it too', async () => {
  await account().deliver(snapshotDelivery(100));
  const broken = { id: unreadableValue('it is not of the form of its type') };
  const given = commitsDelivery(100, [commit(101, insert('policies', broken))]);
  expect(await account().deliver(given)).toMatchObject({ type: 'need-snapshot' });
  const rows = { ...worldRows(), policies: [row('policies'), row('policies', broken)] };
  expect(await account().deliver(snapshotDelivery(102, rows))).toMatchObject({ type: 'need-snapshot' });
  expect(await account().status()).toMatchObject({ stale: true });
  expect(await account().deliver(snapshotDelivery(104))).toMatchObject({ type: 'applied' });
  expect(await account().status()).toMatchObject({ stale: false });
});
