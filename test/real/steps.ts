// What must be seen of real programs (docs/real-devices.md), step by step. Each step throws a sentence when it is not seen; what
// is seen are frames on the tap, addresses in the namespaces, the programs' logs, and pings. Times are limits for what has gone
// wrong, not measurements.
import { setTimeout as delay } from 'node:timers/promises';
import * as v from 'valibot';
import { roles } from './network.ts';
import type { Role } from './network.ts';
import type { Seen } from './tap.ts';
import type { Stage } from './stage.ts';

export type Step = { readonly name: string; readonly what: string; readonly run: (stage: Stage) => Promise<void> };

export const steps: readonly Step[] = [
  { name: 'connect', what: 'relay, gateway and client join, and their joins are answered', run: connect },
  { name: 'init', what: 'each is sent init; client and gateway have the addresses of their rows', run: init },
  { name: 'flow', what: 'a ping from the client answers, after request, authorization, acceptance, answer', run: flow },
  { name: 'revoke', what: 'the policy deleted: the gateway alone stops the pings; inserted: pings again', run: revoke },
  {
    name: 'relay-change',
    what: 'a relay started anew is told to both sides as another, and pings go on',
    run: relayChange,
  },
  { name: 'restart-client', what: 'pings again', run: async (stage) => await restartProgram(stage, 'client') },
  { name: 'restart-gateway', what: 'pings again', run: async (stage) => await restartProgram(stage, 'gateway') },
  { name: 'restart-worker', what: 'all join again, pings again', run: restartWorker },
  { name: 'restart-replicator', what: 'pings go on, and edits reach devices again', run: restartReplicator },
  { name: 'restart-postgres', what: 'pings go on, and edits reach devices again', run: restartPostgres },
  {
    name: 'revoke-while-away',
    what: 'revoked while its cable is out, the gateway stops once it is back',
    run: revokeAway,
  },
];

/** Pings in a row that must stay without an answer. */
const silencesMin = 3;
/** How long after the portal has told it a gateway may still let pass. */
const stopMsMax = 5000;
const pollMs = 200;

async function connect({ tap, programs }: Stage): Promise<void> {
  for (const role of ['relay', 'gateway', 'client'] as const) {
    programs[role].start();
    await tap.until(`the join of the ${role}`, (seen) => is(seen, role, 'from', 'phx_join'), 0);
    await tap.until(`an answer to the join of the ${role}`, (seen) => is(seen, role, 'to', 'phx_reply'), 0);
  }
}

async function init(stage: Stage): Promise<void> {
  const { tap, network, sql, account } = stage;
  for (const role of roles) await tap.until(`init to the ${role}`, (seen) => is(seen, role, 'to', 'init'), 0);
  for (const [role, id] of [
    ['client', account.clientId],
    ['gateway', account.gatewayId],
  ] as const) {
    const [row] = await sql(`select host(ipv4) as ipv4 from ${role}s where id = $1`, [id]);
    const address = String(row?.['ipv4']);
    await eventually(stage, `the ${role} has the tunnel address ${address}`, async () =>
      (await network.addressesIn(role)).includes(address),
    );
  }
}

async function flow(stage: Stage): Promise<void> {
  await untilPing(stage);
  const order = stage.tap.seen.flatMap((seen) => {
    const at = [asks, authorizes, accepts, answers].findIndex((fits) => fits(seen));
    return at === -1 ? [] : [at];
  });
  const first = [0, 1, 2, 3].map((at) => order.indexOf(at));
  if (first.includes(-1) || first.some((at, i) => at < (first[i - 1] ?? -1))) {
    throw new Error('a ping answers, but request, authorization, acceptance and answer were not seen in this order');
  }
}

/** The client hears nothing of it, so that what stops the pings can be the gateway alone. */
async function revoke(stage: Stage): Promise<void> {
  const { tap } = stage;
  tap.hold('client');
  const from = tap.seen.length;
  const policy = await deletePolicy(stage);
  await tap.until('reject_access to the gateway', (seen) => is(seen, 'gateway', 'to', 'reject_access'), from);
  await untilSilence(stage);
  tap.pass();
  await tap.until('resource_deleted to the client', (seen) => is(seen, 'client', 'to', 'resource_deleted'), from);
  await insertPolicy(stage, policy);
  await untilPing(stage);
}

async function relayChange(stage: Stage): Promise<void> {
  const { tap } = stage;
  const before = relaysTold(tap.seen.findLast((seen) => is(seen, 'client', 'to', 'init')));
  const from = tap.seen.length;
  await restart(stage, 'relay');
  for (const role of ['client', 'gateway'] as const) {
    const news = await tap.until(
      `another relay to the ${role}`,
      (seen) => is(seen, role, 'to', 'relays_presence') && relaysTold(seen).length > 0,
      from,
    );
    if (relaysTold(news).some((id) => before.includes(id))) throw new Error(`the ${role} is told of the same relay`);
  }
  await untilPing(stage);
}

async function restartProgram(stage: Stage, role: Role): Promise<void> {
  const from = stage.tap.seen.length;
  await restart(stage, role);
  await stage.tap.until(`init to the ${role}`, (seen) => is(seen, role, 'to', 'init'), from);
  await untilPing(stage);
}

async function restartWorker(stage: Stage): Promise<void> {
  const { tap, system } = stage;
  const from = tap.seen.length;
  await system.killWorker();
  await system.startWorker();
  for (const role of roles) {
    await tap.until(`another init to the ${role}`, (seen) => is(seen, role, 'to', 'init'), from);
  }
  await untilPing(stage);
}

async function restartReplicator(stage: Stage): Promise<void> {
  await stage.system.killReplicator();
  await mustPing(stage);
  await stage.system.startReplicator();
  await editArrives(stage);
}

async function restartPostgres(stage: Stage): Promise<void> {
  await stage.restartPostgres();
  await mustPing(stage);
  await editArrives(stage);
}

async function revokeAway(stage: Stage): Promise<void> {
  const { tap, network } = stage;
  tap.hold('client');
  await network.setLink('gateway', 'down');
  const from = tap.seen.length;
  const policy = await deletePolicy(stage);
  await tap.until('reject_access to the gateway', (seen) => is(seen, 'gateway', 'to', 'reject_access'), from);
  const back = tap.seen.length;
  await network.setLink('gateway', 'up');
  await tap.until('a word of the gateway', ({ role, way }) => role === 'gateway' && way === 'from', back);
  await untilSilence(stage);
  tap.pass();
  await insertPolicy(stage, policy);
  await untilPing(stage);
}

const asks = (seen: Seen) =>
  is(seen, 'client', 'from', 'create_flow') || is(seen, 'client', 'from', 'request_authorization');
const authorizes = (seen: Seen) =>
  is(seen, 'gateway', 'to', 'authorize_flow') || is(seen, 'gateway', 'to', 'create_authorization');
const accepts = (seen: Seen) =>
  is(seen, 'gateway', 'from', 'flow_authorized') || is(seen, 'gateway', 'from', 'authorization_created');
const answers = (seen: Seen) =>
  is(seen, 'client', 'to', 'flow_created') || is(seen, 'client', 'to', 'authorization_created');

function is(seen: Seen, role: Role, way: Seen['way'], event: string): boolean {
  return seen.role === role && seen.way === way && seen.event === event;
}

const named = v.object({ id: v.string() });
const withRelays = v.union([v.object({ connected: v.array(named) }), v.object({ relays: v.array(named) })]);

/** Ids of the relays that an init or a change names. */
function relaysTold(seen: Seen | undefined): string[] {
  const parsed = v.safeParse(withRelays, seen?.payload);
  if (!parsed.success) return [];
  return ('relays' in parsed.output ? parsed.output.relays : parsed.output.connected).map(({ id }) => id);
}

async function restart({ programs }: Stage, role: Role): Promise<void> {
  await programs[role].kill();
  programs[role].start();
}

type Policy = Readonly<Record<string, unknown>>;

async function deletePolicy({ sql, account }: Stage): Promise<Policy> {
  const [policy] = await sql('delete from policies where account_id = $1 returning *', [account.accountId]);
  return policy ?? {};
}

async function insertPolicy({ sql, account }: Stage, policy: Policy): Promise<void> {
  const columns = 'insert into policies (id, account_id, actor_group_id, resource_id) values ($1, $2, $3, $4)';
  await sql(columns, [policy['id'], account.accountId, policy['actor_group_id'], policy['resource_id']]);
}

/** An edit that says something to a client, and nothing to a flow. */
async function editArrives({ tap, sql, account }: Stage): Promise<void> {
  const from = tap.seen.length;
  await sql(`update resources set name = name || '.' where id = $1`, [account.resourceId]);
  await tap.until(
    'the new name to the client',
    (seen) => is(seen, 'client', 'to', 'resource_created_or_updated'),
    from,
  );
}

async function untilPing(stage: Stage): Promise<void> {
  await eventually(stage, 'a ping is answered', stage.ping);
}

async function mustPing(stage: Stage): Promise<void> {
  if (!(await stage.ping()) && !(await stage.ping())) throw new Error('pings stopped');
}

async function untilSilence({ ping }: Stage): Promise<void> {
  const deadline = Date.now() + stopMsMax;
  for (let silences = 0; silences < silencesMin;) {
    silences = (await ping()) ? 0 : silences + 1;
    if (silences === 0 && Date.now() > deadline) {
      throw new Error(`the gateway was told to stop, and lets pass ${stopMsMax / 1000} s later`);
    }
    if (silences === 0) await delay(pollMs);
  }
}

async function eventually({ waitMsMax }: Stage, what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + waitMsMax;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within ${waitMsMax / 1000} s: ${what}`);
    await delay(pollMs);
  }
}
