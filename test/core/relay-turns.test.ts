// A change of relays that concerns many devices, told in turns, and the quick look that finds whom it concerns.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { clientHello, id, relayHello, relayRows, stampSecret, worldRows } from '../support/world.ts';
import { drive, joinClient, joinGateway, lines, nodeHashes } from '../support/core.ts';
import { isBehind, patchRelays, relaysById, toldMax } from '../../core/relay-views.ts';
import { noEffects } from '../../core/effect.ts';
import type { Drive } from '../support/core.ts';
import type { Effects } from '../../core/effect.ts';
import type { RelayEntry } from '../../protocol/relays.ts';
import type { Session } from '../../core/state.ts';

test('[P15.105] a change of relays that concerns very many devices is told to so many in a turn, each once, also after waking', () => {
  const driven = drive(relayRows());
  const all = Array.from({ length: toldMax + 50 }, (_, n) => `client-${n}`);
  for (const [n, sessionId] of all.entries()) {
    driven.step({ type: 'connect', sessionId, hello: clientHello({ externalId: `laptop-${n}` }) });
    driven.step({ type: 'joined', sessionId });
  }
  driven.step({ type: 'connect', sessionId: 'relay', hello: relayHello() });
  const first = driven.step({ type: 'joined', sessionId: 'relay', stampSecret });
  const told = lines(first).filter((line) => line.endsWith(' relays_presence'));
  expect(told).toHaveLength(toldMax);
  expect(first.wakeAt).toBeLessThanOrEqual(driven.now + 50);
  const early = driven.step({ type: 'connect', sessionId: 'late', hello: clientHello({ externalId: 'late' }) });
  expect(early.sends).toEqual([]);
  driven.sleep();
  const rest = lines(tickAt(driven, driven.now + 50));
  expect(rest).toHaveLength(50);
  expect(new Set([...told, ...rest]).size).toBe(all.length);
  expect(lines(tickAt(driven, driven.now + 60_000))).toEqual([]);
});

test('[P15.106] who is behind in its relays is told the same by a look at its own as by choosing anew', () => {
  const driven = drive(worldRows(), { version: 1, relays: [] });
  joinClient(driven);
  joinGateway(driven);
  const places = [{ latitude: 52.5, longitude: 13.4 }, { latitude: 48.9, longitude: 2.4 }, {}];
  const relay = fc.record({ n: fc.integer({ min: 1, max: 5 }), port: fc.constantFrom(3478, 3479), at: fc.nat(2) });
  let version = 1;
  fc.assert(
    fc.property(fc.uniqueArray(relay, { selector: ({ n }) => n, maxLength: 5 }), (chosen) => {
      version += 1;
      const relays = chosen.map(({ n, port, at }) => entry(n, { port, ...places[at] }));
      const before = { ...driven.state, shared: { version, relays } };
      const byLook = [...driven.state.sessions.values()].filter((one) => isBehind(before, one, relaysById(before)));
      const effects = driven.step({ type: 'shared-relays', set: { version, relays }, leaseMs: null });
      expect(lines(effects)).toEqual(byLook.map(({ role }) => `${role} relays_presence`));
      for (const session of driven.state.sessions.values()) {
        expect(patchedAnew(driven, session)).toEqual([]);
      }
    }),
    { seed: 8, numRuns: 200 },
  );
});

/** What a session would be told if its relays were chosen anew. */
function patchedAnew(driven: Drive, session: Session): string[] {
  const effects = noEffects(null);
  patchRelays(driven.state, session, effects, { now: driven.now, seed: 'seed', hashes: nodeHashes });
  return lines(effects);
}

function tickAt(driven: Drive, at: number): Effects {
  driven.now = at;
  return driven.step({ type: 'tick' });
}

function entry(n: number, place: Partial<RelayEntry>): RelayEntry {
  const base = { id: id('rel', n), stampSecret: `secret-of-relay-${n}`, ipv4: `198.51.100.${n}`, ipv6: null };
  return { ...base, port: 3478, latitude: null, longitude: null, ...place };
}
