-- name: insert_job
-- A new document and the message that starts it; nothing if the same bytes are already in the collection. Those of later
-- versions are outside the rule of the index: two may get them at once.
WITH job AS (
    INSERT INTO document_jobs (job_id, filename, collection, media_type, file_size, sha256, object_key, lane, metadata)
    SELECT %(job_id)s, %(filename)s, %(collection)s, %(media_type)s, %(file_size)s, %(sha256)s, %(object_key)s,
           %(lane)s, %(metadata)s
    WHERE NOT EXISTS (SELECT 1 FROM document_jobs
                      WHERE collection = %(collection)s AND sha256 = %(sha256)s AND deleted_at IS NULL)
    ON CONFLICT (collection, sha256, (CASE WHEN version = 1 THEN 0 ELSE job_no END)) WHERE deleted_at IS NULL DO NOTHING
    RETURNING *
), message AS (
    INSERT INTO messages (topic, job_id, job_attempt, lane) SELECT %(topic)s, job_id, attempt, lane FROM job
)
SELECT * FROM job;

-- name: same_content
-- The document with these bytes, locked: it may be retried now. The first one, if later versions made them two.
SELECT * FROM document_jobs
WHERE collection = %(collection)s AND sha256 = %(sha256)s AND deleted_at IS NULL
ORDER BY job_no LIMIT 1 FOR NO KEY UPDATE;

-- name: insert_message
-- The message that starts an attempt; written in the transaction that makes it true.
INSERT INTO messages (topic, job_id, job_attempt, lane) VALUES (%(topic)s, %(job_id)s, %(attempt)s, %(lane)s);

-- name: keep_password
-- For the attempt whose message was just written; it goes with that (migration 9).
INSERT INTO document_passwords (job_id, password) VALUES (%(job_id)s, %(password)s);

-- name: add_password
-- For an attempt that is under way without one: none if nobody reads the file any more.
INSERT INTO document_passwords (job_id, password)
SELECT m.job_id, %(password)s FROM messages m JOIN document_jobs j USING (job_id)
WHERE m.job_id = %(job_id)s AND m.topic = %(topic)s AND m.job_attempt = j.attempt
ON CONFLICT (job_id) DO NOTHING;

-- name: password
-- For who holds the lease of the current attempt.
SELECT p.password FROM document_passwords p JOIN messages m USING (job_id) JOIN document_jobs j USING (job_id)
WHERE m.id = %(message_id)s AND m.lease_token = %(token)s AND m.job_attempt = j.attempt AND j.deleted_at IS NULL;

-- name: find_key
-- What an Idempotency-Key stands for.
SELECT k.request_hash, k.job_id FROM idempotency_keys k WHERE k.key = %(key)s;

-- name: insert_key
-- Remembers a key; the first request with it wins, a second one waits for its end.
INSERT INTO idempotency_keys (key, request_hash, job_id) VALUES (%(key)s, %(request_hash)s, %(job_id)s)
ON CONFLICT (key) DO NOTHING RETURNING key;

-- name: point_key
-- The upload was a duplicate: its key stands for the first job.
UPDATE idempotency_keys SET job_id = %(job_id)s WHERE key = %(key)s RETURNING key;

-- name: drop_key
-- A key whose document is gone.
DELETE FROM idempotency_keys WHERE key = %(key)s AND job_id = %(job_id)s RETURNING key;

-- name: get
-- One document; deleted ones are not there.
SELECT *, parent_of(job_id) AS parent, children_of(job_id) AS children FROM document_jobs WHERE job_id = %(job_id)s AND deleted_at IS NULL;

-- name: lock
-- The same, locked for a change.
SELECT * FROM document_jobs WHERE job_id = %(job_id)s AND deleted_at IS NULL FOR NO KEY UPDATE;

-- name: page
-- Newest first, after a cursor.
SELECT *, parent_of(job_id) AS parent, children_of(job_id) AS children FROM document_jobs j
WHERE deleted_at IS NULL
  AND (%(parent)s::uuid IS NULL OR EXISTS (
      SELECT 1 FROM document_children c JOIN document_jobs p ON p.job_id = c.parent_id AND p.version = c.version
      WHERE c.parent_id = %(parent)s AND c.child_id = j.job_id))
  AND (%(status)s::text IS NULL OR status = %(status)s)
  AND (%(collection)s::text IS NULL OR collection = %(collection)s)
  AND (%(at)s::timestamptz IS NULL OR (created_at, job_id) < (%(at)s, %(id)s::uuid))
ORDER BY created_at DESC, job_id DESC
LIMIT %(limit)s;

-- name: children
-- The files in a document, in its order, with their documents.
SELECT c.ordinal, c.path, c.size, c.problem, j.*, parent_of(j.job_id) AS parent, children_of(j.job_id) AS children
FROM document_children c JOIN document_jobs p ON p.job_id = c.parent_id AND p.version = c.version
LEFT JOIN document_jobs j ON j.job_id = c.child_id
WHERE c.parent_id = %(parent)s AND c.ordinal > %(after)s AND j.deleted_at IS NULL
ORDER BY c.ordinal LIMIT %(limit)s;

-- name: several
-- Those of some documents that are there, newest first.
SELECT *, parent_of(job_id) AS parent, children_of(job_id) AS children FROM document_jobs
WHERE job_id = ANY(%(ids)s) AND deleted_at IS NULL
  AND (%(status)s::text IS NULL OR status = %(status)s)
  AND (%(collection)s::text IS NULL OR collection = %(collection)s)
ORDER BY created_at DESC, job_id DESC;

-- name: drop_messages
-- Work that nobody shall do any more, leased or not: a late result finds no row and is refused.
DELETE FROM messages WHERE job_id = ANY(%(jobs)s);

-- name: drop_letters
-- Dead letters of earlier attempts.
DELETE FROM dead_letters WHERE job_id = ANY(%(jobs)s);

-- name: cancel
-- A request stopped them.
UPDATE document_jobs SET status = 'cancelled', finished_at = now(),
    error = jsonb_build_object('code', 'cancelled', 'message', 'Cancelled by request.',
                               'hint', 'Start it again with retry.')
WHERE job_id = ANY(%(jobs)s);

-- name: restart
-- A retry is a new attempt of the same job.
UPDATE document_jobs SET attempt = attempt + 1, status = 'pending', progress = 0, error = NULL, finished_at = NULL,
    total_chunks = NULL, processed_chunks = 0, failed_chunks = 0
WHERE job_id = %(job_id)s RETURNING *;

-- name: touch_chunks
-- Tells the index to read the jobs' chunks again.
INSERT INTO chunk_changes (job_id, chunk_nos)
SELECT job_id, array_agg(chunk_no) FROM document_chunks WHERE job_id = ANY(%(jobs)s) GROUP BY job_id, chunk_no / 128;

-- name: unindex_chunks
-- What queries do not find leaves the index; it must be acknowledged again before a later attempt counts.
UPDATE document_chunks c SET status = 'pending' FROM document_jobs j
WHERE c.job_id = ANY(%(jobs)s) AND j.job_id = c.job_id AND NOT (j.searchable AND c.version = j.version)
  AND c.status = 'indexed';

-- name: delete
-- Hidden from every query from here on.
UPDATE document_jobs SET deleted_at = now(), searchable = false WHERE job_id = ANY(%(jobs)s);

-- name: order_removal
-- What purges them.
INSERT INTO messages (topic, job_id, job_attempt, lane)
SELECT %(topic)s, job_id, attempt, lane FROM document_jobs WHERE job_id = ANY(%(jobs)s);

-- name: unfinished
-- Those of these documents that only came with another one and are on their way.
SELECT job_id FROM document_jobs
WHERE job_id = ANY(%(jobs)s) AND NOT uploaded AND deleted_at IS NULL
  AND status IN ('pending', 'processing', 'chunking', 'embedding');

-- name: adopt
-- A person uploaded what had come with another document: it stays when that one is deleted.
UPDATE document_jobs SET uploaded = true WHERE job_id = %(job_id)s AND NOT uploaded RETURNING job_id;

-- name: events
-- What happened after an event number.
SELECT job_id, n, attempt, status, progress, at FROM job_events
WHERE job_id = %(job_id)s AND n > %(after)s AND status <> 'deleted' ORDER BY n LIMIT 1000;

-- name: to_read
-- Documents whose files are about to be read.
SELECT * FROM document_jobs WHERE job_id = ANY(%(ids)s) AND deleted_at IS NULL;

-- name: advance
-- Moves jobs that these leases still hold, never back. Lost progress is harmless: nobody waits for the disk. The jobs are
-- locked in order, as everywhere.
WITH ours AS MATERIALIZED (
    SELECT j.job_id, u.id, u.page_count
    FROM unnest(%(messages)s::bigint[], %(tokens)s::uuid[], %(attempts)s::int[], %(page_counts)s::int[])
         u(id, token, attempt, page_count)
    JOIN messages m ON m.id = u.id AND m.lease_token = u.token
    JOIN document_jobs j ON j.job_id = m.job_id AND j.attempt = u.attempt
    WHERE j.deleted_at IS NULL AND status_rank(j.status) < 3
    ORDER BY j.job_id FOR NO KEY UPDATE OF j
)
UPDATE document_jobs j SET
    status = CASE WHEN status_rank(%(status)s) > status_rank(j.status) THEN %(status)s ELSE j.status END,
    progress = greatest(j.progress, %(progress)s),
    page_count = CASE WHEN j.next IS NULL THEN coalesce(ours.page_count, j.page_count) ELSE j.page_count END
FROM ours, (SELECT set_config('synchronous_commit', 'off', true)) lazily
WHERE j.job_id = ours.job_id
RETURNING ours.id;

-- name: unfinished_count
-- Documents on their way.
SELECT count(*) AS n FROM document_jobs
WHERE status IN ('pending', 'processing', 'chunking', 'embedding') AND deleted_at IS NULL;

-- name: count_by_status
-- Documents by status.
SELECT status, count(*) AS n FROM document_jobs WHERE deleted_at IS NULL GROUP BY status;
