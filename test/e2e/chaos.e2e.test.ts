// The change stream under ill treatment: whatever is killed, cut, stalled, delayed or torn, the rows at the edge end equal to the
// tables, the change log to the record that triggers keep in the database, and each device has what it may reach, no more and no
// less. `npm run prove:kills` is the long form.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { killRound, startChaos, type Chaos } from '../support/chaos.ts';
import { randomFrom } from '../support/load.ts';

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
