-- name: report
-- The leading follower says how it stands, and is told of requests to build the index anew.
UPDATE followers SET worker_id = %(worker_id)s, position = %(position)s, error = %(error)s,
    rebuilt = greatest(rebuilt, %(rebuilt)s), seen_at = now()
WHERE name = 'index' RETURNING asked, rebuilt;

-- name: ask
-- Asks for the index to be built anew.
UPDATE followers SET asked = asked + 1 WHERE name = 'index';

-- name: owner
-- What names this database in the index.
SELECT owner FROM followers WHERE name = 'index';

-- name: state
-- What the leading follower said last.
SELECT worker_id, position, error, extract(epoch FROM now() - seen_at)::float8 AS silent_seconds
FROM followers WHERE name = 'index';

-- name: depose
-- Ends the session of a leader that has said nothing for long: the process is frozen, or its host is gone without a
-- word. Not one that took the lock just now and has not said anything yet.
SELECT pg_terminate_backend(l.pid) AS ended
FROM followers f, pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE f.name = 'index' AND f.seen_at < now() - make_interval(secs => %(seconds)s)
  AND a.query_start < now() - make_interval(secs => %(seconds)s) AND a.datname = current_database()
  AND l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.classid::bigint = %(key)s >> 32 AND l.objid::bigint = %(key)s & 4294967295;
