// Explanations: they agree with the decision, and what they call missing is what is missing.
import { expect, test } from 'vitest';
import fc from 'fast-check';
import * as v from 'valibot';
import { drive } from '../support/core.ts';
import { explain } from '../../core/explain.ts';
import { accessOf } from '../../core/access.ts';
import { actorId, clientId, resourceId, tokenId } from '../../protocol/ids.ts';
import { id, ids, insert, remove, row, update, worldRows } from '../support/world.ts';
import type { Drive } from '../support/core.ts';
import type { MissingFact } from '../../protocol/explain.ts';
import type { Subject } from '../../core/access.ts';
import type { WireRow } from '../../protocol/commit.ts';

const resource = v.parse(resourceId, ids.resource);
const verifiedOnly = JSON.stringify({ property: 'client_verified', operator: 'is', values: ['true'] });
const officeOnly = JSON.stringify({ property: 'remote_ip', operator: 'is_in_cidr', values: ['203.0.113.0/24'] });
const withIdentity = { identity_id: id('iden') };
const disabled = { disabled_at: '1970-01-01 00:00:00+00' };
const inOffice: Subject = {
  clientId: v.parse(clientId, ids.client),
  actorId: v.parse(actorId, ids.actor),
  tokenId: v.parse(tokenId, ids.clientToken),
  remoteIp: '203.0.113.7',
  region: null,
};

test('[P5.29] an explanation names the path, and each condition with its outcome', () => {
  const rows = worldRows();
  rows.policies = [row('policies', { conditions: [officeOnly, verifiedOnly] })];
  expect(explain(drive(rows).state, inOffice, resource)).toEqual({
    access: { type: 'forbidden', properties: ['client_verified'], until: Infinity },
    policies: [
      {
        id: ids.policy,
        groupId: ids.group,
        isMember: true,
        isEnabled: true,
        conditions: [
          { property: 'remote_ip', operator: 'is_in_cidr', values: ['203.0.113.0/24'], isMet: true, until: null },
          { property: 'client_verified', operator: 'is', values: ['true'], isMet: false, until: null },
        ],
      },
    ],
    sites: [ids.site],
    gateways: [],
    missing: [{ type: 'condition', policyId: ids.policy, property: 'client_verified', until: null }],
  });
});

test('[P5.30] whatever is wrong, supplying what the explanation calls missing, and nothing else, grants the access', () => {
  const flags = fc.record({
    account: fc.boolean(),
    actor: fc.boolean(),
    token: fc.boolean(),
    site: fc.boolean(),
    member: fc.boolean(),
    provider: fc.boolean(),
    resource: fc.boolean(),
    client: fc.boolean(),
    policy: fc.boolean(),
    enabled: fc.boolean(),
    verified: fc.boolean(),
    office: fc.boolean(),
    held: fc.subarray(['client', 'actor', 'resource'] as const),
  });
  fc.assert(
    fc.property(flags, (wrong) => {
      const rows = worldRows();
      if (wrong.account) rows.accounts = [row('accounts', disabled)];
      if (wrong.actor) rows.actors = [row('actors', disabled)];
      if (wrong.site) rows.resource_connections = [];
      if (wrong.provider) {
        rows.auth_providers = [row('auth_providers', disabled)];
        rows.auth_identities = [row('auth_identities')];
        rows.tokens = [row('tokens', withIdentity)];
      }
      if (wrong.token) rows.tokens = [];
      if (wrong.resource) rows.resources = [];
      if (wrong.client) rows.clients = [];
      if (wrong.member) rows.actor_group_memberships = [];
      const conditions = [...(wrong.verified ? [verifiedOnly] : []), ...(wrong.office ? [officeOnly] : [])];
      const policy = { conditions, ...(wrong.enabled ? disabled : {}) };
      rows.policies = wrong.policy ? [] : [row('policies', policy)];
      const driven = drive(rows);
      for (const kind of wrong.held) {
        const at = { kind, id: ids[kind], at: 0, by: 'test', reason: null };
        driven.step({ type: 'hold', hold: at });
      }
      const subject = wrong.office ? { ...inOffice, remoteIp: null } : inOffice;
      const { missing, access } = explain(driven.state, subject, resource);
      expect(access).toEqual(accessOf(driven.state, subject, resource));
      expect(missing.length === 0).toBe(access.type === 'granted');
      const supplied = missing.reduce((present, fact) => supply(driven, present, fact, policy), subject);
      expect(accessOf(driven.state, supplied, resource).type).toBe('granted');
    }),
    { seed: 4, numRuns: 500 },
  );
});

/** Makes one missing fact true, by a commit or in the subject. */
function supply(driven: Drive, subject: Subject, fact: MissingFact, policy: WireRow): Subject {
  switch (fact.type) {
    case 'account':
      driven.commit(update('accounts', { disabled_at: null }, disabled));
      return subject;
    case 'actor':
      driven.commit(update('actors', { disabled_at: null }, disabled));
      return subject;
    case 'token':
      driven.commit(insert('tokens'));
      return subject;
    case 'site':
      driven.commit(insert('resource_connections'));
      return subject;
    case 'group':
    case 'membership':
      driven.commit(insert('actor_group_memberships'));
      return subject;
    case 'policy':
      driven.commit(insert('policies'));
      return subject;
    case 'policy_disabled':
      driven.commit(remove('policies', policy), insert('policies', { ...policy, disabled_at: null }));
      return subject;
    case 'condition': {
      if (fact.property === 'remote_ip') return { ...subject, remoteIp: '203.0.113.7' };
      driven.commit(update('clients', { verified_at: '2026-01-01 00:00:00+00' }));
      return subject;
    }
    case 'held':
      driven.step({ type: 'lift', target: fact, by: 'test' });
      return subject;
    case 'client':
      driven.commit(insert('clients'));
      return subject;
    case 'provider':
      driven.commit(update('auth_providers', { disabled_at: null }, disabled));
      return subject;
    case 'resource':
      driven.commit(insert('resources'));
      return subject;
    case 'snapshot':
    case 'stale':
    case 'behind':
    case 'grants':
    case 'ledger':
    case 'gateway':
    case 'time':
      throw new Error(`not of a subject and its rows: ${fact.type}`);
  }
}
