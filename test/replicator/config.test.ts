import { expect, test } from 'vitest';
import { parseConfig } from '../../replicator/config.ts';

const whole = {
  REPLICATOR_DATABASE_URL: 'postgres://drawbridge_replicator:secret@127.0.0.1/drawbridge',
  DRAWBRIDGE_INGEST_KEY: 'first-key-0123456789-0123456789-01,second-key-0123456789-0123456789',
};

test('[P15.16] what is not set has a default, and of several keys the first signs', () => {
  expect(parseConfig(whole)).toMatchObject({
    type: 'ok',
    config: {
      workerUrl: 'http://127.0.0.1:8787',
      httpHost: '127.0.0.1',
      httpPort: 9464,
      slot: 'drawbridge',
      leaderTimeoutMs: 2_500,
      changeLogDays: 90,
      ingestKeys: ['first-key-0123456789-0123456789-01', 'second-key-0123456789-0123456789'],
    },
  });
});

test.each(['REPLICATOR_DATABASE_URL', 'DRAWBRIDGE_INGEST_KEY'])(
  '[P15.17] without %s, or with it empty, one sentence says that it is missing and how to set it',
  (name) => {
    for (const value of [undefined, '']) {
      const parsed = parseConfig({ ...whole, [name]: value });
      expect(parsed).toMatchObject({
        type: 'error',
        message: expect.stringMatching(`^${name} is missing: set it to .+\\.$`),
      });
    }
  },
);

test.each([
  ['REPLICATOR_DATABASE_URL', 'mysql://somewhere'],
  ['WORKER_URL', 'ftp://somewhere'],
  ['DRAWBRIDGE_INGEST_KEY', 'too-short'],
  ['DRAWBRIDGE_HTTP_PORT', '65536'],
  ['DRAWBRIDGE_HTTP_PORT', '80a'],
  ['DRAWBRIDGE_LEADER_TIMEOUT_MS', '499'],
  ['DRAWBRIDGE_LEADER_TIMEOUT_MS', '60001'],
  // [LAB-I] The library puts names into the command as they are.
  ['DRAWBRIDGE_SLOT', 'Not-A-Slot'],
  ['DRAWBRIDGE_SLOT', 'slot" LOGICAL 0/0'],
  ['DRAWBRIDGE_CHANGE_LOG_DAYS', '09'],
])('[P15.18] %s = %j gives one sentence that says how to set it and does not repeat the value', (name, value) => {
  const parsed = parseConfig({ ...whole, [name]: value });

  expect(parsed).toMatchObject({
    type: 'error',
    message: expect.stringMatching(`^${name} is not usable: set it to .+\\.$`),
  });
  expect(JSON.stringify(parsed)).not.toContain(value);
});
