-- name: notify
-- In a transaction of its own, which waits for no disk: a notification inside another one would serialise commits.
SELECT pg_notify(s.channel, s.payload)
FROM unnest(%(channels)s::text[], %(payloads)s::text[]) s (channel, payload),
     (SELECT set_config('synchronous_commit', 'off', true)) lazily;
