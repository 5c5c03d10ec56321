// What a change reaches: everybody whom it can concern, and nobody else.
import { expect, test } from 'vitest';
import { clientHello, clientSecret, id, insert, row, tokenRow, update, worldRows } from '../support/world.ts';
import { drive, joinClient, lines } from '../support/core.ts';
import type { Drive } from '../support/core.ts';
import type { WireRow } from '../../protocol/commit.ts';

const second = { actor: id('act', 2), group: id('grp', 2), token: id('tokc', 2), client: id('cli', 2) };
const disabled = { disabled_at: '2026-01-01 00:00:00+00' };

test('[P4.24] what a change cannot reach is not looked at: a policy of one group says nothing about the sessions of others', () => {
  const driven = driveTwo();
  const policy = { id: id('pol', 2), actor_group_id: second.group };
  expect(looked(driven, insert('policies', policy))).toEqual(['second']);
  expect(looked(driven, update('policies', disabled, policy))).toEqual(['second']);
  expect(looked(driven, insert('actor_group_memberships', { id: id('mem', 3), actor_id: id('act', 9) }))).toEqual([]);
  expect(looked(driven, insert('actor_group_memberships', { id: id('mem', 4), group_id: second.group }))).toEqual([
    'client',
  ]);
  expect(looked(driven, update('resources', { name: 'Renamed' }))).toEqual(['client', 'second']);
  expect(looked(driven, insert('tokens', { id: id('tokc', 3) }))).toEqual([]);
  expect(looked(driven, update('clients', { verified_at: disabled.disabled_at }))).toEqual(['client']);
});

test('[P4.25] an identity that gets a disabled provider closes the sessions of its tokens, and no others', () => {
  const identity = {
    auth_providers: [row('auth_providers'), row('auth_providers', { id: id('prov', 2), ...disabled })],
  };
  const driven = driveTwo({ ...identity, auth_identities: [row('auth_identities')] }, { identity_id: id('iden') });
  expect(driven.commit(update('auth_identities', { provider_id: id('prov', 2) }))).toEqual(['client close disabled']);
});

/** The sessions that a commit brings up to date. */
function looked(driven: Drive, change: object): string[] {
  const { saves } = driven.commitEffects(change);
  return saves.flatMap((action) => (action.type === 'put-session' ? [action.session.id] : [])).toSorted();
}

/** Two clients of two actors, each in a group of its own. */
function driveTwo(more: ReturnType<typeof worldRows> = {}, token: WireRow = {}): Drive {
  const rows = { ...worldRows(), ...more };
  const add = (table: keyof typeof rows, ...added: WireRow[]) => (rows[table] = [...(rows[table] ?? []), ...added]);
  rows.tokens = [row('tokens', token)];
  add('tokens', { ...tokenRow('client', second.token, clientSecret), actor_id: second.actor });
  add('actors', row('actors', { id: second.actor }));
  add('actor_groups', row('actor_groups', { id: second.group }));
  const membership = { id: id('mem', 2), actor_id: second.actor, group_id: second.group };
  add('actor_group_memberships', row('actor_group_memberships', membership));
  add('clients', row('clients', { id: second.client, actor_id: second.actor, external_id: 'phone' }));
  const driven = drive(rows);
  expect(lines(joinClient(driven))).toEqual(['client init']);
  const own = { externalId: 'phone', token: { id: second.token, type: 'client', secret: clientSecret } };
  driven.step({ type: 'connect', sessionId: 'second', hello: clientHello(own) });
  driven.step({ type: 'joined', sessionId: 'second' });
  return driven;
}
