// A server whose transaction ids have wrapped around: the stream names transactions by 32 bits, snapshots by 64.
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { crc32c } from '../support/crc32c.ts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import pg from 'pg';
import { migrate } from '../../dev/migrate.ts';
import { removeDataDir, startPostgres, type RunningPostgres } from '../../dev/postgres.ts';
import { setRolePassword } from '../../dev/role-password.ts';
import { startFakeWorker } from '../support/fake-worker.ts';
import { ingestKey, startReplicator } from '../support/replicator.ts';

const epoch = 3n;

let dataDir: string;
let postgres: RunningPostgres;
beforeAll(async () => {
  dataDir = join(mkdtempSync(join(tmpdir(), 'drawbridge-xid-')), 'data');
  postgres = await startPostgres({ dataDir });
  await migrate(postgres.url);
  await postgres.stop();
  setXidEpoch(postgres.dataDir, epoch);
  postgres = await startPostgres({ dataDir });
});
afterAll(async () => {
  await postgres.stop();
  await removeDataDir(dataDir);
  rmSync(dirname(dataDir), { recursive: true, force: true });
});

test('[P1.61] with transaction ids that have wrapped around, a snapshot under writers ends as the database has it, and no commit is taken for seen', async () => {
  const client = new pg.Client({ connectionString: postgres.url });
  await client.connect();
  const xid = await client.query<{ xid: string }>('select pg_current_xact_id()::text as xid');
  expect(BigInt(xid.rows[0]?.xid ?? 0) >> 32n).toBe(epoch);
  const created = await client.query<{ id: string }>(
    `insert into accounts (name) values ('name 0') returning id::text`,
  );
  const account = created.rows[0]?.id ?? '';
  const worker = await startFakeWorker(ingestKey);
  const replicator = startReplicator({
    REPLICATOR_DATABASE_URL: await setRolePassword(postgres.url, 'drawbridge_replicator', 'secret'),
    WORKER_URL: worker.url,
  });
  let last = '';
  const rename = async (name: string): Promise<void> => {
    await client.query('update accounts set name = $2 where id = $1', [account, name]);
    last = name;
  };
  for (let number = 1; worker.accounts.get(account)?.snapshots !== 1; number += 1) await rename(`before ${number}`);
  for (let number = 1; number <= 50; number += 1) await rename(`after ${number}`);
  const isAtEnd = () => worker.accounts.get(account)?.rows.get(`accounts ["${account}"]`)?.['name'] === last;
  await worker.until('the last name', isAtEnd);

  const xids = worker.accounts.get(account)?.commits.map((commit) => BigInt(commit.xid) >> 32n);
  expect(xids?.length).toBeGreaterThanOrEqual(50);
  expect(new Set(xids)).toEqual(new Set([epoch]));
  expect(worker.violations).toEqual([]);
  expect(await replicator.kill('SIGTERM')).toBe(0);
  await client.end();
  await worker.close();
});

// Offsets of src/include/catalog/pg_control.h and access/xlogrecord.h, the same in 15 to 18.
const checkPointAt = 32;
const nextXidInCheckPoint = 24;
const checkPointCopyAt = 40;
const recordHeaderBytes = 24;
const recordCrcAt = 20;
const dataHeaderBytes = 2;
const segmentBytes = 16n * 1024n * 1024n;

/** Sets the high half of the next transaction id of a server that was shut down, in its control file and last checkpoint record. */
function setXidEpoch(directory: string, high: bigint): void {
  const file = join(directory, 'global', 'pg_control');
  const control = readFileSync(file);
  const isCrcAt = (at: number): boolean => crc32c(control.subarray(0, at)) === control.readUInt32LE(at);
  const crcAt = Array.from({ length: 100 }, (_, n) => 200 + n * 4).find(isCrcAt) ?? 0;
  expect(crcAt).toBeGreaterThan(0);
  const lsn = control.readBigUInt64LE(checkPointAt);
  raise(control, checkPointCopyAt + nextXidInCheckPoint, high);
  control.writeUInt32LE(crc32c(control.subarray(0, crcAt)), crcAt);

  const segment = lsn / segmentBytes;
  const hex = (value: bigint) => value.toString(16).toUpperCase().padStart(8, '0');
  const wal = openSync(join(directory, 'pg_wal', `00000001${hex(segment / 256n)}${hex(segment % 256n)}`), 'r+');
  const at = Number(lsn % segmentBytes);
  const length = Buffer.alloc(4);
  readSync(wal, length, 0, 4, at);
  const record = Buffer.alloc(length.readUInt32LE(0));
  readSync(wal, record, 0, record.length, at);
  raise(record, recordHeaderBytes + dataHeaderBytes + nextXidInCheckPoint, high);
  const checked = Buffer.concat([record.subarray(recordHeaderBytes), record.subarray(0, recordCrcAt)]);
  record.writeUInt32LE(crc32c(checked), recordCrcAt);
  writeSync(wal, record, 0, record.length, at);
  closeSync(wal);
  const rewritten = openSync(file, 'r+');
  writeSync(rewritten, control, 0, control.length, 0);
  closeSync(rewritten);
}

function raise(bytes: Buffer, at: number, high: bigint): void {
  bytes.writeBigUInt64LE((high << 32n) | (bytes.readBigUInt64LE(at) & 0xffff_ffffn), at);
}
