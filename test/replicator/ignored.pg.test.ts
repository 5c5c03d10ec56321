// Messages that steer the stream, forged by a role that may do no more than connect.
import { Client } from 'pg';
import { expect, test } from 'vitest';
import { createAccount, newNames, renameAccount, startAll, useTestServer } from './system.ts';
import { composeSteering } from '../../replicator/steering.ts';

const { server, closers } = useTestServer();

test("[P15.107] messages under our prefix that nobody who may steer has signed are counted, and a minute's are one line of the log", async () => {
  const all = await startAll(server, closers);
  const account = await createAccount(all.database);
  await all.worker.until('the account', () => all.worker.accounts.has(account));
  await all.database.query(`create role mallory login password 'secret'`);
  const url = new URL(all.database.ownerUrl);
  [url.username, url.password] = ['mallory', 'secret'];
  const mallory = new Client({ connectionString: url.href });
  await mallory.connect();
  closers.push(async () => await mallory.end());
  const forged = [
    composeSteering({ type: 'resync', account: '*', at: Date.now() }, 'a key of hers'),
    JSON.stringify({ type: 'marker', id: account, mac: '0'.repeat(64) }),
    '{"type":"heartbeat"',
    'x'.repeat(100_000),
  ];
  for (const content of forged)
    await mallory.query(`select pg_logical_emit_message(true, 'drawbridge', $1)`, [content]);
  await mallory.query(`select pg_logical_emit_message(false, 'drawbridge', $1)`, [forged[0]]);
  const line = await all.replicator.event('messages_ignored');
  await renameAccount(all.database, account, 'after');
  await all.worker.until('the next commit', () => newNames(all.worker, account).includes('after'));

  expect(line).toMatchObject({ level: 'warn', messages: 1 });
  expect(all.replicator.lines.filter(({ event }) => event === 'messages_ignored')).toHaveLength(1);
  const { http_port: port } = await all.replicator.event('started');
  const metrics = await (await fetch(`http://127.0.0.1:${String(port)}/metrics`)).text();
  expect(metrics).toContain('\ndrawbridge_replicator_messages_ignored_total 4\n');
  expect(all.worker.accounts.get(account)?.snapshots ?? 0).toBe(0);
  expect(all.worker.violations).toEqual([]);
});
