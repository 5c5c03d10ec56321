-- The ledger of flows: what was granted to whom, by which policy, until when, and how it ended. The edge writes it behind
-- what it does, through the functions of the next migration. No foreign keys: it outlives what it describes.

create table flows (
  id uuid primary key,
  account_id uuid not null,
  client_id uuid not null,
  resource_id uuid not null,
  gateway_id uuid not null,
  policy_id uuid not null,
  actor_id uuid not null,
  token_id uuid not null,
  client_remote_ip text,
  inserted_at timestamptz not null,
  expires_at timestamptz not null,
  ended_at timestamptz,
  end_cause jsonb check (
    jsonb_typeof(end_cause) = 'object' and end_cause ?& array['table', 'id', 'commit']
      and end_cause - array['table', 'id', 'commit'] = '{}'
  ),
  told_at timestamptz,
  told text check (told in ('sent', 'gateway_away', 'expired')),
  revision bigint not null,
  unique (account_id, id),
  constraint flows_end_is_of_an_ended_one check (
    ended_at is not null or (end_cause is null and told_at is null and told is null)
  )
);
create index flows_account_id_live_idx on flows (account_id) where ended_at is null;
create index flows_account_id_inserted_at_idx on flows (account_id, inserted_at desc);
comment on table flows is 'One row a grant. Deleting a row, or setting ended_at, cuts that flow at once; inserting one grants nothing.';
comment on column flows.client_remote_ip is 'The client''s address when it was granted, as the platform saw it; null: unknown.';
comment on column flows.inserted_at is 'When it was granted, by the edge''s clock.';
comment on column flows.expires_at is 'The expiry that the gateway was told; a renewal moves it.';
comment on column flows.end_cause is 'Table and id of the row that ended it, and the commit (LSN) that changed that row; commit is null where time or a device did.';
comment on column flows.told is 'Whether the gateway was told of the end: sent; gateway_away, so that it is told after its next init; expired: it was away until the expiry that it knew.';
comment on column flows.revision is 'Grows with every state of the row; the edge''s writes apply only with a higher one.';

-- Refused requests, counted: a client that asks again and again is one row a minute.
create table drawbridge.flow_denials (
  account_id uuid not null,
  client_id uuid not null,
  resource_id uuid not null,
  reason text not null check (reason in ('not_found', 'forbidden', 'offline')),
  minute timestamptz not null,
  count integer not null check (count > 0),
  primary key (account_id, minute, client_id, resource_id, reason)
);
comment on table drawbridge.flow_denials is 'Requests that were refused, counted by client, resource, reason and minute; resource_id is what was asked for, whether it exists or not.';

create table drawbridge.client_sessions (
  id uuid primary key,
  account_id uuid not null,
  client_id uuid not null,
  token_id uuid not null,
  public_key text not null,
  version text,
  remote_ip text,
  region text,
  latitude double precision,
  longitude double precision,
  connected_at timestamptz not null,
  ended_at timestamptz,
  revision bigint not null
);
create index client_sessions_account_id_live_idx on drawbridge.client_sessions (account_id) where ended_at is null;
create index client_sessions_client_id_idx on drawbridge.client_sessions (account_id, client_id, connected_at desc);
comment on table drawbridge.client_sessions is 'Connections of clients, with what each brought.';

create table drawbridge.gateway_sessions (
  id uuid primary key,
  account_id uuid not null,
  gateway_id uuid not null,
  token_id uuid not null,
  public_key text not null,
  version text,
  remote_ip text,
  region text,
  latitude double precision,
  longitude double precision,
  connected_at timestamptz not null,
  ended_at timestamptz,
  revision bigint not null
);
create index gateway_sessions_account_id_live_idx on drawbridge.gateway_sessions (account_id) where ended_at is null;
create index gateway_sessions_gateway_id_idx on drawbridge.gateway_sessions (account_id, gateway_id, connected_at desc);
comment on table drawbridge.gateway_sessions is 'Connections of gateways, with what each brought.';

create table drawbridge.registrations (
  device_id uuid primary key,
  account_id uuid not null,
  revision bigint not null
);
comment on table drawbridge.registrations is 'Every device that the edge has registered or changed, so that a late retry never makes one anew that was deleted.';

-- The edge learns from the stream that a flow was ended or deleted, never that one was made. An update that sets ended_at
-- leaves the filter, so it arrives as a delete.
alter table flows replica identity full;
create publication drawbridge_flows for table flows where (ended_at is null)
  with (publish = 'update, delete, truncate');

grant select on flows to drawbridge_replicator;
