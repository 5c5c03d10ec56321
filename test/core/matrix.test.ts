// Clients of every generation with gateways of every generation, through a whole life: flow, relay change, renewal, reconnect of
// each side, revocation while connected and while away. Every frame is one that the device takes, and in the right order.
import { expect, test } from 'vitest';
import { generations } from '../support/generations.ts';
import { ids, insert, remove, stampSecret } from '../support/world.ts';
import { Stage } from '../support/stage.ts';
import type { Generation } from '../../protocol/device/generations.ts';

const day = 24 * 3_600_000;
const pair = `${ids.client}/${ids.resource}`;
const pairs = generations.flatMap((client) => generations.map((gateway) => [client, gateway] as const));

function live(client: Generation, gateway: Generation): Stage {
  const stage = new Stage(client, gateway);
  stage.joinRelay(stampSecret);
  stage.join('gateway');
  stage.join('client');
  stage.request();
  expect([...stage.connected]).toEqual([ids.resource]);
  expect([...stage.passing.keys()]).toEqual([pair]);
  return stage;
}

function expectSound(stage: Stage): void {
  expect(stage.observer.problems).toEqual([]);
}

test.each(pairs)(
  '[P10.20] a client of %s gets a flow through a gateway of %s, and loses it with its policy',
  (client, gateway) => {
    const stage = live(client, gateway);
    stage.commit(remove('policies'));
    expect([stage.connected.size, stage.passing.size]).toEqual([0, 0]);
    stage.commit(insert('policies'));
    stage.request();
    expect([stage.connected.size, stage.passing.size]).toEqual([1, 1]);
    expectSound(stage);
  },
);

test.each(pairs)(
  '[P14.34] between a client of %s and a gateway of %s a flow outlives its expiry, in silence where that can be told',
  (client, gateway) => {
    const stage = live(client, gateway);
    const from = stage.transcript.length;
    stage.pass(day + 1000);
    const told = stage.transcript.slice(from).filter((line) => line.startsWith('client#') && line.includes('<-'));
    const asked = ['resource_deleted', 'resource_created_or_updated'];
    expect(told.map((line) => line.split(' ')[2])).toEqual(gateway === 'A' ? asked : []);
    stage.request();
    expect([...stage.connected]).toEqual([ids.resource]);
    expect(stage.passing.get(pair)).toBeGreaterThan(stage.driven.now / 1000);
    stage.pass(3 * day);
    expect(stage.passing.has(pair)).toBe(gateway !== 'A');
    expectSound(stage);
  },
);

test.each(pairs)(
  '[P9.34] a relay that restarts under a live flow of %s and %s is replaced on both sides, and nothing else',
  (client, gateway) => {
    const stage = live(client, gateway);
    const from = stage.transcript.length;
    stage.joinRelay('6'.repeat(64), 6000);
    const told = stage.transcript.slice(from).filter((line) => !line.startsWith('relay#'));
    expect(told.map((line) => line.split(' ')[2])).toEqual(['relays_presence', 'relays_presence']);
    expect([...stage.connected, ...stage.passing.keys()]).toEqual([ids.resource, pair]);
    expectSound(stage);
  },
);

test.each(pairs)(
  '[P9.35] whichever of a client of %s and a gateway of %s reconnects, the flow goes on and its secrets stay',
  (client, gateway) => {
    const stage = live(client, gateway);
    stage.leave('gateway');
    stage.join('gateway');
    expect(stage.passing.size).toBe(1);
    stage.leave('client');
    stage.join('client');
    stage.request();
    expect([stage.connected.size, stage.passing.size]).toEqual([1, 1]);
    stage.join('client', `${'D'.repeat(42)}A=`);
    stage.request();
    stage.join('gateway', `${'E'.repeat(42)}A=`);
    stage.request();
    expectSound(stage);
  },
);

test.each(pairs)(
  '[P9.36] what ended while a gateway was away, a client of %s and a gateway of %s know after their next init',
  (client, gateway) => {
    const stage = live(client, gateway);
    stage.leave('gateway');
    stage.commit(remove('policies'));
    stage.join('gateway');
    expect(stage.passing.size).toBe(0);
    stage.leave('gateway');
    stage.join('gateway');
    expect([stage.connected.size, stage.passing.size]).toEqual([0, 0]);
    expectSound(stage);
  },
);

test.each(pairs)(
  '[P10.21] a gateway that answers twice, late, or for nothing tells a client of %s nothing: %s',
  (client, gateway) => {
    const stage = new Stage(client, gateway);
    stage.join('gateway');
    stage.join('client');
    stage.isAnswering = false;
    stage.request();
    const question = stage.transcript.findLast((line) => /authorize_flow|create_authorization/.test(line)) ?? '';
    const { ref } = JSON.parse(question.slice(question.indexOf('{')));
    const event = gateway === 'B' ? 'authorization_created' : 'flow_authorized';
    stage.say(stage.gateway, event, { ref: `${ids.client}.0000` });
    stage.pass(10_000);
    expect([stage.connected.size, stage.passing.size]).toEqual([0, 0]);
    const from = stage.transcript.length;
    stage.say(stage.gateway, event, { ref });
    stage.say(stage.gateway, event, { ref });
    const told = stage.transcript.slice(from).filter((line) => line.includes('<-'));
    expect(told.map((line) => [line.startsWith('gateway#'), line.includes('invalid_ref')])).toEqual([
      [true, true],
      [true, true],
    ]);
    expectSound(stage);
  },
);

test.each(generations)('[P9.37] the whole session of generation %s is the recorded one', async (of) => {
  const stage = live(of, of);
  stage.joinRelay('6'.repeat(64), 6000);
  stage.commit(remove('policies'));
  stage.commit(insert('policies'));
  stage.request();
  stage.leave('gateway');
  stage.join('gateway');
  stage.say(stage.client, 'no_relays', {});
  stage.say(stage.client, 'no_such_event', {});
  stage.pass(day + 1000);
  expectSound(stage);
  await expect(`${stage.transcript.join('\n')}\n`).toMatchFileSnapshot(`golden/session-${of}.txt`);
});
