// SQL against a database by its URL, in a session of its own.
import { Client } from 'pg';

/** Runs `use` with a session that ends afterwards. */
export async function withSession<T>(url: string, use: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

/** The rows of one query, each an array of its columns. */
export function query(url: string, sql: string): Promise<unknown[][]> {
  return withSession(url, async (client) => (await client.query<unknown[]>({ text: sql, rowMode: 'array' })).rows);
}
