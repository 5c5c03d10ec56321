-- A list of sessions that arrives after a later one, as from a worker that is gone, may name some that have ended since: without a
-- row, since no list that came before said that they began. They are written as over, which the later list would have made them.
create table drawbridge.session_lists (
  account_id uuid primary key,
  as_of bigint not null
);
comment on table drawbridge.session_lists is 'The revision of the latest list of sessions that each account''s object has written.';

create or replace function drawbridge.write_sessions(account uuid, clients jsonb, gateways jsonb, alive uuid[], as_of bigint)
returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '5s' as $$
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
end $$;
