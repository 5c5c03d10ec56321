-- What the replicator streams. REPLICA IDENTITY FULL, since the edge needs the old row of every change, to know what it
-- ends and to notice what it missed.

alter table accounts replica identity full;
alter table actors replica identity full;
alter table actor_groups replica identity full;
alter table actor_group_memberships replica identity full;
alter table auth_providers replica identity full;
alter table auth_identities replica identity full;
alter table gateway_groups replica identity full;
alter table tokens replica identity full;
alter table clients replica identity full;
alter table gateways replica identity full;
alter table resources replica identity full;
alter table resource_connections replica identity full;
alter table policies replica identity full;

create publication drawbridge for table
  accounts, actors, actor_groups, actor_group_memberships, auth_providers, auth_identities, gateway_groups, tokens,
  clients, gateways, resources, resource_connections, policies;
