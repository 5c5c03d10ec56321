// The core against the oracle: random accounts in Postgres, random edits, random clocks; after every step both are asked who may
// reach what, and until when. The edits reach the core as commits, the oracle asks the rows themselves.
import { afterAll, beforeAll, expect, test } from 'vitest';
import * as v from 'valibot';
import { accessOf } from '../../core/access.ts';
import { actorId, clientId, resourceId, tokenId } from '../../protocol/ids.ts';
import { applyEdit, randomEdit } from './random-edit.ts';
import { askAccess, askUntil } from './oracle.ts';
import { changesBetween, readRows } from './rows.ts';
import { createRandomAccount, randomSubjects } from './random-account.ts';
import { drive } from '../support/core.ts';
import { explain } from '../../core/explain.ts';
import { partners } from '../../core/tables.ts';
import { randomClock, randomStart } from './random-clock.ts';
import { seededRandom } from './random.ts';
import { startOracleDatabase } from './database.ts';
import type { Answer, Subject as AskedSubject } from './oracle.ts';
import type { Drive } from '../support/core.ts';
import type { Subject } from '../../core/access.ts';

const stepsOfRun = 25;
const horizonMs = 8 * 86_400_000;

let database: Awaited<ReturnType<typeof startOracleDatabase>>;
beforeAll(async () => {
  database = await startOracleDatabase();
});
afterAll(async () => await database.stop());

type Tally = { granted: number; asked: number; changed: number; until: number };

test.each([11, 12, 13, 14, 15, 16])(
  '[P5.32] after every edit and at every time the core decides as the oracle does: seed %i',
  async (seed) => {
    const { db } = database;
    const random = seededRandom(seed);
    let at = randomStart(random);
    const account = await createRandomAccount(db, random, at);
    let rows = await readRows(db, account);
    const driven = drive(rows);
    const tally: Tally = { granted: 0, asked: 0, changed: 0, until: 0 };
    let before = '';
    for (let step = 0; step < stepsOfRun; step += 1) {
      driven.now = at;
      driven.step({ type: 'tick' });
      const subjects = await randomSubjects(db, random, account, step % 2 === 0 ? 'one' : 'each');
      const answers = await askAccess(db, account, at, subjects);
      for (const answer of answers) compare(driven, subjects, answer, `seed ${seed}, step ${step}`);
      await compareEnds(driven, account, subjects, answers, tally);
      const granted = answers.filter(({ verdict }) => verdict === 'granted');
      const after = JSON.stringify(granted.map((answer) => [answer.client_id, answer.resource_id]));
      tally.granted += granted.length;
      tally.asked += answers.length;
      tally.changed += after === before ? 0 : 1;
      before = after;
      await applyEdit(db, await randomEdit(db, random, account, at));
      const edited = await readRows(db, account);
      driven.commit(...changesBetween(rows, edited));
      rows = edited;
      at = await randomClock(db, random, account, at);
    }
    expect(tally.granted).toBeGreaterThan(0);
    expect(tally.changed).toBeGreaterThan(stepsOfRun * 0.3);
  },
);

/** Both must grant the same, and refuse with the same words wherever the subject and the resource are in order. */
function compare({ state }: Drive, subjects: readonly AskedSubject[], answer: Answer, where: string): void {
  const subject = subjectOf(subjects, answer);
  const resource = v.parse(resourceId, answer.resource_id);
  const ours = subject === null ? { type: 'not_found' as const } : accessOf(state, withActor(state, subject), resource);
  const what = `${where}: client ${answer.client_id}, resource ${answer.resource_id}`;
  expect(`${what} ${ours.type === 'granted'}`).toBe(`${what} ${answer.verdict === 'granted'}`);
  if (subject === null) return;
  if (ours.type === 'granted') {
    expect([...partners(state.tables.sitesOfResource, resource)].toSorted()).toEqual(answer.sites.toSorted());
    return;
  }
  const missing = explain(state, withActor(state, subject), resource).missing.map(({ type }) => type);
  const isInOrder = !missing.some((type) => ['account', 'client', 'actor', 'token', 'provider', 'site'].includes(type));
  if (!isInOrder) return;
  expect(`${what} ${ours.type}`).toBe(`${what} ${answer.verdict}`);
  if (ours.type === 'forbidden') expect(ours.properties.toSorted()).toEqual(answer.violated);
}

/** Of some answers, until when they hold: an access ends exactly then; a refusal is looked at again no later than it must be. */
async function compareEnds(
  { state }: Drive,
  account: string,
  subjects: readonly AskedSubject[],
  answers: readonly Answer[],
  tally: Tally,
): Promise<void> {
  for (const answer of answers.filter((_, i) => (i + tally.asked) % 7 === 0).slice(0, 4)) {
    const subject = subjects.find(
      (candidate) => candidate.client_id === answer.client_id && candidate.token_id === answer.token_id,
    );
    const own = subjectOf(subjects, answer);
    if (subject === undefined || own === null) continue;
    const resource = v.parse(resourceId, answer.resource_id);
    const ours = accessOf(state, withActor(state, own), resource);
    const theirs = await askUntil(database.db, {
      account,
      atMs: state.now,
      subject,
      resource: answer.resource_id,
      horizonMs,
    });
    const limit = state.now + horizonMs;
    const seen = ours.until > limit ? Infinity : ours.until;
    if (ours.type === 'granted') expect(seen).toBe(theirs);
    else expect(seen).toBeLessThanOrEqual(theirs);
    tally.until += 1;
  }
}

function subjectOf(subjects: readonly AskedSubject[], answer: Answer): Omit<Subject, 'actorId'> | null {
  const found = subjects.find(
    (subject) => subject.client_id === answer.client_id && subject.token_id === answer.token_id,
  );
  if (found === undefined) return null;
  return {
    clientId: v.parse(clientId, found.client_id),
    tokenId: v.parse(tokenId, found.token_id),
    remoteIp: found.remote_ip,
    region: found.region,
  };
}

/** The subject with its client's actor; one of nobody where the client is gone. */
function withActor(state: Drive['state'], subject: Omit<Subject, 'actorId'>): Subject {
  const owner = state.tables.rows.clients.get(subject.clientId)?.actor_id;
  return { ...subject, actorId: owner ?? v.parse(actorId, '00000000-0000-4000-8000-000000000000') };
}
