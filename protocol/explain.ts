// What operators ask an account's object, and what it answers: why a client may or may not reach a resource, and who may reach
// what. Signed like a status request. Asking changes nothing, and an id of another account answers like one that does not exist.
//
// Times are milliseconds since 1970-01-01 UTC. `until` is when an answer may be another by time alone; null is never.
import * as v from 'valibot';
import * as ids from './ids.ts';
import { holdTarget } from './holds.ts';
import { place } from './place.ts';
import { position } from './commit.ts';

/** POST an ExplainRequest as JSON; 200 with an ExplainAnswer as JSON. */
export const explainPath = '/internal/v1/explain';

/** POST an AccessRequest as JSON; 200 with an AccessAnswer as JSON. */
export const accessPath = '/internal/v1/access';

/** Pairs in one AccessAnswer, at most; `total` tells how many there are. */
export const accessRowsMax = 1000;

/** Policies in one ExplainAnswer, at most. */
export const explainPoliciesMax = 100;

const milliseconds = v.number();
const until = v.nullable(milliseconds);

/** `given` is used where the client is not connected and has no flow; what is null there is unknown. */
export const explainRequest = v.object({
  version: v.literal(1),
  account: ids.accountId,
  place,
  client: ids.clientId,
  resource: ids.resourceId,
  given: v.object({
    token: v.nullable(ids.tokenId),
    remoteIp: v.nullable(v.pipe(v.string(), v.maxLength(64))),
    region: v.nullable(v.pipe(v.string(), v.maxLength(8))),
  }),
});
export type ExplainRequest = v.InferOutput<typeof explainRequest>;

export const accessRequest = v.object({
  version: v.literal(1),
  account: ids.accountId,
  place,
  of: v.variant('type', [
    v.object({ type: v.literal('resource'), id: ids.resourceId }),
    v.object({ type: v.literal('actor'), id: ids.actorId }),
    v.object({ type: v.literal('client'), id: ids.clientId }),
  ]),
});
export type AccessRequest = v.InferOutput<typeof accessRequest>;

/** What a request for a flow would be answered. */
const verdict = v.picklist(['allow', 'not_found', 'forbidden', 'offline']);
export type Verdict = v.InferOutput<typeof verdict>;

/**
 * Where a fact comes from: the client's live connection, its newest flow, the request, or nowhere. `longest`: of its actor's
 * tokens the one that lasts longest, since nothing tells under which it connects.
 */
const source = v.picklist(['session', 'flow', 'given', 'longest', 'unknown']);
export type Source = v.InferOutput<typeof source>;

/** One thing that would have to be otherwise. */
const missingFact = v.variant('type', [
  /** The object has no rows yet. */
  v.object({ type: v.literal('snapshot') }),
  /** The object knows that its rows are behind. */
  v.object({ type: v.literal('stale') }),
  /** What was committed more than a minute ago has not been applied, and `accounts.when_behind` denies new grants then. */
  v.object({ type: v.literal('behind') }),
  /** The account has as many grants as it may. */
  v.object({ type: v.literal('grants') }),
  /** As many records wait for Postgres, or were refused by it, as may. */
  v.object({ type: v.literal('ledger') }),
  v.object({
    type: v.picklist(['account', 'client', 'actor', 'token', 'provider']),
    detail: v.picklist(['absent', 'disabled', 'expired']),
  }),
  v.object({ type: v.picklist(['resource', 'site', 'policy']), resourceId: ids.resourceId }),
  /** An operator has denied it at the edge, and may lift that. */
  v.object({ type: v.literal('held'), ...holdTarget.entries }),
  /** No policy names the resource, and the actor is in no group that one could name. */
  v.object({ type: v.literal('group'), actorId: ids.actorId }),
  v.object({ type: v.literal('membership'), actorId: ids.actorId, groupId: ids.groupId }),
  v.object({ type: v.literal('policy_disabled'), policyId: ids.policyId }),
  v.object({ type: v.literal('condition'), policyId: ids.policyId, property: v.string(), until }),
  /** `none`: no gateway in the resource's sites; `offline`: none connected; `incompatible`: none of a version that fits. */
  v.object({ type: v.literal('gateway'), detail: v.picklist(['none', 'offline', 'incompatible']) }),
  /** It ends within this very second, which is too short for a flow. */
  v.object({ type: v.literal('time'), until }),
]);
export type MissingFact = v.InferOutput<typeof missingFact>;

const condition = v.object({
  property: v.string(),
  operator: v.string(),
  values: v.array(v.string()),
  isMet: v.boolean(),
  until,
});

const policyPath = v.object({
  id: ids.policyId,
  groupId: ids.groupId,
  isMember: v.boolean(),
  isEnabled: v.boolean(),
  conditions: v.array(condition),
});
export type PolicyPath = v.InferOutput<typeof policyPath>;

/** A row of the account that is on the path; null where it is not there. */
const switchable = v.nullable(v.object({ id: v.string(), isEnabled: v.boolean() }));

export const explainAnswer = v.object({
  /** When it was decided. */
  at: milliseconds,
  position: v.nullable(position),
  stale: v.boolean(),
  verdict,
  until,
  /** All of it together would make the verdict `allow`; empty when it is. */
  missing: v.array(missingFact),
  client: v.nullable(v.object({ id: ids.clientId, externalId: v.string() })),
  connection: v.object({
    /** Null while it is not connected. */
    since: v.nullable(milliseconds),
    /** Whether its join was answered: nothing is pushed before. */
    isJoined: v.boolean(),
    /** Why a connection under this token is refused, as in protocol/reasons.ts, but for the token's secret. */
    refusal: v.nullable(v.object({ code: v.string(), detail: v.string() })),
  }),
  facts: v.object({
    token: v.object({ id: v.nullable(ids.tokenId), source, expiresAt: v.nullable(milliseconds) }),
    remoteIp: v.object({ value: v.nullable(v.string()), source }),
    region: v.object({ value: v.nullable(v.string()), source }),
    /** The provider of the token's identity. */
    provider: switchable,
    isVerified: v.boolean(),
    /** Whether it lost its verification by connecting with other hardware, which no row has shown yet. */
    isVerificationLost: v.optional(v.boolean(), false),
    /** As its program states it; null when it states none or is not connected: every gateway is taken for compatible then. */
    version: v.nullable(v.string()),
  }),
  account: switchable,
  actor: switchable,
  resource: v.nullable(
    v.object({ id: ids.resourceId, name: v.string(), type: v.string(), address: v.nullable(v.string()) }),
  ),
  /** Those that name the resource: that of the verdict first, then those of the actor's groups, then the others, by id. */
  policies: v.array(policyPath),
  policiesTotal: v.number(),
  /** The policy that decides; null when none grants. */
  policyId: v.nullable(ids.policyId),
  sites: v.array(v.object({ id: ids.siteId, name: v.string() })),
  gateways: v.array(
    v.object({
      id: ids.gatewayId,
      siteId: ids.siteId,
      isConnected: v.boolean(),
      version: v.nullable(v.string()),
      isCompatible: v.boolean(),
    }),
  ),
  /** The gateway that a request would be put to; null when there is none, or the access is denied. */
  gatewayId: v.nullable(ids.gatewayId),
  /** The live flow of the client to the resource; `isOpen` once its gateway has accepted it. */
  flow: v.nullable(v.object({ gatewayId: ids.gatewayId, isOpen: v.boolean(), expiresAt: milliseconds })),
});
export type ExplainAnswer = v.InferOutput<typeof explainAnswer>;

const accessRow = v.object({
  actorId: ids.actorId,
  clientId: ids.clientId,
  resourceId: ids.resourceId,
  resourceName: v.string(),
  verdict,
  until,
  /** The policy that grants it; null when none does. */
  policyId: v.nullable(ids.policyId),
  /** Properties of the conditions that do not hold. */
  violated: v.array(v.string()),
  /** Where the facts of the connection come from. */
  facts: source,
});
export type AccessRow = v.InferOutput<typeof accessRow>;

/** Every client and resource that some policy of the client's groups brings together. */
export const accessAnswer = v.object({
  at: milliseconds,
  position: v.nullable(position),
  stale: v.boolean(),
  isKnown: v.boolean(),
  /** By actor, client and resource. */
  rows: v.array(accessRow),
  total: v.number(),
  /** Of those, how many are allowed. */
  allowed: v.number(),
});
export type AccessAnswer = v.InferOutput<typeof accessAnswer>;
