-- A trigger may object to a row with any error it likes, not only with those of raise_exception, of data and of constraints: a `select
-- into strict` that finds nothing, an assert, a code of its own. All are refusals of that row, which held up every other of its account.

-- Whether an error is no fault of the row that met it: of the connection (08), of what Postgres or a transaction cannot do (0A, 25 to
-- 28, 3D, 3F, 40), of SQL, names and rights (42), of space, state, operators and the system (53, 55, 57, 58, F0, XX).
create function drawbridge.is_of_no_row(code text) returns boolean
language sql immutable set search_path = '' as $$
  select left(code, 2) in ('08', '0A', '25', '26', '28', '3D', '3F', '40', '42', '53', '55', '57', '58', 'F0', 'XX')
$$;
revoke execute on function drawbridge.is_of_no_row(text) from public;

-- The functions that write one row are kept as they are but for what they catch.
do $$
declare
  name regproc;
  before text;
  after text;
begin
  foreach name in array array['drawbridge.write_flow', 'drawbridge.write_client', 'drawbridge.write_gateway',
    'drawbridge.write_hold']::regproc[] loop
    before := pg_get_functiondef(name);
    after := replace(
      before,
      E'exception when data_exception or integrity_constraint_violation or raise_exception then\n',
      E'exception when others or assert_failure then\n  if drawbridge.is_of_no_row(sqlstate) then raise; end if;\n'
    );
    if after = before then raise exception '% is not what the migrations made', name; end if;
    execute after;
  end loop;
end $$;
