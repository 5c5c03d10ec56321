// The functions by which the edge writes, called as its role calls them, on both supported ends of Postgres.
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { setRolePassword } from '../../dev/role-password.ts';
import { startDatabase, type Database } from '../support/database.ts';
import { tableNames } from '../../protocol/tables.ts';
import { acme, insertRow, other } from '../support/insert-row.ts';
import { id } from '../support/world.ts';

type Answer = { readonly xid: string; readonly results: readonly { readonly id: string; readonly outcome: string }[] };

const flow = {
  id: id('flow'),
  client_id: id('cli'),
  resource_id: id('res'),
  gateway_id: id('gw'),
  policy_id: id('pol'),
  actor_id: id('act'),
  token_id: id('tok'),
  client_remote_ip: '203.0.113.7',
  inserted_at: '2026-01-01T00:00:00Z',
  expires_at: '2026-01-02T00:00:00Z',
  ended_at: null,
  end_cause: null,
  told: null,
  told_at: null,
  revision: 10,
  is_known: false,
};
const end = {
  ended_at: '2026-01-01T12:00:00Z',
  end_cause: { table: 'policies', id: id('pol'), commit: '00000000016B3748' },
  told: 'sent',
  told_at: '2026-01-01T12:00:00Z',
};

/** A session that began at its number's revision. */
const session = (n: number) => ({
  id: id('ses', n),
  device_id: id('cli'),
  token_id: id('tok'),
  public_key: 'key',
  connected_at: '2026-01-01T00:00:00Z',
  revision: n,
});

describe.each([18, 15] as const)('the functions of write-back on Postgres %i', (version) => {
  let database: Database;
  let db: Client;
  beforeAll(async () => {
    database = await startDatabase({ version });
    ({ db } = database);
  });
  afterAll(async () => {
    await database.stop();
  });
  beforeEach(async () => {
    await db.query('begin');
    await insertRow(db, 'accounts', { id: acme, name: 'Acme' });
    await insertRow(db, 'accounts', { id: other, name: 'Other' });
  });
  afterEach(async () => void (await db.query('rollback')));

  async function call(name: string, ...values: readonly unknown[]): Promise<Answer> {
    const holders = values.map((_, i) => `$${i + 1}`).join(', ');
    const texts = values.map((value) =>
      Array.isArray(value) && name !== 'write_sessions' ? JSON.stringify(value) : value,
    );
    await db.query('set local role drawbridge_edge');
    const { rows } = await db.query<{ answer: Answer }>(`select drawbridge.${name}(${holders}) as answer`, texts);
    await db.query('reset role');
    const [row] = rows;
    if (row === undefined) throw new Error('no answer');
    return row.answer;
  }
  const rowsOf = async (sql: string) => (await db.query<Record<string, unknown>>(sql)).rows;
  const outcomes = ({ results }: Answer) => results.map(({ outcome }) => outcome);

  test('[P7.26] a state is applied only with a higher revision, whatever the order, and answered with the transaction', async () => {
    const ended = await call('write_flows', acme, [{ ...flow, ...end, revision: 12 }]);
    const late = await call('write_flows', acme, [flow, { ...flow, expires_at: '2027-01-01T00:00:00Z', revision: 11 }]);

    expect([outcomes(ended), outcomes(late)]).toEqual([['ok'], ['ok', 'ok']]);
    expect(await rowsOf('select told, revision::int, end_cause, expires_at from flows')).toEqual([
      { told: 'sent', revision: 12, end_cause: end.end_cause, expires_at: new Date(flow.expires_at) },
    ]);
    const [current] = await rowsOf('select pg_current_xact_id()::text as xid');
    expect(ended.xid).toBe(current?.['xid']);
  });

  test('[P7.27] an end made by hand is never cleared, and keeps its time', async () => {
    await call('write_flows', acme, [flow]);
    await db.query(`update flows set ended_at = '2026-01-01 06:00:00Z'`);
    await call('write_flows', acme, [{ ...flow, revision: 11, is_known: true }]);
    await call('write_flows', acme, [{ ...flow, ...end, revision: 12, is_known: true }]);

    expect(await rowsOf('select ended_at, told from flows')).toEqual([
      { ended_at: new Date('2026-01-01T06:00:00Z'), told: 'sent' },
    ]);
  });

  test('[P7.28] a row that cannot be written is refused with what forbids it, and holds up no other', async () => {
    const answer = await call('write_flows', acme, [
      { ...flow, id: id('flow', 2), told: 'perhaps', ended_at: end.ended_at },
      { ...flow, id: id('flow', 3), expires_at: 'tomorrow at noon' },
      { ...flow, id: id('flow', 4), client_id: null },
      flow,
    ]);

    expect(answer.results).toEqual([
      { id: id('flow', 2), outcome: 'refused', reason: 'flows_told_check' },
      { id: id('flow', 3), outcome: 'refused', reason: '22007' },
      { id: id('flow', 4), outcome: 'refused', reason: '23502' },
      { id: flow.id, outcome: 'ok' },
    ]);
  });

  test('[P7.29] a flow that somebody deleted is gone, and is not made anew', async () => {
    await call('write_flows', acme, [flow]);
    await db.query('delete from flows');

    expect(outcomes(await call('write_flows', acme, [{ ...flow, ...end, revision: 11, is_known: true }]))).toEqual([
      'gone',
    ]);
    expect(await rowsOf('select from flows')).toEqual([]);
  });

  test('[P12.24] what is written for one account changes no row of another', async () => {
    await call('write_flows', acme, [flow]);
    await call('write_flows', other, [{ ...flow, ...end, revision: 99 }]);
    await call('write_devices', other, [{ ...client, id: id('cli') }], []);

    expect(await rowsOf('select ended_at, account_id from flows')).toEqual([{ ended_at: null, account_id: acme }]);
  });

  test('[P7.30] a count of refused requests never goes back', async () => {
    const denial = {
      client_id: id('cli'),
      resource_id: id('res'),
      reason: 'forbidden',
      minute: '2026-01-01T00:00:00Z',
    };
    await call('write_denials', acme, [{ ...denial, count: 3 }]);
    await call('write_denials', acme, [{ ...denial, count: 2 }]);

    expect(await rowsOf('select count from drawbridge.flow_denials')).toEqual([{ count: 3 }]);
  });

  test('[P7.31] sessions that are not on the list are over, but for those that began after it was made', async () => {
    const write = async (began: readonly number[], alive: readonly number[], asOf: number) =>
      await call(
        'write_sessions',
        acme,
        JSON.stringify(began.map(session)),
        '[]',
        alive.map((n) => id('ses', n)),
        asOf,
      );
    await write([1, 2], [1, 2], 2);
    await write([3], [2, 3], 3);
    await write([], [2], 2);

    expect(
      await rowsOf('select revision::int, ended_at is null as lives from drawbridge.client_sessions order by 1'),
    ).toEqual([
      { revision: 1, lives: false },
      { revision: 2, lives: true },
      { revision: 3, lives: true },
    ]);
  });

  test('[P15.116] the list of live sessions is known to the plan, however often one database session is given it', async () => {
    await db.query(`load 'auto_explain'`);
    await db.query('set local auto_explain.log_min_duration = 0');
    await db.query('set local auto_explain.log_nested_statements = on');
    await db.query(`set local auto_explain.log_level = 'notice'`);
    const plans: string[] = [];
    const keep = ({ message = '' }) => void (message.includes('ALL (') && plans.push(message));
    db.on('notice', keep);
    for (let n = 1; n <= 8; n += 1) await call('write_sessions', acme, '[]', '[]', [id('ses', 1)], n);
    db.off('notice', keep);

    expect(plans).toHaveLength(16);
    expect(plans.filter((plan) => !plan.includes(id('ses', 1)))).toEqual([]);
  });

  test('[P7.57] a session that a list names which arrives after a later one is written as over, unless the later one knew it', async () => {
    const both = JSON.stringify([session(1), session(2)]);
    const ids = [id('ses', 1), id('ses', 2)];
    await call('write_sessions', acme, JSON.stringify([session(2)]), '[]', ids.slice(1), 3);
    for (const asOf of [2, 2]) await call('write_sessions', acme, both, both, ids, asOf);
    const lives = async (role: string) =>
      await rowsOf(`select ended_at is null as lives from drawbridge.${role}_sessions order by revision`);
    expect(await lives('client')).toEqual([{ lives: false }, { lives: true }]);
    expect(await lives('gateway')).toEqual([{ lives: false }, { lives: false }]);
  });

  test('[P7.47] a connection that has ended already is written with the time of its end, and keeps it', async () => {
    const ended = {
      id: id('ses', 1),
      device_id: id('gw'),
      token_id: id('tok'),
      public_key: 'key',
      connected_at: '2026-01-01T00:00:00Z',
      ended_at: '2026-01-01T00:00:00.5Z',
      revision: 1,
    };
    for (const asOf of [2, 3]) await call('write_sessions', acme, '[]', JSON.stringify([ended]), [], asOf);
    expect(await rowsOf('select ended_at from drawbridge.gateway_sessions')).toEqual([
      { ended_at: new Date(ended.ended_at) },
    ]);
  });

  const hold = {
    revision: 10,
    action: 'placed',
    kind: 'client',
    id: id('cli'),
    at: '2026-01-01T00:00:00Z',
    by: 'alice',
    reason: 'INC-42',
  };

  test('[P7.41] what was done to a hold is one row, however often and in whatever order it is written, and stays as it is', async () => {
    const lifted = { ...hold, revision: 11, action: 'lifted', by: 'bob', reason: null };
    const answer = await call('write_holds', acme, [lifted]);
    await call('write_holds', acme, [hold, lifted]);
    await call('write_holds', acme, [{ ...hold, by: 'mallory' }]);
    await call('write_holds', other, [hold]);

    expect(answer.results).toEqual([{ id: '11', outcome: 'ok' }]);
    const at = new Date(hold.at);
    expect(
      await rowsOf(
        `select revision::int, action, kind, target_id, at, by, reason from drawbridge.hold_log
          where account_id = '${acme}' order by revision`,
      ),
    ).toEqual([
      { revision: 10, action: 'placed', kind: 'client', target_id: hold.id, at, by: 'alice', reason: 'INC-42' },
      { revision: 11, action: 'lifted', kind: 'client', target_id: hold.id, at, by: 'bob', reason: null },
    ]);
    await db.query('delete from accounts');
    expect(await rowsOf('select from drawbridge.hold_log')).toHaveLength(3);
    expect(await rowsOf(`select from pg_publication_tables where tablename = 'hold_log'`)).toEqual([]);
  });

  test('[P7.42] what is not a record of a hold is refused with what forbids it, and holds up no other', async () => {
    const answer = await call('write_holds', acme, [
      { ...hold, action: 'extended' },
      { ...hold, revision: 11, kind: 'policy' },
      { ...hold, revision: 12, id: '../x' },
      { ...hold, revision: 13, at: 'noon' },
      { ...hold, revision: 14, by: null },
      { ...hold, revision: 'x' },
      'a text',
      hold,
    ]);

    expect(answer.results).toEqual([
      { id: '10', outcome: 'refused', reason: 'hold_log_action_check' },
      { id: '11', outcome: 'refused', reason: 'hold_log_kind_check' },
      { id: '12', outcome: 'refused', reason: '22P02' },
      { id: '13', outcome: 'refused', reason: '22007' },
      { id: '14', outcome: 'refused', reason: '23502' },
      { id: 'x', outcome: 'refused', reason: '22P02' },
      { id: null, outcome: 'refused', reason: '22023' },
      { id: '10', outcome: 'ok' },
    ]);
    expect(await rowsOf('select revision::int from drawbridge.hold_log')).toEqual([{ revision: 10 }]);
  });

  const client = {
    id: id('cli', 5),
    actor_id: id('act'),
    identity_id: null,
    external_id: 'laptop',
    name: 'Laptop',
    ipv4: '100.64.0.9',
    ipv6: 'fd00:2021:1111::9',
    psk_base: `\\x${'01'.repeat(32)}`,
    device_serial: 'S1',
    device_uuid: null,
    identifier_for_vendor: null,
    firebase_installation_id: null,
    revision: 10,
    is_known: false,
    is_unverified: false,
  };

  async function actor(): Promise<void> {
    await db.query(`insert into actors (id, account_id, type, name) values ($1, $2, 'account_user', 'Alice')`, [
      client.actor_id,
      acme,
    ]);
  }

  test('[P7.32] a device is registered once, and one that was deleted is never made anew', async () => {
    await actor();
    expect(outcomes(await call('write_devices', acme, [client], []))).toEqual(['ok']);
    expect(outcomes(await call('write_devices', acme, [client], []))).toEqual(['ok']);
    expect(await rowsOf('select name, verified_at from clients')).toEqual([{ name: 'Laptop', verified_at: null }]);
    await db.query('delete from clients');

    expect(outcomes(await call('write_devices', acme, [client], []))).toEqual(['gone']);
    expect(await rowsOf('select from clients')).toEqual([]);
  });

  test('[P7.33] a registration that collides is refused with the constraint, and leaves nothing', async () => {
    await actor();
    await call('write_devices', acme, [client], []);
    const gateway = { id: id('gw', 5), external_id: 'rack', name: 'Rack', group_id: id('site'), revision: 11 };
    await db.query(`insert into gateway_groups (id, account_id, name) values ($1, $2, 'HQ')`, [gateway.group_id, acme]);
    const sameIp = { ...client, id: id('cli', 6), external_id: 'phone', ipv6: 'fd00:2021:1111::a', revision: 12 };
    const sameId = { ...client, id: id('cli', 7), ipv4: '100.64.0.10', ipv6: 'fd00:2021:1111::b', revision: 13 };
    const { ipv4, psk_base } = client;

    const answer = await call(
      'write_devices',
      acme,
      [sameIp, sameId],
      [{ ...gateway, psk_base, ipv4, ipv6: 'fd00:2021:1111::c' }],
    );

    expect(answer.results).toEqual([
      { id: id('cli', 6), outcome: 'refused', reason: 'clients_account_id_ipv4_key' },
      { id: id('cli', 7), outcome: 'refused', reason: 'clients_account_id_actor_id_external_id_key' },
      { id: id('gw', 5), outcome: 'refused', reason: 'network_addresses_pkey' },
    ]);
    expect(await rowsOf('select device_id from drawbridge.registrations')).toEqual([{ device_id: client.id }]);
  });

  test('[P7.34] the edge may take a verification away and never give one, and changes no name or address of a client', async () => {
    await actor();
    await db.query(
      `insert into clients (id, account_id, actor_id, external_id, name, ipv4, ipv6, verified_at, verified_by)
       values ($1, $2, $3, 'laptop', 'By hand', '100.64.0.50', 'fd00:2021:1111::50', now(), 'actor')`,
      [client.id, acme, client.actor_id],
    );
    const change = { ...client, is_known: true, verified_at: '2020-01-01T00:00:00Z', verified_by: 'system' };
    await call('write_devices', acme, [change], []);
    const [kept] = await rowsOf('select name, host(ipv4) as ipv4, device_serial, verified_by from clients');
    await call('write_devices', acme, [{ ...change, is_unverified: true, revision: 11 }], []);
    await call('write_devices', acme, [{ ...change, device_serial: 'late', revision: 9 }], []);

    expect(kept).toEqual({ name: 'By hand', ipv4: '100.64.0.50', device_serial: 'S1', verified_by: 'actor' });
    expect(await rowsOf('select verified_at, verified_by, device_serial from clients')).toEqual([
      { verified_at: null, verified_by: null, device_serial: 'S1' },
    ]);
  });

  test("[P7.44] a row of a device carries the revision of the edge's last write, and a retry or an older write changes neither", async () => {
    await actor();
    const revision = async () => await rowsOf('select edge_revision::text, device_serial from clients');
    await call('write_devices', acme, [client], []);
    expect(await revision()).toEqual([{ edge_revision: '10', device_serial: 'S1' }]);
    const second = { ...client, is_known: true, device_serial: 'S2', is_unverified: true, revision: 12 };
    await call('write_devices', acme, [second], []);
    await db.query(`update clients set verified_at = now(), verified_by = 'actor'`);
    await call('write_devices', acme, [second], []);
    await call('write_devices', acme, [{ ...second, device_serial: 'late', revision: 11 }], []);

    expect(await revision()).toEqual([{ edge_revision: '12', device_serial: 'S2' }]);
    expect(await rowsOf('select verified_by from clients')).toEqual([{ verified_by: 'actor' }]);
  });

  test('[P7.35] the role of the edge may call these functions and do nothing else', async () => {
    const edge = new Client({ connectionString: await setRolePassword(database.url, 'drawbridge_edge', 'secret') });
    await edge.connect();
    try {
      for (const table of [
        ...tableNames,
        'flows',
        'drawbridge.registrations',
        'drawbridge.client_sessions',
        'drawbridge.hold_log',
      ]) {
        for (const statement of [`select from ${table}`, `delete from ${table}`, `truncate ${table}`]) {
          await expect(edge.query(statement)).rejects.toThrow(/permission denied/);
        }
      }
      for (const inner of [
        `write_flow('${acme}', '{}')`,
        `write_client('${acme}', '{}')`,
        `take_turn('${acme}')`,
        `write_hold('${acme}', '{}')`,
      ]) {
        await expect(edge.query(`select drawbridge.${inner}`)).rejects.toThrow(/permission denied/);
      }
      await expect(edge.query('create table t (a int)')).rejects.toThrow(/permission denied/);
      await expect(edge.query(`select drawbridge.request_resync('{"type": "marker"}')`)).rejects.toThrow(/expected/);
    } finally {
      await edge.end();
    }
  });
});
