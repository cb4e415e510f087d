-- name: register
-- A worker process announces itself.
INSERT INTO workers (boot, worker_id, role, pid) VALUES (%(boot)s, %(worker_id)s, %(role)s, %(pid)s)
ON CONFLICT (boot) DO UPDATE SET seen_at = now();

-- name: remove
-- A worker process signs off.
DELETE FROM workers WHERE boot = %(boot)s;

-- name: remove_pid
-- A process this host's supervisor saw die.
DELETE FROM workers WHERE pid = %(pid)s;

-- name: remove_all
-- All worker processes are gone.
DELETE FROM workers;

-- name: beat
-- A sign of life.
UPDATE workers SET seen_at = now(), memory_bytes = %(memory)s WHERE boot = %(boot)s RETURNING boot;

-- name: alive
-- Workers heard of lately.
SELECT boot, worker_id, role, pid, memory_bytes, extract(epoch FROM now() - seen_at)::float8 AS silent_seconds
FROM workers WHERE seen_at > now() - make_interval(secs => %(timeout)s) ORDER BY role, worker_id;

-- name: forget
-- Rows of workers that have been silent for long.
DELETE FROM workers WHERE seen_at < now() - interval '1 hour';
