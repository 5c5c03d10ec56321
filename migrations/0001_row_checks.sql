-- What a well-formed value is, as functions for check constraints: a malformed row is refused where it is written, not
-- found out later by whatever has to decide with it. Each answers false and never raises, so that the constraint's name
-- tells what is wrong.
--
-- All are declared immutable, as checks require. That is a choice for time zones, whose list comes with the server: when
-- an update of the server drops a name, rows that use it stay, and their condition is then violated at the edge.

create schema if not exists drawbridge;

comment on schema drawbridge is 'Functions and bookkeeping of Drawbridge; nothing in it is published.';

-- Whoever may write a table evaluates its checks, and they call each other.
grant usage on schema drawbridge to public;

-- A network as Postgres prints it, 10.0.0.0/8 or fd00::/8: no host bits, prefix length given, no other spelling, so that
-- equal networks are equal texts and every reader of it sees the same one.
create function drawbridge.is_cidr(value text) returns boolean
language plpgsql immutable parallel safe set search_path = '' as $$
begin
  return coalesce(value::cidr::text = value, false);
exception when data_exception then
  return false;
end $$;

-- One address as Postgres prints it, 10.0.0.1 or fd00::1, without a prefix length.
create function drawbridge.is_ip(value text) returns boolean
language plpgsql immutable parallel safe set search_path = '' as $$
begin
  return coalesce(host(value::inet) = value, false);
exception when data_exception then
  return false;
end $$;

-- An address or a network, host bits allowed; the address part is spelled as Postgres prints it.
create function drawbridge.is_ip_range(value text) returns boolean
language plpgsql immutable parallel safe set search_path = '' as $$
begin
  return coalesce(value ~ '^[^/]+(/(0|[1-9][0-9]{0,2}))?$' and host(value::inet) = split_part(value, '/', 1), false);
exception when data_exception then
  return false;
end $$;

-- Whether the network or address lies in a range that resources and resolvers may not use: the tunnel's own, the
-- unspecified address, loopback.
create function drawbridge.is_reserved(value text) returns boolean
language plpgsql immutable parallel safe set search_path = '' as $$
begin
  return value::inet <<= any (array[
    '100.64.0.0/10', 'fd00:2021:1111::/48', '0.0.0.0/32', '::/128', '127.0.0.0/8', '::1/128'
  ]::inet[]);
exception when data_exception then
  return false;
end $$;

-- A domain name in which * and ? stand for part of a label and ** for any number of labels. The last label is literal:
-- no wildcard, no localhost, no number (which would be an address).
create function drawbridge.is_dns_pattern(value text) returns boolean
language sql immutable parallel safe set search_path = '' as $$
  select coalesce(
    length(value) between 1 and 253
      and bool_and(label ~ '^([A-Za-z0-9_*?-]|[^\x01-\x7f]){1,63}$' and (label = '**' or label not like '%**%'))
      and (array_agg(label order by position desc))[1] !~ '[*?]|^[0-9]+$|^[Ll][Oo][Cc][Aa][Ll][Hh][Oo][Ss][Tt]$',
    false)
  from unnest(string_to_array(value, '.')) with ordinality as labels (label, position)
$$;

-- The name of a time zone. Names of the form Area/Place are looked up one by one; for the others the whole list is read
-- (20 ms), since the lookup also takes abbreviations and rules like FOO5, which are no names.
create function drawbridge.is_time_zone(value text) returns boolean
language plpgsql immutable parallel safe set search_path = '' as $$
begin
  if value = 'UTC' then
    return true;
  end if;
  if value ~ '^[A-Z][A-Za-z_]*(/[A-Z][A-Za-z_]*)+$' then
    return timestamptz '2000-01-01 00:00:00+00' at time zone value is not null;
  end if;
  return exists (select from pg_timezone_names where name = value);
exception when data_exception then
  return false;
end $$;

-- DAY/RANGES/ZONE: a day of M T W R F S U; ranges apart by commas, each `true` (all day) or START-END in hours, minutes
-- and seconds. An END before its START is on the next day. No range at all is a day without access.
create function drawbridge.is_time_window(value text) returns boolean
language sql immutable parallel safe set search_path = '' as $$
  select coalesce(
    value ~ '^[MTWRFSU]/[^/]*/.'
      and (
        select bool_and(btrim(range) ~ (
          '^(|true|([01]?[0-9]|2[0-3])(:[0-5]?[0-9]){0,2}-([01]?[0-9]|2[0-3])(:[0-5]?[0-9]){0,2})$'
        ))
        from regexp_split_to_table(split_part(value, '/', 2), ',') as range
      )
      and drawbridge.is_time_zone(substring(value from '^./[^/]*/(.*)$')),
    false)
$$;

-- ISO 3166-1 alpha-2, and XK, which geolocation uses for Kosovo.
create function drawbridge.is_country(value text) returns boolean
language sql immutable parallel safe set search_path = '' as $$
  select coalesce(value = any (string_to_array(
    'AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ '
    'CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO '
    'FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE '
    'JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO '
    'MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW '
    'PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM '
    'TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW', ' ')), false)
$$;

-- A list of strings.
create function drawbridge.is_text_list(value jsonb) returns boolean
language sql immutable parallel safe set search_path = '' as $$
  select coalesce(jsonb_typeof(value) = 'array' and not jsonb_path_exists(value, 'strict $[*] ? (@.type() != "string")'), false)
$$;

-- {property, operator, values}, nothing else: one that cannot be decided grants nothing, one that is misspelled must not
-- grant too much. Texts that are compared as they stand (countries, provider ids) have one spelling only.
create function drawbridge.is_condition(value jsonb) returns boolean
language plpgsql immutable parallel safe set search_path = '' as $$
declare
  operator text := value ->> 'operator';
  items text[];
begin
  if value is null or jsonb_typeof(value) <> 'object' or value - array['property', 'operator', 'values'] <> '{}'
    or not drawbridge.is_text_list(value -> 'values')
  then
    return false;
  end if;
  items := array(select jsonb_array_elements_text(value -> 'values'));
  return coalesce(case value ->> 'property'
    when 'remote_ip_location_region' then
      operator in ('is_in', 'is_not_in')
        and not exists (select from unnest(items) as item where not drawbridge.is_country(item))
    when 'remote_ip' then
      operator in ('is_in_cidr', 'is_not_in_cidr')
        and not exists (select from unnest(items) as item where not drawbridge.is_ip_range(item))
    when 'provider_id' then
      operator in ('is_in', 'is_not_in')
        and not exists (select from unnest(items) as item where item !~ '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$')
    when 'current_utc_datetime' then
      operator = 'is_in_day_of_week_time_ranges'
        and not exists (select from unnest(items) as item where not drawbridge.is_time_window(item))
    when 'client_verified' then operator = 'is' and items in (array['true'], array['false'])
  end, false);
end $$;

create function drawbridge.are_conditions(value jsonb[]) returns boolean
language sql immutable parallel safe set search_path = '' as $$
  select coalesce(array_ndims(value), 1) = 1 and coalesce(bool_and(drawbridge.is_condition(item)), true)
  from unnest(value) as items (item)
$$;

-- "80" or "100 - 200".
create function drawbridge.is_port_range(value text) returns boolean
language sql immutable parallel safe set search_path = '' as $$
  select case
    when value ~ '^[1-9][0-9]{0,4}( - [1-9][0-9]{0,4})?$' then
      split_part(value, ' - ', 1)::integer <= 65535
        and coalesce(nullif(split_part(value, ' - ', 2), ''), split_part(value, ' - ', 1))::integer
          between split_part(value, ' - ', 1)::integer and 65535
    else false
  end
$$;

-- {protocol, ports}, nothing else, since a misspelled `ports` would open all of them; no ports means every port.
create function drawbridge.is_filter(value jsonb) returns boolean
language sql immutable parallel safe set search_path = '' as $$
  select case
    when value is null or jsonb_typeof(value) <> 'object' or value - '{protocol,ports}'::text[] <> '{}' then false
    when value -> 'ports' is not null and not drawbridge.is_text_list(value -> 'ports') then false
    else coalesce(value ->> 'protocol' in ('tcp', 'udp', 'icmp'), false)
      and (value ->> 'protocol' <> 'icmp' or coalesce(value -> 'ports', '[]') = '[]')
      and (
        select coalesce(bool_and(drawbridge.is_port_range(port)), true)
        from jsonb_array_elements_text(coalesce(value -> 'ports', '[]')) as ports (port)
      )
  end
$$;

create function drawbridge.are_filters(value jsonb) returns boolean
language sql immutable parallel safe set search_path = '' as $$
  select case
    when jsonb_typeof(value) = 'array' then (
      select coalesce(bool_and(drawbridge.is_filter(item)), true) from jsonb_array_elements(value) as items (item)
    )
    else false
  end
$$;

-- A resolver's address: 1.1.1.1, 1.1.1.1:53, 2606:4700::1111 or [2606:4700::1111]:53.
create function drawbridge.is_resolver_address(value text) returns boolean
language sql immutable parallel safe set search_path = '' as $$
  select coalesce(drawbridge.is_ip(address) and not drawbridge.is_reserved(address)
    and (port is null or drawbridge.is_port_range(port)), false)
  from (
    select
      case
        when drawbridge.is_ip(value) then value
        when value ~ '^\[[^\]]*:[^\]]*\]:[0-9]+$' then substring(value from '^\[(.*)\]:')
        when value ~ '^[0-9.]+:[0-9]+$' then split_part(value, ':', 1)
      end as address,
      case when not drawbridge.is_ip(value) then substring(value from ':([0-9]+)$') end as port
  ) as parts
$$;

-- `search_domain` and `clients_upstream_dns`, both optional; other keys are of no concern here.
create function drawbridge.is_account_config(value jsonb) returns boolean
language sql immutable parallel safe set search_path = '' as $$
  select case
    when value is null or jsonb_typeof(value) <> 'object' then false
    when coalesce(jsonb_typeof(value -> 'search_domain'), 'null') not in ('null', 'string') then false
    when jsonb_typeof(value -> 'search_domain') = 'string'
      and (value ->> 'search_domain' ~ '[*?]' or not drawbridge.is_dns_pattern(value ->> 'search_domain')) then false
    when value -> 'clients_upstream_dns' is null then true
    when jsonb_typeof(value -> 'clients_upstream_dns') <> 'array' then false
    else (
      select coalesce(bool_and(
        jsonb_typeof(item) = 'object'
          and coalesce(item ->> 'protocol', 'ip_port') = 'ip_port'
          and jsonb_typeof(item -> 'address') = 'string'
          and drawbridge.is_resolver_address(item ->> 'address')
      ), true)
      from jsonb_array_elements(value -> 'clients_upstream_dns') as items (item)
    )
  end
$$;

-- A single address in the account's tunnel network of that family.
create function drawbridge.is_tunnel_address(value inet, family integer) returns boolean
language sql immutable parallel safe set search_path = '' as $$
  select case family
    when 4 then masklen(value) = 32 and value << '100.64.0.0/11'::inet
    when 6 then masklen(value) = 128 and value << 'fd00:2021:1111::/107'::inet
    else false
  end
$$;

-- 32 bytes from the server's strong source of randomness, without an extension: two random uuids hold 244 random bits.
create function drawbridge.random_secret() returns bytea
language sql volatile parallel safe set search_path = '' as $$
  select sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
$$;
