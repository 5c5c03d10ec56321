-- Who makes a transaction, told to the stream in the transaction itself: the first statement that changes a published table
-- emits a message, and `select drawbridge.act_as('alice', 'INC-42')` puts a name and a reason in its place. Any role may
-- emit messages, so this is what the session says of itself, not a proof.

create function drawbridge.tell_subject(named jsonb) returns void
language plpgsql set search_path = '' as $$
begin
  -- For this transaction only, and undone with the savepoint that the message is undone with.
  perform set_config('drawbridge.subject_told', pg_current_xact_id()::text, true);
  perform pg_logical_emit_message(true, 'drawbridge', (jsonb_build_object('type', 'subject', 'subject', jsonb_build_object(
    'role', session_user, 'application', current_setting('application_name'), 'address', host(inet_client_addr())
  ) || named))::text);
end $$;

create function drawbridge.tell_subject() returns trigger
language plpgsql set search_path = '' as $$
begin
  perform drawbridge.tell_subject('{}');
  return null;
end $$;

create function drawbridge.act_as(name text, reason text default null) returns void
language plpgsql set search_path = '' as $$
begin
  if name is null or length(btrim(name)) not between 1 and 200 or length(reason) > 1000 then
    raise exception 'act_as takes a name of 1 to 200 characters and a reason of 1000 at most'
      using errcode = 'invalid_parameter_value';
  end if;
  perform drawbridge.tell_subject(jsonb_build_object('name', name, 'reason', reason));
end $$;
comment on function drawbridge.act_as is 'Says who makes this transaction, and why: it becomes the subject in the change log.';

create function drawbridge.add_subject_trigger(published regclass) returns void
language plpgsql set search_path = '' as $$
begin
  -- A statement that changed no row has no transaction id and tells nothing.
  execute format(
    'create trigger tell_subject after insert or update or delete or truncate on %s for each statement
       when (pg_current_xact_id_if_assigned() is not null
         and current_setting(''drawbridge.subject_told'', true) is distinct from pg_current_xact_id_if_assigned()::text)
       execute function drawbridge.tell_subject()', published);
end $$;
revoke execute on function drawbridge.add_subject_trigger(regclass) from public;
comment on function drawbridge.add_subject_trigger is 'For migrations: every published table has this trigger.';

select drawbridge.add_subject_trigger(format('%I.%I', schemaname, tablename)::regclass)
  from pg_publication_tables where pubname = 'drawbridge' order by tablename;
