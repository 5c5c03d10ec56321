-- A device's row carries the revision under which the edge wrote it last. So whoever reads the row, from the stream or from a
-- snapshot, knows which of the edge's writes it includes, whatever became of the answers, and in which order retries came.

-- Null, so that no row is rewritten: the edge has not written it since this column is there.
alter table clients add column edge_revision bigint;
alter table gateways add column edge_revision bigint;
comment on column clients.edge_revision is 'the revision of the last write by the edge; null where there was none';
comment on column gateways.edge_revision is 'the revision of the last write by the edge; null where there was none';

create or replace function drawbridge.write_client(account uuid, item jsonb) returns jsonb
language plpgsql volatile set search_path = '' as $$
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
exception when data_exception or integrity_constraint_violation or raise_exception then
  get stacked diagnostics failed_constraint = constraint_name;
  return jsonb_build_object('outcome', 'refused', 'reason', coalesce(nullif(failed_constraint, ''), sqlstate));
end $$;

create or replace function drawbridge.write_gateway(account uuid, item jsonb) returns jsonb
language plpgsql volatile set search_path = '' as $$
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
exception when data_exception or integrity_constraint_violation or raise_exception then
  get stacked diagnostics failed_constraint = constraint_name;
  return jsonb_build_object('outcome', 'refused', 'reason', coalesce(nullif(failed_constraint, ''), sqlstate));
end $$;
