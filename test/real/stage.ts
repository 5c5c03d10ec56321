// What the steps of `npm run test:real` play on: a whole system, a network, the three programs in it, a tap on everything that they
// and the worker say, and a ping from the client's namespace to an address behind the gateway.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { createFirstAccount } from '../../dev/first-account.ts';
import { makeNetwork, resourceAddress } from './network.ts';
import { programIn } from './program.ts';
import { removeDataDir, startPostgres } from '../../dev/postgres.ts';
import { startSystem } from '../../dev/system.ts';
import { startTap } from './tap.ts';
import type { FirstAccount } from '../../dev/first-account.ts';
import type { Network, Role } from './network.ts';
import type { Program } from './program.ts';
import type { System } from '../../dev/system.ts';
import type { Tap } from './tap.ts';

export type Paths = Readonly<Record<Role, string>>;

export type Stage = {
  readonly network: Network;
  readonly tap: Tap;
  readonly account: FirstAccount;
  readonly programs: Readonly<Record<Role, Program>>;
  readonly system: System;
  readonly sql: (text: string, values?: readonly unknown[]) => Promise<Record<string, unknown>[]>;
  /** How long a program may take for anything. */
  readonly waitMsMax: number;
  /** One ping: whether it came back within a second. */
  readonly ping: () => Promise<boolean>;
  readonly restartPostgres: () => Promise<void>;
  readonly stop: () => Promise<void>;
};

const echoPort = 7777;

export async function makeStage(
  paths: Paths,
  { waitMsMax, onLine }: { readonly waitMsMax: number; readonly onLine: (part: string, line: string) => void },
): Promise<Stage> {
  const cleanups: (() => Promise<unknown>)[] = [];
  const stop = async () => {
    for (const clean of cleanups.splice(0).toReversed()) await clean();
  };
  try {
    const network = await makeNetwork();
    cleanups.push(network.remove);
    const directory = await mkdtemp(join(tmpdir(), 'drawbridge-real-'));
    cleanups.push(async () => await rm(directory, { recursive: true, force: true }));
    const dataDir = join(directory, 'data');
    let postgres = await startPostgres({ dataDir });
    cleanups.push(async () => {
      await postgres.stop();
      await removeDataDir(dataDir);
    });
    const { url: databaseUrl, port } = postgres;
    const system = await startSystem({ databaseUrl, onLine });
    cleanups.push(system.stop);
    const sql = async (text: string, values: readonly unknown[] = []) => await query(databaseUrl, text, values);
    const db = new Client({ connectionString: databaseUrl });
    await db.connect();
    const account = await createFirstAccount(db, system.tokenKeys, 'real');
    await db.end();
    const tap = await startTap(network.portalAddress, () => Number(new URL(system.workerUrl).port), waitMsMax);
    cleanups.push(tap.close);
    const programs = programsOn(network, tap, account, paths, onLine);
    for (const program of Object.values(programs)) cleanups.push(program.kill);
    const pings = await startPings(network);
    cleanups.push(pings.stop);
    const restartPostgres = async () => {
      await postgres.stopImmediately();
      postgres = await startPostgres({ dataDir, port });
    };
    return { network, tap, account, programs, system, sql, waitMsMax, ping: pings.ping, restartPostgres, stop };
  } catch (cause) {
    await stop();
    throw cause;
  }
}

/** The programs with the variables that their makers name (docs/real-devices.md). */
function programsOn(
  network: Network,
  tap: Tap,
  account: FirstAccount,
  paths: Paths,
  onLine: (part: string, line: string) => void,
): Readonly<Record<Role, Program>> {
  const common = {
    FIREZONE_API_URL: `ws://${network.portalAddress}:${tap.port}`,
    FIREZONE_NO_TELEMETRY: 'true',
    RUST_LOG: process.env['RUST_LOG'] ?? 'info',
  };
  const envs: Readonly<Record<Role, Readonly<Record<string, string>>>> = {
    client: {
      ...common,
      FIREZONE_TOKEN: account.client.token,
      FIREZONE_ID: account.client.externalId,
      FIREZONE_NAME: 'client',
      FIREZONE_DNS_CONTROL: 'disabled',
    },
    gateway: {
      ...common,
      FIREZONE_TOKEN: account.gateway.token,
      FIREZONE_ID: account.gateway.externalId,
      FIREZONE_NAME: 'gateway',
    },
    relay: { ...common, FIREZONE_TOKEN: account.relay.token, PUBLIC_IP4_ADDR: network.addressOf('relay') },
  };
  const program = (role: Role) => programIn(network, role, paths[role], envs[role], (line) => onLine(role, line));
  return { client: program('client'), gateway: program('gateway'), relay: program('relay') };
}

async function startPings(network: Network) {
  const within = (role: Role, file: string) => {
    const path = fileURLToPath(new URL(file, import.meta.url));
    const args = ['netns', 'exec', network.namespaceOf(role), process.execPath, path];
    return spawn('ip', [...args, resourceAddress, String(echoPort)], { stdio: ['pipe', 'pipe', 'inherit'] });
  };
  const echo = within('gateway', 'echo.ts');
  const probe = within('client', 'probe.ts');
  const linesOf = (child: typeof echo) => createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  await linesOf(echo).next();
  const answers = linesOf(probe);
  let count = 0;
  return {
    ping: async () => {
      count += 1;
      probe.stdin.write(`${count}\n`);
      return (await answers.next()).value === 'answered';
    },
    stop: async () => {
      const gone = [echo, probe].map((child) => new Promise((resolve) => child.once('close', resolve)));
      for (const child of [echo, probe]) child.kill('SIGKILL');
      await Promise.all(gone);
    },
  };
}

/** On a connection of its own, since Postgres is restarted in between. */
async function query(url: string, text: string, values: readonly unknown[]): Promise<Record<string, unknown>[]> {
  const db = new Client({ connectionString: url });
  await db.connect();
  try {
    return (await db.query<Record<string, unknown>>(text, [...values])).rows;
  } finally {
    await db.end();
  }
}
