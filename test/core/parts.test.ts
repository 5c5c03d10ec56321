// A commit or snapshot in parts does what it does whole: same rows, same position, same frames, in one step.
import { expect, test } from 'vitest';
import fc from 'fast-check';
import { driveWithFlow, lines } from '../support/core.ts';
import { commit, id, ids, insert, lsn, remove, update, worldRows } from '../support/world.ts';
import { held, keysHeld } from '../../core/tables.ts';
import { unreadableValue } from '../../protocol/commit.ts';
import { tableNames } from '../../protocol/tables.ts';
import type { Drive } from '../support/core.ts';

/** A transaction that takes the flow's access away, gives it back, and moves the resource. */
const changes = [
  remove('policies'),
  insert('actors', { id: id('part', 901) }),
  update('resources', { name: 'Renamed' }),
  remove('actor_group_memberships'),
  insert('policies', { id: id('part', 902) }),
  insert('actor_group_memberships', { id: id('part', 903) }),
  update('resources', { address: '10.9.0.0/16' }, { name: 'Renamed' }),
  update('accounts', { slug: 'renamed' }),
];

test('[P3.14] a commit in any parts does what it does whole, and nothing before its end', () => {
  const whole = driveWithFlow();
  const expected = whole.commit(...changes);
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat({ max: changes.length }), { maxLength: 4 }), (cuts) => {
      const driven = driveWithFlow();
      const { changes: all, ...rest } = commit(101, ...changes);
      const bounds = [0, ...cuts.toSorted((a, b) => a - b), all.length];
      const pieces = bounds.slice(1).map((end, n) => all.slice(bounds[n], end));
      for (const piece of pieces.slice(0, -1)) {
        expect(lines(driven.step({ type: 'part', content: { changes: piece } }))).toEqual([]);
        expect(driven.state.position?.lsn).toBe(lsn(100));
      }
      const effects = driven.step({ type: 'commit', epoch: 1, commit: { ...rest, changes: pieces.at(-1) ?? [] } });

      expect(lines(effects)).toEqual(expected);
      expect(rowsOf(driven)).toEqual(rowsOf(whole));
      expect(driven.state.position).toEqual(whole.state.position);
    }),
    { seed: 7, numRuns: 100 },
  );
});

test('[P3.15] a snapshot in parts does what it does whole: rows that no part holds are removed at its end', () => {
  const rows = { ...worldRows(), policies: [] };
  const position = { epoch: 1, lsn: lsn(200) };
  const commits = [commit(150, insert('actors', { id: id('part', 904) }))];
  const whole = driveWithFlow();
  const expected = lines(whole.step({ type: 'snapshot', position, rows, commits }));
  const driven = driveWithFlow();
  for (const table of tableNames.toReversed()) {
    expect(lines(driven.step({ type: 'part', content: { rows: { [table]: rows[table] ?? [] } } }))).toEqual([]);
  }

  expect(lines(driven.step({ type: 'snapshot', position, rows: {}, commits }))).toEqual(expected);
  expect(expected).toContain(`gateway reject_access ${ids.client} ${ids.resource}`);
  expect(rowsOf(driven)).toEqual(rowsOf(whole));
});

test('[P14.29] what time ends is not ended between the parts of a commit, but after it', () => {
  const driven = driveWithFlow();
  driven.step({
    type: 'part',
    content: { changes: commit(101, insert('gateway_groups', { id: id('site', 2) })).changes },
  });
  driven.now += 90 * 86_400_000;
  expect(lines(driven.step({ type: 'part', content: { changes: [] } }))).toEqual([]);

  const { wakeAt } = driven.step({
    type: 'commit',
    epoch: 1,
    commit: commit(102, insert('gateway_groups', { id: id('site', 3) })),
  });

  expect(wakeAt).toBeLessThanOrEqual(driven.now);
});

test('[P5.54] a row with a value that could not be decoded grants nothing and is reported, until it can be read', () => {
  const driven = driveWithFlow();
  const broken = { description: unreadableValue('why') };
  const effects = driven.commitEffects(update('policies', broken));
  expect(lines(effects)).toContain(`gateway reject_access ${ids.client} ${ids.resource}`);
  expect(effects.notes).toMatchObject([{ event: 'row_unreadable', table: 'policies' }]);
  driven.sleep();
  expect([...driven.state.tables.unreadable]).toEqual([`policies/${ids.policy}`]);

  driven.commit(update('policies', { description: 'mended' }, broken));
  expect([...driven.state.tables.unreadable]).toEqual([]);
});

function rowsOf({ state: { tables } }: Drive): unknown {
  return tableNames.map((table) =>
    Object.fromEntries(keysHeld(tables, table).map((key) => [key, held(tables, table, key)])),
  );
}
