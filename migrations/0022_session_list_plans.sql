-- The list of live sessions is compared through a hash where the plan knows it, and else one by one with every row: after five calls of
-- one database session, which a pool makes within seconds, 10,000 sessions would cost 10,000 comparisons each.
alter function drawbridge.write_sessions(uuid, jsonb, jsonb, uuid[], bigint) set plan_cache_mode = 'force_custom_plan';
