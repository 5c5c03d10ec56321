-- Relays join under tokens of a relay group: an account's own, or, where the group names no account, one whose relays serve
-- everybody. What a relay brings (addresses, place, stamp secret) lives with its connection; there is no row for it.

create table relay_groups (
  id uuid primary key default gen_random_uuid(),
  account_id uuid references accounts (id) on delete cascade,
  name text not null check (length(name) between 1 and 64),
  inserted_at timestamptz not null default now(),
  unique (account_id, id),
  unique nulls not distinct (account_id, name)
);
comment on table relay_groups is 'Relays that are run together. Not streamed: its tokens are, and go with it.';
comment on column relay_groups.account_id is 'Null: shared, for the devices of every account.';

alter table tokens
  alter column account_id drop not null,
  add column relay_group_id uuid references relay_groups (id) on delete cascade,
  drop constraint tokens_type_check,
  drop constraint tokens_belong_by_type,
  add constraint tokens_type_check check (type in ('client', 'gateway_group', 'relay_group', 'api')),
  add constraint tokens_belong_by_type check (case type
    when 'gateway_group' then
      gateway_group_id is not null and actor_id is null and identity_id is null and relay_group_id is null
    when 'relay_group' then
      relay_group_id is not null and actor_id is null and identity_id is null and gateway_group_id is null
    else actor_id is not null and gateway_group_id is null and relay_group_id is null
  end),
  add constraint tokens_account_unless_shared check (account_id is not null or type = 'relay_group'),
  add foreign key (account_id, relay_group_id) references relay_groups (account_id, id) on delete cascade;
create index tokens_relay_group_id_idx on tokens (relay_group_id);
create index tokens_account_id_relay_group_id_idx on tokens (account_id, relay_group_id);
comment on column tokens.account_id is 'Null for tokens of shared relays alone.';

-- A composite foreign key says nothing where its account is null, and a token of an account's group that names no account
-- would admit a relay for everybody.
create function drawbridge.check_relay_group_account() returns trigger
language plpgsql security definer set search_path = '' as $$
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
end $$;

create trigger tokens_account_of_relay_group after insert or update on tokens
  for each row when (new.relay_group_id is not null) execute function drawbridge.check_relay_group_account();

create function drawbridge.keep_relay_group_account() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  raise exception using
    errcode = 'check_violation',
    constraint = 'relay_groups_account_stays',
    schema = 'public',
    table = 'relay_groups',
    message = 'a relay group stays with its account: delete it and insert another';
end $$;

create trigger relay_groups_account_stays before update of account_id on relay_groups
  for each row when (new.account_id is distinct from old.account_id) execute function drawbridge.keep_relay_group_account();
