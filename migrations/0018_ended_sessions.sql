-- A connection that has ended before Postgres hears of it comes with the time of its end.

create or replace function drawbridge.write_sessions(account uuid, clients jsonb, gateways jsonb, alive uuid[], as_of bigint)
returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '5s' as $$
begin
  perform drawbridge.take_turn(account);
  insert into drawbridge.client_sessions (id, account_id, client_id, token_id, public_key, version, remote_ip, region,
    latitude, longitude, connected_at, ended_at, revision)
  select new.id, account, new.device_id, new.token_id, new.public_key, new.version, new.remote_ip, new.region,
    new.latitude, new.longitude, new.connected_at, new.ended_at, new.revision
  from jsonb_to_recordset(clients) as new (id uuid, device_id uuid, token_id uuid, public_key text, version text,
    remote_ip text, region text, latitude float8, longitude float8, connected_at timestamptz, ended_at timestamptz,
    revision bigint)
  on conflict (id) do nothing;
  insert into drawbridge.gateway_sessions (id, account_id, gateway_id, token_id, public_key, version, remote_ip, region,
    latitude, longitude, connected_at, ended_at, revision)
  select new.id, account, new.device_id, new.token_id, new.public_key, new.version, new.remote_ip, new.region,
    new.latitude, new.longitude, new.connected_at, new.ended_at, new.revision
  from jsonb_to_recordset(gateways) as new (id uuid, device_id uuid, token_id uuid, public_key text, version text,
    remote_ip text, region text, latitude float8, longitude float8, connected_at timestamptz, ended_at timestamptz,
    revision bigint)
  on conflict (id) do nothing;
  update drawbridge.client_sessions set ended_at = now()
  where account_id = account and ended_at is null and revision <= as_of and id <> all (alive);
  update drawbridge.gateway_sessions set ended_at = now()
  where account_id = account and ended_at is null and revision <= as_of and id <> all (alive);
  return jsonb_build_object('xid', pg_current_xact_id()::text, 'results', jsonb '[]');
end $$;
