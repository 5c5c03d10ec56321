-- Traffic to the whole internet leaves through a site of its own: only the internet resource may be in the system's site
-- named Internet, and it may be in no other.

create function drawbridge.check_internet_site() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if (select type = 'internet' from public.resources where id = new.resource_id)
    is distinct from
    (select managed_by = 'system' and name = 'Internet' from public.gateway_groups where id = new.gateway_group_id)
  then
    raise exception using
      errcode = 'check_violation',
      constraint = 'internet_resource_in_internet_site',
      schema = 'public',
      table = 'resource_connections',
      message = 'the internet resource belongs in the system''s site named Internet, and nothing else does';
  end if;
  return null;
end $$;

create trigger internet_resource_in_internet_site after insert or update on resource_connections
  for each row execute function drawbridge.check_internet_site();
