-- A table that is altered may be rewritten, which changes its rows without an event in the stream. The replicator compares the
-- columns of what is published with those here, and delivers the accounts anew that it may concern.

alter table drawbridge.streams add column columns jsonb;
comment on column drawbridge.streams.columns is
  'By published table, its columns as every account has been delivered; null when an epoch begins, which delivers them all.';
