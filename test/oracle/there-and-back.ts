// Edits that take away and give back within one transaction: a directory sync that rewrites every membership, everything disabled and
// enabled again, an account deleted and inserted with all that is its.
import { literal, insertSql, updateSql } from './sql-rows.ts';
import { chance, pick, sample, uuid } from './random.ts';
import { restoring } from './line-edits.ts';
import { rowsOf, type World } from './world.ts';

/** Statements that come before all others of a transaction, since they are made from the rows as they are before it. */
export function thereAndBack(world: World): readonly string[] {
  return pick(world.random, [resync, toggled, rewritten])(world);
}

/** Every membership under the id that it had, or under others; now and then one is dropped. */
function resync(world: World): string[] {
  const rows = rowsOf(world, 'actor_group_memberships');
  const isSame = chance(world.random, 0.5);
  const kept = chance(world.random, 0.5) ? rows : sample(world.random, rows, rows.length - 1);
  const again = kept.map((row) => (isSame ? row : { ...row, id: uuid(world.random) }));
  const account = literal(world.account);
  return [
    `delete from actor_group_memberships where account_id = ${account}`,
    ...(again.length === 0 ? [] : [insertSql('actor_group_memberships', again)]),
  ];
}

function toggled(world: World): string[] {
  const account = literal(world.account);
  const at = { disabled_at: new Date(world.atMs).toISOString() };
  const on = (['actors', 'auth_providers', 'policies', 'accounts'] as const).flatMap((table) =>
    rowsOf(world, table).flatMap((row) => (row['disabled_at'] === null ? [{ table, row }] : [])),
  );
  return [
    ...on.map(({ table, row }) => updateSql(table, row, at)),
    `update tokens set expires_at = expires_at where account_id = ${account}`,
    ...on.map(({ table, row }) => updateSql(table, row, { disabled_at: null })),
  ];
}

function rewritten(world: World): string[] {
  return [`delete from accounts where id = ${literal(world.account)}`, ...restoring(world.rows)];
}
