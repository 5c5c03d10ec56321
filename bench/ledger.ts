// The ledger of flows, `node bench/ledger.ts`: from the grant, as the client is told it, to its row in Postgres, at 20 flows a second;
// how fast what has waited for Postgres becomes rows; and how many rows the object writes for one flow, from its grant to its end.
import { setTimeout as delay } from 'node:timers/promises';
import { Client as Database } from 'pg';
import { takeBatch } from '../core/ledger.ts';
import { isGranted } from '../devices/client.ts';
import { startGateway } from '../devices/gateway.ts';
import { must } from '../protocol/assert.ts';
import { authorizeFlow, createFlow, drive, joinClient, joinGateway, refOf } from '../test/support/core.ts';
import { connectClient, createLargeAccount, startOutage } from '../test/support/outage.ts';
import { id, ids, remove, row, worldRows } from '../test/support/world.ts';
import { percentiles, report } from './support/report.ts';
import type { Effects } from '../core/effect.ts';

const perSecond = 20;
const pacedFlows = 600;
const waitingFlows = 4_000;
const fillPerSecond = 350;
const clients = 100;

reportWrites();
await reportRows();

async function reportRows(): Promise<void> {
  const outage = await startOutage();
  try {
    const resources = Math.ceil((pacedFlows + waitingFlows) / clients);
    const account = await createLargeAccount(outage, 'bench', { clients, resources });
    await startGateway({ url: outage.system.workerUrl, ...account.gateway, name: 'Rack 1' });
    const devices = await Promise.all(
      account.externalIds.map(async (externalId) => await connectClient(outage, account, externalId)),
    );
    const grant = async (n: number): Promise<string> => {
      const resource = must(account.resourceIds[Math.floor(n / clients)], 'a resource');
      const answer = await must(devices[n % clients], 'a client').createFlow(resource);
      if (!isGranted(answer)) throw new Error(`refused: ${JSON.stringify(answer)}`);
      return `${account.externalIds[n % clients]}/${resource}`;
    };
    const rowAt = await listen(outage.system.databaseUrl);
    const grantedAt = new Map<string, number>();
    await pace(0, pacedFlows, perSecond, async (n) => {
      grantedAt.set(await grant(n), performance.now());
    });
    while ([...grantedAt.keys()].some((pair) => !rowAt.at.has(pair))) await delay(20);
    await rowAt.stop();
    const taken = [...grantedAt].map(([pair, at]) => (rowAt.at.get(pair) ?? Number.NaN) - at);
    report(`grant to ledger row in Postgres, ${perSecond} flows a second`, percentiles(taken, 'ms', 0), {
      budget: 'p99 < 2 s',
    });

    await outage.stopPostgres();
    await pace(pacedFlows, waitingFlows, fillPerSecond, async (n) => void (await grant(n)));
    await outage.startPostgres();
    let first: { readonly at: number; readonly count: number } | null = null;
    for (let count = pacedFlows; count < pacedFlows + waitingFlows;) {
      const [counted] = await outage.query('select count(*)::int as n from flows');
      count = Number(counted?.['n']);
      if (count > pacedFlows) first ??= { at: performance.now(), count };
    }
    const { at, count } = must(first, 'a first row');
    const rate = ((pacedFlows + waitingFlows - count) * 1000) / (performance.now() - at);
    report(`drain of ${waitingFlows} rows that waited for Postgres`, `${Math.round(rate)} rows/s`, {
      budget: '≥ 1,000 rows/s',
    });
  } finally {
    await outage.stop();
  }
}

async function pace(from: number, count: number, rate: number, act: (n: number) => Promise<void>): Promise<void> {
  const began = performance.now();
  const acts: Promise<void>[] = [];
  for (let n = 0; n < count; n += 1) {
    await delay(Math.max(0, began + (n * 1000) / rate - performance.now()));
    acts.push(act(from + n));
  }
  await Promise.all(acts);
}

/** When each flow's row was there, by `external id/resource`. */
async function listen(url: string) {
  const db = new Database({ connectionString: url });
  await db.connect();
  await db.query(`
    create function told() returns trigger language plpgsql as $$ begin
      perform pg_notify('flow', (select external_id from public.clients where id = new.client_id) || '/' || new.resource_id);
      return null;
    end $$;
    create trigger told after insert on flows for each row execute function told()`);
  const at = new Map<string, number>();
  db.on('notification', ({ payload = '' }) => at.set(payload, performance.now()));
  await db.query('listen flow');
  return { at, stop: async () => await db.end() };
}

/** As the platform counts them: a row put or deleted, and an alarm set. Flows come, are written and end in groups of a second's. */
function reportWrites(): void {
  const groups = 50;
  const resource = (n: number) => id('res', n);
  const of = <T>(make: (n: number) => T) => Array.from({ length: perSecond }, (_, n) => make(n));
  const policy = (n: number) => row('policies', { id: id('pol', n), resource_id: resource(n) });
  const driven = drive({
    ...worldRows(),
    resources: of((n) => row('resources', { id: resource(n) })),
    resource_connections: of((n) => row('resource_connections', { resource_id: resource(n) })),
    policies: of(policy),
  });
  driven.state.ledger.isConfigured = true;
  joinGateway(driven);
  joinClient(driven);
  let writes = 0;
  let alarm: number | null = null;
  const count = (effects: Effects): Effects => {
    writes += effects.saves.filter(({ type }) => type !== 'put-session').length;
    if (effects.wakeAt !== alarm && effects.wakeAt !== null) writes += 1;
    alarm = effects.wakeAt;
    return effects;
  };
  const flush = (xid: number): void => {
    const taken = takeBatch(driven.state, ids.account, driven.records());
    if (taken === null) return;
    const answer = { devices: null, flows: { xid: String(xid), results: [] }, holds: null, failed: [] };
    count(driven.step({ type: 'flushed', ...taken, answer }));
  };
  for (let group = 1; group <= groups; group += 1) {
    for (const n of of((one) => one)) {
      count(authorizeFlow(driven, refOf(count(createFlow(driven, resource(n))))));
      driven.now += 1000 / perSecond;
    }
    flush(group);
    const flows = [...driven.state.grants.keys()];
    count(driven.commitEffects(remove('actor_group_memberships')));
    driven.now += 1000;
    flush(group);
    // The echo: the stream tells of rows that have ended.
    count(driven.commitEffects(...flows.map((flow) => ({ op: 'delete', table: 'flows', old: { id: flow } }))));
    driven.commitEffects({ op: 'insert', table: 'actor_group_memberships', new: row('actor_group_memberships') });
  }
  report(
    'row writes of one flow: grant, accepted, written, ended with others by a commit, written, echo, positions and alarms included',
    `${(writes / groups / perSecond).toFixed(1)} over ${groups * perSecond} flows`,
    { budget: '5' },
  );
}
