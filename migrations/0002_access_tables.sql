-- Who may reach what: accounts, the people and programs in them, their groups, devices and resources, and the policies
-- that join groups to resources. Every table carries its account, every foreign key includes it, so a row of one account
-- cannot point into another. Deletes are real and cascade. Nothing here is rewritten by ordinary traffic: what a
-- connection brings belongs to its session.
--
-- Texts are `text`, not citext, whose type id differs from database to database; what ignores case is unique by lower().

create table accounts (
  id uuid primary key default gen_random_uuid(),
  name text not null check (length(btrim(name)) between 1 and 64),
  slug text unique check (slug ~ '^[a-z0-9_]{3,100}$'),
  config jsonb not null default '{}' check (drawbridge.is_account_config(config)),
  features jsonb not null default '{}' check (jsonb_typeof(features) = 'object'),
  limits jsonb not null default '{}' check (jsonb_typeof(limits) = 'object'),
  region text check (region ~ '^[a-z][a-z0-9-]{0,31}$'),
  when_behind text not null default 'short' check (when_behind in ('short', 'deny')),
  disabled_at timestamptz,
  disabled_reason text,
  inserted_at timestamptz not null default now()
);
comment on table accounts is 'A customer: the scope of everything else.';
comment on column accounts.config is 'search_domain, and clients_upstream_dns as a list of {protocol, address}.';
comment on column accounts.region is 'Location hint or jurisdiction in which the account''s object is created; null: near its first caller.';
comment on column accounts.when_behind is 'New grants while the edge is behind the database: short-lived, or denied.';

create table actors (
  id uuid primary key default gen_random_uuid(),
  account_id uuid not null references accounts (id) on delete cascade,
  type text not null check (type in ('account_user', 'account_admin_user', 'service_account', 'api_client')),
  name text not null check (length(name) between 1 and 512),
  disabled_at timestamptz,
  inserted_at timestamptz not null default now(),
  unique (account_id, id)
);
comment on table actors is 'A person or program that acts in an account.';

create table auth_providers (
  id uuid primary key default gen_random_uuid(),
  account_id uuid not null references accounts (id) on delete cascade,
  name text not null check (length(name) between 1 and 255),
  adapter text not null check (adapter in (
    'email', 'openid_connect', 'google_workspace', 'microsoft_entra', 'okta', 'jumpcloud', 'mock', 'userpass'
  )),
  provisioner text not null check (provisioner in ('manual', 'just_in_time', 'custom')),
  disabled_at timestamptz,
  inserted_at timestamptz not null default now(),
  unique (account_id, id)
);
create unique index auth_providers_account_id_adapter_key on auth_providers (account_id, adapter)
  where adapter <> 'openid_connect';
comment on table auth_providers is 'Where identities of an account come from. Its configuration and secrets belong to whatever signs people in: this table is streamed.';

create table auth_identities (
  id uuid primary key default gen_random_uuid(),
  account_id uuid not null references accounts (id) on delete cascade,
  actor_id uuid not null,
  provider_id uuid not null,
  provider_identifier text not null check (provider_identifier <> ''),
  email text,
  inserted_at timestamptz not null default now(),
  unique (account_id, id),
  foreign key (account_id, actor_id) references actors (account_id, id) on delete cascade,
  foreign key (account_id, provider_id) references auth_providers (account_id, id) on delete cascade
);
create index auth_identities_account_id_actor_id_idx on auth_identities (account_id, actor_id);
create unique index auth_identities_account_id_provider_id_provider_identifier_key
  on auth_identities (account_id, provider_id, lower(provider_identifier));
comment on table auth_identities is 'An actor as one provider knows it.';

create table actor_groups (
  id uuid primary key default gen_random_uuid(),
  account_id uuid not null references accounts (id) on delete cascade,
  name text not null check (length(name) between 1 and 255),
  type text not null default 'static' check (type in ('static', 'managed')),
  provider_id uuid,
  provider_identifier text,
  inserted_at timestamptz not null default now(),
  unique (account_id, id),
  unique (account_id, provider_id, provider_identifier),
  foreign key (account_id, provider_id) references auth_providers (account_id, id) on delete cascade,
  constraint actor_groups_provider_fields_not_null check ((provider_id is null) = (provider_identifier is null))
);
create unique index actor_groups_account_id_name_key on actor_groups (account_id, name) where provider_id is null;
comment on table actor_groups is 'Actors that policies give access to, kept by hand or by a provider.';

create table actor_group_memberships (
  id uuid primary key default gen_random_uuid(),
  account_id uuid not null references accounts (id) on delete cascade,
  actor_id uuid not null,
  group_id uuid not null,
  unique (account_id, id),
  unique (account_id, actor_id, group_id),
  foreign key (account_id, actor_id) references actors (account_id, id) on delete cascade,
  foreign key (account_id, group_id) references actor_groups (account_id, id) on delete cascade
);
create index actor_group_memberships_account_id_group_id_idx on actor_group_memberships (account_id, group_id);
comment on table actor_group_memberships is 'An actor in a group.';

create table gateway_groups (
  id uuid primary key default gen_random_uuid(),
  account_id uuid not null references accounts (id) on delete cascade,
  name text not null check (length(name) between 1 and 64),
  managed_by text not null default 'account' check (managed_by in ('account', 'system')),
  inserted_at timestamptz not null default now(),
  unique (account_id, id),
  unique (account_id, name, managed_by)
);
comment on table gateway_groups is 'A site: gateways that reach the same resources.';

create table tokens (
  id uuid primary key default gen_random_uuid(),
  account_id uuid not null references accounts (id) on delete cascade,
  type text not null check (type in ('client', 'gateway_group', 'api')),
  name text check (length(name) between 1 and 255),
  actor_id uuid,
  identity_id uuid,
  gateway_group_id uuid,
  secret_salt text not null check (secret_salt <> ''),
  secret_hash text not null check (secret_hash ~ '^[0-9a-f]{64}$'),
  expires_at timestamptz,
  inserted_at timestamptz not null default now(),
  unique (account_id, id),
  foreign key (account_id, actor_id) references actors (account_id, id) on delete cascade,
  foreign key (account_id, identity_id) references auth_identities (account_id, id) on delete cascade,
  foreign key (account_id, gateway_group_id) references gateway_groups (account_id, id) on delete cascade,
  constraint tokens_belong_by_type check (case type
    when 'gateway_group' then gateway_group_id is not null and actor_id is null and identity_id is null
    else actor_id is not null and gateway_group_id is null
  end)
);
create index tokens_account_id_actor_id_idx on tokens (account_id, actor_id);
create index tokens_account_id_identity_id_idx on tokens (account_id, identity_id);
create index tokens_account_id_gateway_group_id_idx on tokens (account_id, gateway_group_id);
comment on table tokens is 'What a device or program shows to be admitted; minted by `drawbridge token create`. Deleting the row revokes it.';
comment on column tokens.secret_hash is 'SHA-256 of the salted secret, lower-case hex; the secret itself is stored nowhere.';

create table clients (
  id uuid primary key default gen_random_uuid(),
  account_id uuid not null references accounts (id) on delete cascade,
  actor_id uuid not null,
  identity_id uuid,
  external_id text not null check (length(external_id) between 1 and 255),
  name text not null check (length(name) between 1 and 255),
  ipv4 inet not null check (drawbridge.is_tunnel_address(ipv4, 4)),
  ipv6 inet not null check (drawbridge.is_tunnel_address(ipv6, 6)),
  psk_base bytea not null default drawbridge.random_secret() check (octet_length(psk_base) = 32),
  device_serial text,
  device_uuid text,
  identifier_for_vendor text,
  firebase_installation_id text,
  verified_at timestamptz,
  verified_by text check (verified_by in ('system', 'actor', 'identity')),
  inserted_at timestamptz not null default now(),
  unique (account_id, id),
  unique (account_id, actor_id, external_id),
  unique (account_id, ipv4),
  unique (account_id, ipv6),
  foreign key (account_id, actor_id) references actors (account_id, id) on delete cascade,
  foreign key (account_id, identity_id) references auth_identities (account_id, id) on delete set null (identity_id),
  constraint clients_verified_fields_set check ((verified_at is null) = (verified_by is null))
);
create index clients_account_id_identity_id_idx on clients (account_id, identity_id);
comment on table clients is 'A registered device of an actor.';
comment on column clients.external_id is 'The device''s own fingerprint, with its actor the key under which it registers.';
comment on column clients.psk_base is 'The client''s half of the preshared keys; never leaves the servers.';

create table gateways (
  id uuid primary key default gen_random_uuid(),
  account_id uuid not null references accounts (id) on delete cascade,
  group_id uuid not null,
  external_id text not null check (length(external_id) between 1 and 255),
  name text not null check (length(name) between 1 and 255),
  ipv4 inet not null check (drawbridge.is_tunnel_address(ipv4, 4)),
  ipv6 inet not null check (drawbridge.is_tunnel_address(ipv6, 6)),
  psk_base bytea not null default drawbridge.random_secret() check (octet_length(psk_base) = 32),
  inserted_at timestamptz not null default now(),
  unique (account_id, id),
  unique (account_id, group_id, external_id),
  unique (account_id, ipv4),
  unique (account_id, ipv6),
  foreign key (account_id, group_id) references gateway_groups (account_id, id) on delete cascade
);
comment on table gateways is 'A registered gateway of a site.';
comment on column gateways.psk_base is 'The gateway''s half of the preshared keys; never leaves the servers.';

create table resources (
  id uuid primary key default gen_random_uuid(),
  account_id uuid not null references accounts (id) on delete cascade,
  name text not null check (length(name) between 1 and 255),
  type text not null check (type in ('dns', 'cidr', 'ip', 'internet')),
  address text,
  address_description text check (length(address_description) between 1 and 512),
  ip_stack text check (ip_stack in ('dual', 'ipv4_only', 'ipv6_only')),
  filters jsonb not null default '[]' check (drawbridge.are_filters(filters)),
  inserted_at timestamptz not null default now(),
  unique (account_id, id),
  constraint resources_address_fits_type check (case type
    when 'dns' then address is not null and drawbridge.is_dns_pattern(address)
    when 'cidr' then address is not null and drawbridge.is_cidr(address)
    when 'ip' then address is not null and drawbridge.is_ip(address)
    when 'internet' then address is null
    else true
  end),
  constraint resources_address_not_reserved check (type not in ('cidr', 'ip') or not drawbridge.is_reserved(address)),
  constraint resources_ip_stack_only_for_dns check ((type = 'dns') = (ip_stack is not null))
);
create unique index resources_one_internet_an_account on resources (account_id) where type = 'internet';
comment on table resources is 'What policies give access to.';
comment on column resources.address is 'A domain pattern, a network or an address, spelled as Postgres prints it; null for the internet.';
comment on column resources.filters is 'List of {protocol, ports}; empty means all traffic.';

create table resource_connections (
  resource_id uuid not null,
  gateway_group_id uuid not null,
  account_id uuid not null references accounts (id) on delete cascade,
  primary key (resource_id, gateway_group_id),
  foreign key (account_id, resource_id) references resources (account_id, id) on delete cascade,
  foreign key (account_id, gateway_group_id) references gateway_groups (account_id, id) on delete cascade
);
create index resource_connections_account_id_resource_id_idx on resource_connections (account_id, resource_id);
create index resource_connections_account_id_gateway_group_id_idx on resource_connections (account_id, gateway_group_id);
comment on table resource_connections is 'A site that reaches a resource.';

create table policies (
  id uuid primary key default gen_random_uuid(),
  account_id uuid not null references accounts (id) on delete cascade,
  actor_group_id uuid not null,
  resource_id uuid not null,
  description text check (length(description) between 1 and 1024),
  conditions jsonb[] not null default '{}' check (drawbridge.are_conditions(conditions)),
  disabled_at timestamptz,
  inserted_at timestamptz not null default now(),
  unique (account_id, id),
  unique (account_id, resource_id, actor_group_id),
  foreign key (account_id, actor_group_id) references actor_groups (account_id, id) on delete cascade,
  foreign key (account_id, resource_id) references resources (account_id, id) on delete cascade
);
create index policies_account_id_actor_group_id_idx on policies (account_id, actor_group_id);
comment on table policies is 'A group may reach a resource while all conditions hold.';
comment on column policies.conditions is 'List of {property, operator, values}; all must hold.';
