-- Who changed what and when: one row for each change of a published row, written by the replicator from the stream it
-- delivers. Unpublished, and without foreign keys: it outlives the accounts. Partitioned by the day of the commit, which
-- comes from the WAL and is the same on every replay, so that retention drops partitions and a query by time reads few.

create table drawbridge.change_logs (
  committed_at timestamptz not null,
  epoch bigint not null,
  commit_end_lsn pg_lsn not null,
  seq bigint not null,
  account_id uuid,
  "table" text,
  op text not null,
  old_data jsonb,
  data jsonb,
  reason text,
  subject jsonb,
  vsn integer not null,
  inserted_at timestamptz not null default now(),
  primary key (committed_at, epoch, commit_end_lsn, seq),
  constraint change_logs_data_fits_op check (case op
    when 'insert' then account_id is not null and "table" is not null
      and old_data is null and (data is null) = (reason is not null)
    when 'update' then account_id is not null and "table" is not null
      and (old_data is null) = (reason is not null) and (data is null) = (reason is not null)
    when 'delete' then account_id is not null and "table" is not null
      and (old_data is null) = (reason is not null) and data is null
    when 'truncate' then account_id is null and "table" is not null
      and old_data is null and data is null and reason is null
    when 'hole' then account_id is null and "table" is null
      and old_data is null and data is null and reason is not null
    else false
  end)
) partition by range (committed_at);
create index change_logs_account_id_idx
  on drawbridge.change_logs (account_id, committed_at, commit_end_lsn, seq);
comment on table drawbridge.change_logs is 'Every change of a published row, secrets redacted; a truncate and a hole concern every account.';
comment on column drawbridge.change_logs.committed_at is 'The primary''s clock at COMMIT, as the WAL has it.';
comment on column drawbridge.change_logs.seq is 'Number of the change in its transaction, over all accounts.';
comment on column drawbridge.change_logs.op is 'insert, update, delete, truncate; hole: changes before this row may be missing.';
comment on column drawbridge.change_logs.reason is 'Why there is a hole; with a change, why the row has no data: it was refused.';
comment on column drawbridge.change_logs.subject is 'Who made the transaction: role, application and address of the session; name and reason after act_as.';
comment on column drawbridge.change_logs.vsn is 'Number of the last migration that changed a published table: the shape of the data.';

create table drawbridge.change_logs_default partition of drawbridge.change_logs default;
comment on table drawbridge.change_logs_default is 'Rows whose day has no partition; they move when it gets one.';

-- A row in the default partition keeps its day's partition from being attached, so it moves in the same transaction.
create function drawbridge.make_change_log_partitions(days_ahead integer) returns integer
language plpgsql security definer set search_path = '' set timezone = 'UTC' set lock_timeout = '2s' as $$
declare
  day date;
  name text;
  made integer := 0;
begin
  if days_ahead is null or days_ahead not between 0 and 100 then
    raise exception 'expected a number of days from 0 to 100, got %', days_ahead using errcode = 'invalid_parameter_value';
  end if;
  for day in
    select current_date + n from generate_series(0, days_ahead) as n
    union
    select committed_at::date from drawbridge.change_logs_default
      where committed_at >= current_date - 1000 and committed_at < current_date + days_ahead + 1
    order by 1
  loop
    name := 'change_logs_' || to_char(day, 'YYYYMMDD');
    continue when to_regclass('drawbridge.' || name) is not null;
    execute format('create table drawbridge.%I (like drawbridge.change_logs including defaults including constraints)', name);
    execute format(
      'with moved as (
         delete from drawbridge.change_logs_default where committed_at >= %L and committed_at < %L returning *
       ) insert into drawbridge.%I select * from moved',
      day::timestamptz, (day + 1)::timestamptz, name);
    execute format('alter table drawbridge.change_logs attach partition drawbridge.%I for values from (%L) to (%L)',
      name, day::timestamptz, (day + 1)::timestamptz);
    made := made + 1;
  end loop;
  return made;
end $$;
comment on function drawbridge.make_change_log_partitions is 'Makes the partitions that are missing from today on, and those of rows without one; returns how many.';

create function drawbridge.drop_change_log_partitions(keep_days integer) returns integer
language plpgsql security definer set search_path = '' set timezone = 'UTC' set lock_timeout = '2s' as $$
declare
  first_kept date := current_date - keep_days;
  name text;
  dropped integer := 0;
begin
  if keep_days is null or keep_days < 1 then
    raise exception 'expected a number of days from 1, got %', keep_days using errcode = 'invalid_parameter_value';
  end if;
  for name in
    select c.relname from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
      where i.inhparent = 'drawbridge.change_logs'::regclass and c.relname ~ '^change_logs_\d{8}$'
        and to_date(right(c.relname, 8), 'YYYYMMDD') < first_kept
  loop
    execute format('drop table drawbridge.%I', name);
    dropped := dropped + 1;
  end loop;
  delete from drawbridge.change_logs_default where committed_at < first_kept;
  return dropped;
end $$;
comment on function drawbridge.drop_change_log_partitions is 'Drops what was committed more than this many whole days ago; returns how many partitions.';

create table drawbridge.published_shapes (
  vsn integer primary key,
  since pg_lsn not null,
  columns jsonb not null
);
comment on table drawbridge.published_shapes is 'The columns of the published tables since each migration that changed them; change_logs.vsn points here.';
comment on column drawbridge.published_shapes.since is 'Taken while the migration held its locks: commits before it have the shape before.';

-- `migrate` calls it at the end of each migration, in its transaction.
create function drawbridge.note_published_shape(migration text) returns void
language sql set search_path = '' as $$
  insert into drawbridge.published_shapes (vsn, since, columns)
  select substr(migration, 1, 4)::integer, pg_catalog.pg_current_wal_insert_lsn(), shape.columns
    from (
      select jsonb_object_agg(tablename, columns) as columns
        from (
          select t.tablename, jsonb_object_agg(a.attname, format_type(a.atttypid, a.atttypmod)) as columns
            from (select distinct schemaname, tablename from pg_catalog.pg_publication_tables where pubname ~ '^drawbridge') t
            join pg_catalog.pg_namespace n on n.nspname = t.schemaname
            join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = t.tablename
            join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
            group by t.tablename
        ) as tables
    ) as shape
    where shape.columns is distinct from
      (select columns from drawbridge.published_shapes order by vsn desc limit 1)
$$;
revoke execute on function drawbridge.note_published_shape(text) from public;

create function drawbridge.vsn_at(commit_end_lsn pg_lsn) returns integer
language sql stable set search_path = '' as $$
  select coalesce(
    (select max(vsn) from drawbridge.published_shapes where since <= commit_end_lsn),
    (select max(vsn) from drawbridge.published_shapes))
$$;
comment on function drawbridge.vsn_at is 'The shape of what was committed at this position; the last one where positions began anew since.';

-- An epoch is opened where the stream broke: the log may lack what was committed before it.
create function drawbridge.log_hole() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into drawbridge.change_logs (committed_at, epoch, commit_end_lsn, seq, op, reason, vsn)
  values (now(), new.epoch, pg_current_wal_insert_lsn(), 0, 'hole', new.reason, drawbridge.vsn_at(pg_current_wal_insert_lsn()));
  return null;
end $$;
create trigger log_hole after insert on drawbridge.epochs for each row execute function drawbridge.log_hole();

revoke execute on function drawbridge.make_change_log_partitions(integer), drawbridge.drop_change_log_partitions(integer)
  from public;
grant execute on function drawbridge.make_change_log_partitions(integer), drawbridge.drop_change_log_partitions(integer)
  to drawbridge_replicator;
grant insert on drawbridge.change_logs to drawbridge_replicator;
grant select on drawbridge.published_shapes to drawbridge_replicator;
