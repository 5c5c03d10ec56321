// One schema per replicated table: which columns decisions read, and in which shape. It turns a WireRow, Postgres's own
// text and numbers, into a typed row; unknown columns are dropped, and a row that does not fit is an error of that row
// alone. Column names are Postgres's.
import * as v from 'valibot';
import * as ids from './ids.ts';
import { noHardware } from './link.ts';
import type { TableName } from './tables.ts';

/**
 * Milliseconds since 1970-01-01 UTC, fractions of a millisecond cut off; plus or minus Infinity as in Postgres. After the year 9999
 * it is Infinity: neither the platform's alarms nor devices go so far.
 */
const timestamp = v.pipe(
  v.string(),
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const milliseconds = parseTimestamp(dataset.value);
    if (milliseconds !== null) return milliseconds;
    addIssue({ message: 'expected a timestamptz printed in UTC, like 2026-01-31 12:00:00.5+00' });
    return NEVER;
  }),
);

/** JSON text into its value; a syntax error is an issue of the row. */
const json = v.pipe(
  v.string(),
  v.rawTransform<string, unknown>(({ dataset, addIssue, NEVER }) => {
    try {
      const value: unknown = JSON.parse(dataset.value);
      return value;
    } catch {
      addIssue({ message: 'expected JSON text' });
      return NEVER;
    }
  }),
);

/** `\x…` into lower-case hex. */
const bytea = v.pipe(
  v.string(),
  v.regex(/^\\x(?:[0-9a-f]{2})*$/, 'expected bytea as \\x and hex digits'),
  v.transform((text) => text.slice(2)),
);

const text = v.string();
const optionalTimestamp = v.nullable(timestamp);

const upstreamDns = v.object({ protocol: v.optional(text, 'ip_port'), address: text });

const accounts = v.object({
  id: ids.accountId,
  slug: v.nullable(text),
  config: v.pipe(
    json,
    v.object({
      search_domain: v.optional(v.nullable(text), null),
      clients_upstream_dns: v.optional(v.array(upstreamDns), []),
    }),
  ),
  disabled_at: optionalTimestamp,
  /** What becomes of new grants while the account is behind; whatever is not `short` denies them. */
  when_behind: v.optional(text, 'short'),
});

const actors = v.object({ id: ids.actorId, type: text, disabled_at: optionalTimestamp });

const actorGroups = v.object({ id: ids.groupId });

const actorGroupMemberships = v.object({
  id: ids.membershipId,
  actor_id: ids.actorId,
  group_id: ids.groupId,
});

const authProviders = v.object({ id: ids.providerId, disabled_at: optionalTimestamp });

const authIdentities = v.object({
  id: ids.identityId,
  actor_id: ids.actorId,
  provider_id: ids.providerId,
});

const tokenType = v.picklist(['client', 'gateway_group', 'relay_group', 'api']);

const tokens = v.object({
  id: ids.tokenId,
  type: tokenType,
  actor_id: v.nullable(ids.actorId),
  identity_id: v.nullable(ids.identityId),
  gateway_group_id: v.nullable(ids.siteId),
  secret_salt: text,
  secret_hash: text,
  expires_at: optionalTimestamp,
});

const optionalText = v.optional(v.nullable(text), null);

/** Columns that say whose hardware it is are put together as `hardware`. */
const clients = v.pipe(
  v.object({
    id: ids.clientId,
    actor_id: ids.actorId,
    identity_id: v.optional(v.nullable(ids.identityId), null),
    external_id: text,
    ipv4: text,
    ipv6: text,
    psk_base: bytea,
    device_serial: optionalText,
    device_uuid: optionalText,
    identifier_for_vendor: optionalText,
    firebase_installation_id: optionalText,
    verified_at: optionalTimestamp,
  }),
  v.transform(({ id, actor_id, identity_id, external_id, ipv4, ipv6, psk_base, verified_at, ...said }) => ({
    id,
    actor_id,
    identity_id,
    external_id,
    ipv4,
    ipv6,
    psk_base,
    verified_at,
    hardware: Object.values(said).every((one) => one === null) ? noHardware : said,
  })),
);

const gatewayGroups = v.object({ id: ids.siteId, name: text });

const gateways = v.object({
  id: ids.gatewayId,
  group_id: ids.siteId,
  external_id: text,
  /** Empty where it is not known. */
  name: v.optional(text, ''),
  ipv4: text,
  ipv6: text,
  psk_base: bytea,
});

const filter = v.object({
  protocol: v.picklist(['tcp', 'udp', 'icmp']),
  ports: v.optional(v.array(v.pipe(text, v.regex(/^\d{1,5}(?: - \d{1,5})?$/))), []),
});
export type Filter = v.InferOutput<typeof filter>;

const resources = v.object({
  id: ids.resourceId,
  account_id: ids.accountId,
  name: text,
  address: v.nullable(text),
  address_description: v.nullable(text),
  type: v.picklist(['dns', 'cidr', 'ip', 'internet']),
  ip_stack: v.nullable(v.picklist(['dual', 'ipv4_only', 'ipv6_only'])),
  filters: v.pipe(json, v.array(filter)),
});

const resourceConnections = v.object({
  resource_id: ids.resourceId,
  gateway_group_id: ids.siteId,
});

const condition = v.object({ property: text, operator: text, values: v.array(text) });

const policies = v.object({
  id: ids.policyId,
  actor_group_id: ids.groupId,
  resource_id: ids.resourceId,
  conditions: v.array(v.pipe(json, condition)),
  disabled_at: optionalTimestamp,
});

/**
 * The shape in which objects must hold rows. An object with rows of an older one asks for a snapshot at its next delivery: raise
 * it when rows stored without a column cannot be read as if they had its default.
 */
export const rowShape = 1;

export const rowSchemas = {
  accounts,
  actors,
  actor_groups: actorGroups,
  actor_group_memberships: actorGroupMemberships,
  auth_providers: authProviders,
  auth_identities: authIdentities,
  gateway_groups: gatewayGroups,
  tokens,
  clients,
  gateways,
  resources,
  resource_connections: resourceConnections,
  policies,
} as const satisfies Record<TableName, v.GenericSchema<Record<string, unknown>, unknown>>;

/** The typed row of table `T`. */
export type RowOf<T extends TableName> = v.InferOutput<(typeof rowSchemas)[T]>;

export type PolicyRow = RowOf<'policies'>;
export type ResourceRow = RowOf<'resources'>;
export type TokenRow = RowOf<'tokens'>;

function parseTimestamp(value: string): number | null {
  if (value === 'infinity') return Infinity;
  if (value === '-infinity') return -Infinity;
  const match = /^(\d{4,6})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?\+00$/.exec(value);
  if (match === null) return null;
  if ((match[1] ?? '').length > 4) return Infinity;
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map(Number);
  const days = daysSinceEpoch(year ?? 0, month ?? 0, day ?? 0);
  const seconds = (hour ?? 0) * 3600 + (minute ?? 0) * 60 + (second ?? 0);
  return days * 86_400_000 + seconds * 1000 + Number((match[7] ?? '').padEnd(3, '0').slice(0, 3));
}

/** Days from 1970-01-01 in the proleptic Gregorian calendar, counted in 400-year eras that start on 1 March. */
function daysSinceEpoch(year: number, month: number, day: number): number {
  const marchYear = month <= 2 ? year - 1 : year;
  const era = Math.floor(marchYear / 400);
  const yearOfEra = marchYear - era * 400;
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}
