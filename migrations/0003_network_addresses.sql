-- Clients and gateways of an account share its tunnel network, so an address is used by one device of either kind. Each
-- table's own unique constraints cannot see the other; this ledger, kept by triggers, can.

create table drawbridge.network_addresses (
  account_id uuid not null,
  address inet not null,
  kind text not null check (kind in ('client', 'gateway')),
  primary key (account_id, address)
);
comment on table drawbridge.network_addresses is 'Every tunnel address in use; kept by triggers on clients and gateways.';

create function drawbridge.keep_network_addresses() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if tg_op in ('UPDATE', 'DELETE') then
    delete from drawbridge.network_addresses where account_id = old.account_id and address in (old.ipv4, old.ipv6);
  end if;
  if tg_op in ('INSERT', 'UPDATE') then
    insert into drawbridge.network_addresses (account_id, address, kind)
    values (new.account_id, new.ipv4, tg_argv[0]), (new.account_id, new.ipv6, tg_argv[0]);
  end if;
  return null;
end $$;

create function drawbridge.forget_network_addresses() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  delete from drawbridge.network_addresses where kind = tg_argv[0];
  return null;
end $$;

create trigger keep_network_addresses after insert or delete or update of account_id, ipv4, ipv6 on clients
  for each row execute function drawbridge.keep_network_addresses('client');
create trigger forget_network_addresses after truncate on clients
  for each statement execute function drawbridge.forget_network_addresses('client');

create trigger keep_network_addresses after insert or delete or update of account_id, ipv4, ipv6 on gateways
  for each row execute function drawbridge.keep_network_addresses('gateway');
create trigger forget_network_addresses after truncate on gateways
  for each statement execute function drawbridge.forget_network_addresses('gateway');
