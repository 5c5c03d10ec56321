// One replicator of a slot leads: the one whose session holds an advisory lock. Others wait for it as standbys.
//
// The lock lives on a connection of its own, whose keepalives let the server notice a lost host within 3 seconds. Losing
// the connection is reported once, and the leader must then stop everything: another may hold the lock already. The lock
// does not fence what is still under way; terms do.
import pg from 'pg';
import { clientConfig, endClient } from './connection.ts';

export type Leadership = {
  readonly client: pg.Client;
  /** Gives the lock up. Never throws. */
  readonly release: () => Promise<void>;
};

const keepalives = { tcp_keepalives_idle: '1', tcp_keepalives_interval: '1', tcp_keepalives_count: '2' };

/**
 * Connects and waits for the lock, for as long as another holds it. `onLost` is called once when the connection ends by
 * itself, before or after the lock was won. Rejects when connecting fails or `signal` aborts.
 */
export async function acquireLeadership(
  options: { readonly databaseUrl: string; readonly slot: string; readonly onStandby: () => void },
  onLost: (error: Error) => void,
  signal: AbortSignal,
): Promise<Leadership> {
  signal.throwIfAborted();
  const client = new pg.Client(clientConfig(options.databaseUrl, keepalives));
  let isOver = false;
  const lose = (error: Error): void => {
    if (isOver) return;
    isOver = true;
    onLost(new Error("the connection that holds the leader's lock was lost", { cause: error }));
  };
  const release = async (): Promise<void> => {
    isOver = true;
    await endClient(client);
  };
  client.on('error', lose);
  client.on('end', () => lose(new Error('the session ended')));
  const abort = (): void => void release();
  signal.addEventListener('abort', abort);
  try {
    await client.connect();
    if (!(await tryLock(client, options.slot))) {
      options.onStandby();
      await client.query(`select pg_advisory_lock(${lockKey})`, [options.slot]);
    }
    return { client, release };
  } catch (error) {
    await release();
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

const lockKey = `hashtextextended('drawbridge replicator of slot ' || $1, 0)`;

async function tryLock(client: pg.Client, slot: string): Promise<boolean> {
  const result = await client.query<{ won: boolean }>(`select pg_try_advisory_lock(${lockKey}) as won`, [slot]);
  return result.rows[0]?.won === true;
}
