// What the platform gives the worker: its objects, and the secrets that it is configured with.
import type { Account } from './account/account.ts';
import type { RelayHub } from './relay-hub/relay-hub.ts';
import type { Stream } from './stream/stream.ts';

export type Env = {
  readonly ACCOUNT: DurableObjectNamespace<Account>;
  readonly RELAY_HUB: DurableObjectNamespace<RelayHub>;
  readonly STREAM: DurableObjectNamespace<Stream>;
  /** The database that the edge writes to, as the role drawbridge_edge; without it write-back waits. */
  readonly EDGE_DATABASE?: Hyperdrive;
  /** Keys that sign device tokens: `id:secret`, comma-separated; all are accepted. */
  readonly DRAWBRIDGE_TOKEN_KEYS?: string;
  /** Keys that sign the replicator's requests, comma-separated; all are accepted. */
  readonly DRAWBRIDGE_INGEST_KEY?: string;
  /** How often devices may connect, as in edge/limits.ts. */
  readonly DRAWBRIDGE_CONNECT_LIMITS?: string;
};

/** The keys under which a request or a message of the replicator is believed; those too short count as none. */
export function ingestKeys(env: Env): string[] {
  return (env.DRAWBRIDGE_INGEST_KEY ?? '').split(',').filter((key) => key.length >= 32);
}

/** The name of an account's object. The scheme has a version, so that splitting an account later is a routing change. */
export function accountObjectName(accountId: string): string {
  return `account:v1:${accountId}`;
}

/** The account whose object has this name. */
export function accountOfObject(name: string): string {
  return name.replace(/^account:v1:/, '');
}

/** The name of the one RelayHub object. */
export const relayHubObjectName = 'relay-hub:v1';

/** The name of the one Stream object. */
export const streamObjectName = 'stream:v1';
