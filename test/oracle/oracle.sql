-- A second opinion on access: the definition in docs/spec.md ("What access is") written once more, in SQL, over the
-- tables as they are. It is made to be read beside the definition, clause by clause, and compared with the product's
-- answers in tests; it shares no code with the product and takes no shortcut. Times are Postgres's own `at time zone`.
--
-- It takes what the check constraints take: a malformed condition or window is an error or false, never a grant. Nothing
-- in it depends on the session's time zone or search path.

create schema oracle;

-- 1. Local time -----------------------------------------------------------------------------------------------------

-- Every instant at which a clock in the zone shows the local time: none in a gap, two in an overlap. An instant that
-- shows it differs from the same time in UTC by an offset of the zone, so every offset in force around it is tried.
create function oracle.instants_showing(local timestamp, zone text) returns setof timestamptz
language sql stable as $$
  select distinct instant
  from generate_series(-36, 36, 6) as hours,
    lateral (select (local at time zone 'UTC') + make_interval(hours => hours)) as probes (probe),
    lateral (select (probe at time zone zone) - (probe at time zone 'UTC')) as shifts (shift),
    lateral (select (local at time zone 'UTC') - shift) as instants (instant)
  where instant at time zone zone = local
$$;

-- The first instant at which a clock in the zone has passed the local time, which it skips. Found by halving, to the
-- second: clocks are changed at whole seconds.
create function oracle.first_instant_after_gap(local timestamp, zone text) returns timestamptz
language plpgsql stable as $$
declare
  before timestamptz := (local at time zone 'UTC') - make_interval(hours => 36);
  after timestamptz := (local at time zone 'UTC') + make_interval(hours => 36);
  middle timestamptz;
begin
  while extract(epoch from after - before) > 1 loop
    middle := before + make_interval(secs => floor(extract(epoch from after - before) / 2));
    if middle at time zone zone > local then
      after := middle;
    else
      before := middle;
    end if;
  end loop;
  return after;
end $$;

-- "A local time that a clock change skips stands for the first instant after the gap; one that happens twice stands for
-- the earlier instant as START and the later as END."
create function oracle.instant_as_start(local timestamp, zone text) returns timestamptz
language sql stable as $$
  select coalesce(
    (select min(instant) from oracle.instants_showing(local, zone) as instant),
    oracle.first_instant_after_gap(local, zone))
$$;

create function oracle.instant_as_end(local timestamp, zone text) returns timestamptz
language sql stable as $$
  select coalesce(
    (select max(instant) from oracle.instants_showing(local, zone) as instant),
    oracle.first_instant_after_gap(local, zone))
$$;

-- 2. Windows --------------------------------------------------------------------------------------------------------

-- 9, 09:30 or 9:5:07, as the time since midnight.
create function oracle.time_of_day(value text) returns interval
language sql immutable as $$
  select make_interval(
    hours => split_part(value, ':', 1)::integer,
    mins => coalesce(nullif(split_part(value, ':', 2), ''), '0')::integer,
    secs => coalesce(nullif(split_part(value, ':', 3), ''), '0')::integer)
$$;

-- The stretches of time for which a window opens on the dates of first_date to last_date, one a row: from `opens` on,
-- up to but without `closes`. The millisecond END itself is open.
create function oracle.openings(value text, first_date date, last_date date)
returns table (opens timestamptz, closes timestamptz)
language sql stable as $$
  with
    parts as (
      select
        split_part(value, '/', 1) as day,
        substring(value from '^[^/]*/[^/]*/(.*)$') as zone
    ),
    ranges as (
      select btrim(item) as range
      from regexp_split_to_table(split_part(value, '/', 2), ',') as item
      where btrim(item) <> ''
    ),
    dates as (
      select first_date + number as date
      from parts, generate_series(0, last_date - first_date) as number
      where substr('MTWRFSU', extract(isodow from first_date + number)::integer, 1) = day
    ),
    whole_dates as (
      select
        oracle.instant_as_start(date::timestamp, zone) as opens,
        oracle.instant_as_start((date + 1)::timestamp, zone) as closes
      from parts, ranges, dates
      where range = 'true'
    ),
    times as (
      select oracle.time_of_day(split_part(range, '-', 1)) as start_time, oracle.time_of_day(split_part(range, '-', 2)) as end_time
      from ranges
      where range <> 'true'
    ),
    stretches as (
      select
        oracle.instant_as_start(date::timestamp + start_time, zone) as opens,
        oracle.instant_as_end((case when start_time > end_time then date + 1 else date end)::timestamp + end_time, zone)
          + make_interval(secs => 0.001) as closes
      from parts, dates, times
    )
  select opens, closes from whole_dates where opens < closes
  union all
  select opens, closes from stretches
$$;

-- The seven dates around the present one hold each day of the week once, and no stretch is longer than two dates.
create function oracle.window_open(value text, at timestamptz) returns boolean
language sql stable as $$
  with today as (
    select (at at time zone substring(value from '^[^/]*/[^/]*/(.*)$'))::date as date
  )
  select exists (
    select from today, oracle.openings(value, today.date - 3, today.date + 3) as opening
    where opening.opens <= at and at < opening.closes
  )
$$;

-- 3. Conditions -----------------------------------------------------------------------------------------------------

-- "`::ffff:a.b.c.d` is the IPv4 address"
create function oracle.unmapped(address inet) returns inet
language sql immutable as $$
  select case
    when address <<= '::ffff:0:0/96'::inet then '0.0.0.0'::inet + (address - '::ffff:0:0'::inet)
    else address
  end
$$;

-- facts: {"region": text or null, "remote_ip": text or null, "provider_id": text or null, "is_verified": boolean}. A fact
-- that is null or missing is unknown and satisfies no operator.
create function oracle.condition_holds(condition jsonb, at timestamptz, facts jsonb) returns boolean
language sql stable as $$
  select coalesce(
    case condition ->> 'property'
      when 'remote_ip_location_region' then
        case condition ->> 'operator'
          when 'is_in' then facts ->> 'region' = any (items)
          when 'is_not_in' then facts ->> 'region' is not null and facts ->> 'region' <> all (items)
        end
      when 'remote_ip' then
        case condition ->> 'operator'
          when 'is_in_cidr' then oracle.unmapped((facts ->> 'remote_ip')::inet) <<= any (items::inet[])
          when 'is_not_in_cidr' then
            facts ->> 'remote_ip' is not null
              and not oracle.unmapped((facts ->> 'remote_ip')::inet) <<= any (items::inet[])
        end
      when 'provider_id' then
        case condition ->> 'operator'
          when 'is_in' then facts ->> 'provider_id' = any (items)
          when 'is_not_in' then facts ->> 'provider_id' is not null and facts ->> 'provider_id' <> all (items)
        end
      when 'client_verified' then
        case condition ->> 'operator'
          when 'is' then items = array['false'] or items = array['true'] and (facts ->> 'is_verified')::boolean
        end
      when 'current_utc_datetime' then
        case condition ->> 'operator'
          when 'is_in_day_of_week_time_ranges' then
            exists (select from unnest(items) as item where oracle.window_open(item, at))
        end
    end,
    false)
  from (select array(select jsonb_array_elements_text(condition -> 'values'))) as list (items)
$$;

-- 4. Access ---------------------------------------------------------------------------------------------------------

-- One subject, {client_id, token_id, remote_ip, region}, and one resource:
-- * granted: all six clauses hold; `sites` are those of the resource, in order
-- * forbidden: the resource stands in a site, enabled policies of the client's groups name it and none grants it; `violated` are the
--   properties of their conditions that do not hold, each once, in order
-- * not_found: everything else
create function oracle.decide(account uuid, at timestamptz, subject jsonb, resource uuid)
returns table (verdict text, sites uuid[], violated text[])
language sql stable as $$
  with
    client as (
      select * from public.clients where account_id = account and id = (subject ->> 'client_id')::uuid
    ),
    token as (
      select * from public.tokens where account_id = account and id = (subject ->> 'token_id')::uuid
    ),
    identity as (
      select * from public.auth_identities where account_id = account and id = (select identity_id from token)
    ),
    facts as (
      select jsonb_build_object(
        'region', subject ->> 'region',
        'remote_ip', subject ->> 'remote_ip',
        'provider_id', (select provider_id from identity),
        'is_verified', (select verified_at is not null from client)) as facts
    ),
    site as (
      select gateway_group_id as id
      from public.resource_connections
      where account_id = account and resource_id = resource
    ),
    -- The enabled policies that name the resource and a group of the client's actor.
    policy as (
      select id, conditions
      from public.policies
      where account_id = account
        and resource_id = resource
        and disabled_at is null
        and exists (
          select from public.actor_group_memberships as membership
          where membership.account_id = account
            and membership.group_id = policies.actor_group_id
            and membership.actor_id = (select actor_id from client)
        )
    ),
    condition as (
      select policy.id as policy_id, item ->> 'property' as property, oracle.condition_holds(item, at, facts.facts) as holds
      from facts, policy, unnest(policy.conditions) as item
    ),
    granting as (
      select id from policy
      where not exists (select from condition where condition.policy_id = policy.id and not condition.holds)
    ),
    clauses as (
      select
        exists (
          select from public.accounts where id = account and disabled_at is null
        ) as account_is_enabled,
        exists (
          select from public.actors, client
          where actors.account_id = account and actors.id = client.actor_id and actors.disabled_at is null
        ) as actor_is_enabled,
        exists (
          select from token, client
          where token.type = 'client'
            and token.actor_id = client.actor_id
            and (token.expires_at is null or at < token.expires_at)
        ) as token_is_good,
        (
          not exists (select from token where identity_id is not null)
          or exists (
            select from public.auth_providers, identity
            where auth_providers.account_id = account
              and auth_providers.id = identity.provider_id
              and auth_providers.disabled_at is null
          )
        ) as provider_is_enabled,
        (
          exists (select from public.resources where account_id = account and id = resource)
          and exists (select from site)
        ) as resource_has_site,
        exists (select from granting) as policy_grants
    ),
    judgement as (
      select case
        when account_is_enabled and actor_is_enabled and token_is_good and provider_is_enabled and resource_has_site
          and policy_grants
          then 'granted'
        when resource_has_site and exists (select from policy) and not policy_grants then 'forbidden'
        else 'not_found'
      end as verdict
      from clauses
    )
  select
    verdict,
    case when verdict = 'granted' then array(select id from site order by id) else '{}' end,
    case
      when verdict = 'forbidden' then array(select distinct property from condition where not holds order by property)
      else '{}'
    end
  from judgement
$$;

-- Every subject with every resource of the account.
create function oracle.access(account uuid, at timestamptz, subjects jsonb)
returns table (client_id uuid, token_id uuid, resource_id uuid, verdict text, sites uuid[], violated text[])
language sql stable as $$
  select (subject ->> 'client_id')::uuid, (subject ->> 'token_id')::uuid, resources.id, decision.*
  from jsonb_array_elements(subjects) with ordinality as subjects (subject, position)
  cross join public.resources
  cross join lateral oracle.decide(account, at, subject, resources.id) as decision
  where resources.account_id = account
  order by position, resources.id
$$;

-- 5. Until when -----------------------------------------------------------------------------------------------------

-- The instants in (after, until] at which a window of a policy's conditions opens or has closed: of the policies that
-- name the resource, enabled or not, or for null of all the account's.
create function oracle.window_edges(account uuid, resource uuid, after timestamptz, until timestamptz)
returns setof timestamptz
language sql stable as $$
  with
    windows as (
      select distinct value
      from public.policies, unnest(conditions) as condition, jsonb_array_elements_text(condition -> 'values') as value
      where account_id = account
        and (resource is null or resource_id = resource)
        and condition ->> 'property' = 'current_utc_datetime'
    ),
    edges as (
      select unnest(array[opening.opens, opening.closes]) as edge
      from windows, oracle.openings(value, (after at time zone 'UTC')::date - 3, (until at time zone 'UTC')::date + 3) as opening
    )
  select distinct edge from edges where edge > after and edge <= until order by edge
$$;

-- The first instant in (at, at + horizon] at which access that is granted at `at` is not, or access that is not granted
-- is; infinity when there is none. It can only change where a window opens or closes and where the token expires: what
-- holds between two such instants is what holds at the first of them.
create function oracle.access_until(account uuid, at timestamptz, subject jsonb, resource uuid, horizon interval)
returns timestamptz
language plpgsql stable as $$
declare
  until timestamptz := at + make_interval(secs => extract(epoch from horizon));
  was_granted boolean := (select verdict = 'granted' from oracle.decide(account, at, subject, resource));
  instant timestamptz;
begin
  for instant in
    select edge from oracle.window_edges(account, resource, at, until) as edge
    union
    select expires_at from public.tokens
    where account_id = account and id = (subject ->> 'token_id')::uuid and expires_at > at and expires_at <= until
    order by 1
  loop
    if was_granted <> (select verdict = 'granted' from oracle.decide(account, instant, subject, resource)) then
      return instant;
    end if;
  end loop;
  return 'infinity';
end $$;
