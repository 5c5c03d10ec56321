// Branded ids: a client's id cannot be passed where a gateway's is meant. All are lower-case UUID text.
import * as v from 'valibot';

const uuid = v.pipe(
  v.string(),
  v.regex(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/, 'expected a lower-case UUID'),
);

export const accountId = v.pipe(uuid, v.brand('AccountId'));
export const actorId = v.pipe(uuid, v.brand('ActorId'));
export const clientId = v.pipe(uuid, v.brand('ClientId'));
export const flowId = v.pipe(uuid, v.brand('FlowId'));
export const gatewayId = v.pipe(uuid, v.brand('GatewayId'));
export const groupId = v.pipe(uuid, v.brand('GroupId'));
export const identityId = v.pipe(uuid, v.brand('IdentityId'));
export const membershipId = v.pipe(uuid, v.brand('MembershipId'));
export const policyId = v.pipe(uuid, v.brand('PolicyId'));
export const providerId = v.pipe(uuid, v.brand('ProviderId'));
export const resourceId = v.pipe(uuid, v.brand('ResourceId'));
export const siteId = v.pipe(uuid, v.brand('SiteId'));
export const tokenId = v.pipe(uuid, v.brand('TokenId'));

/**
 * What stands for no account: the rows that belong to none, tokens of shared relays, are delivered to the object of this name,
 * and shared relays connect to it. No account has this id.
 */
export const sharedAccountId = v.parse(accountId, '00000000-0000-0000-0000-000000000000');

export type AccountId = v.InferOutput<typeof accountId>;
export type ActorId = v.InferOutput<typeof actorId>;
export type ClientId = v.InferOutput<typeof clientId>;
export type FlowId = v.InferOutput<typeof flowId>;
export type GatewayId = v.InferOutput<typeof gatewayId>;
export type GroupId = v.InferOutput<typeof groupId>;
export type IdentityId = v.InferOutput<typeof identityId>;
export type PolicyId = v.InferOutput<typeof policyId>;
export type ResourceId = v.InferOutput<typeof resourceId>;
export type SiteId = v.InferOutput<typeof siteId>;
export type TokenId = v.InferOutput<typeof tokenId>;
