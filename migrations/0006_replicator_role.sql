-- The replicator's role: reads what is published, keeps its own bookkeeping, writes nothing else. It has no password
-- until the operator sets one. Roles belong to the whole cluster, so another database may have made it, or be making it
-- at this moment.

do $$
begin
  if not exists (select from pg_roles where rolname = 'drawbridge_replicator') then
    create role drawbridge_replicator login replication;
  elsif not exists (
    select from pg_roles where rolname = 'drawbridge_replicator' and rolcanlogin and rolreplication
  ) then
    alter role drawbridge_replicator login replication;
  end if;
exception when duplicate_object or unique_violation then
  null;
end $$;

grant usage on schema public, drawbridge to drawbridge_replicator;
grant select on
  accounts, actors, actor_groups, actor_group_memberships, auth_providers, auth_identities, gateway_groups, tokens,
  clients, gateways, resources, resource_connections, policies
  to drawbridge_replicator;
grant select on drawbridge.migrations to drawbridge_replicator;
grant select, insert, update, delete on drawbridge.lanes to drawbridge_replicator;
grant select, insert on drawbridge.epochs to drawbridge_replicator;
