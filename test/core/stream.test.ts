// Who may lead, and what the Stream object believes of a database.
import { expect, test } from 'vitest';
import * as v from 'valibot';
import { aliveMsMax, emptyMemory, hear, lead, type StreamMemory } from '../../core/stream.ts';
import { heartbeat, leadRequest, type LeadRequest } from '../../protocol/stream.ts';
import { lsn } from '../support/world.ts';

const [runA, runB] = ['6f2d9a52-0f39-4d6e-8d5e-0a5b1f0c9b11', '0b0f4a5e-8d0e-4b57-9a55-5f0a6a1d7c22'];
const now = 1_000_000;

test('[P2.31] a term is higher than any before, here and in the database', () => {
  const first = lead(emptyMemory, request({}), now);
  const second = lead(first.memory, request({ termFloor: 7 }), now);
  const third = lead(second.memory, request({ termFloor: 3 }), now);

  expect([first, second, third].map(({ answer }) => answer)).toMatchObject([{ term: 1 }, { term: 8 }, { term: 9 }]);
});

test('[P2.32] a database that holds the last heartbeat heard, or a later one of that run, is the one that was followed', () => {
  const followed = heard({ run: runA, count: 5 });

  expect(distrustOf(followed, { beats: [{ run: runA, count: 5 }] })).toBeNull();
  expect(distrustOf(followed, { beats: [{ run: runA, count: 6 }] })).toBeNull();
  expect(
    distrustOf(followed, {
      beats: [
        { run: runB, count: 0 },
        { run: runA, count: 5 },
      ],
    }),
  ).toBeNull();
});

test.each([
  ['lacks the last heartbeat', { beats: [{ run: runA, count: 4 }] }, 'was set back'],
  ['has another run', { beats: [{ run: runB, count: 9 }] }, 'was set back'],
  ['has no heartbeat', { beats: [] }, 'was set back'],
  ['ends earlier', { beats: [{ run: runA, count: 5 }], walEnd: lsn(99) }, 'it ends before a position'],
  ['is another system', { beats: [{ run: runA, count: 5 }], systemIdentifier: '2' }, 'another system'],
  ['is on a later timeline', { beats: [{ run: runA, count: 5 }], timeline: 4 }, 'another timeline'],
])('[P2.33] a database that %s is distrusted', (_, change, why) => {
  const followed = heard({ run: runA, count: 5 });

  expect(distrustOf(followed, change)).toContain(why);
});

test('[P2.33] a database that has beaten is distrusted where no heartbeat is remembered, a new one is not', () => {
  expect(distrustOf(emptyMemory, { beats: [{ run: runA, count: 5 }] })).toContain('remembers no heartbeat');
  expect(distrustOf(emptyMemory, { beats: [] })).toBeNull();
});

test('[P2.34] a lower timeline of the same system is refused, however long ago the higher one was heard', () => {
  const followed = heard({ run: runA, count: 5 });
  const { answer, memory } = lead(followed, request({ timeline: 2, beats: [{ run: runA, count: 5 }] }), now + 1e9);

  expect(answer).toMatchObject({ type: 'refused', reason: expect.stringContaining('timeline 2') });
  expect(memory).toBe(followed);
});

test.each([
  ['copy', { beats: [{ run: runA, count: 4 }] }, 'another replicator of this system'],
  ['slot of its own in the same one', { beats: [] }, 'its DRAWBRIDGE_SLOT'],
  ['other system', { systemIdentifier: '2', beats: [] }, 'another database'],
])(
  '[P2.35] a second database, a %s, is refused while the first one is heard, and may follow it after',
  (_, change, words) => {
    const followed = heard({ run: runA, count: 5 });

    expect(lead(followed, request(change), now + aliveMsMax - 1).answer).toMatchObject({
      type: 'refused',
      reason: expect.stringContaining(words),
    });
    expect(lead(followed, request(change), now + aliveMsMax).answer.type).toBe('leads');
  },
);

test('[P2.35] a standby of the same database takes over while the leader is still heard', () => {
  const followed = heard({ run: runA, count: 5 });

  expect(lead(followed, request({ beats: [{ run: runA, count: 5 }] }), now + 1).answer.type).toBe('leads');
});

test('[P2.36] a heartbeat of a lower term is fenced, and an older one of the same run sets nothing back', () => {
  const followed = heard({ run: runA, count: 5 });
  const higher = lead(followed, request({ beats: [{ run: runA, count: 5 }] }), now).memory;

  expect(hear(higher, beat({ term: 1, count: 6 }), now)).toEqual({
    memory: higher,
    answer: { type: 'fenced', term: 2 },
  });
  const { memory } = hear(followed, beat({ term: 1, count: 3, at: 50 }), now);
  expect(memory.heard).toMatchObject({ run: runA, count: 5 });
  expect(memory.applied?.lsn).toBe(lsn(100));
});

function request(change: Partial<LeadRequest>): LeadRequest {
  const base = { version: 1, systemIdentifier: '1', timeline: 3, termFloor: 0, walEnd: lsn(1000), beats: [] };
  return v.parse(leadRequest, { ...base, ...change });
}

function beat({ term, count, at = 100 }: { readonly term: number; readonly count: number; readonly at?: number }) {
  const applied = { lsn: lsn(at), committedAtUs: now * 1000, late: [] };
  return v.parse(heartbeat, { version: 1, term, epoch: 1, beat: { run: runA, count }, applied });
}

/** A memory that has followed system 1 on timeline 3 up to this heartbeat, at position 100. */
function heard({ count }: { readonly run: string; readonly count: number }): StreamMemory {
  const led = lead(emptyMemory, request({}), now).memory;
  return hear(led, beat({ term: 1, count }), now).memory;
}

function distrustOf(memory: StreamMemory, change: Partial<LeadRequest>): string | null {
  const { answer } = lead(memory, request(change), now + aliveMsMax);
  return answer.type === 'leads' ? answer.distrust : answer.reason;
}
