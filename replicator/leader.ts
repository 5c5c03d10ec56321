// One replicator of a slot leads: the one whose session holds an advisory lock. Others wait for it as standbys.
//
// The lock lives on a connection of its own, over which the leader speaks several times within `timeoutMs`. One that is
// silent for so long, paused or cut off, is not leader any more on either side: it gives up before the time is over, and the
// server ends its session after it. A host that vanishes is noticed by keepalives within 3 seconds. Losing the connection is
// reported once, and the leader must then stop everything: another may hold the lock already. The lock does not fence what
// is still under way; terms do.
import pg from 'pg';
import { clientConfig, endClient } from './connection.ts';

export type Leadership = {
  readonly client: pg.Client;
  /** Gives the lock up. Never throws. */
  readonly release: () => Promise<void>;
};

export type LeaderOptions = {
  readonly databaseUrl: string;
  readonly slot: string;
  /** How long a leader may be silent. */
  readonly timeoutMs: number;
  readonly onStandby: () => void;
};

const pingsPerTimeout = 5;
/** The part of the time after which the leader itself gives up. */
const patience = 0.8;

/**
 * Connects and waits for the lock, for as long as another holds it. `onLost` is called once when the connection ends by
 * itself or does not answer in time, before or after the lock was won. Rejects when connecting fails or `signal` aborts.
 */
export async function acquireLeadership(
  options: LeaderOptions,
  onLost: (error: Error) => void,
  signal: AbortSignal,
): Promise<Leadership> {
  signal.throwIfAborted();
  const client = new pg.Client(clientConfig(options.databaseUrl, sessionSettings(options.timeoutMs)));
  let isOver = false;
  let timer: NodeJS.Timeout | null = null;
  const lose = (error: Error): void => {
    if (isOver) return;
    isOver = true;
    if (timer !== null) clearInterval(timer);
    onLost(new Error("the connection that holds the leader's lock was lost", { cause: error }));
  };
  const release = async (): Promise<void> => {
    isOver = true;
    if (timer !== null) clearInterval(timer);
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
    timer = keepSpeaking(client, options.timeoutMs, lose);
    return { client, release };
  } catch (error) {
    await release();
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** Node can set no more than the first of the keepalives on its own side; the pings do the rest there. */
function sessionSettings(timeoutMs: number): Readonly<Record<string, string>> {
  return {
    tcp_keepalives_idle: '1',
    tcp_keepalives_interval: '1',
    tcp_keepalives_count: '2',
    tcp_user_timeout: String(timeoutMs),
    // A session that waits for the lock is not idle.
    idle_session_timeout: String(timeoutMs),
  };
}

function keepSpeaking(client: pg.Client, timeoutMs: number, lose: (error: Error) => void): NodeJS.Timeout {
  let heardAtMs = performance.now();
  let isAsking = false;
  return setInterval(() => {
    const askedAtMs = performance.now();
    if (askedAtMs - heardAtMs > timeoutMs * patience) {
      lose(new Error(`the server did not answer for ${Math.round(askedAtMs - heardAtMs)} ms`));
      return;
    }
    if (isAsking) return;
    isAsking = true;
    client.query('select 1').then(
      () => {
        isAsking = false;
        heardAtMs = askedAtMs;
      },
      (error: unknown) => lose(error instanceof Error ? error : new Error(String(error))),
    );
  }, timeoutMs / pingsPerTimeout);
}

const lockKey = `hashtextextended('drawbridge replicator of slot ' || $1, 0)`;

async function tryLock(client: pg.Client, slot: string): Promise<boolean> {
  const result = await client.query<{ won: boolean }>(`select pg_try_advisory_lock(${lockKey}) as won`, [slot]);
  return result.rows[0]?.won === true;
}
