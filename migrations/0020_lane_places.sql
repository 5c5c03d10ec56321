-- Where the object of each account lives is kept with its lane, so that it is found after the account's row is gone: what is sent to
-- another place reaches another object, or makes one. And since a deleted account's object goes on living where it is, an account
-- that returns under its id stays in its jurisdiction, or out of any.
alter table drawbridge.lanes add column place text;
comment on column drawbridge.lanes.place is 'Where the account''s object lives, as accounts.region last said; null for anywhere.';
update drawbridge.lanes set place = region from accounts where id = account_id and region is not null;

create function drawbridge.return_to_jurisdiction() returns trigger language plpgsql
  security definer set search_path = pg_catalog, pg_temp as $$
declare
  jurisdictions constant text[] := '{eu,us,fedramp,fedramp-high}';
  was text;
begin
  select place into was from drawbridge.lanes where account_id = new.id;
  if found and was is distinct from new.region and (was = any (jurisdictions) or new.region = any (jurisdictions)) then
    raise exception 'an account that returns cannot enter or leave a jurisdiction (% to %)', was, new.region
      using errcode = 'check_violation', constraint = 'accounts_return_to_jurisdiction',
            hint = 'Give the account in the other jurisdiction an id of its own.';
  end if;
  return new;
end
$$;

create trigger accounts_return_to_jurisdiction before insert on accounts
  for each row execute function drawbridge.return_to_jurisdiction();
