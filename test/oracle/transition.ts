// What one transaction did to one account, as far as docs/consequences.md tells kinds of changes apart: its rows before and
// after, the changes in order, and the paths on which somebody was granted something before and is after.
import { accessOf, type Subject } from '../../core/access.ts';
import { explain } from '../../core/explain.ts';
import type { Change } from '../../protocol/commit.ts';
import { keyColumns, type TableName } from '../../protocol/tables.ts';
import type { State } from '../../core/state.ts';
import type { SqlRow, SqlRows } from './sql-rows.ts';

/** A client that may reach a resource, and every policy that alone would do. */
export interface Path {
  readonly client: string;
  readonly actor: string;
  readonly token: string;
  readonly resource: string;
  /** Where the client connects from; null is unknown. */
  readonly address: string | null;
  readonly policies: readonly string[];
}

export interface Transition {
  readonly before: SqlRows;
  readonly after: SqlRows;
  readonly changes: readonly Change[];
  readonly atMs: number;
  readonly paths: readonly Path[];
  readonly pathsAfter: readonly Path[];
}

export interface Difference {
  readonly inserted: readonly SqlRow[];
  readonly deleted: readonly SqlRow[];
  readonly updated: readonly { readonly old: SqlRow; readonly row: SqlRow }[];
}

/** The paths of `subjects` to all resources, as the core has them. */
export function pathsOf(state: State, subjects: readonly Subject[]): Path[] {
  return subjects.flatMap((subject) =>
    [...state.tables.rows.resources.keys()].flatMap((resource) => pathTo(state, subject, resource)),
  );
}

function pathTo(state: State, subject: Subject, resource: string): Path[] {
  const row = state.tables.rows.resources.get(resource);
  if (row === undefined) return [];
  if (accessOf(state, subject, row.id).type !== 'granted') return [];
  const { policies } = explain(state, subject, row.id);
  const granting = policies.filter(
    ({ isMember, isEnabled, conditions }) => isMember && isEnabled && conditions.every(({ isMet }) => isMet),
  );
  const { clientId: client, actorId: actor, tokenId: token, remoteIp: address } = subject;
  return [{ client, actor, token, resource, address, policies: granting.map(({ id }) => id) }];
}

export function keyOf(table: TableName, row: SqlRow): string {
  return keyColumns[table].map((column) => row[column] ?? '').join(' ');
}

export function rowsByKey(table: TableName, rows: SqlRows): Map<string, SqlRow> {
  return new Map((rows.get(table) ?? []).map((row) => [keyOf(table, row), row]));
}

export function differenceOf(table: TableName, before: SqlRows, after: SqlRows): Difference {
  const [old, now] = [rowsByKey(table, before), rowsByKey(table, after)];
  const updated = [...now].flatMap(([key, row]) => {
    const was = old.get(key);
    return was === undefined || JSON.stringify(was) === JSON.stringify(row) ? [] : [{ old: was, row }];
  });
  return {
    inserted: [...now].flatMap(([key, row]) => (old.has(key) ? [] : [row])),
    deleted: [...old].flatMap(([key, row]) => (now.has(key) ? [] : [row])),
    updated,
  };
}
