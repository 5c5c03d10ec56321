-- How the edge writes: functions that take whole rows with a revision, apply only a higher one, and answer with the id of
-- their transaction and an outcome for each row: ok, refused (with the constraint or the error's code), or gone. A row that
-- is refused holds up no other.
--
-- The edge's role may execute these functions and do nothing else. It has no password until the operator sets one.

do $$
begin
  if not exists (select from pg_roles where rolname = 'drawbridge_edge') then
    create role drawbridge_edge login;
    alter role drawbridge_edge set statement_timeout = '15s';
  elsif not exists (select from pg_roles where rolname = 'drawbridge_edge' and rolcanlogin) then
    alter role drawbridge_edge login;
  end if;
exception when duplicate_object or unique_violation then
  null;
end $$;

-- Writers of one account take turns, so that a retry and what it overtakes do not wait for each other's rows.
create function drawbridge.take_turn(account uuid) returns void
language sql volatile set search_path = '' as $$
  select pg_advisory_xact_lock(hashtextextended('drawbridge write-back ' || account, 0))
$$;

create function drawbridge.write_flow(account uuid, item jsonb) returns jsonb
language plpgsql volatile set search_path = '' as $$
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
exception when data_exception or integrity_constraint_violation or raise_exception then
  get stacked diagnostics failed_constraint = constraint_name;
  return jsonb_build_object('outcome', 'refused', 'reason', coalesce(nullif(failed_constraint, ''), sqlstate));
end $$;

-- A list of flows as objects with the columns of the table, and `is_known`: Postgres has had the row, so that its absence
-- means that somebody deleted it.
create function drawbridge.write_flows(account uuid, items jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '5s' as $$
declare
  item jsonb;
  results jsonb := '[]';
begin
  perform drawbridge.take_turn(account);
  for item in select value from jsonb_array_elements(items) loop
    results := results || (jsonb_build_object('id', item ->> 'id') || drawbridge.write_flow(account, item));
  end loop;
  return jsonb_build_object('xid', pg_current_xact_id()::text, 'results', results);
end $$;

-- A list of {client_id, resource_id, reason, minute, count}: a count never goes back.
create function drawbridge.write_denials(account uuid, items jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '5s' as $$
begin
  perform drawbridge.take_turn(account);
  insert into drawbridge.flow_denials as old (account_id, client_id, resource_id, reason, minute, count)
  select account, new.client_id, new.resource_id, new.reason, new.minute, new.count
  from jsonb_to_recordset(items)
    as new (client_id uuid, resource_id uuid, reason text, minute timestamptz, count integer)
  on conflict (account_id, minute, client_id, resource_id, reason) do update set count = excluded.count
  where old.count < excluded.count;
  return jsonb_build_object('xid', pg_current_xact_id()::text, 'results', jsonb '[]');
end $$;

-- Sessions that have begun, and the ids of all that live: every other of the account that began before is over.
-- `as_of` is the revision of that list: it says nothing of sessions that began later.
create function drawbridge.write_sessions(account uuid, clients jsonb, gateways jsonb, alive uuid[], as_of bigint)
returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '5s' as $$
begin
  perform drawbridge.take_turn(account);
  insert into drawbridge.client_sessions
    (id, account_id, client_id, token_id, public_key, version, remote_ip, region, latitude, longitude, connected_at, revision)
  select new.id, account, new.device_id, new.token_id, new.public_key, new.version, new.remote_ip, new.region,
    new.latitude, new.longitude, new.connected_at, new.revision
  from jsonb_to_recordset(clients) as new (id uuid, device_id uuid, token_id uuid, public_key text, version text,
    remote_ip text, region text, latitude float8, longitude float8, connected_at timestamptz, revision bigint)
  on conflict (id) do nothing;
  insert into drawbridge.gateway_sessions
    (id, account_id, gateway_id, token_id, public_key, version, remote_ip, region, latitude, longitude, connected_at, revision)
  select new.id, account, new.device_id, new.token_id, new.public_key, new.version, new.remote_ip, new.region,
    new.latitude, new.longitude, new.connected_at, new.revision
  from jsonb_to_recordset(gateways) as new (id uuid, device_id uuid, token_id uuid, public_key text, version text,
    remote_ip text, region text, latitude float8, longitude float8, connected_at timestamptz, revision bigint)
  on conflict (id) do nothing;
  update drawbridge.client_sessions set ended_at = now()
  where account_id = account and ended_at is null and revision <= as_of and id <> all (alive);
  update drawbridge.gateway_sessions set ended_at = now()
  where account_id = account and ended_at is null and revision <= as_of and id <> all (alive);
  return jsonb_build_object('xid', pg_current_xact_id()::text, 'results', jsonb '[]');
end $$;

-- Whether this write of a device comes after every other that was applied.
create function drawbridge.is_latest(account uuid, device uuid, new_revision bigint) returns boolean
language plpgsql volatile set search_path = '' as $$
begin
  insert into drawbridge.registrations as old (device_id, account_id, revision) values (device, account, new_revision)
  on conflict (device_id) do update set revision = excluded.revision
  where old.account_id = account and old.revision < excluded.revision;
  return found;
end $$;

create function drawbridge.write_client(account uuid, item jsonb) returns jsonb
language plpgsql volatile set search_path = '' as $$
declare
  new_row public.clients;
  is_registered boolean;
  is_there boolean;
  failed_constraint text;
begin
  new_row := jsonb_populate_record(null::public.clients, item);
  is_registered := exists (select from drawbridge.registrations where device_id = new_row.id);
  is_there := exists (select from public.clients where id = new_row.id and account_id = account);
  if not is_there and (is_registered or (item ->> 'is_known')::boolean) then
    return '{"outcome": "gone"}';
  end if;
  if not drawbridge.is_latest(account, new_row.id, (item ->> 'revision')::bigint) then
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
      verified_by = case when (item ->> 'is_unverified')::boolean then null else verified_by end
    where id = new_row.id and account_id = account;
  else
    insert into public.clients (id, account_id, actor_id, identity_id, external_id, name, ipv4, ipv6, psk_base,
      device_serial, device_uuid, identifier_for_vendor, firebase_installation_id)
    values (new_row.id, account, new_row.actor_id, new_row.identity_id, new_row.external_id, new_row.name, new_row.ipv4,
      new_row.ipv6, new_row.psk_base, new_row.device_serial, new_row.device_uuid, new_row.identifier_for_vendor,
      new_row.firebase_installation_id);
  end if;
  return '{"outcome": "ok"}';
exception when data_exception or integrity_constraint_violation or raise_exception then
  get stacked diagnostics failed_constraint = constraint_name;
  return jsonb_build_object('outcome', 'refused', 'reason', coalesce(nullif(failed_constraint, ''), sqlstate));
end $$;

create function drawbridge.write_gateway(account uuid, item jsonb) returns jsonb
language plpgsql volatile set search_path = '' as $$
declare
  new_row public.gateways;
  is_registered boolean;
  is_there boolean;
  failed_constraint text;
begin
  new_row := jsonb_populate_record(null::public.gateways, item);
  is_registered := exists (select from drawbridge.registrations where device_id = new_row.id);
  is_there := exists (select from public.gateways where id = new_row.id and account_id = account);
  if not is_there and (is_registered or (item ->> 'is_known')::boolean) then
    return '{"outcome": "gone"}';
  end if;
  if not drawbridge.is_latest(account, new_row.id, (item ->> 'revision')::bigint) then
    return '{"outcome": "ok"}';
  end if;
  if is_there then
    update public.gateways set name = new_row.name where id = new_row.id and account_id = account;
  else
    insert into public.gateways (id, account_id, group_id, external_id, name, ipv4, ipv6, psk_base)
    values (new_row.id, account, new_row.group_id, new_row.external_id, new_row.name, new_row.ipv4, new_row.ipv6,
      new_row.psk_base);
  end if;
  return '{"outcome": "ok"}';
exception when data_exception or integrity_constraint_violation or raise_exception then
  get stacked diagnostics failed_constraint = constraint_name;
  return jsonb_build_object('outcome', 'refused', 'reason', coalesce(nullif(failed_constraint, ''), sqlstate));
end $$;

-- Two lists of devices as objects with the columns of their table, and `revision`; `is_known`: Postgres has had the row;
-- `is_unverified`: a client's verification is lost. There is no way to verify one. A device that was deleted is gone and
-- is not made anew.
create function drawbridge.write_devices(account uuid, clients jsonb, gateways jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '5s' as $$
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
end $$;

-- Emits an object's own request for a snapshot. The replicator obeys it only with a valid HMAC under the ingest key, which
-- is not known here.
create function drawbridge.request_resync(message jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' as $$
begin
  if message ->> 'type' is distinct from 'resync' then
    raise exception using errcode = 'invalid_parameter_value', message = 'expected a message of the type resync';
  end if;
  perform pg_logical_emit_message(true, 'drawbridge', message::text);
  return jsonb_build_object('xid', pg_current_xact_id()::text, 'results', jsonb '[]');
end $$;

revoke execute on function
  drawbridge.take_turn(uuid), drawbridge.write_flow(uuid, jsonb), drawbridge.write_flows(uuid, jsonb),
  drawbridge.write_denials(uuid, jsonb), drawbridge.write_sessions(uuid, jsonb, jsonb, uuid[], bigint),
  drawbridge.is_latest(uuid, uuid, bigint), drawbridge.write_client(uuid, jsonb), drawbridge.write_gateway(uuid, jsonb),
  drawbridge.write_devices(uuid, jsonb, jsonb), drawbridge.request_resync(jsonb)
  from public;
grant execute on function
  drawbridge.write_flows(uuid, jsonb), drawbridge.write_denials(uuid, jsonb),
  drawbridge.write_sessions(uuid, jsonb, jsonb, uuid[], bigint), drawbridge.write_devices(uuid, jsonb, jsonb),
  drawbridge.request_resync(jsonb)
  to drawbridge_edge;
