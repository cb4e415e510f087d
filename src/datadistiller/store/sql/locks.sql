-- name: lock
-- An advisory lock of this session.
SELECT pg_try_advisory_lock(%(key)s) AS locked;

-- name: unlock
-- All that this session holds.
SELECT pg_advisory_unlock_all();

-- name: watch
-- The server notices within seconds that the other host is gone, and frees the lock.
SELECT set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '3', false),
       set_config('tcp_keepalives_count', '3', false);
