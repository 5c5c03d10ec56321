// What makes no difference: how a history is cut into deliveries, in which order a snapshot's rows come, whether the object slept
// between two steps, and what devices say of ids that are not theirs.
import { expect, test } from 'vitest';
import fc from 'fast-check';
import * as v from 'valibot';
import { clientSecret, clientHello, commit, gatewayHello, gatewaySecret, id, lsn } from '../support/world.ts';
import { commit as commitSchema, delivery as deliverySchema } from '../../protocol/commit.ts';
import { drive, lines } from '../support/core.ts';
import { firstRows, gateways, ownerOf, resources, clients } from '../support/random-rows.ts';
import { history } from '../support/history.ts';
import { RandomAccount } from '../support/random-core.ts';
import { RandomRows } from '../support/random-edits.ts';
import { receive } from '../../core/receive.ts';
import type { Commit } from '../../protocol/commit.ts';
import type { Drive } from '../support/core.ts';

const numbers = fc.record({ a: fc.nat(40), b: fc.nat(40), c: fc.nat(40) });
const edits = fc.array(fc.array(numbers, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 25 });
/** Of each delivery: from how many commits back it begins, how many it holds, and whether the object sleeps before it. */
const cuts = fc.array(fc.record({ back: fc.nat(3), size: fc.nat(4), isAsleep: fc.boolean() }), {
  minLength: 60,
  maxLength: 60,
});

test('[P2.30] however a history is cut into deliveries, repeated or overlapping, devices are told the same', () => {
  fc.assert(
    fc.property(edits, cuts, (steps, cut) => {
      const commits = commitsOf(steps);
      const whole = connected();
      const told = commits.flatMap((only) => lines(whole.step({ type: 'commit', epoch: 1, commit: only })));
      const inParts = connected();
      const toldInParts: string[] = [];
      let at = 0;
      for (const { back, size, isAsleep } of [...cut, { back: 0, size: commits.length, isAsleep: false }]) {
        const first = Math.max(0, at - back);
        const part = commits.slice(first, Math.max(at, first + size));
        if (isAsleep) inParts.sleep();
        toldInParts.push(...deliver(inParts, part, lsn(100 + first)));
        at = Math.max(at, first + part.length);
      }
      expect(bySession(toldInParts)).toEqual(bySession(told));
      expect(inParts.state.tables.rows).toEqual(whole.state.tables.rows);
      expect(inParts.state.position).toEqual({ epoch: 1, lsn: lsn(100 + commits.length) });
    }),
    { seed: 21, numRuns: 80 },
  );
});

test('[P9.9] the rows of a snapshot may come in any order', () => {
  const orders = fc.infiniteStream(fc.nat(1_000_000));
  fc.assert(
    fc.property(edits, orders, (steps, order) => {
      const shuffled = Object.fromEntries(
        Object.entries(firstRows()).map(([table, rows]) => [
          table,
          rows
            .map((only) => ({ only, rank: order.next().value }))
            .toSorted((x, y) => x.rank - y.rank)
            .map(({ only }) => only),
        ]),
      );
      const [one, other] = [connected(), connected(shuffled)];
      for (const only of commitsOf(steps)) {
        const [told, toldOther] = [one, other].map((driven) =>
          bySession(lines(driven.step({ type: 'commit', epoch: 1, commit: only }))),
        );
        expect(toldOther).toEqual(told);
      }
    }),
    { seed: 22, numRuns: 150 },
  );
});

test('[P9.10] an object that sleeps after every step tells the same as one that never sleeps', () => {
  fc.assert(
    fc.property(history, (steps) => {
      const [awake, sleeper] = [new RandomAccount(), new RandomAccount()];
      for (const ops of steps) {
        const kept = ops.filter(({ kind }) => kind !== 'sleep');
        awake.happen(kept);
        sleeper.happen(kept);
        sleeper.driven.sleep();
      }
      expect(bySession(sleeper.told.flat())).toEqual(bySession(awake.told.flat()));
    }),
    { seed: 23, numRuns: 80 },
  );
});

test('[P12.11] whatever devices say of the ids of another account, at any time, changes nothing and reaches nobody', () => {
  const foreign = id('foreign');
  const said: Readonly<Record<'client' | 'gateway', readonly (readonly [event: string, payload: object])[]>> = {
    client: [
      ['create_flow', { resource_id: foreign, connected_gateway_ids: [foreign] }],
      ['request_authorization', { resource_id: foreign, connected_gateway_ids: [foreign] }],
      ['broadcast_ice_candidates', { gateway_ids: [foreign], candidates: ['x'] }],
      ['new_gateway_ice_candidates', { gateway_id: foreign, candidates: ['x'] }],
    ],
    gateway: [
      ['flow_authorized', { ref: `${foreign}.0123456789abcdef` }],
      ['authorization_created', { ref: `${foreign}.0123456789abcdef` }],
      ['broadcast_ice_candidates', { client_ids: [foreign], candidates: ['x'] }],
    ],
  };
  const harmless = /(?:_failed not_found|reply (?:invalid_ref|unknown_message|unmatched topic))$/;
  fc.assert(
    fc.property(history, (steps) => {
      const account = new RandomAccount();
      for (const ops of steps) {
        account.happen(ops);
        const { driven } = account;
        if ((driven.state.deadline ?? Infinity) <= driven.now) continue;
        for (const { id: sessionId, role } of driven.state.sessions.values()) {
          for (const [event, payload] of said[role]) {
            const effects = driven.step({ type: 'message', sessionId, event, payload, ref: 9 });
            const told = lines(effects);
            expect([
              event,
              // That a request was refused is counted.
              effects.saves.filter(({ type }) => type !== 'put-denial'),
              told.filter((line) => !harmless.test(line) || !line.startsWith(sessionId)),
            ]).toEqual([event, [], []]);
          }
        }
      }
      expect(account.violations()).toEqual([]);
    }),
    { seed: 24, numRuns: 60 },
  );
});

/** An account in which everybody is connected, without flows. */
function connected(rows = firstRows()): Drive {
  const driven = drive(rows);
  for (let n = 1; n <= gateways; n += 1) {
    const token = { id: id('tokg', (n % 2) + 1), type: 'gateway_group' as const, secret: gatewaySecret };
    driven.step({ type: 'connect', sessionId: `gateway${n}`, hello: gatewayHello({ externalId: `rack-${n}`, token }) });
    driven.step({ type: 'joined', sessionId: `gateway${n}` });
  }
  for (let n = 1; n <= clients; n += 1) {
    const token = { id: id('tokc', ownerOf(n)), type: 'client' as const, secret: clientSecret };
    driven.step({ type: 'connect', sessionId: `client${n}`, hello: clientHello({ externalId: `laptop-${n}`, token }) });
    driven.step({ type: 'joined', sessionId: `client${n}` });
    for (let m = 1; m <= resources; m += 1) request(driven, `client${n}`, id('res', m));
  }
  return driven;
}

/** Asks for a flow, and has the gateway that is asked accept it. */
function request(driven: Drive, sessionId: string, resourceId: string): void {
  const payload = { resource_id: resourceId, connected_gateway_ids: [] };
  const { sends } = driven.step({ type: 'message', sessionId, event: 'create_flow', payload, ref: 1 });
  for (const send of sends) {
    if (send.type !== 'to-gateway' || send.message.event !== 'authorize_flow') continue;
    const { ref } = send.message.payload;
    driven.step({ type: 'message', sessionId: send.sessionId, event: 'flow_authorized', payload: { ref }, ref: 1 });
  }
}

function commitsOf(
  steps: readonly (readonly { readonly a: number; readonly b: number; readonly c: number }[])[],
): Commit[] {
  const rows = new RandomRows();
  return steps.map((only, i) => v.parse(commitSchema, commit(101 + i, ...only.flatMap((edit) => rows.edit(edit)))));
}

/** Delivers `commits`, which follow `from`, as the replicator does; returns what was sent. */
function deliver(driven: Drive, commits: readonly Commit[], from: string): string[] {
  const envelope = { version: 1, account: id('acc'), term: 1, epoch: 1, to: commits.at(-1)?.lsn ?? from };
  const delivery = v.parse(deliverySchema, { ...envelope, type: 'commits', from, commits });
  const reception = receive({ ...driven.state, isOutdated: false, stage: null }, delivery);
  const answer = reception.type === 'answer' ? reception.answer.type : 'applied';
  expect(['duplicate', 'applied']).toContain(answer);
  if (reception.type !== 'steps') return [];
  return reception.steps.flatMap((input) => lines(driven.step(input)));
}

/** By session, since the order among sessions is nobody's business, nor is the order of what one gateway rejects in a row. */
function bySession(told: readonly string[]): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  for (const line of told) (found[line.split(' ')[0] ?? ''] ??= []).push(line);
  const isReject = (line: string) => line.includes(' reject_access ');
  return Object.fromEntries(
    Object.entries(found).map(([session, own]) => {
      const runs: string[][] = [];
      for (const line of own) {
        const run = runs.at(-1);
        if (run !== undefined && isReject(line) && run.every(isReject)) run.push(line);
        else runs.push([line]);
      }
      return [session, runs.flatMap((run) => run.toSorted())];
    }),
  );
}
