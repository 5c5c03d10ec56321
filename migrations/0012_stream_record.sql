-- What the replicator knows of its slot beside the slot itself, so that a slot, a publication or a database that was changed
-- by anybody else is noticed.

create table drawbridge.streams (
  slot_name text primary key,
  term bigint not null,
  confirmed_lsn pg_lsn not null,
  broken text,
  run uuid,
  beat bigint,
  known_run uuid,
  known_beat bigint,
  beat_at timestamptz,
  check ((run is null) = (beat is null) and (known_run is null) = (known_beat is null))
);
comment on table drawbridge.streams is 'The replicator''s own record of its slot; nobody else writes here.';
comment on column drawbridge.streams.confirmed_lsn is
  'What may be confirmed to the slot, written before it is: a slot beyond it was moved by somebody else.';
comment on column drawbridge.streams.broken is
  'Why the stream cannot be read on from the slot''s position; null when it can.';
comment on column drawbridge.streams.run is
  'Random, one for each leader''s run; with the number of its last heartbeat it tells whether this database was set back.';
comment on column drawbridge.streams.known_run is 'The run before, whose last heartbeat the edge may still hold.';

alter table drawbridge.epochs
  add column publication text,
  add column recorded_lsn pg_lsn,
  add column starts_at pg_lsn;
comment on column drawbridge.epochs.publication is 'The catalogue rows of what was published when the epoch began.';
comment on column drawbridge.epochs.recorded_lsn is
  'What had been confirmed of the epoch before, null when nothing is known: what was committed from there to starts_at may be missing from logs.';
comment on column drawbridge.epochs.starts_at is 'Where the epoch''s stream begins; null while its slot is being made.';

grant select, insert, update on drawbridge.streams to drawbridge_replicator;
grant update (starts_at) on drawbridge.epochs to drawbridge_replicator;
