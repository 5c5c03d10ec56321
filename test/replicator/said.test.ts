// What the messages of one transaction say, and what is kept of them meanwhile.
import { expect, test } from 'vitest';
import * as v from 'valibot';
import { accountId } from '../../protocol/ids.ts';
import { everyAccount, type Steering } from '../../protocol/steering.ts';
import { Listener, steeringMax } from '../../replicator/said.ts';
import { composeSteering } from '../../replicator/steering.ts';

const key = 'k'.repeat(32);
const session = { role: 'app', application: 'psql', address: '127.0.0.1' };
const run = '6f2d9a52-0f39-4d6e-8d5e-0a5b1f0c9b11';
const account = v.parse(accountId, '00000000-0000-4000-8000-00000000000a');

test('[P1.49] of several subjects the last that act_as named counts, else the first of the session', () => {
  const alice = { ...session, name: 'alice', reason: 'INC-42' };
  const bob = { ...session, name: 'bob', reason: null };
  const subjectOf = (...messages: readonly Message[]) => {
    const { subject } = heard(messages).said();
    return subject === null ? null : JSON.parse(subject);
  };

  expect(subjectOf()).toBe(null);
  expect(subjectOf(of(session), of({ ...session, role: 'other' }))).toEqual(session);
  expect(subjectOf(of(session), of(alice), of(bob), of({ ...session, role: 'other' }))).toEqual(bob);
  expect(
    subjectOf(
      { prefix: 'other', content: of(alice).content },
      { prefix: 'drawbridge', content: '{"type":"subject"' },
      of({ name: 'mallory' }),
      of({ ...session, name: 'x'.repeat(5_000) }),
    ),
  ).toBe(null);
});

test('[P5.95] what a session says of itself that jsonb cannot store is nothing, and is counted', () => {
  const unstorable = ['a\0b', '\ud800', 'x\udc00y'];
  const listener = heard([
    ...unstorable.map((role) => of({ ...session, role })),
    ...unstorable.map((application) => of({ ...session, application })),
    ...unstorable.map((name) => of({ ...session, name, reason: null })),
    ...unstorable.map((reason) => of({ ...session, name: 'alice', reason })),
    of({ ...session, application: 'psql \u{1f600}' }),
  ]);

  expect(listener.said()).toEqual({
    steering: [],
    subject: JSON.stringify({ ...session, application: 'psql \u{1f600}' }),
    ignored: 12,
  });
});

test('[P15.96] of the messages in one transaction nothing is kept but what they say, each thing once', () => {
  const steering: readonly Steering[] = [
    { type: 'heartbeat', run, count: 9 },
    { type: 'resync', account, at: 2 },
    { type: 'resync', account: everyAccount, at: 2 },
    { type: 'marker', id: run },
  ];
  const older: readonly Steering[] = [
    { type: 'heartbeat', run, count: 8 },
    { type: 'resync', account, at: 1 },
  ];
  const forged = composeSteering({ type: 'resync', account: everyAccount, at: 1 }, 'a key of somebody else');
  const listener = heard([...older, ...steering].map(signed));
  for (let n = 0; n < 2_000; n += 1) {
    listener.take({ prefix: 'drawbridge', content: n % 2 === 0 ? forged : 'x'.repeat(1_000) + n });
    listener.take({ prefix: 'another', content: 'x'.repeat(1_000) + n });
    listener.take(of({ ...session, application: `program ${n}` }));
  }

  const said = listener.said();

  expect(said.steering).toHaveLength(steering.length);
  expect(said.steering).toMatchObject(steering);
  expect(JSON.parse(said.subject ?? '')).toMatchObject({ application: 'program 0' });
  expect(said.ignored).toBe(2_000);
});

test('[P15.108] of the signed messages of one transaction a thousand are kept, and a request for a snapshot beyond them is one for every account', () => {
  const resyncs = Array.from({ length: steeringMax + 5 }, (_, n) => {
    const named = v.parse(accountId, `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`);
    return signed({ type: 'resync', account: named, at: n });
  });
  const marker = signed({ type: 'marker', id: run });

  const { ignored, steering } = heard([...resyncs, marker]).said();

  expect(steering).toHaveLength(steeringMax + 1);
  expect(steering.at(-1)).toMatchObject({ type: 'resync', account: everyAccount, at: steeringMax + 4 });
  expect(ignored).toBe(1);
});

type Message = { readonly prefix: string; readonly content: string };

function heard(messages: readonly Message[]): Listener {
  const listener = new Listener([key]);
  for (const message of messages) listener.take(message);
  return listener;
}

function of(subject: object): Message {
  return { prefix: 'drawbridge', content: JSON.stringify({ type: 'subject', subject }) };
}

function signed(steering: Steering): Message {
  return { prefix: 'drawbridge', content: composeSteering(steering, key) };
}
