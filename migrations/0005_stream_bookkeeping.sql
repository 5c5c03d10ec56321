-- What the replicator remembers of its own work. Unpublished, and without foreign keys: it outlives the accounts.

create table drawbridge.lanes (
  account_id uuid primary key,
  epoch bigint not null,
  to_lsn pg_lsn not null,
  state text not null default 'live' check (state in ('live', 'parked')),
  reason text,
  term bigint not null,
  updated_at timestamptz not null default now()
);
comment on table drawbridge.lanes is 'How far each account''s ordered lane of commits has been delivered; every account ever known is in it.';
comment on column drawbridge.lanes.term is 'The leader''s term when the row was written.';

create table drawbridge.epochs (
  epoch bigint primary key,
  reason text not null,
  slot_name text not null,
  system_identifier text not null,
  timeline integer not null,
  opened_at timestamptz not null default now()
);
comment on table drawbridge.epochs is 'Unbroken stretches of the stream: positions of two epochs cannot be compared.';
