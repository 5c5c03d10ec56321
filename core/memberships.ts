// Which actor is in which group. Memberships are by far the most rows of an account, and only those of actors who are awake
// decide anything: who has a session or a live grant. Those are held here, as references between actors and groups; all
// others stay in storage and are read, synchronously, when somebody asks.
//
// What a step changes is visible at once. The caller stores a step's saves before it asks anything of the state again.
import * as v from 'valibot';
import { rowSchemas } from '../protocol/rows.ts';
import type { ActorId, GroupId } from '../protocol/ids.ts';
import type { RowOf } from '../protocol/rows.ts';

type MembershipRow = RowOf<'actor_group_memberships'>;

/** Reads what the saves of earlier steps have stored: rows as they came, of table `actor_group_memberships`. */
export type StoredMemberships = {
  /** Undefined when there is none under `key`. */
  readonly row: (key: string) => unknown;
  readonly keys: () => Iterable<string>;
  readonly ofActor: (actorId: ActorId) => Iterable<{ readonly key: string; readonly row: unknown }>;
  readonly ofGroup: (groupId: GroupId) => Iterable<{ readonly key: string; readonly row: unknown }>;
};

type Member = { readonly id: ActorId; readonly groups: Group[] };
type Group = { readonly id: GroupId; readonly members: Member[] };

export type Memberships = {
  readonly stored: StoredMemberships;
  /** What the running step has put (`unreadable` where the row does not fit) or removed (null), by key. */
  readonly unsaved: Map<string, MembershipRow | 'unreadable' | null>;
  /** Whether the running step has removed everything that is stored. */
  isCleared: boolean;
  /** Every actor who is awake. */
  readonly members: Map<ActorId, Member>;
  /** Every group with somebody awake in it. */
  readonly groups: Map<GroupId, Group>;
};

export function emptyMemberships(stored: StoredMemberships): Memberships {
  return { stored, unsaved: new Map(), isCleared: false, members: new Map(), groups: new Map() };
}

/** The row under `key`; `unreadable` when it does not fit its schema, null when there is none. */
export function heldMembership(memberships: Memberships, key: string): MembershipRow | 'unreadable' | null {
  const changed = memberships.unsaved.get(key);
  if (changed !== undefined) return changed;
  const row = memberships.isCleared ? undefined : memberships.stored.row(key);
  return row === undefined ? null : (readMembership(row) ?? 'unreadable');
}

/** Puts `row` under `key`, or removes what is there when `row` is null. */
export function setMembership(memberships: Memberships, key: string, row: MembershipRow | 'unreadable' | null): void {
  const before = heldMembership(memberships, key);
  memberships.unsaved.set(key, row);
  if (before !== null && before !== 'unreadable') leave(memberships, before);
  if (row !== null && row !== 'unreadable') enter(memberships, row);
}

/** Removes every membership; returns the actors who are awake, for whom alone that may change anything now. */
export function clearMemberships(memberships: Memberships): ActorId[] {
  memberships.unsaved.clear();
  memberships.isCleared = true;
  memberships.groups.clear();
  for (const { groups } of memberships.members.values()) groups.length = 0;
  return [...memberships.members.keys()];
}

export function membershipKeys(memberships: Memberships): Set<string> {
  const keys = new Set(memberships.isCleared ? [] : memberships.stored.keys());
  for (const [key, row] of memberships.unsaved) {
    if (row === null) keys.delete(key);
    else keys.add(key);
  }
  return keys;
}

/** The step is over, and its saves are about to be stored. */
export function forgetUnsaved(memberships: Memberships): void {
  memberships.unsaved.clear();
  memberships.isCleared = false;
}

/** Holds the actor's memberships from here on, until {@link putToSleep}. */
export function wake(memberships: Memberships, actorId: ActorId): void {
  if (memberships.members.has(actorId)) return;
  const rows = rowsOf(memberships, memberships.stored.ofActor(actorId), (row) => row.actor_id === actorId);
  const member = { id: actorId, groups: rows.map(({ group_id: groupId }) => awakeGroup(memberships, groupId)) };
  memberships.members.set(actorId, member);
  for (const group of member.groups) group.members.push(member);
}

export function putToSleep(memberships: Memberships, actorId: ActorId): void {
  const member = memberships.members.get(actorId);
  if (member === undefined) return;
  for (const group of member.groups) takeOut(memberships, group, member);
  memberships.members.delete(actorId);
}

/** The groups of an actor, asleep or awake; each once unless two rows say the same. */
export function groupsOf(memberships: Memberships, actorId: ActorId): GroupId[] {
  const member = memberships.members.get(actorId);
  if (member !== undefined) return member.groups.map(({ id }) => id);
  return rowsOf(memberships, memberships.stored.ofActor(actorId), (row) => row.actor_id === actorId).map(
    ({ group_id: groupId }) => groupId,
  );
}

/** Tells of each group whether the actor is in it; made once and asked often. */
export function membershipOf(memberships: Memberships, actorId: ActorId): (groupId: GroupId) => boolean {
  const member = memberships.members.get(actorId);
  if (member === undefined) {
    const groups = new Set(groupsOf(memberships, actorId));
    return (groupId) => groups.has(groupId);
  }
  return (groupId) => {
    const group = memberships.groups.get(groupId);
    return group !== undefined && member.groups.includes(group);
  };
}

/** The actors of a group who are awake; each once unless two rows say the same. */
export function awakeMembers(memberships: Memberships, groupId: GroupId): ActorId[] {
  return memberships.groups.get(groupId)?.members.map(({ id }) => id) ?? [];
}

/** All actors of a group, asleep or awake: for operators' questions, since it reads the storage. */
export function allMembers(memberships: Memberships, groupId: GroupId): ActorId[] {
  const rows = rowsOf(memberships, memberships.stored.ofGroup(groupId), (row) => row.group_id === groupId);
  return [...new Set(rows.map(({ actor_id: actorId }) => actorId))];
}

/** Of the rows `stored` and those that this step has changed, the ones that are wanted and can be read. */
function rowsOf(
  { unsaved, isCleared }: Memberships,
  stored: Iterable<{ readonly key: string; readonly row: unknown }>,
  isWanted: (row: MembershipRow) => boolean,
): MembershipRow[] {
  const rows: MembershipRow[] = [];
  for (const { key, row } of isCleared ? [] : stored) {
    const readable = unsaved.has(key) ? null : readMembership(row);
    if (readable !== null) rows.push(readable);
  }
  for (const row of unsaved.values()) if (row !== null && row !== 'unreadable' && isWanted(row)) rows.push(row);
  return rows;
}

function readMembership(row: unknown): MembershipRow | null {
  const parsed = v.safeParse(rowSchemas.actor_group_memberships, row);
  return parsed.success ? parsed.output : null;
}

function awakeGroup({ groups }: Memberships, groupId: GroupId): Group {
  const held = groups.get(groupId);
  if (held !== undefined) return held;
  const group = { id: groupId, members: [] };
  groups.set(groupId, group);
  return group;
}

function enter(memberships: Memberships, { actor_id: actorId, group_id: groupId }: MembershipRow): void {
  const member = memberships.members.get(actorId);
  if (member === undefined) return;
  const group = awakeGroup(memberships, groupId);
  member.groups.push(group);
  group.members.push(member);
}

function leave(memberships: Memberships, { actor_id: actorId, group_id: groupId }: MembershipRow): void {
  const member = memberships.members.get(actorId);
  const group = memberships.groups.get(groupId);
  if (member === undefined || group === undefined) return;
  removeOne(member.groups, group);
  takeOut(memberships, group, member);
}

function takeOut(memberships: Memberships, group: Group, member: Member): void {
  removeOne(group.members, member);
  if (group.members.length === 0) memberships.groups.delete(group.id);
}

/** Removes one occurrence of `item`, if there is one; the order of the others is not kept. */
function removeOne<T>(items: T[], item: T): void {
  const index = items.indexOf(item);
  const last = index === -1 ? undefined : items.pop();
  if (last !== undefined && index < items.length) items[index] = last;
}
