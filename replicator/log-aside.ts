// Rows of the change log whose transaction is still arriving: first in, first out, in a temporary table of the session, so that
// a transaction of any size costs bounded memory here. They are gone with the session, and then the transaction comes again.
import * as v from 'valibot';
import type { ClientBase } from 'pg';
import { accountId } from '../protocol/ids.ts';
import { tableName } from '../protocol/tables.ts';
import type { PartRow } from './change-log.ts';

const text = v.nullable(v.string());
const partRows: v.GenericSchema<unknown, readonly PartRow[]> = v.array(
  v.object({
    committedAtUs: v.number(),
    seq: v.number(),
    account: v.nullable(accountId),
    table: tableName,
    op: v.picklist(['insert', 'update', 'delete', 'truncate']),
    oldData: text,
    data: text,
    reason: text,
  }),
);

export class LogAside {
  readonly #client: ClientBase;
  #isReady = false;

  constructor(client: ClientBase) {
    this.#client = client;
  }

  /** Keeps one batch. */
  async put(rows: readonly PartRow[]): Promise<void> {
    if (!this.#isReady) {
      await this.#client.query(
        'create temporary table aside (n bigint generated always as identity primary key, rows text)',
      );
      this.#isReady = true;
    }
    await this.#client.query('insert into pg_temp.aside (rows) values ($1)', [JSON.stringify(rows)]);
  }

  /** Gives back the batch that has been kept longest, and forgets it; no rows when there is none. */
  async take(): Promise<readonly PartRow[]> {
    const result = await this.#client.query<{ rows: string }>(
      'delete from pg_temp.aside where n = (select min(n) from pg_temp.aside) returning rows',
    );
    const [batch] = result.rows;
    return batch === undefined ? [] : v.parse(partRows, JSON.parse(batch.rows));
  }
}
