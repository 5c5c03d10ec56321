// `drawbridge cut` against a whole system: by an edit, and at the edge, where no database is needed.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { environment, drawbridgeHere, jsonOf, type Ran } from './drawbridge.ts';
import { isEvent, openFlow, startTestSystem } from '../support/system.ts';
import { mintToken } from '../../cli/mint-token.ts';
import { Refused } from '../../devices/device.ts';
import { startClient } from '../../devices/client.ts';
import type { LiveFlow, TestSystem } from '../support/system.ts';

let running: TestSystem;
beforeAll(async () => {
  running = await startTestSystem();
});
afterAll(async () => await running.stop());

test('[P5.68] cut --at-edge works without a database, shows in status, and ends by --lift alone', async () => {
  const { account, client, gateway } = await openFlow(running, 'edge');
  const away = { DATABASE_URL: 'postgres://postgres@127.0.0.1:9/postgres' };
  const target = ['--account', account.accountId, '--client', account.clientId];

  const held = await cli(['cut', ...target, '--at-edge', '--reason', 'INC-42', '--json'], away);

  expect([held.code, held.err]).toEqual([0, '']);
  expect(jsonOf(held)).toMatchObject({ kind: 'client', id: account.clientId, done: true });
  await gateway.device.waitFor('reject_access', isEvent('reject_access'));
  expect((await client.device.closed).reason).toContain('operator');
  expect(await outcomeOf(account)).toMatch(/^503 .*"held"/);
  const shown = await cli(['status', '--account', 'edge']);
  expect(shown.out).toMatch(
    new RegExp(`^edge: the client ${account.clientId} is held at the edge since \\S+ by .* \\(INC-42\\)$`, 'm'),
  );

  const lifted = await cli(['cut', ...target, '--at-edge', '--lift'], away);
  expect([lifted.code, lifted.err]).toEqual([0, '']);
  expect(await outcomeOf(account)).toBe('admitted');
  const again = await cli(['cut', '--client', account.clientId, '--at-edge', '--lift']);
  expect([again.code, again.err]).toEqual([1, 'drawbridge: There was no hold to lift; 0 others are in force.\n']);
});

test('[P5.101] a hold on what no row of the account is stands, and is said to be on something unknown', async () => {
  const { account } = await openFlow(running, 'unknown');
  const target = ['--account', account.accountId, '--client', account.resourceId, '--at-edge'];

  const held = await cli(['cut', ...target]);

  expect([held.code, held.out]).toEqual([1, expect.stringMatching(/^Held: the client /)]);
  expect(held.err).toMatch(/holds no such client: check both ids, and lift the hold if they are wrong\.\n$/);
  expect((await cli(['cut', ...target, '--lift'])).code).toBe(0);
});

test('[P4.30] cut by an edit ends what passes, says what it changed, and how to undo it', async () => {
  const { account, client, gateway } = await openFlow(running, 'edit');

  const resource = await cli(['cut', '--account', 'edit', '--resource', account.resourceId]);
  expect(resource.out).toMatch(/^Disabled 1 policies: nobody reaches the resource/);
  await gateway.device.waitFor('reject_access', isEvent('reject_access'));
  await client.device.waitFor('resource_deleted', isEvent('resource_deleted'));
  const undo = /sql "(update policies [^"]*)"/.exec(resource.out)?.[1] ?? '';
  await running.db.query(undo);
  await client.device.waitFor('the resource', isEvent('resource_created_or_updated'));

  const actor = await cli(['cut', '--account', 'edit', '--actor', account.actorId]);
  expect(actor.out).toMatch(/^Disabled the actor /);
  expect((await client.device.closed).reason).toContain('disabled');
  expect((await cli(['cut', '--account', 'edit', '--actor', account.actorId])).out).toMatch(/was disabled already/);
  expect(client.device.frames.some(isEvent('disconnect'))).toBe(false);
});

test('[P4.31] a device that is cut by an edit is signed out', async () => {
  const { account, client, gateway } = await openFlow(running, 'devices');
  for (const [kind, id, { device }] of [
    ['client', account.clientId, client],
    ['gateway', account.gatewayId, gateway],
  ] as const) {
    const ran = await cli(['cut', '--account', 'devices', `--${kind}`, id]);
    expect([ran.code, ran.err]).toEqual([0, '']);
    expect(ran.out).toMatch(new RegExp(`^Deleted the ${kind} ${id}`));
    await device.waitFor('disconnect', isEvent('disconnect'));
    await device.closed;
  }
});

test('[P4.32] a device that is cut takes with it the tokens that it alone has used, and those that others share are named', async () => {
  const { account } = await openFlow(running, 'tokens');
  const { accountId, actorId, clientId } = account;
  const tokenIds = async () => {
    const { rows } = await running.db.query<{ id: string }>(
      `select id::text from tokens where account_id = $1 and type = 'client'`,
      [accountId],
    );
    return rows.map(({ id }) => id);
  };
  const [shared = ''] = await tokenIds();
  const token = await mintToken(running.db, running.system.tokenKeys, accountId, { type: 'client', actorId });
  const own = (await tokenIds()).find((id) => id !== shared) ?? '';
  // A connection is on record once it has lived until a flush, which the next of the same device would end.
  await untilUsed(accountId, 1);
  const { workerUrl: url } = running.system;
  const laptop = await startClient({ url, ...account.client, token, name: 'laptop' });
  const phone = await startClient({ url, ...account.client, externalId: 'phone', name: 'phone' });
  await untilUsed(accountId, 3);

  const ran = await cli(['cut', '--account', 'tokens', '--client', clientId]);

  expect([ran.code, ran.err]).toEqual([0, '']);
  expect(ran.out).toContain(
    `Deleted the client ${clientId}, with the tokens that it alone has used (${own}): it is signed out.`,
  );
  expect(ran.out).toContain(`by the token ${shared}, which others use too: `);
  await laptop.device.closed;
  expect(await tokenIds()).toEqual([shared]);
  expect(await outcomeOf({ ...account, client: { externalId: 'laptop', token } })).toMatch(/^401 /);
  phone.device.close();
});

/** Polls until devices are on record with so many tokens: Postgres announces no writes of others. */
async function untilUsed(accountId: string, count: number): Promise<void> {
  for (;;) {
    const { rows } = await running.db.query(
      'select distinct client_id, token_id from drawbridge.client_sessions where account_id = $1',
      [accountId],
    );
    if (rows.length === count) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test.each([
  [['cut'], /Nothing is named/],
  [['cut', '--client', 'a', '--actor', 'b'], /More than one thing is named/],
  [['cut', '--client', 'a', '--lift'], /--lift, --reason and --region are for holds/],
  [['cut', '--client', 'a', '--at-edge', '--reason', 'x'.repeat(256)], /reason has 256 characters/],
])('a mistake in cut is one sentence: %#', async (args, problem) => {
  const ran = await cli(args);
  expect([ran.code, ran.out]).toEqual([2, '']);
  expect(ran.err).toMatch(problem);
});

async function cli(args: readonly string[], changes: Readonly<Record<string, string>> = {}): Promise<Ran> {
  const { databaseUrl, workerUrl, tokenKeys, ingestKey } = running.system;
  const env = { WORKER_URL: workerUrl, DRAWBRIDGE_TOKEN_KEYS: tokenKeys, DRAWBRIDGE_INGEST_KEY: ingestKey, ...changes };
  return await drawbridgeHere(args, environment(databaseUrl, env));
}

async function outcomeOf({ client }: LiveFlow['account']): Promise<string> {
  try {
    const { device } = await startClient({ url: running.system.workerUrl, ...client, name: 'laptop' });
    device.close();
    return 'admitted';
  } catch (cause) {
    return cause instanceof Refused ? `${cause.status} ${cause.body}` : String(cause);
  }
}
