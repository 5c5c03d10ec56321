// `node bench/authorize.ts`: how long one decision takes in the core, secrets included, in the account that the design names:
// 10,000 policies on 1,000 resources, a client in 100 groups, three conditions a policy, one of them a list of 200 networks.
// Decisions per second and percentiles, and beside them the same decisions by a scan of all policies.
import { createHash } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import * as v from 'valibot';
import { compileConditions, evaluate } from '../core/condition.ts';
import { StoredMemberships } from '../test/support/stored-memberships.ts';
import { emptyState } from '../core/state.ts';
import { factsOf } from '../core/access.ts';
import { hello } from '../protocol/link.ts';
import { lsnToText } from '../protocol/lsn.ts';
import { hashes } from '../worker/hashes.ts';
import { iceCredentials, presharedKey } from '../core/secrets.ts';
import { percentiles, report } from './support/report.ts';
import { step } from '../core/step.ts';
import type { Effects } from '../core/effect.ts';
import type { Env } from '../core/env.ts';
import type { Input } from '../core/input.ts';
import type { TableName } from '../protocol/tables.ts';
import type { WireRow } from '../protocol/commit.ts';

const [policies, resources, groupsOfClient, groups, decisions] = [10_000, 1_000, 100, 1_000, 20_000];
const id = (kind: number, n = 0) => `0000000${kind}-0000-4000-8000-${String(n).padStart(12, '0')}`;
const account_id = id(1);
const secret = 's'.repeat(32);

const stored = new StoredMemberships();
const state = emptyState(stored);
let steps = 0;
take({ type: 'snapshot', position: { epoch: 1, lsn: lsnToText(1n) }, rows: accountRows(), commits: [] });
take({ type: 'shared-relays', set: { version: 1, relays: [] }, leaseMs: 365 * 86_400_000 });
take({ type: 'shared-relays', set: { version: 1, relays: [] }, leaseMs: Number.MAX_SAFE_INTEGER });
connect('gateway', id(6, 2), 'rack', { token: { id: id(6, 2), type: 'gateway_group', secret } });
connect('client', id(6, 1), 'laptop', { token: { id: id(6, 1), type: 'client', secret } });

// A round asks for every resource once, and has all answered. Conditions are compiled when a policy is first judged, so the
// first round is reported on its own. Throughput counts the processor time of the questions alone: others use this machine.
const firstTimes: number[] = [];
const times: number[] = [];
let cpuMicroseconds = 0;
for (let round = 0; round * resources < decisions; round += 1) {
  const asked: Effects[] = [];
  const cpuBefore = process.threadCpuUsage();
  for (let i = 0; i < resources; i += 1) {
    const payload = { resource_id: id(8, i), connected_gateway_ids: [] };
    const began = performance.now();
    asked.push(take({ type: 'message', sessionId: 'client', event: 'create_flow', payload, ref: i }));
    (round === 0 ? firstTimes : times).push((performance.now() - began) * 1000);
  }
  const { user, system } = process.threadCpuUsage(cpuBefore);
  if (round > 0) cpuMicroseconds += user + system;
  for (const effects of asked) answer(effects);
}
const perCpuSecond = `${Math.round((times.length * 1e6) / cpuMicroseconds)}/s of processor time`;

const scanTimes: number[] = [];
for (let i = 0; i < 200; i += 1) {
  const began = performance.now();
  scan(id(8, i % resources));
  scanTimes.push((performance.now() - began) * 1000);
}
const pairTimes = Array.from({ length: 5000 }, (_, n) => {
  const [client, gateway] = ['1', '2'].map((end) => ({
    id: id(7, Number(end)),
    publicKey: `${end}${n}`,
    pskBase: '01'.repeat(32),
  }));
  const began = performance.now();
  if (client === undefined || gateway === undefined) return 0;
  presharedKey(client, gateway, hashes);
  iceCredentials(client, gateway, hashes);
  return (performance.now() - began) * 1000;
});
const shape = '10,000 policies, 1,000 resources, 100 groups, 3 conditions, 200 networks';
report(`authorize in the core, secrets included: ${shape}`, `${percentiles(times, 'µs')}, ${perCpuSecond}`, {
  beside: `a scan of all policies: ${percentiles(scanTimes, 'µs')}`,
  budget: 'p99 < 100 µs, ≥ 100,000/s',
});
report('the same, each resource for the first time', percentiles(firstTimes, 'µs'));
report('of that, the secrets of a pair made anew', percentiles(pairTimes, 'µs'), {
  beside: 'made once for a client, its gateway and their keys',
});

function take(input: Input): Effects {
  steps += 1;
  const env: Env = {
    now: 1_000_000,
    seed: `seed-${steps}`,
    hashes,
  };
  const effects = step(state, input, env);
  for (const action of effects.saves) stored.save(action);
  return effects;
}

function answer({ sends }: Effects): void {
  for (const send of sends) {
    if (send.type !== 'to-gateway' || send.message.event !== 'authorize_flow') continue;
    const { ref } = send.message.payload;
    take({ type: 'message', sessionId: 'gateway', event: 'flow_authorized', payload: { ref }, ref: 0 });
  }
}

function connect(role: 'client' | 'gateway', tokenId: string, externalId: string, changes: object): void {
  const facts = { name: null, region: 'DE', latitude: null, longitude: null, connectedAt: 1, remoteIp: '10.77.1.1' };
  const publicKey = `${'A'.repeat(42)}A=`;
  const own = { version: 1, role, account: account_id, externalId, publicKey, deviceVersion: '1.5.3' };
  take({ type: 'connect', sessionId: role, hello: v.parse(hello, { ...own, ...facts, ...changes, tokenId }) });
  take({ type: 'joined', sessionId: role });
}

function scan(resourceId: string): number {
  let granting = 0;
  const client = [...state.sessions.values()].find(({ role }) => role === 'client');
  if (client?.role !== 'client') return 0;
  const memberships = [...stored.rows.values()];
  const facts = factsOf(state, { ...client, clientId: client.deviceId });
  for (const policy of state.tables.rows.policies.values()) {
    if (policy.resource_id !== resourceId) continue;
    const isMember = memberships.some((membership) => membership['group_id'] === policy.actor_group_id);
    if (isMember && evaluate(compileConditions(policy.conditions), facts, 1_000_000).type === 'met') granting += 1;
  }
  return granting;
}

function accountRows(): Partial<Record<TableName, readonly WireRow[]>> {
  const each = (count: number, make: (n: number) => WireRow) => Array.from({ length: count }, (_, n) => make(n));
  const networks = Array.from({ length: 200 }, (_, n) => `10.${n}.0.0/16`);
  const conditions = [
    { property: 'remote_ip', operator: 'is_in_cidr', values: networks },
    { property: 'remote_ip_location_region', operator: 'is_in', values: ['DE', 'FR'] },
    {
      property: 'current_utc_datetime',
      operator: 'is_in_day_of_week_time_ranges',
      values: ['R/00:00-23:00/Europe/Berlin'],
    },
  ].map((condition) => JSON.stringify(condition));
  const hash = createHash('sha256').update(`salt${secret}`).digest('hex');
  const token = { account_id, identity_id: null, secret_salt: 'salt', secret_hash: hash, expires_at: null };
  const device = { account_id, ipv4: '100.64.0.2', ipv6: 'fd00:2021:1111::2', psk_base: `\\x${'01'.repeat(32)}` };
  const resource = { account_id, name: 'R', address_description: null, type: 'cidr', ip_stack: null, filters: '[]' };
  return {
    accounts: [{ id: account_id, slug: 'bench', config: '{}', disabled_at: null }],
    actors: [{ id: id(2), account_id, type: 'account_user', disabled_at: null }],
    actor_groups: each(groups, (n) => ({ id: id(3, n), account_id })),
    actor_group_memberships: each(groupsOfClient, (n) => ({
      id: id(4, n),
      account_id,
      actor_id: id(2),
      group_id: id(3, n * 10),
    })),
    gateway_groups: [{ id: id(5), account_id, name: 'HQ' }],
    tokens: [
      { ...token, id: id(6, 1), type: 'client', actor_id: id(2), gateway_group_id: null },
      { ...token, id: id(6, 2), type: 'gateway_group', actor_id: null, gateway_group_id: id(5) },
    ],
    clients: [{ ...device, id: id(7, 1), actor_id: id(2), external_id: 'laptop', verified_at: null }],
    gateways: [{ ...device, id: id(7, 2), group_id: id(5), external_id: 'rack' }],
    resources: each(resources, (n) => ({
      ...resource,
      id: id(8, n),
      address: `10.${n % 250}.${Math.floor(n / 250)}.0/24`,
    })),
    resource_connections: each(resources, (n) => ({ account_id, resource_id: id(8, n), gateway_group_id: id(5) })),
    policies: each(policies, (n) => ({
      id: id(9, n),
      account_id,
      actor_group_id: id(3, (n * 7) % groups),
      resource_id: id(8, n % resources),
      conditions,
      disabled_at: null,
    })),
  };
}
