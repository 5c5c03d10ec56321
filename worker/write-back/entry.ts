// Writes to Postgres for the account objects, through Hyperdrive with its cache off. A stateless entry: an object that opened
// a socket of its own would be kept awake by it.
//
// One client a flush, so many flushes at once (turns.ts), unnamed statements, every wait bounded. The client is not ended: its
// connection goes with the invocation. A flush that throws may have arrived; what it wrote carries revisions, so it is made
// again without harm.
import { WorkerEntrypoint } from 'cloudflare:workers';
import { createHmac } from 'node:crypto';
import { Client, DatabaseError } from 'pg';
import * as v from 'valibot';
import { written as writtenSchema } from '../../protocol/write-back.ts';
import { accountId } from '../../protocol/ids.ts';
import { ingestKeys } from '../env.ts';
import { steeringText } from '../../protocol/steering.ts';
import { connectMsMax, queryMsMax, turnWaitMsMax } from './waits.ts';
import { lookAgainMs, Turns } from './turns.ts';
import * as log from '../log.ts';
import type {
  Batch,
  BatchAnswer,
  Denial,
  FlowRecord,
  HoldRecord,
  Registration,
  SessionRecord,
  Written,
} from '../../protocol/write-back.ts';
import type { Env } from '../env.ts';
import type { Steering } from '../../protocol/steering.ts';

export class WriteBack extends WorkerEntrypoint<Env> {
  /** Writes one batch, part by part. Never throws: says in one sentence when the database does not answer. */
  async flush(batch: Batch): Promise<BatchAnswer | { readonly problem: string }> {
    return await inTurn(async () => await write(await this.#connect(), batch));
  }

  /** Asks the replicator, through the database, to deliver `account` by snapshot. Never throws; null when it is on its way. */
  async requestResync(account: string): Promise<{ readonly problem: string } | null> {
    return await inTurn(async () => {
      const [key] = ingestKeys(this.env);
      if (key === undefined) throw new Error('DRAWBRIDGE_INGEST_KEY is not set: no request would be believed');
      const request: Steering = { type: 'resync', account: v.parse(accountId, account), at: Date.now() };
      const mac = createHmac('sha256', key).update(steeringText(request)).digest('hex');
      await call(await this.#connect(), 'request_resync($1)', [JSON.stringify({ ...request, mac })]);
      return null;
    });
  }

  async #connect(): Promise<Client> {
    const connectionString = this.env.EDGE_DATABASE?.connectionString;
    if (connectionString === undefined) throw new Error('there is no EDGE_DATABASE: bind a Hyperdrive configuration');
    const client = new Client({
      connectionString,
      connectionTimeoutMillis: connectMsMax,
      query_timeout: queryMsMax,
      application_name: 'drawbridge_edge',
    });
    client.on('error', (cause) => log.info('write_back_connection_lost', { message: cause.message }));
    await client.connect();
    return client;
  }
}

const turns = new Turns();

/** What `act` gives, once it is its turn; says in one sentence what it threw, or that no turn came. */
async function inTurn<T>(act: () => Promise<T>): Promise<T | { readonly problem: string }> {
  const end = await untilTurn();
  if (end === null) return { problem: 'the writes of others take all turns' };
  try {
    return await act();
  } catch (cause) {
    return { problem: cause instanceof Error ? cause.message : String(cause) };
  } finally {
    end();
  }
}

/** Waits for a turn, a bounded time; null when none came. */
async function untilTurn(): Promise<(() => void) | null> {
  const giveUpAt = Date.now() + turnWaitMsMax;
  const stopWaiting = turns.wait(Date.now());
  try {
    for (;;) {
      const end = turns.take(Date.now());
      if (end !== null || Date.now() >= giveUpAt) return end;
      await new Promise((resolve) => void setTimeout(resolve, lookAgainMs(turns.waiting(Date.now()), Math.random())));
    }
  } finally {
    stopWaiting();
  }
}

async function write(client: Client, batch: Batch): Promise<BatchAnswer> {
  const { account, denials, devices, flows, holds, sessions } = batch;
  const failed: BatchAnswer['failed'][number][] = [];
  const part = async (name: (typeof failed)[number], isEmpty: boolean, invocation: string, values: () => unknown[]) => {
    if (isEmpty) return null;
    try {
      return await call(client, invocation, [account, ...values()]);
    } catch (cause) {
      // An error with a code is the database's own, and may be of this part alone; any other concerns the connection.
      if (!(cause instanceof DatabaseError)) throw cause;
      log.error('write_back_refused', cause, { account, part: name, code: cause.code ?? '' });
      failed.push(name);
      return null;
    }
  };
  const registered = await part('devices', devices.length === 0, 'write_devices($1, $2, $3)', () => [
    jsonOf(
      devices.filter(({ table }) => table === 'clients'),
      deviceRow,
    ),
    jsonOf(
      devices.filter(({ table }) => table === 'gateways'),
      deviceRow,
    ),
  ]);
  const written = await part('flows', flows.length === 0, 'write_flows($1, $2)', () => [jsonOf(flows, flowRow)]);
  await part('denials', denials.length === 0, 'write_denials($1, $2)', () => [jsonOf(denials, denialRow)]);
  await part('sessions', sessions === null, 'write_sessions($1, $2, $3, $4, $5)', () => [
    jsonOf(sessions?.clients ?? [], sessionRow),
    jsonOf(sessions?.gateways ?? [], sessionRow),
    sessions?.alive ?? [],
    sessions?.revision ?? 0,
  ]);
  const logged = await part('holds', holds.length === 0, 'write_holds($1, $2)', () => [jsonOf(holds, holdRow)]);
  return { devices: registered, flows: written, holds: logged, failed };
}

async function call(client: Client, invocation: string, values: unknown[]): Promise<Written> {
  const result = await client.query(`select drawbridge.${invocation} as answer`, values);
  return v.parse(writtenSchema, result.rows[0]?.['answer']);
}

function jsonOf<T>(items: readonly T[], toRow: (item: T) => object): string {
  return JSON.stringify(items.map(toRow));
}

/** Column names and texts as the database has them. */
function flowRow(record: FlowRecord & { readonly isKnown: boolean }): object {
  return {
    id: record.flowId,
    client_id: record.clientId,
    resource_id: record.resourceId,
    gateway_id: record.gatewayId,
    policy_id: record.policyId,
    actor_id: record.actorId,
    token_id: record.tokenId,
    client_remote_ip: record.clientRemoteIp,
    inserted_at: timestamp(record.grantedAt),
    expires_at: timestamp(record.expiresAt),
    ended_at: timestamp(record.endedAt),
    end_cause: record.cause,
    told: record.told,
    told_at: timestamp(record.toldAt),
    revision: record.revision,
    is_known: record.isKnown,
  };
}

function deviceRow({ isKnown, isUnverified, revision, row }: Registration): object {
  return { ...row, revision, is_known: isKnown, is_unverified: isUnverified };
}

function denialRow(denial: Denial): object {
  const { clientId, resourceId, reason, minute, count } = denial;
  return { client_id: clientId, resource_id: resourceId, reason, minute: timestamp(minute), count };
}

function holdRow({ revision, action, kind, id, at, by, reason }: HoldRecord): object {
  return { revision, action, kind, id, at: timestamp(at), by, reason };
}

function sessionRow(session: SessionRecord): object {
  return {
    id: session.id,
    device_id: session.deviceId,
    token_id: session.tokenId,
    public_key: session.publicKey,
    version: session.version,
    remote_ip: session.remoteIp,
    region: session.region,
    latitude: session.latitude,
    longitude: session.longitude,
    connected_at: timestamp(session.connectedAt),
    ended_at: timestamp(session.endedAt),
    revision: session.revision,
  };
}

function timestamp(milliseconds: number | null): string | null {
  return milliseconds === null ? null : new Date(milliseconds).toISOString();
}
