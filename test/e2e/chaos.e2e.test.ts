// The change stream under ill treatment: whatever is killed, cut, stalled, delayed or torn, the rows at the edge end equal to the
// tables, the change log to the record that triggers keep in the database, and each device has what it may reach, no more and no
// less. `npm run prove:kills` is the long form.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Client } from 'pg';
import { accessEdits } from '../support/watched.ts';
import { killRound, startChaos, type Chaos } from '../support/chaos.ts';
import { must } from '../../protocol/assert.ts';
import { randomFrom, startLoad } from '../support/load.ts';

const killRounds = 8;
const seed = 4_711;

let chaos: Chaos;
beforeAll(async () => {
  chaos = await startChaos({ accounts: 6 });
});
afterAll(async () => await chaos.stop());

test('[P1.57] whatever is killed at random points under load, the edge ends with the rows of the tables, the log with every change once, each device with what it may reach, and no flow is cut that need not be', async () => {
  const rounds: string[] = [];
  for (let round = 0; round < killRounds; round += 1) {
    const { what, differences } = await killRound(chaos, seed + round);
    rounds.push(what);
    expect([what, differences]).toEqual([what, []]);
  }

  expect(rounds.join()).toMatch(/replicator/);
  expect(rounds.join()).toMatch(/worker/);
  expect(rounds.join()).toMatch(/postgres/);
  expect(chaos.healing()).toEqual([]);
}, 600_000);

test('[P1.58] however the connections are cut, stalled, delayed and torn under load, the edge, the log and the devices end as the database says', async () => {
  const random = randomFrom(seed);
  const count = (max: number) => 1 + Math.floor(random() * max);
  const ways = [
    { proxy: chaos.databaseProxy, noticed: 'run_failed' },
    { proxy: chaos.workerProxy, noticed: 'delivery_unanswered' },
  ];
  for (const { proxy, noticed } of ways) {
    const load = chaos.load(count(1_000_000));
    const endings = [
      () => proxy.cut(),
      () => proxy.refuse(),
      () => proxy.stall(),
      () => proxy.truncate(count(5_000)),
      () => proxy.truncate(count(50)),
    ];
    for (const end of endings) {
      await load.commits(count(20));
      const notice = { isSeen: false };
      const seen = chaos.event(noticed).then(() => {
        notice.isSeen = true;
      });
      // Where nothing was under way on a connection that ended, nobody notices.
      while (!notice.isSeen) {
        end();
        await Promise.race([load.commits(10), seen]);
      }
      await load.commits(count(40));
      proxy.pass();
    }
    proxy.lag(count(30));
    await load.commits(count(40));
    proxy.pass();
    await load.commits(count(20));
    await load.stop();
    expect(await chaos.settle()).toEqual([]);
  }
}, 300_000);

// As the object sees it; test/replicator/interrupted.pg.test.ts has the steps that the replicator sees.
describe('snapshots in parts', () => {
  beforeAll(async () => {
    const db = new Client({ connectionString: chaos.url });
    await db.connect();
    // Beside what their devices are concerned with, more rows than two parts hold.
    await db.query(
      `insert into actors (account_id, type, name)
       select account, 'service_account', repeat('€', 500) || ' ' || n from unnest($1::uuid[]) account, generate_series(1, 3000) n`,
      [chaos.watched],
    );
    await db.end();
    await chaos.settle();
  });

  const points = [
    ['after the first part', '"index":0,"rows"'],
    ['after a later part', '"index":1,"rows"'],
    ['before the delivery that closes it', '{"type":"snapshot","version"'],
    ['after the delivery that closes it', '{"type":"snapshot","version"'],
  ] as const;
  const cases = points.flatMap(([point, text]) =>
    (['a kill of the worker', 'a cut'] as const).map((how) => ({ point, text, how })),
  );

  test.each(cases.map((only, n) => ({ ...only, n })))(
    '[P1.91] a snapshot that is interrupted right $point by $how leaves the object with the rows of the tables, its devices with what they may reach, and no flow cut',
    async ({ point, text, how, n }) => {
      const account = must(chaos.watched[n % chaos.watched.length], 'a watched account');
      const load = startLoad({ url: chaos.url, seed: n, writers: 2, accounts: [account], edits: accessEdits });
      await load.commits(5);
      const met = chaos.workerProxy.meet(text, point.startsWith('before') ? 'before' : 'after');
      await chaos.resync(account);
      await met;
      await load.commits(10);
      if (how === 'a cut') chaos.workerProxy.cut();
      else {
        await chaos.kill('worker');
        await load.commits(5);
        await chaos.revive('worker');
      }
      await load.commits(5);
      await load.stop();

      expect(await chaos.settle()).toEqual([]);
    },
    120_000,
  );
});
