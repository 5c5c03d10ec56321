// Memberships, of which those who are awake alone are in memory: whatever the order of changes, saves, waking and falling
// asleep, what is read equals a plain list of rows.
import { expect, test } from 'vitest';
import fc from 'fast-check';
import * as v from 'valibot';
import { StoredMemberships } from '../support/stored-memberships.ts';
import {
  allMembers,
  awakeMembers,
  clearMemberships,
  emptyMemberships,
  forgetUnsaved,
  groupsOf,
  heldMembership,
  membershipKeys,
  membershipOf,
  putToSleep,
  setMembership,
  wake,
} from '../../core/memberships.ts';
import { actorId, groupId } from '../../protocol/ids.ts';
import { createFlow, drive, driveWithFlow, joinClient, joinGateway, lines } from '../support/core.ts';
import { id, ids, insert, remove, row, worldRows } from '../support/world.ts';
import { rowSchemas } from '../../protocol/rows.ts';
import type { Save } from '../../core/effect.ts';
import type { WireRow } from '../../protocol/commit.ts';

const table = 'actor_group_memberships';
const actors = [1, 2, 3].map((n) => v.parse(actorId, id('act', n)));
const groups = [1, 2, 3].map((n) => v.parse(groupId, id('grp', n)));
const operation = fc.record({
  kind: fc.constantFrom('put', 'put', 'put', 'remove', 'unreadable', 'clear', 'end', 'end', 'wake', 'wake', 'sleep'),
  key: fc.nat(5),
  actor: fc.nat(2),
  group: fc.nat(2),
});

test('[P9.11] memberships read the same whether their actor is awake or asleep, saved or not', () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
      const stored = new StoredMemberships();
      const memberships = emptyMemberships(stored);
      const rows = new Map<string, WireRow>();
      let saves: Save[] = [];
      for (const { kind, key: number, actor, group } of operations) {
        const key = id('mem', number);
        const actor_id = actors[actor] ?? fail();
        if (kind === 'put' || kind === 'unreadable') {
          const group_id = kind === 'put' ? (groups[group] ?? fail()) : null;
          const fresh = { id: key, account_id: ids.account, actor_id, group_id };
          setMembership(memberships, key, kind === 'put' ? v.parse(rowSchemas[table], fresh) : 'unreadable');
          rows.set(key, fresh);
          saves.push({ type: 'put-row', table, key, row: fresh });
        } else if (kind === 'remove') {
          setMembership(memberships, key, null);
          rows.delete(key);
          saves.push({ type: 'delete-row', table, key });
        } else if (kind === 'clear') {
          clearMemberships(memberships);
          rows.clear();
          saves.push({ type: 'delete-rows', table });
        } else if (kind === 'end') {
          for (const action of saves) stored.save(action);
          saves = [];
          forgetUnsaved(memberships);
        } else if (kind === 'wake') wake(memberships, actor_id);
        else putToSleep(memberships, actor_id);

        expect([...membershipKeys(memberships)].toSorted()).toEqual([...rows.keys()].toSorted());
        for (const only of actors) {
          const expected = groups.filter((of) => has(rows, only, of));
          expect([...new Set(groupsOf(memberships, only))].toSorted()).toEqual(expected);
          expect(groups.filter(membershipOf(memberships, only))).toEqual(expected);
        }
        for (const only of groups) {
          const members = actors.filter((of) => has(rows, of, only));
          expect(allMembers(memberships, only).toSorted()).toEqual(members);
          const awake = members.filter((of) => memberships.members.has(of));
          expect([...new Set(awakeMembers(memberships, only))].toSorted()).toEqual(awake);
        }
        for (const [name, { group_id }] of rows) {
          const held = heldMembership(memberships, name);
          expect(held === 'unreadable' ? null : held?.group_id).toBe(group_id);
        }
      }
    }),
    { seed: 1, numRuns: 300 },
  );
});

test('[P9.12] memberships are in memory from a session or a live grant on, and no longer than both', () => {
  const driven = driveWithFlow();
  const awake = () => [...driven.state.tables.memberships.members.keys()];
  expect(awake()).toEqual([ids.actor]);

  driven.step({ type: 'closed', sessionId: 'client' });
  expect(awake()).toEqual([ids.actor]);
  driven.sleep();
  expect(awake()).toEqual([ids.actor]);

  driven.commit(remove('policies'));
  expect(awake()).toEqual([]);
});

test('[P9.13] what changed for an actor who was asleep decides at the next connect', () => {
  const driven = drive();
  joinGateway(driven);
  const other = { id: id('mem', 2), actor_id: id('act', 2) };
  driven.commit(insert('actors', { id: id('act', 2) }), insert('actor_group_memberships', other));
  driven.commit(remove('actor_group_memberships'), insert('actor_group_memberships', { id: id('mem', 3) }));
  driven.commit(remove('actor_group_memberships', { id: id('mem', 3) }));
  expect(lines(joinClient(driven))).toEqual(['client init']);
  expect(lines(createFlow(driven))).toEqual(['client flow_creation_failed not_found']);

  expect(driven.commit(insert('actor_group_memberships'))).toEqual([
    `client resource_created_or_updated ${ids.resource}`,
  ]);
});

test('[P9.14] truncating the memberships takes from everybody who is awake, and leaves nothing stored', () => {
  const driven = driveWithFlow();
  expect(driven.commit({ op: 'truncate', table })).toEqual([
    `gateway reject_access ${ids.client} ${ids.resource}`,
    `client resource_deleted ${ids.resource}`,
  ]);
  expect([...driven.state.tables.memberships.stored.keys()]).toEqual([]);

  const back = [{ op: 'truncate', table }, insert(table)];
  expect(driven.commit(...back)).toEqual([`client resource_created_or_updated ${ids.resource}`]);
});

test('[P9.15] a snapshot that says the memberships otherwise changes those that differ', () => {
  const rows = worldRows();
  const driven = driveWithFlow(rows);
  const position = { epoch: 1, lsn: driven.state.position?.lsn ?? fail() };
  const otherwise = { ...rows, [table]: [row(table, { id: id('mem', 2) })] };
  const same = driven.step({ type: 'snapshot', position, rows: otherwise, commits: [] });
  expect(lines(same)).toEqual([]);
  expect([...driven.state.tables.memberships.stored.keys()]).toEqual([id('mem', 2)]);

  const none = driven.step({ type: 'snapshot', position, rows: { ...rows, [table]: [] }, commits: [] });
  expect(lines(none)).toEqual([
    `gateway reject_access ${ids.client} ${ids.resource}`,
    `client resource_deleted ${ids.resource}`,
  ]);
});

test('[P1.37] a membership that is changed or removed must be the one stored, whoever is asleep', () => {
  const driven = drive();
  const elsewhere = { group_id: id('grp', 2) };
  expect(() => driven.commit(remove(table, elsewhere))).toThrow('a changed row was held differently');
  expect(() => driven.commit(remove(table, { id: id('mem', 9) }))).toThrow('a changed row was not held');
  expect(() => driven.commit(insert(table))).toThrow('an inserted row was held already');
});

function has(rows: ReadonlyMap<string, WireRow>, actor: string, group: string): boolean {
  return [...rows.values()].some(({ actor_id, group_id }) => actor_id === actor && group_id === group);
}

function fail(): never {
  throw new Error('no such row');
}
