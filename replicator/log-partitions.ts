// Partitions of the change log: one for each day, made ahead, and dropped once it is older than what is kept. At the start of a
// run and every hour.
//
// Nothing depends on it in time: a row whose day has no partition goes to the default one, and moves when it gets one. What
// cannot be done, as while somebody's long query holds a lock, is logged and tried again the next hour.
import type { ClientBase } from 'pg';
import { messageOf, type Log } from './log.ts';

const everyMs = 3_600_000;
/** So that rows have their partitions through a week in which none could be made. */
const daysAhead = 7;

/** Resolves after the first time, with what stops it. Never rejects. */
export async function keepLogPartitions(options: {
  readonly client: ClientBase;
  readonly keepDays: number;
  readonly log: Log;
}): Promise<() => void> {
  await keepOnce(options);
  const timer = setInterval(() => void keepOnce(options), everyMs);
  return () => clearInterval(timer);
}

async function keepOnce({ client, keepDays, log }: Parameters<typeof keepLogPartitions>[0]): Promise<void> {
  const call = async (name: string, days: number): Promise<number> => {
    try {
      const { rows } = await client.query<{ count: number }>(`select drawbridge.${name}($1) as count`, [days]);
      return rows[0]?.count ?? 0;
    } catch (error) {
      log('warn', 'change_log_partitions_failed', { function: name, message: messageOf(error) });
      return 0;
    }
  };
  const made = await call('make_change_log_partitions', daysAhead);
  const dropped = await call('drop_change_log_partitions', keepDays);
  if (made + dropped > 0) log('info', 'change_log_partitions', { made, dropped });
}
