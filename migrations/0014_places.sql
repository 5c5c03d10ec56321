-- accounts.region is a place that the platform has, so that a typing mistake is no silent "anywhere"; and since a jurisdiction is
-- part of the name of an account's object, entering or leaving one would leave that object behind with what it has granted.
alter table accounts
  drop constraint accounts_region_check,
  add constraint accounts_region_check check (region in (
    'wnam', 'enam', 'sam', 'weur', 'eeur', 'apac', 'apac-ne', 'apac-se', 'oc', 'afr', 'me',
    'eu', 'us', 'fedramp', 'fedramp-high'
  ));

create function drawbridge.keep_jurisdiction() returns trigger language plpgsql as $$
begin
  if old.region is distinct from new.region
    and (old.region in ('eu', 'us', 'fedramp', 'fedramp-high') or new.region in ('eu', 'us', 'fedramp', 'fedramp-high')) then
    raise exception 'an account cannot enter or leave a jurisdiction (% to %)', old.region, new.region
      using errcode = 'check_violation', constraint = 'accounts_keep_jurisdiction',
            hint = 'Make another account in the jurisdiction, and move what is in this one.';
  end if;
  return new;
end
$$;

create trigger accounts_keep_jurisdiction before update of region on accounts
  for each row execute function drawbridge.keep_jurisdiction();
