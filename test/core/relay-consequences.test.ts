// docs/consequences.md, its lines about relays: the page is read, each line is run, and what relays and devices are told is compared.
import { expect, test } from 'vitest';
import { authorizeFlow, createFlow, drive, joinClient, joinGateway, lines, refOf } from '../support/core.ts';
import { graceMs } from '../../core/relays.ts';
import { id, ids, relayHello, relaySecret, stampSecret, tokenRow, update, worldRows } from '../support/world.ts';
import { linesOfRelays, thingsIn } from '../support/consequences.ts';
import type { Drive } from '../support/core.ts';

const relayToken = tokenRow('relay_group', ids.relayToken, relaySecret);
const strangerSecret = 'x'.repeat(32);
const strangerToken = tokenRow('relay_group', id('tokx'), strangerSecret);
const elsewhere = { ipv4: '198.51.100.10', ipv6: null, connectedAt: 5000 };
const sharedRelay = {
  id: id('rel'),
  stampSecret: 'shared',
  ipv4: '203.0.113.9',
  ipv6: null,
  port: 3478,
  latitude: null,
  longitude: null,
};
const tokenUntil = (expiresAt: string) => [
  { op: 'update', table: 'tokens', old: relayToken, new: { ...relayToken, expires_at: expiresAt } },
];
const soon = 2_000_000;

type Line = {
  readonly isAlone?: true;
  readonly before?: (driven: Drive) => void;
  readonly run: (driven: Drive) => string[];
};

const consequences: Readonly<Record<string, Line>> = {
  'relay-first': { isAlone: true, run: (driven) => joinRelay(driven) },
  'relay-second': { run: (driven) => joinRelay(driven, 'another', elsewhere) },
  'relay-third': {
    before: (driven) => joinRelay(driven, 'another', elsewhere),
    run: (driven) => joinRelay(driven, 'third', { ...elsewhere, ipv4: '198.51.100.11' }),
  },
  'relay-leaves': { run: leave },
  'relay-returns': { before: leave, run: (driven) => joinRelay(driven, 'relay', { connectedAt: 5000 }) },
  'relay-gone': {
    before: leave,
    run: (driven) => {
      driven.now += graceMs;
      return lines(driven.step({ type: 'tick' }));
    },
  },
  'relay-restarts': { run: (driven) => joinRelay(driven, 'another', { connectedAt: 5000 }) },
  'relay-taken': {
    run: (driven) =>
      joinRelay(driven, 'another', {
        connectedAt: 5000,
        token: { id: id('tokx'), type: 'relay_group', secret: strangerSecret },
      }),
  },
  'relay-moves': { run: (driven) => joinRelay(driven, 'relay', elsewhere, 'relay-moved') },
  'relay-token-deleted': { run: deleteToken },
  'relay-token-expired': { run: (driven) => driven.commit(...tokenUntil('1970-01-01 00:00:01+00')) },
  'relay-token-extended': { run: (driven) => driven.commit(...tokenUntil('2200-01-01 00:00:00+00')) },
  'relay-token-expires': {
    before: (driven) => driven.commit(...tokenUntil('1970-01-01 00:33:20+00')),
    run: (driven) => {
      driven.now = soon;
      return lines(driven.step({ type: 'tick' }));
    },
  },
  // Groups are not streamed; their tokens are.
  'relay-group-deleted': { run: deleteToken },
  'relay-group-renamed': { run: (driven) => driven.commit() },
  'relay-account': { run: (driven) => driven.commit(update('accounts', { disabled_at: '2026-01-01 00:00:00+00' })) },
  'client-token-moved': { run: (driven) => driven.commit(update('tokens', { expires_at: '2200-01-01 00:00:00+00' })) },
  'shared-first': { run: (driven) => takeShared(driven, 7) },
  'shared-gone': {
    before: (driven) => takeShared(driven, 7),
    run: (driven) => lines(driven.step({ type: 'shared-relays', set: { version: 8, relays: [] }, leaseMs: null })),
  },
};

test('[P4.36] every line about relays on the page of consequences has a test, and every test a line', () => {
  expect(linesOfRelays.map(({ name }) => name).toSorted()).toEqual(Object.keys(consequences).toSorted());
});

test.each(linesOfRelays)('[P4.36] $name: $change', ({ name, relay, gateway, client }) => {
  const line = consequences[name];
  const rows = worldRows();
  rows.tokens?.push(relayToken, strangerToken);
  const driven = drive(rows);
  joinGateway(driven);
  joinClient(driven);
  if (line?.isAlone !== true) joinRelay(driven);
  expect(lines(authorizeFlow(driven, refOf(createFlow(driven)))).at(-1)).toBe('client flow_created');
  line?.before?.(driven);
  const sent = line?.run(driven) ?? [];
  expect({ relay: told(sent, 'relay'), gateway: told(sent, 'gateway'), client: told(sent, 'client') }).toEqual({
    relay: thingsIn(relay),
    gateway: thingsIn(gateway),
    client: thingsIn(client),
  });
  const isOver = told(sent, 'gateway').includes('reject_access');
  expect([...driven.state.grants.values()].some(({ phase }) => phase === 'live')).toBe(!isOver);
});

/** Connects and joins the relay, or another one. */
function joinRelay(
  driven: Drive,
  who: 'relay' | 'another' | 'third' = 'relay',
  changes = {},
  sessionId: string = who,
): string[] {
  const secrets = { relay: stampSecret, another: '6'.repeat(64), third: '7'.repeat(64) };
  driven.step({ type: 'connect', sessionId, hello: relayHello(changes) });
  return lines(driven.step({ type: 'joined', sessionId, stampSecret: secrets[who] }));
}

function leave(driven: Drive): string[] {
  return lines(driven.step({ type: 'closed', sessionId: 'relay' }));
}

function deleteToken(driven: Drive): string[] {
  return driven.commit({ op: 'delete', table: 'tokens', old: relayToken });
}

function takeShared(driven: Drive, version: number): string[] {
  return lines(driven.step({ type: 'shared-relays', set: { version, relays: [sharedRelay] }, leaseMs: null }));
}

const names: Readonly<Record<string, string>> = { another: 'another ', third: 'a third ' };

/** What one side was told, in the page's words. */
function told(sent: readonly string[], side: 'relay' | 'gateway' | 'client'): string[] {
  return sent.flatMap((line) => {
    const [who = '', what = '', detail = ''] = line.split(' ');
    const of = ['relay', 'relay-moved', 'another', 'third'].includes(who) ? 'relay' : who;
    if (of !== side) return [];
    const name = names[who] ?? '';
    if (what === 'close') return [`${name}${detail === 'token_gone' ? 'signed out' : 'closed'}`];
    return [`${name}${what}`];
  });
}
