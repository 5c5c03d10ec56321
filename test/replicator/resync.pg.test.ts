// The operator's request for a snapshot, as it leaves the stream.
import { createHmac } from 'node:crypto';
import { expect, test } from 'vitest';
import { createAccount, newNames, renameAccount, startAll, untilRecorded, type All, useTestServer } from './system.ts';
import { textBytesMax } from '../../replicator/quarantine.ts';
import { ingestKey } from '../support/replicator.ts';

const { server, closers } = useTestServer();

async function ask({ database }: All, account: string, key = ingestKey): Promise<void> {
  const at = 1_700_000_000_000;
  const mac = createHmac('sha256', key).update(`resync\n${account}\n${at}`).digest('hex');
  const content = JSON.stringify({ type: 'resync', account, at, mac });
  await database.query(`select pg_logical_emit_message(true, 'drawbridge', $1)`, [content]);
}

const snapshotsOf = ({ worker }: All, account: string) => worker.accounts.get(account)?.snapshots ?? 0;

test('[P1.35] a signed request delivers the account, or every one, by snapshot again; any other request is nothing', async () => {
  const all = await startAll(server, closers);
  const [one, two] = [await createAccount(all.database), await createAccount(all.database)];
  await all.worker.until('both', () => all.worker.accounts.has(one) && all.worker.accounts.has(two));
  await ask(all, one, 'a key that is not the one of the ingest');
  await ask(all, '00000000-0000-4000-8000-000000000000');
  await ask(all, one);
  await all.worker.until('a snapshot of one', () => snapshotsOf(all, one) === 1);
  expect(snapshotsOf(all, two)).toBe(0);
  await ask(all, '*');
  await all.worker.until('a snapshot of both', () => snapshotsOf(all, one) === 2 && snapshotsOf(all, two) === 1);
  await renameAccount(all.database, one, 'after');
  await all.worker.until('the next commit', () => newNames(all.worker, one).includes('after'));
  expect(all.worker.violations).toEqual([]);
});

test('[P5.98] a row with texts too long to be read is the same by snapshot as by stream', async () => {
  const all = await startAll(server, closers);
  const { rows } = await all.database.query(
    `insert into accounts (name, slug, disabled_reason, features)
       select 'an account', 'long', repeat('x', $1::int), jsonb_build_object('y', repeat('y', $1::int)) returning id::text`,
    [textBytesMax + 1],
  );
  const account = String(rows[0]?.['id']);
  const held = () => all.worker.accounts.get(account)?.rows.get(`accounts ["${account}"]`);
  await all.worker.until('its row', () => held() !== undefined);
  const byStream = held();
  const mark = [false, 'unreadable', expect.stringContaining('larger')];
  expect(byStream).toMatchObject({
    name: 'an account',
    slug: 'long',
    disabled_reason: mark,
    features: mark,
    config: '{}',
  });

  await ask(all, account);

  await all.worker.until('the snapshot', () => snapshotsOf(all, account) === 1);
  expect(held()).toEqual(byStream);
  expect(all.worker.violations).toEqual([]);
});

test('[P1.36] a request for a snapshot outlives the replicator that read it', async () => {
  const all = await startAll(server, closers);
  const account = await createAccount(all.database);
  await untilRecorded(all.database, account);
  all.worker.intercept = ({ type }) => (type === 'snapshot' ? 'hang' : null);
  await ask(all, account);
  await all.worker.until('the snapshot that is not answered', () =>
    all.worker.deliveries.some(({ type }) => type === 'snapshot'),
  );
  await all.replicator.kill('SIGKILL');
  all.worker.intercept = () => null;
  await all.restart();
  await all.worker.until('the snapshot', () => snapshotsOf(all, account) === 1);
  expect(all.worker.violations).toEqual([]);
});

test('[P15.28] a lane that gives up what filled the window lets reading go on', async () => {
  const all = await startAll(server, closers);
  const [big, other] = [await createAccount(all.database), await createAccount(all.database)];
  await untilRecorded(all.database, big);
  all.worker.intercept = () => 503;
  const fill = `update accounts set config = jsonb_build_object('note', repeat($2, 900000)) where id = $1`;
  for (let n = 0; n < 25; n += 1) await all.database.query(fill, [big, String(n % 10)]);
  await all.replicator.event('reading_paused');
  await renameAccount(all.database, other, 'after the pause');
  let isRefused = false;
  all.worker.intercept = ({ account }) => {
    if (account !== big || isRefused) return null;
    isRefused = true;
    return { type: 'need-snapshot', reason: 'stale', position: null };
  };
  await all.worker.until('the other account', () => newNames(all.worker, other).includes('after the pause'));
  expect(isRefused).toBe(true);
});
