// The change stream of a database, read as the replicator reads it but by SQL: what was committed since the last reading, per
// account, in commit order. So a row that goes and comes back within a transaction arrives as both.
import type { ClientBase } from 'pg';
import { createAssembler, type Transaction } from '../../replicator/assemble.ts';
import { createDecoder } from '../../replicator/decode.ts';
import type { AccountId } from '../../protocol/ids.ts';

const slot = 'oracle';

export interface CommitStream {
  /** Every transaction that was committed since the last call and changed something that is published. */
  readonly read: () => Promise<readonly Transaction[]>;
}

/** From here on. `accounts` are those that a truncate reaches; the publication must be there. */
export async function openCommitStream(db: ClientBase, accounts: ReadonlySet<AccountId>): Promise<CommitStream> {
  await db.query(`select pg_create_logical_replication_slot($1, 'pgoutput')`, [slot]);
  const assembler = createAssembler(() => accounts);
  return {
    read: async () => {
      // Each call is a connection of its own to the output plugin, which describes every relation anew.
      const decoder = createDecoder();
      const { rows } = await db.query<{ data: Buffer }>(
        `select data from pg_logical_slot_get_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', 'drawbridge')`,
        [slot],
      );
      return rows
        .flatMap(({ data }) => assembler.push(decoder.decode(data), data.length))
        .map((read) => {
          if (read.type === 'transaction') return read;
          throw new Error('the accounts are too large: a transaction over all of them came in parts');
        });
    },
  };
}
