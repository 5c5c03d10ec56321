// Rows of the access tables, as valid as can be: a test names the columns that matter, the rest has defaults, and what a
// row must refer to is added with it. Accounts acme and other have to exist.
import { DatabaseError, type Client } from 'pg';

export type Values = Readonly<Record<string, unknown>>;

export const acme = '00000000-0000-4000-8000-000000000001';
export const other = '00000000-0000-4000-8000-000000000002';

/** By table, the columns that may not be null, and the table each refers to. */
const parents: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  auth_identities: { actor_id: 'actors', provider_id: 'auth_providers' },
  actor_group_memberships: { actor_id: 'actors', group_id: 'actor_groups' },
  tokens: { actor_id: 'actors' },
  clients: { actor_id: 'actors' },
  gateways: { group_id: 'gateway_groups' },
  resource_connections: { resource_id: 'resources', gateway_group_id: 'gateway_groups' },
  policies: { actor_group_id: 'actor_groups', resource_id: 'resources' },
};

let serial = 0;

/** Adds a row, of account acme unless it says otherwise, and returns its id. */
export async function insertRow(db: Client, table: string, values: Values = {}): Promise<string> {
  const account = table === 'accounts' ? {} : { account_id: values['account_id'] ?? acme };
  const row: Record<string, unknown> = { ...account, ...defaultsOf(table), ...values };
  for (const [name, parent] of Object.entries(parents[table] ?? {})) {
    if (row[name] === undefined) row[name] = await insertRow(db, parent, account);
  }
  const names = Object.keys(row);
  const { rows } = await db.query<{ id?: string }>(
    `insert into ${table} (${names.join(', ')}) values (${names.map((_, i) => `$${i + 1}`).join(', ')}) returning *`,
    Object.values(row),
  );
  return rows[0]?.id ?? '';
}

/** The constraint that refuses a row, inside a transaction, which then goes on; null when the row is taken. */
export async function refusalOf(db: Client, table: string, values: Values): Promise<string | null> {
  await db.query('savepoint before');
  try {
    await insertRow(db, table, values);
    return null;
  } catch (error) {
    if (error instanceof DatabaseError) return error.constraint ?? error.message;
    throw error;
  } finally {
    await db.query('rollback to before');
  }
}

function defaultsOf(table: string): Values {
  serial += 1;
  const name = `name ${serial}`;
  const ipv4 = `100.65.${serial >> 8}.${serial & 255}`;
  const device = { external_id: name, name, ipv4, ipv6: `fd00:2021:1111::1:${serial.toString(16)}` };
  const all: Readonly<Record<string, Values>> = {
    accounts: { name },
    actors: { type: 'account_user', name },
    auth_providers: { name, adapter: 'openid_connect', provisioner: 'manual' },
    auth_identities: { provider_identifier: name },
    actor_groups: { name },
    gateway_groups: { name },
    tokens: { type: 'client', secret_salt: 'salt', secret_hash: 'a'.repeat(64) },
    clients: device,
    gateways: device,
    resources: { name, type: 'cidr', address: '10.0.0.0/8' },
  };
  return all[table] ?? {};
}
