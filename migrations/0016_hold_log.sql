-- Holds are placed and lifted in the account's object alone; it tells here, behind what it does, who did what and when. Nothing
-- reads this back to the edge. No foreign keys: it outlives what it describes.

create table drawbridge.hold_log (
  account_id uuid not null,
  revision bigint not null,
  action text not null check (action in ('placed', 'lifted')),
  kind text not null check (kind in ('client', 'actor', 'gateway', 'resource')),
  target_id uuid not null,
  at timestamptz not null,
  by text not null,
  reason text,
  primary key (account_id, revision)
);
comment on table drawbridge.hold_log is 'What operators have denied at the edge with cut --at-edge, and lifted: one row each. A record alone: no edit of it places or lifts a hold.';
comment on column drawbridge.hold_log.revision is 'Grows within the account, in the order in which it was done.';
comment on column drawbridge.hold_log.at is 'When it was done, by the edge''s clock.';
comment on column drawbridge.hold_log.by is 'Who did it, as the tool says.';

create function drawbridge.write_hold(account uuid, item jsonb) returns jsonb
language plpgsql volatile set search_path = '' as $$
declare
  failed_constraint text;
begin
  insert into drawbridge.hold_log (account_id, revision, action, kind, target_id, at, by, reason)
  select account, new.revision, new.action, new.kind, new.id, new.at, new.by, new.reason
  from jsonb_to_record(item)
    as new (revision bigint, action text, kind text, id uuid, at timestamptz, by text, reason text)
  on conflict (account_id, revision) do nothing;
  return '{"outcome": "ok"}';
exception when data_exception or integrity_constraint_violation or raise_exception then
  get stacked diagnostics failed_constraint = constraint_name;
  return jsonb_build_object('outcome', 'refused', 'reason', coalesce(nullif(failed_constraint, ''), sqlstate));
end $$;

-- A list of {revision, action, kind, id, at, by, reason}; the id of each result is the revision. A row that is there stays.
create function drawbridge.write_holds(account uuid, items jsonb) returns jsonb
language plpgsql volatile security definer set search_path = '' set lock_timeout = '5s' as $$
declare
  item jsonb;
  results jsonb := '[]';
begin
  perform drawbridge.take_turn(account);
  for item in select value from jsonb_array_elements(items) loop
    results := results || (jsonb_build_object('id', item ->> 'revision') || drawbridge.write_hold(account, item));
  end loop;
  return jsonb_build_object('xid', pg_current_xact_id()::text, 'results', results);
end $$;

revoke execute on function drawbridge.write_hold(uuid, jsonb), drawbridge.write_holds(uuid, jsonb) from public;
grant execute on function drawbridge.write_holds(uuid, jsonb) to drawbridge_edge;
