// Records of the ledger that Postgres refuses, in the storage of a real object.
import { env } from 'cloudflare:workers';
import { evictDurableObject, reset, runInDurableObject } from 'cloudflare:test';
import { afterEach, expect, test } from 'vitest';
import { accountObjectName } from '../../worker/env.ts';
import { ids, snapshotDelivery } from '../support/world.ts';
import { saveLedger } from '../../worker/account/ledger-storage.ts';

const account = () => env.ACCOUNT.getByName(accountObjectName(ids.account));

afterEach(async () => await reset());

test('[P7.50] what Postgres refuses is there after eviction, as it was stored before and after records said what is known of them', async () => {
  await account().deliver(snapshotDelivery(100));
  const record = { kind: 'client', id: ids.client, at: 1, by: 'alice', reason: null, action: 'placed' } as const;
  await runInDurableObject(account(), (_, { storage }) => {
    const refused = {
      type: 'put-refused',
      record: { ...record, revision: 7 },
      isKnown: false,
      reason: 'by_us',
    } as const;
    saveLedger(storage.sql, refused, () => {});
    const old = JSON.stringify({ ...record, revision: 6 });
    storage.sql.exec("insert into refused_records (revision, data, reason) values (6, ?, 'by_us')", old);
  });
  await evictDurableObject(account());
  expect(await account().status()).toMatchObject({ writeBack: { refused: 2 } });
  await runInDurableObject(account(), (_, { storage }) => {
    saveLedger(storage.sql, { type: 'delete-refused', revision: 6 }, () => {});
  });
  await evictDurableObject(account());
  expect(await account().status()).toMatchObject({ writeBack: { refused: 1 } });
});
