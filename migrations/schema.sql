-- The schema after all migrations, written by `npm run schema`: to be read, not run.

create role drawbridge_edge login;

create role drawbridge_replicator login replication;

create schema drawbridge;

create schema public;

create table public.accounts (
  id uuid not null default gen_random_uuid(),
  name text not null,
  slug text,
  config jsonb not null default '{}'::jsonb,
  features jsonb not null default '{}'::jsonb,
  limits jsonb not null default '{}'::jsonb,
  region text,
  when_behind text not null default 'short'::text,
  disabled_at timestamp with time zone,
  disabled_reason text,
  inserted_at timestamp with time zone not null default now(),
  constraint accounts_pkey PRIMARY KEY (id),
  constraint accounts_config_check CHECK (drawbridge.is_account_config(config)),
  constraint accounts_features_check CHECK ((jsonb_typeof(features) = 'object'::text)),
  constraint accounts_limits_check CHECK ((jsonb_typeof(limits) = 'object'::text)),
  constraint accounts_name_check CHECK (((length(btrim(name)) >= 1) AND (length(btrim(name)) <= 64))),
  constraint accounts_region_check CHECK ((region = ANY (ARRAY['wnam'::text, 'enam'::text, 'sam'::text, 'weur'::text, 'eeur'::text, 'apac'::text, 'apac-ne'::text, 'apac-se'::text, 'oc'::text, 'afr'::text, 'me'::text, 'eu'::text, 'us'::text, 'fedramp'::text, 'fedramp-high'::text]))),
  constraint accounts_slug_check CHECK ((slug ~ '^[a-z0-9_]{3,100}$'::text)),
  constraint accounts_slug_key UNIQUE (slug),
  constraint accounts_when_behind_check CHECK ((when_behind = ANY (ARRAY['short'::text, 'deny'::text])))
);
alter table public.accounts replica identity full;
CREATE TRIGGER accounts_keep_jurisdiction BEFORE UPDATE OF region ON public.accounts FOR EACH ROW EXECUTE FUNCTION drawbridge.keep_jurisdiction();
CREATE TRIGGER accounts_return_to_jurisdiction BEFORE INSERT ON public.accounts FOR EACH ROW EXECUTE FUNCTION drawbridge.return_to_jurisdiction();
CREATE TRIGGER tell_subject AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.accounts FOR EACH STATEMENT WHEN (((pg_current_xact_id_if_assigned() IS NOT NULL) AND (current_setting('drawbridge.subject_told'::text, true) IS DISTINCT FROM (pg_current_xact_id_if_assigned())::text))) EXECUTE FUNCTION drawbridge.tell_subject();
comment on table public.accounts is 'A customer: the scope of everything else.';
comment on column public.accounts.config is 'search_domain, and clients_upstream_dns as a list of {protocol, address}.';
comment on column public.accounts.region is 'Location hint or jurisdiction in which the account''s object is created; null: near its first caller.';
comment on column public.accounts.when_behind is 'New grants while the edge is behind the database: short-lived, or denied.';

create table public.actor_group_memberships (
  id uuid not null default gen_random_uuid(),
  account_id uuid not null,
  actor_id uuid not null,
  group_id uuid not null,
  constraint actor_group_memberships_pkey PRIMARY KEY (id),
  constraint actor_group_memberships_account_id_actor_id_fkey FOREIGN KEY (account_id, actor_id) REFERENCES public.actors(account_id, id) ON DELETE CASCADE,
  constraint actor_group_memberships_account_id_actor_id_group_id_key UNIQUE (account_id, actor_id, group_id),
  constraint actor_group_memberships_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id) ON DELETE CASCADE,
  constraint actor_group_memberships_account_id_group_id_fkey FOREIGN KEY (account_id, group_id) REFERENCES public.actor_groups(account_id, id) ON DELETE CASCADE,
  constraint actor_group_memberships_account_id_id_key UNIQUE (account_id, id)
);
alter table public.actor_group_memberships replica identity full;
CREATE INDEX actor_group_memberships_account_id_group_id_idx ON public.actor_group_memberships USING btree (account_id, group_id);
CREATE TRIGGER tell_subject AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.actor_group_memberships FOR EACH STATEMENT WHEN (((pg_current_xact_id_if_assigned() IS NOT NULL) AND (current_setting('drawbridge.subject_told'::text, true) IS DISTINCT FROM (pg_current_xact_id_if_assigned())::text))) EXECUTE FUNCTION drawbridge.tell_subject();
comment on table public.actor_group_memberships is 'An actor in a group.';

create table public.actor_groups (
  id uuid not null default gen_random_uuid(),
  account_id uuid not null,
  name text not null,
  type text not null default 'static'::text,
  provider_id uuid,
  provider_identifier text,
  inserted_at timestamp with time zone not null default now(),
  constraint actor_groups_pkey PRIMARY KEY (id),
  constraint actor_groups_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id) ON DELETE CASCADE,
  constraint actor_groups_account_id_id_key UNIQUE (account_id, id),
  constraint actor_groups_account_id_provider_id_fkey FOREIGN KEY (account_id, provider_id) REFERENCES public.auth_providers(account_id, id) ON DELETE CASCADE,
  constraint actor_groups_account_id_provider_id_provider_identifier_key UNIQUE (account_id, provider_id, provider_identifier),
  constraint actor_groups_name_check CHECK (((length(name) >= 1) AND (length(name) <= 255))),
  constraint actor_groups_provider_fields_not_null CHECK (((provider_id IS NULL) = (provider_identifier IS NULL))),
  constraint actor_groups_type_check CHECK ((type = ANY (ARRAY['static'::text, 'managed'::text])))
);
alter table public.actor_groups replica identity full;
CREATE UNIQUE INDEX actor_groups_account_id_name_key ON public.actor_groups USING btree (account_id, name) WHERE (provider_id IS NULL);
CREATE TRIGGER tell_subject AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.actor_groups FOR EACH STATEMENT WHEN (((pg_current_xact_id_if_assigned() IS NOT NULL) AND (current_setting('drawbridge.subject_told'::text, true) IS DISTINCT FROM (pg_current_xact_id_if_assigned())::text))) EXECUTE FUNCTION drawbridge.tell_subject();
comment on table public.actor_groups is 'Actors that policies give access to, kept by hand or by a provider.';

create table public.actors (
  id uuid not null default gen_random_uuid(),
  account_id uuid not null,
  type text not null,
  name text not null,
  disabled_at timestamp with time zone,
  inserted_at timestamp with time zone not null default now(),
  constraint actors_pkey PRIMARY KEY (id),
  constraint actors_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id) ON DELETE CASCADE,
  constraint actors_account_id_id_key UNIQUE (account_id, id),
  constraint actors_name_check CHECK (((length(name) >= 1) AND (length(name) <= 512))),
  constraint actors_type_check CHECK ((type = ANY (ARRAY['account_user'::text, 'account_admin_user'::text, 'service_account'::text, 'api_client'::text])))
);
alter table public.actors replica identity full;
CREATE TRIGGER tell_subject AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.actors FOR EACH STATEMENT WHEN (((pg_current_xact_id_if_assigned() IS NOT NULL) AND (current_setting('drawbridge.subject_told'::text, true) IS DISTINCT FROM (pg_current_xact_id_if_assigned())::text))) EXECUTE FUNCTION drawbridge.tell_subject();
comment on table public.actors is 'A person or program that acts in an account.';

create table public.auth_identities (
  id uuid not null default gen_random_uuid(),
  account_id uuid not null,
  actor_id uuid not null,
  provider_id uuid not null,
  provider_identifier text not null,
  email text,
  inserted_at timestamp with time zone not null default now(),
  constraint auth_identities_pkey PRIMARY KEY (id),
  constraint auth_identities_account_id_actor_id_fkey FOREIGN KEY (account_id, actor_id) REFERENCES public.actors(account_id, id) ON DELETE CASCADE,
  constraint auth_identities_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id) ON DELETE CASCADE,
  constraint auth_identities_account_id_id_key UNIQUE (account_id, id),
  constraint auth_identities_account_id_provider_id_fkey FOREIGN KEY (account_id, provider_id) REFERENCES public.auth_providers(account_id, id) ON DELETE CASCADE,
  constraint auth_identities_provider_identifier_check CHECK ((provider_identifier <> ''::text))
);
alter table public.auth_identities replica identity full;
CREATE INDEX auth_identities_account_id_actor_id_idx ON public.auth_identities USING btree (account_id, actor_id);
CREATE UNIQUE INDEX auth_identities_account_id_provider_id_provider_identifier_key ON public.auth_identities USING btree (account_id, provider_id, lower(provider_identifier));
CREATE TRIGGER tell_subject AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.auth_identities FOR EACH STATEMENT WHEN (((pg_current_xact_id_if_assigned() IS NOT NULL) AND (current_setting('drawbridge.subject_told'::text, true) IS DISTINCT FROM (pg_current_xact_id_if_assigned())::text))) EXECUTE FUNCTION drawbridge.tell_subject();
comment on table public.auth_identities is 'An actor as one provider knows it.';

create table public.auth_providers (
  id uuid not null default gen_random_uuid(),
  account_id uuid not null,
  name text not null,
  adapter text not null,
  provisioner text not null,
  disabled_at timestamp with time zone,
  inserted_at timestamp with time zone not null default now(),
  constraint auth_providers_pkey PRIMARY KEY (id),
  constraint auth_providers_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id) ON DELETE CASCADE,
  constraint auth_providers_account_id_id_key UNIQUE (account_id, id),
  constraint auth_providers_adapter_check CHECK ((adapter = ANY (ARRAY['email'::text, 'openid_connect'::text, 'google_workspace'::text, 'microsoft_entra'::text, 'okta'::text, 'jumpcloud'::text, 'mock'::text, 'userpass'::text]))),
  constraint auth_providers_name_check CHECK (((length(name) >= 1) AND (length(name) <= 255))),
  constraint auth_providers_provisioner_check CHECK ((provisioner = ANY (ARRAY['manual'::text, 'just_in_time'::text, 'custom'::text])))
);
alter table public.auth_providers replica identity full;
CREATE UNIQUE INDEX auth_providers_account_id_adapter_key ON public.auth_providers USING btree (account_id, adapter) WHERE (adapter <> 'openid_connect'::text);
CREATE TRIGGER tell_subject AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.auth_providers FOR EACH STATEMENT WHEN (((pg_current_xact_id_if_assigned() IS NOT NULL) AND (current_setting('drawbridge.subject_told'::text, true) IS DISTINCT FROM (pg_current_xact_id_if_assigned())::text))) EXECUTE FUNCTION drawbridge.tell_subject();
comment on table public.auth_providers is 'Where identities of an account come from. Its configuration and secrets belong to whatever signs people in: this table is streamed.';

create table public.clients (
  id uuid not null default gen_random_uuid(),
  account_id uuid not null,
  actor_id uuid not null,
  identity_id uuid,
  external_id text not null,
  name text not null,
  ipv4 inet not null,
  ipv6 inet not null,
  psk_base bytea not null default drawbridge.random_secret(),
  device_serial text,
  device_uuid text,
  identifier_for_vendor text,
  firebase_installation_id text,
  verified_at timestamp with time zone,
  verified_by text,
  inserted_at timestamp with time zone not null default now(),
  edge_revision bigint,
  constraint clients_pkey PRIMARY KEY (id),
  constraint clients_account_id_actor_id_external_id_key UNIQUE (account_id, actor_id, external_id),
  constraint clients_account_id_actor_id_fkey FOREIGN KEY (account_id, actor_id) REFERENCES public.actors(account_id, id) ON DELETE CASCADE,
  constraint clients_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id) ON DELETE CASCADE,
  constraint clients_account_id_id_key UNIQUE (account_id, id),
  constraint clients_account_id_identity_id_fkey FOREIGN KEY (account_id, identity_id) REFERENCES public.auth_identities(account_id, id) ON DELETE SET NULL (identity_id),
  constraint clients_account_id_ipv4_key UNIQUE (account_id, ipv4),
  constraint clients_account_id_ipv6_key UNIQUE (account_id, ipv6),
  constraint clients_external_id_check CHECK (((length(external_id) >= 1) AND (length(external_id) <= 255))),
  constraint clients_ipv4_check CHECK (drawbridge.is_tunnel_address(ipv4, 4)),
  constraint clients_ipv6_check CHECK (drawbridge.is_tunnel_address(ipv6, 6)),
  constraint clients_name_check CHECK (((length(name) >= 1) AND (length(name) <= 255))),
  constraint clients_psk_base_check CHECK ((octet_length(psk_base) = 32)),
  constraint clients_verified_by_check CHECK ((verified_by = ANY (ARRAY['system'::text, 'actor'::text, 'identity'::text]))),
  constraint clients_verified_fields_set CHECK (((verified_at IS NULL) = (verified_by IS NULL)))
);
alter table public.clients replica identity full;
CREATE INDEX clients_account_id_identity_id_idx ON public.clients USING btree (account_id, identity_id);
CREATE TRIGGER forget_network_addresses AFTER TRUNCATE ON public.clients FOR EACH STATEMENT EXECUTE FUNCTION drawbridge.forget_network_addresses('client');
CREATE TRIGGER keep_network_addresses AFTER INSERT OR DELETE OR UPDATE OF account_id, ipv4, ipv6 ON public.clients FOR EACH ROW EXECUTE FUNCTION drawbridge.keep_network_addresses('client');
CREATE TRIGGER tell_subject AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.clients FOR EACH STATEMENT WHEN (((pg_current_xact_id_if_assigned() IS NOT NULL) AND (current_setting('drawbridge.subject_told'::text, true) IS DISTINCT FROM (pg_current_xact_id_if_assigned())::text))) EXECUTE FUNCTION drawbridge.tell_subject();
comment on table public.clients is 'A registered device of an actor.';
comment on column public.clients.external_id is 'The device''s own fingerprint, with its actor the key under which it registers.';
comment on column public.clients.psk_base is 'The client''s half of the preshared keys; never leaves the servers.';
comment on column public.clients.edge_revision is 'the revision of the last write by the edge; null where there was none';

create table public.flows (
  id uuid not null,
  account_id uuid not null,
  client_id uuid not null,
  resource_id uuid not null,
  gateway_id uuid not null,
  policy_id uuid not null,
  actor_id uuid not null,
  token_id uuid not null,
  client_remote_ip text,
  inserted_at timestamp with time zone not null,
  expires_at timestamp with time zone not null,
  ended_at timestamp with time zone,
  end_cause jsonb,
  told_at timestamp with time zone,
  told text,
  revision bigint not null,
  constraint flows_pkey PRIMARY KEY (id),
  constraint flows_account_id_id_key UNIQUE (account_id, id),
  constraint flows_end_cause_check CHECK (((jsonb_typeof(end_cause) = 'object'::text) AND (end_cause ?& ARRAY['table'::text, 'id'::text, 'commit'::text]) AND ((end_cause - ARRAY['table'::text, 'id'::text, 'commit'::text]) = '{}'::jsonb))),
  constraint flows_end_is_of_an_ended_one CHECK (((ended_at IS NOT NULL) OR ((end_cause IS NULL) AND (told_at IS NULL) AND (told IS NULL)))),
  constraint flows_told_check CHECK ((told = ANY (ARRAY['sent'::text, 'gateway_away'::text, 'expired'::text])))
);
alter table public.flows replica identity full;
CREATE INDEX flows_account_id_inserted_at_idx ON public.flows USING btree (account_id, inserted_at DESC);
CREATE INDEX flows_account_id_live_idx ON public.flows USING btree (account_id) WHERE (ended_at IS NULL);
comment on table public.flows is 'One row a grant. Deleting a row, or setting ended_at, cuts that flow at once; inserting one grants nothing.';
comment on column public.flows.client_remote_ip is 'The client''s address when it was granted, as the platform saw it; null: unknown.';
comment on column public.flows.inserted_at is 'When it was granted, by the edge''s clock.';
comment on column public.flows.expires_at is 'The expiry that the gateway was told; a renewal moves it.';
comment on column public.flows.end_cause is 'Table and id of the row that ended it, and the commit (LSN) that changed that row; commit is null where time or a device did.';
comment on column public.flows.told is 'Whether the gateway was told of the end: sent; gateway_away, so that it is told after its next init; expired: it was away until the expiry that it knew.';
comment on column public.flows.revision is 'Grows with every state of the row; the edge''s writes apply only with a higher one.';

create table public.gateway_groups (
  id uuid not null default gen_random_uuid(),
  account_id uuid not null,
  name text not null,
  managed_by text not null default 'account'::text,
  inserted_at timestamp with time zone not null default now(),
  constraint gateway_groups_pkey PRIMARY KEY (id),
  constraint gateway_groups_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id) ON DELETE CASCADE,
  constraint gateway_groups_account_id_id_key UNIQUE (account_id, id),
  constraint gateway_groups_account_id_name_managed_by_key UNIQUE (account_id, name, managed_by),
  constraint gateway_groups_managed_by_check CHECK ((managed_by = ANY (ARRAY['account'::text, 'system'::text]))),
  constraint gateway_groups_name_check CHECK (((length(name) >= 1) AND (length(name) <= 64)))
);
alter table public.gateway_groups replica identity full;
CREATE TRIGGER tell_subject AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.gateway_groups FOR EACH STATEMENT WHEN (((pg_current_xact_id_if_assigned() IS NOT NULL) AND (current_setting('drawbridge.subject_told'::text, true) IS DISTINCT FROM (pg_current_xact_id_if_assigned())::text))) EXECUTE FUNCTION drawbridge.tell_subject();
comment on table public.gateway_groups is 'A site: gateways that reach the same resources.';

create table public.gateways (
  id uuid not null default gen_random_uuid(),
  account_id uuid not null,
  group_id uuid not null,
  external_id text not null,
  name text not null,
  ipv4 inet not null,
  ipv6 inet not null,
  psk_base bytea not null default drawbridge.random_secret(),
  inserted_at timestamp with time zone not null default now(),
  edge_revision bigint,
  constraint gateways_pkey PRIMARY KEY (id),
  constraint gateways_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id) ON DELETE CASCADE,
  constraint gateways_account_id_group_id_external_id_key UNIQUE (account_id, group_id, external_id),
  constraint gateways_account_id_group_id_fkey FOREIGN KEY (account_id, group_id) REFERENCES public.gateway_groups(account_id, id) ON DELETE CASCADE,
  constraint gateways_account_id_id_key UNIQUE (account_id, id),
  constraint gateways_account_id_ipv4_key UNIQUE (account_id, ipv4),
  constraint gateways_account_id_ipv6_key UNIQUE (account_id, ipv6),
  constraint gateways_external_id_check CHECK (((length(external_id) >= 1) AND (length(external_id) <= 255))),
  constraint gateways_ipv4_check CHECK (drawbridge.is_tunnel_address(ipv4, 4)),
  constraint gateways_ipv6_check CHECK (drawbridge.is_tunnel_address(ipv6, 6)),
  constraint gateways_name_check CHECK (((length(name) >= 1) AND (length(name) <= 255))),
  constraint gateways_psk_base_check CHECK ((octet_length(psk_base) = 32))
);
alter table public.gateways replica identity full;
CREATE TRIGGER forget_network_addresses AFTER TRUNCATE ON public.gateways FOR EACH STATEMENT EXECUTE FUNCTION drawbridge.forget_network_addresses('gateway');
CREATE TRIGGER keep_network_addresses AFTER INSERT OR DELETE OR UPDATE OF account_id, ipv4, ipv6 ON public.gateways FOR EACH ROW EXECUTE FUNCTION drawbridge.keep_network_addresses('gateway');
CREATE TRIGGER tell_subject AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.gateways FOR EACH STATEMENT WHEN (((pg_current_xact_id_if_assigned() IS NOT NULL) AND (current_setting('drawbridge.subject_told'::text, true) IS DISTINCT FROM (pg_current_xact_id_if_assigned())::text))) EXECUTE FUNCTION drawbridge.tell_subject();
comment on table public.gateways is 'A registered gateway of a site.';
comment on column public.gateways.psk_base is 'The gateway''s half of the preshared keys; never leaves the servers.';
comment on column public.gateways.edge_revision is 'the revision of the last write by the edge; null where there was none';

create table public.policies (
  id uuid not null default gen_random_uuid(),
  account_id uuid not null,
  actor_group_id uuid not null,
  resource_id uuid not null,
  description text,
  conditions jsonb[] not null default '{}'::jsonb[],
  disabled_at timestamp with time zone,
  inserted_at timestamp with time zone not null default now(),
  constraint policies_pkey PRIMARY KEY (id),
  constraint policies_account_id_actor_group_id_fkey FOREIGN KEY (account_id, actor_group_id) REFERENCES public.actor_groups(account_id, id) ON DELETE CASCADE,
  constraint policies_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id) ON DELETE CASCADE,
  constraint policies_account_id_id_key UNIQUE (account_id, id),
  constraint policies_account_id_resource_id_actor_group_id_key UNIQUE (account_id, resource_id, actor_group_id),
  constraint policies_account_id_resource_id_fkey FOREIGN KEY (account_id, resource_id) REFERENCES public.resources(account_id, id) ON DELETE CASCADE,
  constraint policies_conditions_check CHECK (drawbridge.are_conditions(conditions)),
  constraint policies_description_check CHECK (((length(description) >= 1) AND (length(description) <= 1024)))
);
alter table public.policies replica identity full;
CREATE INDEX policies_account_id_actor_group_id_idx ON public.policies USING btree (account_id, actor_group_id);
CREATE TRIGGER tell_subject AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.policies FOR EACH STATEMENT WHEN (((pg_current_xact_id_if_assigned() IS NOT NULL) AND (current_setting('drawbridge.subject_told'::text, true) IS DISTINCT FROM (pg_current_xact_id_if_assigned())::text))) EXECUTE FUNCTION drawbridge.tell_subject();
comment on table public.policies is 'A group may reach a resource while all conditions hold.';
comment on column public.policies.conditions is 'List of {property, operator, values}; all must hold.';

create table public.relay_groups (
  id uuid not null default gen_random_uuid(),
  account_id uuid,
  name text not null,
  inserted_at timestamp with time zone not null default now(),
  constraint relay_groups_pkey PRIMARY KEY (id),
  constraint relay_groups_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id) ON DELETE CASCADE,
  constraint relay_groups_account_id_id_key UNIQUE (account_id, id),
  constraint relay_groups_account_id_name_key UNIQUE NULLS NOT DISTINCT (account_id, name),
  constraint relay_groups_name_check CHECK (((length(name) >= 1) AND (length(name) <= 64)))
);
alter table public.relay_groups replica identity default;
CREATE TRIGGER relay_groups_account_stays BEFORE UPDATE OF account_id ON public.relay_groups FOR EACH ROW WHEN ((new.account_id IS DISTINCT FROM old.account_id)) EXECUTE FUNCTION drawbridge.keep_relay_group_account();
comment on table public.relay_groups is 'Relays that are run together. Not streamed: its tokens are, and go with it.';
comment on column public.relay_groups.account_id is 'Null: shared, for the devices of every account.';

create table public.resource_connections (
  resource_id uuid not null,
  gateway_group_id uuid not null,
  account_id uuid not null,
  constraint resource_connections_pkey PRIMARY KEY (resource_id, gateway_group_id),
  constraint resource_connections_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id) ON DELETE CASCADE,
  constraint resource_connections_account_id_gateway_group_id_fkey FOREIGN KEY (account_id, gateway_group_id) REFERENCES public.gateway_groups(account_id, id) ON DELETE CASCADE,
  constraint resource_connections_account_id_resource_id_fkey FOREIGN KEY (account_id, resource_id) REFERENCES public.resources(account_id, id) ON DELETE CASCADE
);
alter table public.resource_connections replica identity full;
CREATE INDEX resource_connections_account_id_gateway_group_id_idx ON public.resource_connections USING btree (account_id, gateway_group_id);
CREATE INDEX resource_connections_account_id_resource_id_idx ON public.resource_connections USING btree (account_id, resource_id);
CREATE TRIGGER internet_resource_in_internet_site AFTER INSERT OR UPDATE ON public.resource_connections FOR EACH ROW EXECUTE FUNCTION drawbridge.check_internet_site();
CREATE TRIGGER tell_subject AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.resource_connections FOR EACH STATEMENT WHEN (((pg_current_xact_id_if_assigned() IS NOT NULL) AND (current_setting('drawbridge.subject_told'::text, true) IS DISTINCT FROM (pg_current_xact_id_if_assigned())::text))) EXECUTE FUNCTION drawbridge.tell_subject();
comment on table public.resource_connections is 'A site that reaches a resource.';

create table public.resources (
  id uuid not null default gen_random_uuid(),
  account_id uuid not null,
  name text not null,
  type text not null,
  address text,
  address_description text,
  ip_stack text,
  filters jsonb not null default '[]'::jsonb,
  inserted_at timestamp with time zone not null default now(),
  constraint resources_pkey PRIMARY KEY (id),
  constraint resources_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id) ON DELETE CASCADE,
  constraint resources_account_id_id_key UNIQUE (account_id, id),
  constraint resources_address_description_check CHECK (((length(address_description) >= 1) AND (length(address_description) <= 512))),
  constraint resources_address_fits_type CHECK (
CASE type
    WHEN 'dns'::text THEN ((address IS NOT NULL) AND drawbridge.is_dns_pattern(address))
    WHEN 'cidr'::text THEN ((address IS NOT NULL) AND drawbridge.is_cidr(address))
    WHEN 'ip'::text THEN ((address IS NOT NULL) AND drawbridge.is_ip(address))
    WHEN 'internet'::text THEN (address IS NULL)
    ELSE true
END),
  constraint resources_address_not_reserved CHECK (((type <> ALL (ARRAY['cidr'::text, 'ip'::text])) OR (NOT drawbridge.is_reserved(address)))),
  constraint resources_filters_check CHECK (drawbridge.are_filters(filters)),
  constraint resources_ip_stack_check CHECK ((ip_stack = ANY (ARRAY['dual'::text, 'ipv4_only'::text, 'ipv6_only'::text]))),
  constraint resources_ip_stack_only_for_dns CHECK (((type = 'dns'::text) = (ip_stack IS NOT NULL))),
  constraint resources_name_check CHECK (((length(name) >= 1) AND (length(name) <= 255))),
  constraint resources_type_check CHECK ((type = ANY (ARRAY['dns'::text, 'cidr'::text, 'ip'::text, 'internet'::text])))
);
alter table public.resources replica identity full;
CREATE UNIQUE INDEX resources_one_internet_an_account ON public.resources USING btree (account_id) WHERE (type = 'internet'::text);
CREATE TRIGGER tell_subject AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.resources FOR EACH STATEMENT WHEN (((pg_current_xact_id_if_assigned() IS NOT NULL) AND (current_setting('drawbridge.subject_told'::text, true) IS DISTINCT FROM (pg_current_xact_id_if_assigned())::text))) EXECUTE FUNCTION drawbridge.tell_subject();
comment on table public.resources is 'What policies give access to.';
comment on column public.resources.address is 'A domain pattern, a network or an address, spelled as Postgres prints it; null for the internet.';
comment on column public.resources.filters is 'List of {protocol, ports}; empty means all traffic.';

create table public.tokens (
  id uuid not null default gen_random_uuid(),
  account_id uuid,
  type text not null,
  name text,
  actor_id uuid,
  identity_id uuid,
  gateway_group_id uuid,
  secret_salt text not null,
  secret_hash text not null,
  expires_at timestamp with time zone,
  inserted_at timestamp with time zone not null default now(),
  relay_group_id uuid,
  constraint tokens_pkey PRIMARY KEY (id),
  constraint tokens_account_id_actor_id_fkey FOREIGN KEY (account_id, actor_id) REFERENCES public.actors(account_id, id) ON DELETE CASCADE,
  constraint tokens_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id) ON DELETE CASCADE,
  constraint tokens_account_id_gateway_group_id_fkey FOREIGN KEY (account_id, gateway_group_id) REFERENCES public.gateway_groups(account_id, id) ON DELETE CASCADE,
  constraint tokens_account_id_id_key UNIQUE (account_id, id),
  constraint tokens_account_id_identity_id_fkey FOREIGN KEY (account_id, identity_id) REFERENCES public.auth_identities(account_id, id) ON DELETE CASCADE,
  constraint tokens_account_id_relay_group_id_fkey FOREIGN KEY (account_id, relay_group_id) REFERENCES public.relay_groups(account_id, id) ON DELETE CASCADE,
  constraint tokens_account_unless_shared CHECK (((account_id IS NOT NULL) OR (type = 'relay_group'::text))),
  constraint tokens_belong_by_type CHECK (
CASE type
    WHEN 'gateway_group'::text THEN ((gateway_group_id IS NOT NULL) AND (actor_id IS NULL) AND (identity_id IS NULL) AND (relay_group_id IS NULL))
    WHEN 'relay_group'::text THEN ((relay_group_id IS NOT NULL) AND (actor_id IS NULL) AND (identity_id IS NULL) AND (gateway_group_id IS NULL))
    ELSE ((actor_id IS NOT NULL) AND (gateway_group_id IS NULL) AND (relay_group_id IS NULL))
END),
  constraint tokens_name_check CHECK (((length(name) >= 1) AND (length(name) <= 255))),
  constraint tokens_relay_group_id_fkey FOREIGN KEY (relay_group_id) REFERENCES public.relay_groups(id) ON DELETE CASCADE,
  constraint tokens_secret_hash_check CHECK ((secret_hash ~ '^[0-9a-f]{64}$'::text)),
  constraint tokens_secret_salt_check CHECK ((secret_salt <> ''::text)),
  constraint tokens_type_check CHECK ((type = ANY (ARRAY['client'::text, 'gateway_group'::text, 'relay_group'::text, 'api'::text])))
);
alter table public.tokens replica identity full;
CREATE INDEX tokens_account_id_actor_id_idx ON public.tokens USING btree (account_id, actor_id);
CREATE INDEX tokens_account_id_gateway_group_id_idx ON public.tokens USING btree (account_id, gateway_group_id);
CREATE INDEX tokens_account_id_identity_id_idx ON public.tokens USING btree (account_id, identity_id);
CREATE INDEX tokens_account_id_relay_group_id_idx ON public.tokens USING btree (account_id, relay_group_id);
CREATE INDEX tokens_relay_group_id_idx ON public.tokens USING btree (relay_group_id);
CREATE TRIGGER tell_subject AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.tokens FOR EACH STATEMENT WHEN (((pg_current_xact_id_if_assigned() IS NOT NULL) AND (current_setting('drawbridge.subject_told'::text, true) IS DISTINCT FROM (pg_current_xact_id_if_assigned())::text))) EXECUTE FUNCTION drawbridge.tell_subject();
CREATE TRIGGER tokens_account_of_relay_group AFTER INSERT OR UPDATE ON public.tokens FOR EACH ROW WHEN ((new.relay_group_id IS NOT NULL)) EXECUTE FUNCTION drawbridge.check_relay_group_account();
comment on table public.tokens is 'What a device or program shows to be admitted; minted by `drawbridge token create`. Deleting the row revokes it.';
comment on column public.tokens.account_id is 'Null for tokens of shared relays alone.';
comment on column public.tokens.secret_hash is 'SHA-256 of the salted secret, lower-case hex; the secret itself is stored nowhere.';

create table drawbridge.change_logs (
  committed_at timestamp with time zone not null,
  epoch bigint not null,
  commit_end_lsn pg_lsn not null,
  seq bigint not null,
  account_id uuid,
  "table" text,
  op text not null,
  old_data jsonb,
  data jsonb,
  reason text,
  subject jsonb,
  vsn integer not null,
  inserted_at timestamp with time zone not null default now(),
  constraint change_logs_pkey PRIMARY KEY (committed_at, epoch, commit_end_lsn, seq),
  constraint change_logs_data_fits_op CHECK (
CASE op
    WHEN 'insert'::text THEN ((account_id IS NOT NULL) AND ("table" IS NOT NULL) AND (old_data IS NULL) AND ((data IS NULL) = (reason IS NOT NULL)))
    WHEN 'update'::text THEN ((account_id IS NOT NULL) AND ("table" IS NOT NULL) AND ((old_data IS NULL) = (reason IS NOT NULL)) AND ((data IS NULL) = (reason IS NOT NULL)))
    WHEN 'delete'::text THEN ((account_id IS NOT NULL) AND ("table" IS NOT NULL) AND ((old_data IS NULL) = (reason IS NOT NULL)) AND (data IS NULL))
    WHEN 'truncate'::text THEN ((account_id IS NULL) AND ("table" IS NOT NULL) AND (old_data IS NULL) AND (data IS NULL) AND (reason IS NULL))
    WHEN 'hole'::text THEN ((account_id IS NULL) AND ("table" IS NULL) AND (old_data IS NULL) AND (data IS NULL) AND (reason IS NOT NULL))
    ELSE false
END)
) partition by RANGE (committed_at);
alter table drawbridge.change_logs replica identity default;
CREATE INDEX change_logs_account_id_idx ON ONLY drawbridge.change_logs USING btree (account_id, committed_at, commit_end_lsn, seq);
comment on table drawbridge.change_logs is 'Every change of a published row, secrets redacted; a truncate and a hole concern every account.';
comment on column drawbridge.change_logs.committed_at is 'The primary''s clock at COMMIT, as the WAL has it.';
comment on column drawbridge.change_logs.seq is 'Number of the change in its transaction, over all accounts.';
comment on column drawbridge.change_logs.op is 'insert, update, delete, truncate; hole: changes before this row may be missing.';
comment on column drawbridge.change_logs.reason is 'Why there is a hole; with a change, why the row has no data: it was refused.';
comment on column drawbridge.change_logs.subject is 'Who made the transaction: role, application and address of the session; name and reason after act_as.';
comment on column drawbridge.change_logs.vsn is 'Number of the last migration that changed a published table: the shape of the data.';

create table drawbridge.client_sessions (
  id uuid not null,
  account_id uuid not null,
  client_id uuid not null,
  token_id uuid not null,
  public_key text not null,
  version text,
  remote_ip text,
  region text,
  latitude double precision,
  longitude double precision,
  connected_at timestamp with time zone not null,
  ended_at timestamp with time zone,
  revision bigint not null,
  constraint client_sessions_pkey PRIMARY KEY (id)
);
alter table drawbridge.client_sessions replica identity default;
CREATE INDEX client_sessions_account_id_live_idx ON drawbridge.client_sessions USING btree (account_id) WHERE (ended_at IS NULL);
CREATE INDEX client_sessions_client_id_idx ON drawbridge.client_sessions USING btree (account_id, client_id, connected_at DESC);
comment on table drawbridge.client_sessions is 'Connections of clients, with what each brought.';

create table drawbridge.epochs (
  epoch bigint not null,
  reason text not null,
  slot_name text not null,
  system_identifier text not null,
  timeline integer not null,
  opened_at timestamp with time zone not null default now(),
  publication text,
  recorded_lsn pg_lsn,
  starts_at pg_lsn,
  constraint epochs_pkey PRIMARY KEY (epoch)
);
alter table drawbridge.epochs replica identity default;
CREATE TRIGGER log_hole AFTER INSERT ON drawbridge.epochs FOR EACH ROW EXECUTE FUNCTION drawbridge.log_hole();
comment on table drawbridge.epochs is 'Unbroken stretches of the stream: positions of two epochs cannot be compared.';
comment on column drawbridge.epochs.publication is 'The catalogue rows of what was published when the epoch began.';
comment on column drawbridge.epochs.recorded_lsn is 'What had been confirmed of the epoch before, null when nothing is known: what was committed from there to starts_at may be missing from logs.';
comment on column drawbridge.epochs.starts_at is 'Where the epoch''s stream begins; null while its slot is being made.';

create table drawbridge.flow_denials (
  account_id uuid not null,
  client_id uuid not null,
  resource_id uuid not null,
  reason text not null,
  minute timestamp with time zone not null,
  count integer not null,
  constraint flow_denials_pkey PRIMARY KEY (account_id, minute, client_id, resource_id, reason),
  constraint flow_denials_count_check CHECK ((count > 0)),
  constraint flow_denials_reason_check CHECK ((reason = ANY (ARRAY['not_found'::text, 'forbidden'::text, 'offline'::text])))
);
alter table drawbridge.flow_denials replica identity default;
comment on table drawbridge.flow_denials is 'Requests that were refused, counted by client, resource, reason and minute; resource_id is what was asked for, whether it exists or not.';

create table drawbridge.gateway_sessions (
  id uuid not null,
  account_id uuid not null,
  gateway_id uuid not null,
  token_id uuid not null,
  public_key text not null,
  version text,
  remote_ip text,
  region text,
  latitude double precision,
  longitude double precision,
  connected_at timestamp with time zone not null,
  ended_at timestamp with time zone,
  revision bigint not null,
  constraint gateway_sessions_pkey PRIMARY KEY (id)
);
alter table drawbridge.gateway_sessions replica identity default;
CREATE INDEX gateway_sessions_account_id_live_idx ON drawbridge.gateway_sessions USING btree (account_id) WHERE (ended_at IS NULL);
CREATE INDEX gateway_sessions_gateway_id_idx ON drawbridge.gateway_sessions USING btree (account_id, gateway_id, connected_at DESC);
comment on table drawbridge.gateway_sessions is 'Connections of gateways, with what each brought.';

create table drawbridge.hold_log (
  account_id uuid not null,
  revision bigint not null,
  action text not null,
  kind text not null,
  target_id uuid not null,
  at timestamp with time zone not null,
  by text not null,
  reason text,
  constraint hold_log_pkey PRIMARY KEY (account_id, revision),
  constraint hold_log_action_check CHECK ((action = ANY (ARRAY['placed'::text, 'lifted'::text]))),
  constraint hold_log_kind_check CHECK ((kind = ANY (ARRAY['client'::text, 'actor'::text, 'gateway'::text, 'resource'::text])))
);
alter table drawbridge.hold_log replica identity default;
comment on table drawbridge.hold_log is 'What operators have denied at the edge with cut --at-edge, and lifted: one row each. A record alone: no edit of it places or lifts a hold.';
comment on column drawbridge.hold_log.revision is 'Grows within the account, in the order in which it was done.';
comment on column drawbridge.hold_log.at is 'When it was done, by the edge''s clock.';
comment on column drawbridge.hold_log.by is 'Who did it, as the tool says.';

create table drawbridge.lanes (
  account_id uuid not null,
  epoch bigint not null,
  to_lsn pg_lsn not null,
  state text not null default 'live'::text,
  reason text,
  term bigint not null,
  updated_at timestamp with time zone not null default now(),
  place text,
  constraint lanes_pkey PRIMARY KEY (account_id),
  constraint lanes_state_check CHECK ((state = ANY (ARRAY['live'::text, 'parked'::text])))
);
alter table drawbridge.lanes replica identity default;
comment on table drawbridge.lanes is 'How far each account''s ordered lane of commits has been delivered; every account ever known is in it.';
comment on column drawbridge.lanes.term is 'The leader''s term when the row was written.';
comment on column drawbridge.lanes.place is 'Where the account''s object lives, as accounts.region last said; null for anywhere.';

create table drawbridge.migrations (
  name text not null,
  checksum text not null,
  applied_at timestamp with time zone not null default now(),
  constraint migrations_pkey PRIMARY KEY (name)
);
alter table drawbridge.migrations replica identity default;
comment on table drawbridge.migrations is 'The migrations applied to this database.';

create table drawbridge.network_addresses (
  account_id uuid not null,
  address inet not null,
  kind text not null,
  constraint network_addresses_pkey PRIMARY KEY (account_id, address),
  constraint network_addresses_kind_check CHECK ((kind = ANY (ARRAY['client'::text, 'gateway'::text])))
);
alter table drawbridge.network_addresses replica identity default;
comment on table drawbridge.network_addresses is 'Every tunnel address in use; kept by triggers on clients and gateways.';

create table drawbridge.published_shapes (
  vsn integer not null,
  since pg_lsn not null,
  columns jsonb not null,
  constraint published_shapes_pkey PRIMARY KEY (vsn)
);
alter table drawbridge.published_shapes replica identity default;
comment on table drawbridge.published_shapes is 'The columns of the published tables since each migration that changed them; change_logs.vsn points here.';
comment on column drawbridge.published_shapes.since is 'Taken while the migration held its locks: commits before it have the shape before.';

create table drawbridge.registrations (
  device_id uuid not null,
  account_id uuid not null,
  revision bigint not null,
  constraint registrations_pkey PRIMARY KEY (device_id)
);
alter table drawbridge.registrations replica identity default;
comment on table drawbridge.registrations is 'Every device that the edge has registered or changed, so that a late retry never makes one anew that was deleted.';

create table drawbridge.session_lists (
  account_id uuid not null,
  as_of bigint not null,
  constraint session_lists_pkey PRIMARY KEY (account_id)
);
alter table drawbridge.session_lists replica identity default;
comment on table drawbridge.session_lists is 'The revision of the latest list of sessions that each account''s object has written.';

create table drawbridge.streams (
  slot_name text not null,
  term bigint not null,
  confirmed_lsn pg_lsn not null,
  broken text,
  run uuid,
  beat bigint,
  known_run uuid,
  known_beat bigint,
  beat_at timestamp with time zone,
  columns jsonb,
  constraint streams_pkey PRIMARY KEY (slot_name),
  constraint streams_check CHECK ((((run IS NULL) = (beat IS NULL)) AND ((known_run IS NULL) = (known_beat IS NULL))))
);
alter table drawbridge.streams replica identity default;
comment on table drawbridge.streams is 'The replicator''s own record of its slot; nobody else writes here.';
comment on column drawbridge.streams.confirmed_lsn is 'What may be confirmed to the slot, written before it is: a slot beyond it was moved by somebody else.';
comment on column drawbridge.streams.broken is 'Why the stream cannot be read on from the slot''s position; null when it can.';
comment on column drawbridge.streams.run is 'Random, one for each leader''s run; with the number of its last heartbeat it tells whether this database was set back.';
comment on column drawbridge.streams.known_run is 'The run before, whose last heartbeat the edge may still hold.';
comment on column drawbridge.streams.columns is 'By published table, its columns as every account has been delivered; null when an epoch begins, which delivers them all.';

create table drawbridge.token_keys (
  token_id uuid not null,
  key_id text not null,
  constraint token_keys_pkey PRIMARY KEY (token_id),
  constraint token_keys_token_id_fkey FOREIGN KEY (token_id) REFERENCES public.tokens(id) ON DELETE CASCADE
);
alter table drawbridge.token_keys replica identity default;
comment on table drawbridge.token_keys is 'The id of the key that signed each token, written by whoever mints.';

create table drawbridge.change_logs_default partition of drawbridge.change_logs DEFAULT;

create publication drawbridge for table
  public.accounts,
  public.actor_group_memberships,
  public.actor_groups,
  public.actors,
  public.auth_identities,
  public.auth_providers,
  public.clients,
  public.gateway_groups,
  public.gateways,
  public.policies,
  public.resource_connections,
  public.resources,
  public.tokens
  with (publish = 'insert, update, delete, truncate', publish_via_partition_root = f);

create publication drawbridge_flows for table
  public.flows where (ended_at IS NULL)
  with (publish = 'update, delete, truncate', publish_via_partition_root = f);

grant execute on function drawbridge.drop_change_log_partitions(integer) to drawbridge_replicator;
grant execute on function drawbridge.make_change_log_partitions(integer) to drawbridge_replicator;
grant execute on function drawbridge.request_resync(jsonb) to drawbridge_edge;
grant execute on function drawbridge.write_denials(uuid,jsonb) to drawbridge_edge;
grant execute on function drawbridge.write_devices(uuid,jsonb,jsonb) to drawbridge_edge;
grant execute on function drawbridge.write_flows(uuid,jsonb) to drawbridge_edge;
grant execute on function drawbridge.write_holds(uuid,jsonb) to drawbridge_edge;
grant execute on function drawbridge.write_sessions(uuid,jsonb,jsonb,uuid[],bigint) to drawbridge_edge;
grant usage on schema drawbridge to drawbridge_replicator;
grant usage on schema drawbridge to public;
grant usage on schema public to drawbridge_replicator;
grant usage on schema public to public;
grant insert on table drawbridge.change_logs to drawbridge_replicator;
grant insert, select on table drawbridge.epochs to drawbridge_replicator;
grant delete, insert, select, update on table drawbridge.lanes to drawbridge_replicator;
grant select on table drawbridge.migrations to drawbridge_replicator;
grant select on table drawbridge.published_shapes to drawbridge_replicator;
grant insert, select, update on table drawbridge.streams to drawbridge_replicator;
grant select on table public.accounts to drawbridge_replicator;
grant select on table public.actor_group_memberships to drawbridge_replicator;
grant select on table public.actor_groups to drawbridge_replicator;
grant select on table public.actors to drawbridge_replicator;
grant select on table public.auth_identities to drawbridge_replicator;
grant select on table public.auth_providers to drawbridge_replicator;
grant select on table public.clients to drawbridge_replicator;
grant select on table public.flows to drawbridge_replicator;
grant select on table public.gateway_groups to drawbridge_replicator;
grant select on table public.gateways to drawbridge_replicator;
grant select on table public.policies to drawbridge_replicator;
grant select on table public.resource_connections to drawbridge_replicator;
grant select on table public.resources to drawbridge_replicator;
grant select on table public.tokens to drawbridge_replicator;

CREATE OR REPLACE FUNCTION drawbridge.act_as(name text, reason text DEFAULT NULL::text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
begin
  if name is null or length(btrim(name)) not between 1 and 200 or length(reason) > 1000 then
    raise exception 'act_as takes a name of 1 to 200 characters and a reason of 1000 at most'
      using errcode = 'invalid_parameter_value';
  end if;
  perform drawbridge.tell_subject(jsonb_build_object('name', name, 'reason', reason));
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.add_subject_trigger(published regclass)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
begin
  -- A statement that changed no row has no transaction id and tells nothing.
  execute format(
    'create trigger tell_subject after insert or update or delete or truncate on %s for each statement
       when (pg_current_xact_id_if_assigned() is not null
         and current_setting(''drawbridge.subject_told'', true) is distinct from pg_current_xact_id_if_assigned()::text)
       execute function drawbridge.tell_subject()', published);
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.are_conditions(value jsonb[])
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
  select coalesce(array_ndims(value), 1) = 1 and coalesce(bool_and(drawbridge.is_condition(item)), true)
  from unnest(value) as items (item)
$function$
;

CREATE OR REPLACE FUNCTION drawbridge.are_filters(value jsonb)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
  select case
    when jsonb_typeof(value) = 'array' then (
      select coalesce(bool_and(drawbridge.is_filter(item)), true) from jsonb_array_elements(value) as items (item)
    )
    else false
  end
$function$
;

CREATE OR REPLACE FUNCTION drawbridge.check_internet_site()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
AS $function$
begin
  if (select type = 'internet' from public.resources where id = new.resource_id)
    is distinct from
    (select managed_by = 'system' and name = 'Internet' from public.gateway_groups where id = new.gateway_group_id)
  then
    raise exception using
      errcode = 'check_violation',
      constraint = 'internet_resource_in_internet_site',
      schema = 'public',
      table = 'resource_connections',
      message = 'the internet resource belongs in the system''s site named Internet, and nothing else does';
  end if;
  return null;
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.check_relay_group_account()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
AS $function$
begin
  if (select account_id from public.relay_groups where id = new.relay_group_id) is distinct from new.account_id then
    raise exception using
      errcode = 'check_violation',
      constraint = 'tokens_account_of_relay_group',
      schema = 'public',
      table = 'tokens',
      message = 'a relay group''s token belongs to the account of its group, and to none where the group belongs to none';
  end if;
  return null;
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.drop_change_log_partitions(keep_days integer)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET "TimeZone" TO 'UTC'
 SET lock_timeout TO '2s'
AS $function$
declare
  first_kept date := current_date - keep_days;
  name text;
  dropped integer := 0;
begin
  if keep_days is null or keep_days < 1 then
    raise exception 'expected a number of days from 1, got %', keep_days using errcode = 'invalid_parameter_value';
  end if;
  for name in
    select c.relname from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
      where i.inhparent = 'drawbridge.change_logs'::regclass and c.relname ~ '^change_logs_\d{8}$'
        and to_date(right(c.relname, 8), 'YYYYMMDD') < first_kept
  loop
    execute format('drop table drawbridge.%I', name);
    dropped := dropped + 1;
  end loop;
  delete from drawbridge.change_logs_default where committed_at < first_kept;
  return dropped;
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.forget_network_addresses()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
AS $function$
begin
  delete from drawbridge.network_addresses where kind = tg_argv[0];
  return null;
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.is_account_config(value jsonb)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
  select case
    when value is null or jsonb_typeof(value) <> 'object' then false
    when coalesce(jsonb_typeof(value -> 'search_domain'), 'null') not in ('null', 'string') then false
    when jsonb_typeof(value -> 'search_domain') = 'string'
      and (value ->> 'search_domain' ~ '[*?]' or not drawbridge.is_dns_pattern(value ->> 'search_domain')) then false
    when value -> 'clients_upstream_dns' is null then true
    when jsonb_typeof(value -> 'clients_upstream_dns') <> 'array' then false
    else (
      select coalesce(bool_and(
        jsonb_typeof(item) = 'object'
          and coalesce(item ->> 'protocol', 'ip_port') = 'ip_port'
          and jsonb_typeof(item -> 'address') = 'string'
          and drawbridge.is_resolver_address(item ->> 'address')
      ), true)
      from jsonb_array_elements(value -> 'clients_upstream_dns') as items (item)
    )
  end
$function$
;

CREATE OR REPLACE FUNCTION drawbridge.is_cidr(value text)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
begin
  return coalesce(value::cidr::text = value, false);
exception when data_exception then
  return false;
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.is_condition(value jsonb)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
declare
  operator text := value ->> 'operator';
  items text[];
begin
  if value is null or jsonb_typeof(value) <> 'object' or value - array['property', 'operator', 'values'] <> '{}'
    or not drawbridge.is_text_list(value -> 'values')
  then
    return false;
  end if;
  items := array(select jsonb_array_elements_text(value -> 'values'));
  return coalesce(case value ->> 'property'
    when 'remote_ip_location_region' then
      operator in ('is_in', 'is_not_in')
        and not exists (select from unnest(items) as item where not drawbridge.is_country(item))
    when 'remote_ip' then
      operator in ('is_in_cidr', 'is_not_in_cidr')
        and not exists (select from unnest(items) as item where not drawbridge.is_ip_range(item))
    when 'provider_id' then
      operator in ('is_in', 'is_not_in')
        and not exists (select from unnest(items) as item where item !~ '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$')
    when 'current_utc_datetime' then
      operator = 'is_in_day_of_week_time_ranges'
        and not exists (select from unnest(items) as item where not drawbridge.is_time_window(item))
    when 'client_verified' then operator = 'is' and items in (array['true'], array['false'])
  end, false);
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.is_country(value text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
  select coalesce(value = any (string_to_array(
    'AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ '
    'CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO '
    'FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE '
    'JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO '
    'MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW '
    'PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM '
    'TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW', ' ')), false)
$function$
;

CREATE OR REPLACE FUNCTION drawbridge.is_dns_pattern(value text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
  select coalesce(
    length(value) between 1 and 253
      and bool_and(label ~ '^([A-Za-z0-9_*?-]|[^\x01-\x7f]){1,63}$' and (label = '**' or label not like '%**%'))
      and (array_agg(label order by position desc))[1] !~ '[*?]|^[0-9]+$|^[Ll][Oo][Cc][Aa][Ll][Hh][Oo][Ss][Tt]$',
    false)
  from unnest(string_to_array(value, '.')) with ordinality as labels (label, position)
$function$
;

CREATE OR REPLACE FUNCTION drawbridge.is_filter(value jsonb)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
  select case
    when value is null or jsonb_typeof(value) <> 'object' or value - '{protocol,ports}'::text[] <> '{}' then false
    when value -> 'ports' is not null and not drawbridge.is_text_list(value -> 'ports') then false
    else coalesce(value ->> 'protocol' in ('tcp', 'udp', 'icmp'), false)
      and (value ->> 'protocol' <> 'icmp' or coalesce(value -> 'ports', '[]') = '[]')
      and (
        select coalesce(bool_and(drawbridge.is_port_range(port)), true)
        from jsonb_array_elements_text(coalesce(value -> 'ports', '[]')) as ports (port)
      )
  end
$function$
;

CREATE OR REPLACE FUNCTION drawbridge.is_ip(value text)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
begin
  return coalesce(host(value::inet) = value, false);
exception when data_exception then
  return false;
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.is_ip_range(value text)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
begin
  return coalesce(value ~ '^[^/]+(/(0|[1-9][0-9]{0,2}))?$' and host(value::inet) = split_part(value, '/', 1), false);
exception when data_exception then
  return false;
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.is_latest(account uuid, device uuid, new_revision bigint)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
begin
  insert into drawbridge.registrations as old (device_id, account_id, revision) values (device, account, new_revision)
  on conflict (device_id) do update set revision = excluded.revision
  where old.account_id = account and old.revision < excluded.revision;
  return found;
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.is_of_no_row(code text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO ''
AS $function$
  select left(code, 2) in ('08', '0A', '25', '26', '28', '3D', '3F', '40', '42', '53', '55', '57', '58', 'F0', 'XX')
$function$
;

CREATE OR REPLACE FUNCTION drawbridge.is_port_range(value text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
  select case
    when value ~ '^[1-9][0-9]{0,4}( - [1-9][0-9]{0,4})?$' then
      split_part(value, ' - ', 1)::integer <= 65535
        and coalesce(nullif(split_part(value, ' - ', 2), ''), split_part(value, ' - ', 1))::integer
          between split_part(value, ' - ', 1)::integer and 65535
    else false
  end
$function$
;

CREATE OR REPLACE FUNCTION drawbridge.is_reserved(value text)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
begin
  return value::inet <<= any (array[
    '100.64.0.0/10', 'fd00:2021:1111::/48', '0.0.0.0/32', '::/128', '127.0.0.0/8', '::1/128'
  ]::inet[]);
exception when data_exception then
  return false;
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.is_resolver_address(value text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
  select coalesce(drawbridge.is_ip(address) and not drawbridge.is_reserved(address)
    and (port is null or drawbridge.is_port_range(port)), false)
  from (
    select
      case
        when drawbridge.is_ip(value) then value
        when value ~ '^\[[^\]]*:[^\]]*\]:[0-9]+$' then substring(value from '^\[(.*)\]:')
        when value ~ '^[0-9.]+:[0-9]+$' then split_part(value, ':', 1)
      end as address,
      case when not drawbridge.is_ip(value) then substring(value from ':([0-9]+)$') end as port
  ) as parts
$function$
;

CREATE OR REPLACE FUNCTION drawbridge.is_text_list(value jsonb)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
  select coalesce(jsonb_typeof(value) = 'array' and not jsonb_path_exists(value, 'strict $[*] ? (@.type() != "string")'), false)
$function$
;

CREATE OR REPLACE FUNCTION drawbridge.is_time_window(value text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
  select coalesce(
    value ~ '^[MTWRFSU]/[^/]*/.'
      and (
        select bool_and(btrim(range) ~ (
          '^(|true|([01]?[0-9]|2[0-3])(:[0-5]?[0-9]){0,2}-([01]?[0-9]|2[0-3])(:[0-5]?[0-9]){0,2})$'
        ))
        from regexp_split_to_table(split_part(value, '/', 2), ',') as range
      )
      and drawbridge.is_time_zone(substring(value from '^./[^/]*/(.*)$')),
    false)
$function$
;

CREATE OR REPLACE FUNCTION drawbridge.is_time_zone(value text)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
begin
  if value = 'UTC' then
    return true;
  end if;
  if value ~ '^[A-Z][A-Za-z_]*(/[A-Z][A-Za-z_]*)+$' then
    return timestamptz '2000-01-01 00:00:00+00' at time zone value is not null;
  end if;
  return exists (select from pg_timezone_names where name = value);
exception when data_exception then
  return false;
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.is_tunnel_address(value inet, family integer)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO ''
AS $function$
  select case family
    when 4 then masklen(value) = 32 and value << '100.64.0.0/11'::inet
    when 6 then masklen(value) = 128 and value << 'fd00:2021:1111::/107'::inet
    else false
  end
$function$
;

CREATE OR REPLACE FUNCTION drawbridge.keep_jurisdiction()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
  if old.region is distinct from new.region
    and (old.region in ('eu', 'us', 'fedramp', 'fedramp-high') or new.region in ('eu', 'us', 'fedramp', 'fedramp-high')) then
    raise exception 'an account cannot enter or leave a jurisdiction (% to %)', old.region, new.region
      using errcode = 'check_violation', constraint = 'accounts_keep_jurisdiction',
            hint = 'Make another account in the jurisdiction, and move what is in this one.';
  end if;
  return new;
end
$function$
;

CREATE OR REPLACE FUNCTION drawbridge.keep_network_addresses()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
AS $function$
begin
  if tg_op in ('UPDATE', 'DELETE') then
    delete from drawbridge.network_addresses where account_id = old.account_id and address in (old.ipv4, old.ipv6);
  end if;
  if tg_op in ('INSERT', 'UPDATE') then
    insert into drawbridge.network_addresses (account_id, address, kind)
    values (new.account_id, new.ipv4, tg_argv[0]), (new.account_id, new.ipv6, tg_argv[0]);
  end if;
  return null;
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.keep_relay_group_account()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
AS $function$
begin
  raise exception using
    errcode = 'check_violation',
    constraint = 'relay_groups_account_stays',
    schema = 'public',
    table = 'relay_groups',
    message = 'a relay group stays with its account: delete it and insert another';
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.log_hole()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
AS $function$
begin
  insert into drawbridge.change_logs (committed_at, epoch, commit_end_lsn, seq, op, reason, vsn)
  values (now(), new.epoch, pg_current_wal_insert_lsn(), 0, 'hole', new.reason, drawbridge.vsn_at(pg_current_wal_insert_lsn()));
  return null;
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.make_change_log_partitions(days_ahead integer)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET "TimeZone" TO 'UTC'
 SET lock_timeout TO '2s'
AS $function$
declare
  day date;
  name text;
  made integer := 0;
begin
  if days_ahead is null or days_ahead not between 0 and 100 then
    raise exception 'expected a number of days from 0 to 100, got %', days_ahead using errcode = 'invalid_parameter_value';
  end if;
  for day in
    select current_date + n from generate_series(0, days_ahead) as n
    union
    select committed_at::date from drawbridge.change_logs_default
      where committed_at >= current_date - 1000 and committed_at < current_date + days_ahead + 1
    order by 1
  loop
    name := 'change_logs_' || to_char(day, 'YYYYMMDD');
    continue when to_regclass('drawbridge.' || name) is not null;
    execute format('create table drawbridge.%I (like drawbridge.change_logs including defaults including constraints)', name);
    execute format(
      'with moved as (
         delete from drawbridge.change_logs_default where committed_at >= %L and committed_at < %L returning *
       ) insert into drawbridge.%I select * from moved',
      day::timestamptz, (day + 1)::timestamptz, name);
    execute format('alter table drawbridge.change_logs attach partition drawbridge.%I for values from (%L) to (%L)',
      name, day::timestamptz, (day + 1)::timestamptz);
    made := made + 1;
  end loop;
  return made;
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.note_published_shape(migration text)
 RETURNS void
 LANGUAGE sql
 SET search_path TO ''
AS $function$
  insert into drawbridge.published_shapes (vsn, since, columns)
  select substr(migration, 1, 4)::integer, pg_catalog.pg_current_wal_insert_lsn(), shape.columns
    from (
      select jsonb_object_agg(tablename, columns) as columns
        from (
          select t.tablename, jsonb_object_agg(a.attname, format_type(a.atttypid, a.atttypmod)) as columns
            from (select distinct schemaname, tablename from pg_catalog.pg_publication_tables where pubname ~ '^drawbridge') t
            join pg_catalog.pg_namespace n on n.nspname = t.schemaname
            join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.tablename
            join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
            group by t.tablename
        ) as tables
    ) as shape
    where shape.columns is distinct from
      (select columns from drawbridge.published_shapes order by vsn desc limit 1)
$function$
;

CREATE OR REPLACE FUNCTION drawbridge.random_secret()
 RETURNS bytea
 LANGUAGE sql
 PARALLEL SAFE
 SET search_path TO ''
AS $function$
  select sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
$function$
;

CREATE OR REPLACE FUNCTION drawbridge.request_resync(message jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
AS $function$
begin
  if message ->> 'type' is distinct from 'resync' then
    raise exception using errcode = 'invalid_parameter_value', message = 'expected a message of the type resync';
  end if;
  perform pg_logical_emit_message(true, 'drawbridge', message::text);
  return jsonb_build_object('xid', pg_current_xact_id()::text, 'results', jsonb '[]');
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.return_to_jurisdiction()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
declare
  jurisdictions constant text[] := '{eu,us,fedramp,fedramp-high}';
  was text;
begin
  select place into was from drawbridge.lanes where account_id = new.id;
  if found and was is distinct from new.region and (was = any (jurisdictions) or new.region = any (jurisdictions)) then
    raise exception 'an account that returns cannot enter or leave a jurisdiction (% to %)', was, new.region
      using errcode = 'check_violation', constraint = 'accounts_return_to_jurisdiction',
            hint = 'Give the account in the other jurisdiction an id of its own.';
  end if;
  return new;
end
$function$
;

CREATE OR REPLACE FUNCTION drawbridge.take_turn(account uuid)
 RETURNS void
 LANGUAGE sql
 SET search_path TO ''
AS $function$
  select pg_advisory_xact_lock(hashtextextended('drawbridge write-back ' || account, 0))
$function$
;

CREATE OR REPLACE FUNCTION drawbridge.tell_subject()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
begin
  perform drawbridge.tell_subject('{}');
  return null;
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.tell_subject(named jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
begin
  -- For this transaction only, and undone with the savepoint that the message is undone with.
  perform set_config('drawbridge.subject_told', pg_current_xact_id()::text, true);
  perform pg_logical_emit_message(true, 'drawbridge', (jsonb_build_object('type', 'subject', 'subject', jsonb_build_object(
    'role', session_user, 'application', current_setting('application_name'), 'address', host(inet_client_addr())
  ) || named))::text);
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.vsn_at(commit_end_lsn pg_lsn)
 RETURNS integer
 LANGUAGE sql
 STABLE
 SET search_path TO ''
AS $function$
  select coalesce(
    (select max(vsn) from drawbridge.published_shapes where since <= commit_end_lsn),
    (select max(vsn) from drawbridge.published_shapes))
$function$
;

CREATE OR REPLACE FUNCTION drawbridge.write_client(account uuid, item jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  new_row public.clients;
  is_registered boolean;
  is_there boolean;
  failed_constraint text;
begin
  new_row := jsonb_populate_record(null::public.clients, item);
  new_row.edge_revision := (item ->> 'revision')::bigint;
  is_registered := exists (select from drawbridge.registrations where device_id = new_row.id);
  is_there := exists (select from public.clients where id = new_row.id and account_id = account);
  if not is_there and (is_registered or (item ->> 'is_known')::boolean) then
    return '{"outcome": "gone"}';
  end if;
  if not drawbridge.is_latest(account, new_row.id, new_row.edge_revision) then
    return '{"outcome": "ok"}';
  end if;
  if is_there then
    update public.clients set
      identity_id = new_row.identity_id,
      device_serial = new_row.device_serial,
      device_uuid = new_row.device_uuid,
      identifier_for_vendor = new_row.identifier_for_vendor,
      firebase_installation_id = new_row.firebase_installation_id,
      verified_at = case when (item ->> 'is_unverified')::boolean then null else verified_at end,
      verified_by = case when (item ->> 'is_unverified')::boolean then null else verified_by end,
      edge_revision = new_row.edge_revision
    where id = new_row.id and account_id = account;
  else
    insert into public.clients (id, account_id, actor_id, identity_id, external_id, name, ipv4, ipv6, psk_base,
      device_serial, device_uuid, identifier_for_vendor, firebase_installation_id, edge_revision)
    values (new_row.id, account, new_row.actor_id, new_row.identity_id, new_row.external_id, new_row.name, new_row.ipv4,
      new_row.ipv6, new_row.psk_base, new_row.device_serial, new_row.device_uuid, new_row.identifier_for_vendor,
      new_row.firebase_installation_id, new_row.edge_revision);
  end if;
  return '{"outcome": "ok"}';
exception when others or assert_failure then
  if drawbridge.is_of_no_row(sqlstate) then raise; end if;
  get stacked diagnostics failed_constraint = constraint_name;
  return jsonb_build_object('outcome', 'refused', 'reason', coalesce(nullif(failed_constraint, ''), sqlstate));
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.write_denials(account uuid, items jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET lock_timeout TO '5s'
AS $function$
begin
  perform drawbridge.take_turn(account);
  insert into drawbridge.flow_denials as old (account_id, client_id, resource_id, reason, minute, count)
  select account, new.client_id, new.resource_id, new.reason, new.minute, new.count
  from jsonb_to_recordset(items)
    as new (client_id uuid, resource_id uuid, reason text, minute timestamptz, count integer)
  on conflict (account_id, minute, client_id, resource_id, reason) do update set count = excluded.count
  where old.count < excluded.count;
  return jsonb_build_object('xid', pg_current_xact_id()::text, 'results', jsonb '[]');
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.write_devices(account uuid, clients jsonb, gateways jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET lock_timeout TO '5s'
AS $function$
declare
  item jsonb;
  results jsonb := '[]';
begin
  perform drawbridge.take_turn(account);
  for item in select value from jsonb_array_elements(clients) loop
    results := results || (jsonb_build_object('id', item ->> 'id') || drawbridge.write_client(account, item));
  end loop;
  for item in select value from jsonb_array_elements(gateways) loop
    results := results || (jsonb_build_object('id', item ->> 'id') || drawbridge.write_gateway(account, item));
  end loop;
  return jsonb_build_object('xid', pg_current_xact_id()::text, 'results', results);
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.write_flow(account uuid, item jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  new_row public.flows;
  failed_constraint text;
begin
  new_row := jsonb_populate_record(null::public.flows, item);
  new_row.account_id := account;
  if (item ->> 'is_known')::boolean and not exists (
    select from public.flows where id = new_row.id and account_id = account
  ) then
    return '{"outcome": "gone"}';
  end if;
  insert into public.flows as old values (new_row.*)
  on conflict (id) do update set
    policy_id = excluded.policy_id,
    token_id = excluded.token_id,
    client_remote_ip = excluded.client_remote_ip,
    expires_at = excluded.expires_at,
    ended_at = coalesce(old.ended_at, excluded.ended_at),
    end_cause = coalesce(old.end_cause, excluded.end_cause),
    told_at = coalesce(excluded.told_at, old.told_at),
    told = coalesce(excluded.told, old.told),
    revision = excluded.revision
  where old.account_id = account and old.revision < excluded.revision;
  return '{"outcome": "ok"}';
exception when others or assert_failure then
  if drawbridge.is_of_no_row(sqlstate) then raise; end if;
  get stacked diagnostics failed_constraint = constraint_name;
  return jsonb_build_object('outcome', 'refused', 'reason', coalesce(nullif(failed_constraint, ''), sqlstate));
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.write_flows(account uuid, items jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET lock_timeout TO '5s'
AS $function$
declare
  item jsonb;
  results jsonb := '[]';
begin
  perform drawbridge.take_turn(account);
  for item in select value from jsonb_array_elements(items) loop
    results := results || (jsonb_build_object('id', item ->> 'id') || drawbridge.write_flow(account, item));
  end loop;
  return jsonb_build_object('xid', pg_current_xact_id()::text, 'results', results);
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.write_gateway(account uuid, item jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  new_row public.gateways;
  is_registered boolean;
  is_there boolean;
  failed_constraint text;
begin
  new_row := jsonb_populate_record(null::public.gateways, item);
  new_row.edge_revision := (item ->> 'revision')::bigint;
  is_registered := exists (select from drawbridge.registrations where device_id = new_row.id);
  is_there := exists (select from public.gateways where id = new_row.id and account_id = account);
  if not is_there and (is_registered or (item ->> 'is_known')::boolean) then
    return '{"outcome": "gone"}';
  end if;
  if not drawbridge.is_latest(account, new_row.id, new_row.edge_revision) then
    return '{"outcome": "ok"}';
  end if;
  if is_there then
    update public.gateways set name = new_row.name, edge_revision = new_row.edge_revision
    where id = new_row.id and account_id = account;
  else
    insert into public.gateways (id, account_id, group_id, external_id, name, ipv4, ipv6, psk_base, edge_revision)
    values (new_row.id, account, new_row.group_id, new_row.external_id, new_row.name, new_row.ipv4, new_row.ipv6,
      new_row.psk_base, new_row.edge_revision);
  end if;
  return '{"outcome": "ok"}';
exception when others or assert_failure then
  if drawbridge.is_of_no_row(sqlstate) then raise; end if;
  get stacked diagnostics failed_constraint = constraint_name;
  return jsonb_build_object('outcome', 'refused', 'reason', coalesce(nullif(failed_constraint, ''), sqlstate));
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.write_hold(account uuid, item jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
declare
  failed_constraint text;
begin
  insert into drawbridge.hold_log (account_id, revision, action, kind, target_id, at, by, reason)
  select account, new.revision, new.action, new.kind, new.id, new.at, new.by, new.reason
  from jsonb_to_record(item)
    as new (revision bigint, action text, kind text, id uuid, at timestamptz, by text, reason text)
  on conflict (account_id, revision) do nothing;
  return '{"outcome": "ok"}';
exception when others or assert_failure then
  if drawbridge.is_of_no_row(sqlstate) then raise; end if;
  get stacked diagnostics failed_constraint = constraint_name;
  return jsonb_build_object('outcome', 'refused', 'reason', coalesce(nullif(failed_constraint, ''), sqlstate));
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.write_holds(account uuid, items jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET lock_timeout TO '5s'
AS $function$
declare
  item jsonb;
  results jsonb := '[]';
begin
  perform drawbridge.take_turn(account);
  for item in select value from jsonb_array_elements(items) loop
    results := results || (jsonb_build_object('id', item ->> 'revision') || drawbridge.write_hold(account, item));
  end loop;
  return jsonb_build_object('xid', pg_current_xact_id()::text, 'results', results);
end $function$
;

CREATE OR REPLACE FUNCTION drawbridge.write_sessions(account uuid, clients jsonb, gateways jsonb, alive uuid[], as_of bigint)
 RETURNS jsonb
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET lock_timeout TO '5s'
 SET plan_cache_mode TO 'force_custom_plan'
AS $function$
declare
  latest bigint;
begin
  perform drawbridge.take_turn(account);
  insert into drawbridge.session_lists as list (account_id, as_of) values (account, write_sessions.as_of)
    on conflict (account_id) do update set as_of = greatest(list.as_of, excluded.as_of)
    returning list.as_of into latest;
  insert into drawbridge.client_sessions (id, account_id, client_id, token_id, public_key, version, remote_ip, region,
    latitude, longitude, connected_at, ended_at, revision)
  select new.id, account, new.device_id, new.token_id, new.public_key, new.version, new.remote_ip, new.region,
    new.latitude, new.longitude, new.connected_at,
    case when write_sessions.as_of < latest then coalesce(new.ended_at, now()) else new.ended_at end, new.revision
  from jsonb_to_recordset(clients) as new (id uuid, device_id uuid, token_id uuid, public_key text, version text,
    remote_ip text, region text, latitude float8, longitude float8, connected_at timestamptz, ended_at timestamptz,
    revision bigint)
  on conflict (id) do nothing;
  insert into drawbridge.gateway_sessions (id, account_id, gateway_id, token_id, public_key, version, remote_ip, region,
    latitude, longitude, connected_at, ended_at, revision)
  select new.id, account, new.device_id, new.token_id, new.public_key, new.version, new.remote_ip, new.region,
    new.latitude, new.longitude, new.connected_at,
    case when write_sessions.as_of < latest then coalesce(new.ended_at, now()) else new.ended_at end, new.revision
  from jsonb_to_recordset(gateways) as new (id uuid, device_id uuid, token_id uuid, public_key text, version text,
    remote_ip text, region text, latitude float8, longitude float8, connected_at timestamptz, ended_at timestamptz,
    revision bigint)
  on conflict (id) do nothing;
  update drawbridge.client_sessions set ended_at = now()
  where account_id = account and ended_at is null and revision <= write_sessions.as_of and id <> all (alive);
  update drawbridge.gateway_sessions set ended_at = now()
  where account_id = account and ended_at is null and revision <= write_sessions.as_of and id <> all (alive);
  return jsonb_build_object('xid', pg_current_xact_id()::text, 'results', jsonb '[]');
end $function$
;
