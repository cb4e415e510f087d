-- name: mark
-- Fills the window of a topic with its most urgent due messages. They are published after the commit: who is killed
-- in between has told nobody, and the window tells which they are. A lost mark only publishes twice: nobody waits for
-- the disk.
WITH room AS MATERIALIZED (
    SELECT greatest(0, %(window)s - count(*)) AS n FROM messages
    WHERE topic = %(topic)s AND published_at IS NOT NULL AND lease_token IS NULL
), due AS MATERIALIZED (
    SELECT id FROM messages
    WHERE topic = %(topic)s AND available_at <= now() AND lease_token IS NULL AND published_at IS NULL
    ORDER BY lane, available_at, id LIMIT (SELECT n FROM room) FOR UPDATE SKIP LOCKED
)
UPDATE messages m SET published_at = clock_timestamp()
FROM due, (SELECT set_config('synchronous_commit', 'off', true)) lazily
WHERE m.id = due.id
RETURNING m.id, m.job_id, m.chunk_id, m.lane, m.available_at;

-- name: mark_again
-- What has been in the window for so long, oldest first. Only what is in the window is ever published again.
WITH old AS MATERIALIZED (
    SELECT id FROM messages
    WHERE topic = %(topic)s AND published_at IS NOT NULL AND lease_token IS NULL
      AND published_at <= clock_timestamp() - make_interval(secs => %(seconds)s)
    ORDER BY published_at FOR UPDATE SKIP LOCKED
)
UPDATE messages m SET published_at = clock_timestamp()
FROM old, (SELECT set_config('synchronous_commit', 'off', true)) lazily
WHERE m.id = old.id
RETURNING m.id, m.job_id, m.chunk_id, m.lane, m.available_at;

-- name: window
-- How many messages of a topic are published and not begun, and for how long the oldest.
SELECT count(*) AS messages,
       greatest(0, coalesce(extract(epoch FROM clock_timestamp() - min(published_at)), 0))::float8 AS oldest_seconds
FROM messages WHERE topic = %(topic)s AND published_at IS NOT NULL AND lease_token IS NULL;

-- name: letters
-- Dead letters that no broker has yet.
SELECT dead_id, message_id, topic, job_id, job_attempt, chunk_id, tries, crashes, error, error_type, died_at
FROM dead_letters WHERE published_at IS NULL ORDER BY dead_id LIMIT %(limit)s;

-- name: letters_published
-- They are on the broker.
UPDATE dead_letters SET published_at = now() WHERE dead_id = ANY(%(ids)s);

-- name: events
-- What is told of documents and no broker has yet, with what is known of the document if it still is as then.
SELECT e.job_id, e.n, e.attempt, e.status, e.at, j.collection, k.total_chunks, k.failed_chunks, k.error ->> 'code' AS code
FROM job_events e LEFT JOIN document_jobs j USING (job_id)
LEFT JOIN document_jobs k ON k.job_id = e.job_id AND k.attempt = e.attempt AND k.status = e.status AND k.deleted_at IS NULL
WHERE e.published_at IS NULL AND e.status IN ('pending', 'completed', 'failed', 'partial', 'cancelled', 'deleted')
ORDER BY e.at, e.job_id, e.n LIMIT %(limit)s;

-- name: events_published
-- They are on the broker.
UPDATE job_events e SET published_at = now() FROM unnest(%(jobs)s::uuid[], %(numbers)s::int[]) t (job_id, n)
WHERE e.job_id = t.job_id AND e.n = t.n;
